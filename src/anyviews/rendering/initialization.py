"""First Gaussians for a refinement: from coloured points, depth maps, or photos with cameras alone."""

import torch
from jaxtyping import Float
from scipy.spatial import cKDTree
from torch import Tensor

from ..gaussians import Gaussians
from ..scene import PointCloud, Scene


# As Kerbl et al.: of thin Gaussians descent chooses those at the surface, opaque ones at wrong places hide others, and
# a few hundred steps do not get rid of them (docs/refine.md).
INITIAL_OPACITY = 0.1

NEIGHBORS = 3

# Lone points far from all others would cover the photos; no scale is more than this many times the median.
LARGEST_SCALE = 10.0


def initial_gaussians(
    scene: Scene, degree: int | None = None, max_gaussians: int = 50_000, seed: int = 0
) -> Gaussians:
    """The scene's Gaussians, or Gaussians at its points or at the pixels of its depth maps.

    Args:
        scene: with Gaussians, points or depth.
        degree: of the spherical harmonics; None keeps that of the scene's Gaussians, 0 where they come from points.
        max_gaussians: from more points than this, so many are drawn at random. Given Gaussians are all kept.
        seed: of this draw.

    Raises:
        ValueError: if the scene has none of these.
    """
    if scene.gaussians is not None:
        return scene.gaussians if degree is None else scene.gaussians.with_degree(degree)
    points = scene.point_cloud()
    if len(points) > max_gaussians:
        order = (
            torch.randperm(len(points), generator=torch.Generator().manual_seed(seed))[:max_gaussians].sort().values
        )
        picked = (points.positions, points.colors, points.confidence)
        points = PointCloud(*(None if values is None else values[order.to(values.device)] for values in picked))
    return gaussians_from_points(points, degree=degree or 0)


def gaussians_from_points(points: PointCloud, opacity: float = INITIAL_OPACITY, degree: int = 0) -> Gaussians:
    """Round Gaussians at points, as wide as the points are apart (Kerbl et al., SIGGRAPH 2023, section 5.1).

    Args:
        points: at least 4, not all at one place; those without colour become grey.
        opacity: of every Gaussian, in (0, 1).
        degree: of the spherical harmonics, 0 to 3; the colour is the same from every side at first.

    Raises:
        ValueError: if there are fewer points, or they hold NaN or infinity.
    """
    positions = points.positions
    if len(points) <= NEIGHBORS:
        raise ValueError(f"{len(points)} points are too few to make Gaussians of; give at least {NEIGHBORS + 1}")
    if not positions.isfinite().all():
        raise ValueError("the points hold NaN or infinity; leave these out")
    spacing = neighbor_distance(positions)
    if not (spacing > 0).any():
        raise ValueError(f"each of {len(points)} points coincides with others; give points of a surface, each once")
    median = spacing[spacing > 0].median()
    spacing = spacing.clamp(min=median / LARGEST_SCALE, max=median * LARGEST_SCALE)
    upright = positions.new_tensor([1.0, 0.0, 0.0, 0.0]).expand(len(points), 4)
    colors = torch.full_like(positions, 0.5) if points.colors is None else points.colors.to(positions)
    opacities = torch.full_like(spacing, opacity)
    return Gaussians.from_colors(positions, upright, spacing[:, None].expand(-1, 3), opacities, colors).with_degree(
        degree
    )


def neighbor_distance(positions: Float[Tensor, "points 3"]) -> Float[Tensor, "points"]:
    """Mean distance from each point to the three nearest others."""
    points = positions.detach().cpu().double().numpy()
    distances, _ = cKDTree(points).query(points, k=NEIGHBORS + 1)
    return torch.as_tensor(distances[:, 1:].mean(1)).to(positions)
