"""What a viewer shows of a scene, or of its steps: thinned parts, where they are, and how large to draw them."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..cameras import Cameras
from ..mesh import Mesh
from ..scene import PointCloud, Scene
from .gaussian_html import shown_gaussians
from .viewer_page import checked_cameras, framing_radius


# Pyramids of cameras, in distances between neighbouring cameras, and at most in radii of the scene.
FRUSTUM_OF_DISTANCE, FRUSTUM_OF_RADIUS = 0.35, 0.15
# Diameter of a point in mean distances between points that cover a disc of the scene's radius.
POINT_SIZE = 1.6
# Cameras beyond this number have no photos on their pyramids, which would be too small to see.
MOST_PHOTOS = 256


@dataclass(frozen=True)
class ShownScene:
    """The steps of a scene, ready to be shown.

    Args:
        steps: scenes with Gaussians, meshes and points alone, on the CPU.
        cameras: those of the last step, in double precision, or None.
        names: of the cameras.
        images: photos of the cameras, or None.
        depths: depth of the cameras in grey, or None.
        center: the middle of the last step.
        radius: how far the last step reaches from there.
        notices: sentences for people, about what is left out.
    """

    steps: tuple[Scene, ...]
    cameras: Cameras | None
    names: tuple[str, ...]
    images: Float[Tensor, "views 3 height width"] | None
    depths: Float[Tensor, "views 3 depth_height depth_width"] | None
    center: Float[Tensor, "3"]
    radius: float
    notices: tuple[str, ...]

    @property
    def confident(self) -> bool:
        """Whether some points have a confidence."""
        return any(step.points is not None and step.points.confidence is not None for step in self.steps)

    @property
    def lit(self) -> bool:
        """Whether meshes are shown under a light: colours of photos have theirs already."""
        meshes = [step.mesh for step in self.steps if step.mesh is not None]
        return any(mesh.material is not None or mesh.vertex_colors is None for mesh in meshes)

    @property
    def frustum_length(self) -> float:
        """Of the cameras' pyramids, in world units."""
        length = FRUSTUM_OF_RADIUS * self.radius
        if self.cameras is None or len(self.cameras) == 1:
            return length
        centers = self.cameras.centers
        apart = float(torch.cdist(centers, centers).fill_diagonal_(math.inf).amin(1).median())
        return min(length, FRUSTUM_OF_DISTANCE * apart) if apart > 0 else length

    def point_size(self, points: PointCloud) -> float:
        """Diameter of each point, in world units."""
        return POINT_SIZE * self.radius * math.sqrt(math.pi / len(points))


@torch.no_grad()
def show_scenes(scenes: Sequence[Scene], max_gaussians: int, max_points: int, name: str) -> ShownScene:
    """Choose what is shown of scenes, and check it.

    Known depth is shown as points where there are no others. Of more Gaussians the most visible are kept, of more
    points a random choice, with a warning and a notice.

    Args:
        scenes: the steps.
        max_gaussians: of each step.
        max_points: of each step.
        name: of what shows them, for warnings.

    Raises:
        ValueError: if there is nothing to show, or it holds unusable values.
    """
    if not scenes:
        raise ValueError("there are no scenes to show; give at least one")
    if max_points < 1:
        raise ValueError(f"max_points is {max_points}; accepted is 1 or more")
    last, notices, steps = scenes[-1], [], []
    cameras = checked_cameras(last.cameras)
    for scene in scenes:
        if max(len(each) for each in scenes) == 0 and _is_empty(scene):
            raise ValueError("the scene is empty: it has no Gaussians, no mesh, no points, no depth and no cameras")
        step, said = _shown(scene, max_gaussians, max_points, name)
        steps.append(step)
        notices += said
    center, radius = _frame(steps[-1], cameras)
    few = len(last) <= MOST_PHOTOS
    return ShownScene(
        tuple(steps),
        cameras,
        last.names,
        last.images if few else None,
        _pictured(last.depths.detach().float().cpu()) if few and last.depths is not None else None,
        center,
        radius,
        tuple(dict.fromkeys(notices)),
    )


def _is_empty(scene: Scene) -> bool:
    known = scene.depths is not None and bool((scene.depths > 0).any())
    return not known and all(part is None or not len(part) for part in (scene.gaussians, scene.mesh, scene.points))


def _shown(scene: Scene, max_gaussians: int, max_points: int, name: str) -> tuple[Scene, list[str]]:
    """The parts that are shown, and what is said about them."""
    gaussians, mesh, points, notices = scene.gaussians, scene.mesh, scene.points, []
    if gaussians is not None:
        gaussians, notices = shown_gaussians(gaussians, max_gaussians, name)
    if mesh is not None:
        mesh = mesh.to("cpu").validate()
    if points is None and scene.depths is not None and (scene.depths > 0).any():
        points = scene.point_cloud()
    if points is not None and len(points) == 0:
        points = None
    if points is not None:
        points, said = _shown_points(points, max_points, name)
        notices = [*notices, *said]
    return Scene(scene.cameras, points=points, gaussians=gaussians, mesh=mesh, names=scene.names), notices


def _shown_points(points: PointCloud, max_points: int, name: str) -> tuple[PointCloud, list[str]]:
    """The points on the CPU, or a random choice of them."""
    index, notices = torch.arange(len(points)), []
    if len(points) > max_points:
        text = f"{max_points:,} of {len(points):,} points, chosen at random"
        warnings.warn(f"{name} shows {text}; give max_points={len(points)} (--max-points) to keep all", stacklevel=4)
        notices = [f"These are {text}."]
        index = torch.randperm(len(points), generator=torch.Generator().manual_seed(0))[:max_points].sort().values
    values = (points.positions, points.colors, points.confidence)
    shown = PointCloud(*(None if value is None else value.detach().cpu()[index] for value in values))
    if not shown.positions.isfinite().all():
        raise ValueError("the points hold NaN or infinity; accepted are finite numbers")
    return shown, notices


def _frame(scene: Scene, cameras: Cameras | None) -> tuple[Float[Tensor, "3"], float]:
    """The middle of a step, and how far it reaches from there."""
    extents = torch.zeros(())
    if scene.gaussians is not None:
        places, extents = scene.gaussians.means, scene.gaussians.scales.amax(-1)
    elif scene.mesh is not None:
        places = scene.mesh.vertices
    elif scene.points is not None:
        places = scene.points.positions
    else:
        places = cameras.centers
    places = places.double()
    # photographed scenes have strays; a mesh has a middle
    is_mesh = scene.mesh is not None and scene.gaussians is None
    center = (places.amin(0) + places.amax(0)) / 2 if is_mesh else places.median(0).values
    return center, framing_radius((places - center).norm(dim=-1) + extents.double())


def centered_mesh(mesh: Mesh, center: Float[Tensor, "3"]) -> Mesh:
    """The mesh about a point, in 32-bit numbers."""
    return replace(mesh, vertices=(mesh.vertices.detach().double() - center).float())


def centered_points(points: PointCloud, center: Float[Tensor, "3"]) -> PointCloud:
    """The points about a point, in 32-bit numbers."""
    return replace(points, positions=(points.positions.double() - center).float())


def _pictured(depths: Float[Tensor, "views 1 height width"]) -> Float[Tensor, "views 3 height width"]:
    """Depth as grey on a logarithmic scale, white for the nearest 2 % of all maps and black where it is not known."""
    known = depths > 0
    if not known.any():
        return depths.expand(-1, 3, -1, -1)
    logarithms = depths.clamp(min=1e-12).log()
    near, far = np.quantile(logarithms[known].numpy(), [0.02, 0.98])
    nearness = (1 - (logarithms - near) / max(far - near, 1e-6)).clamp(0, 1)
    return (torch.lerp(torch.full_like(nearness, 0.15), torch.ones(()), nearness) * known).expand(-1, 3, -1, -1)
