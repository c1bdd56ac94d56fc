"""Depth maps to one coloured mesh, by fusion of truncated signed distances."""

from collections.abc import Iterator
from dataclasses import replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from scipy.spatial import cKDTree
from torch import Tensor

from ...cameras import Cameras
from ...geometry.bounds import robust_bounds
from ...geometry.depth import warp_images
from ...geometry.rays import pixel_centers
from ...mesh import Mesh
from ...scene import Scene
from .depth_surface import DepthSurface
from .isosurface import isosurface
from .mesh_cleaning import drop_small_parts
from .tsdf import VoxelGrid, integrate


# Truncation distance in voxels: half of it is known behind a surface, and marching cubes needs a voxel's diagonal.
TRUNCATION_VOXELS = 4.0
# What a pixel at an occlusion edge counts for the colour of a vertex, next to one inside a surface.
EDGE_WEIGHT = 1e-3


@torch.no_grad()
def fuse_depths(
    images: Float[Tensor, "views 3 height width"] | None,
    depths: Float[Tensor, "views 1 height width"],
    cameras: Cameras,
    masks: Float[Tensor, "views 1 height width"] | None = None,
    weights: Float[Tensor, "views 1 height width"] | None = None,
    resolution: int = 256,
    voxel_size: float | None = None,
    truncation: float | None = None,
    bounds: tuple[Float[Tensor, "3"], Float[Tensor, "3"]] | None = None,
    min_part: float = 0.001,
    max_gigabytes: float = 4.0,
) -> Mesh:
    """Fuse depth maps into one mesh by truncated signed distances (Curless & Levoy, SIGGRAPH 1996).

    The surface faces the cameras, around an object as well as in a room. It ends where nothing is known: no walls are
    made up at the borders of what was seen or between a surface and what lies behind its edge. Details and plates
    thinner than two voxels are lost.

    Args:
        images: [V, 3, H, W], sRGB in [0, 1], or None for a mesh without colours.
        depths: [V, 1, H, W], z-depth in world units, 0 where unknown.
        cameras: of batch shape [V].
        masks: [V, 1, H, W]; a ray where this is below 0.5 meets nothing, whatever its depth, and clears space. To
            leave out pixels of which nothing is known (an occluder), give them weight 0.
        weights: [V, 1, H, W], how much each pixel counts relative to others, not negative.
        resolution: voxels along the longest side of `bounds`.
        voxel_size: in world units, in place of `resolution`.
        truncation: how far from the surface distances matter, in world units; about four times the noise of depth,
            and at least 4 voxels, which is the default.
        bounds: two corners of the box to fill; by default the box around all points but far strays.
        min_part: connected parts with less than this fraction of the largest one's faces are left out.
        max_gigabytes: of memory for the grid.

    Raises:
        ValueError: for values that cannot be fused, no surface in the bounds, or a grid beyond the memory.
    """
    depths, masks, weights = _check(images, depths, cameras, masks, weights)
    low, high = bounds_of_depths(depths, cameras, masks) if bounds is None else _check_bounds(bounds, depths.device)
    voxel_size = _voxel_size(low, high, resolution, voxel_size)
    truncation = _truncation(truncation, voxel_size)
    grid = VoxelGrid.around(low, high, voxel_size, 2 * voxel_size if bounds is None else 0)

    def surfaces() -> Iterator[DepthSurface]:
        for depth, camera, weight, mask in zip(depths, cameras, weights, masks, strict=True):
            yield DepthSurface.create(depth[0], camera, weight[0], mask[0] < 0.5, voxel_size)

    distances, known = integrate(surfaces, grid, truncation, max_gigabytes)
    if not known.any():
        around = [corner.tolist() for corner in bounds_of_depths(depths, cameras, masks)]
        raise ValueError(
            f"no depth lies in the bounds {low.tolist()} to {high.tolist()}; the points of the depth maps lie between "
            f"{around[0]} and {around[1]}"
        )
    mesh = _surface(distances, known, grid)
    del distances, known
    mesh = drop_small_parts(mesh, min_part)
    if images is not None:
        mesh = replace(mesh, vertex_colors=_vertex_colors(mesh.vertices, images, surfaces(), truncation))
    return mesh


def mesh_from_scene(scene: Scene, **options) -> Mesh:
    """Fuse a scene's depth maps into one mesh, in the colours of its images.

    Where the scene knows the uncertainty of its depth, the weight of a pixel is exp(-uncertainty), as in
    `Scene.point_cloud`.

    Args:
        scene: with depths.
        **options: of `fuse_depths`.

    Raises:
        ValueError: if the scene has no depths.
    """
    if scene.depths is None:
        raise ValueError(
            "the scene has no depths to fuse; give one with depths, or mesh_from_gaussians its Gaussians if it has any"
        )
    if scene.depth_uncertainty is not None:
        options.setdefault("weights", torch.exp(-scene.depth_uncertainty))
    return fuse_depths(scene.images, scene.depths, scene.cameras, **options)


def bounds_of_depths(
    depths: Float[Tensor, "views 1 height width"], cameras: Cameras, masks: Float[Tensor, "views 1 height width"]
) -> tuple[Float[Tensor, "3"], Float[Tensor, "3"]]:
    """Corners of the box around all points of depth maps but far strays.

    Args:
        depths: [V, 1, H, W], z-depth in world units, 0 where unknown.
        cameras: of batch shape [V].
        masks: [V, 1, H, W]; pixels where this is below 0.5 do not count.
    """
    pixels = pixel_centers(*depths.shape[-2:], depths.device, cameras.dtype).flatten(0, 1)
    points = cameras.unproject(pixels.expand(len(depths), -1, 2), depths.flatten(1).to(cameras.dtype))
    return robust_bounds(points[((depths > 0) & (masks >= 0.5)).flatten(1)])


def _check(
    images: Tensor | None, depths: Tensor, cameras: Cameras, masks: Tensor | None, weights: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Depths, masks and weights that can be fused."""
    cameras.validate()
    size = (len(depths), *depths.shape[-2:])
    if cameras.batch_shape != size[:1] or size[0] == 0 or (cameras.height, cameras.width) != size[1:]:
        raise ValueError(
            f"{size[0]} depth maps of {size[1]}x{size[2]} pixels and cameras of batch shape {cameras.batch_shape} for "
            f"images of {cameras.image_sizes.unique(dim=0).tolist()}; give one camera for each, at least one, of its "
            "size"
        )
    masks = torch.ones_like(depths) if masks is None else masks
    weights = torch.ones_like(depths) if weights is None else weights
    for name, values in (("images", images), ("masks", masks), ("weights", weights)):
        if values is not None and (len(values), *values.shape[-2:]) != size:
            raise ValueError(
                f"{name} have shape {tuple(values.shape)} and depths {tuple(depths.shape)}; give one size"
            )
    for name, values in (("images", images), ("depths", depths), ("masks", masks), ("weights", weights)):
        if values is not None and not values.isfinite().all():
            view = int((~values.isfinite()).flatten(1).any(1).nonzero()[0])
            raise ValueError(f"{name} of view {view} hold NaN or infinity; accepted are finite numbers")
    for name, values in (("depths", depths), ("weights", weights)):
        if values.min() < 0:
            raise ValueError(f"{name} hold {values.min():.3g}; accepted are 0 (unknown, does not count) and more")
    if not ((depths > 0) & (masks >= 0.5) & (weights > 0)).any():
        raise ValueError("no pixel has a depth above 0, a mask of 0.5 or more, and a weight above 0: nothing to fuse")
    return depths.float(), masks, (weights / weights[weights > 0].median()).float()


def _check_bounds(bounds: tuple[Tensor, Tensor], device: torch.device) -> tuple[Tensor, Tensor]:
    low, high = (corner.to(device) for corner in bounds)
    if not (low.isfinite().all() and high.isfinite().all() and (low < high).all()):
        raise ValueError(
            f"bounds are {low.tolist()} and {high.tolist()}; accepted is a low corner and a high one, finite and "
            "greater along each axis"
        )
    return low, high


def _voxel_size(low: Tensor, high: Tensor, resolution: int, voxel_size: float | None) -> float:
    if voxel_size is None:
        if not 2 <= resolution:
            raise ValueError(f"resolution is {resolution}; accepted are 2 or more voxels along the longest side")
        longest = (high - low).max().item()
        if longest == 0:
            raise ValueError("all known depth is that of one point, which has no size; give bounds or voxel_size")
        return longest / resolution
    if not 0 < voxel_size < float("inf"):
        raise ValueError(f"voxel_size is {voxel_size}; accepted are positive numbers, in world units")
    return voxel_size


def _truncation(truncation: float | None, voxel_size: float) -> float:
    least = TRUNCATION_VOXELS * voxel_size
    if truncation is None:
        return least
    if not truncation >= least * (1 - 1e-6):
        raise ValueError(
            f"truncation is {truncation:g} and voxel_size {voxel_size:g}; accepted is a truncation of "
            f"{TRUNCATION_VOXELS:g} voxels or more, {least:g}"
        )
    return truncation


def _surface(distances: Tensor, known: Tensor, grid: VoxelGrid) -> Mesh:
    """Where the distances are 0."""
    try:
        return isosurface(distances, grid.origin, grid.voxel_size, known)
    except ValueError as error:
        raise ValueError(
            f"the depth maps show no surface in voxels of {grid.voxel_size:.3g}; give a higher resolution or a "
            f"smaller voxel_size, a larger truncation where depth is noisy, or views that agree ({error})"
        ) from error


def _vertex_colors(
    vertices: Float[Tensor, "vertices 3"],
    images: Float[Tensor, "views 3 height width"],
    surfaces: Iterator[DepthSurface],
    truncation: float,
) -> Float[Tensor, "vertices 3"]:
    """Colours of vertices, averaged over the views that see them by how many pixels see the surface there."""
    total = torch.zeros(len(vertices), 4, device=images.device)
    for surface, image in zip(surfaces, images, strict=True):
        pixels = surface.project(vertices)
        weight = _color_weight(surface, pixels, truncation)
        positions = (pixels[:2] / pixels[2].clamp(min=1e-12)).mT
        colors = warp_images(image[None].float(), positions[None, None])[0, :, 0].mT
        total += F.pad(colors, (0, 1), value=1.0) * weight[:, None]
    colors, weights = total.split([3, 1], dim=1)
    colors = colors / weights.clamp(min=torch.finfo(weights.dtype).tiny)
    return _fill(vertices, colors, weights[:, 0] > 0)


def _color_weight(
    surface: DepthSurface, pixels: Float[Tensor, "3 vertices"], truncation: float
) -> Float[Tensor, "vertices"]:
    entries = surface.entries(pixels)
    distance = surface.signed_distance(pixels, entries).abs() / truncation
    # pixels per area of the surface grow with the cosine and fall with the squared distance
    density = surface.weight[entries] * surface.cosine[entries] / pixels[2].square().clamp(min=1e-12)
    # next to an edge a pixel mixes the colours of its two sides
    inverse = surface.inverse_depth[None]
    nearest, farthest = (F.pad(sign * F.max_pool2d(sign * inverse, 3, 1, 1).flatten(), (0, 1)) for sign in (1, -1))
    edge = (nearest[entries] * (pixels[2] - truncation) > 1) | (farthest[entries] * (pixels[2] + truncation) < 1)
    return density * (1 - distance).clamp(0, 1).square() * torch.where(edge, EDGE_WEIGHT, 1.0)


def _fill(
    vertices: Float[Tensor, "vertices 3"], colors: Float[Tensor, "vertices 3"], colored: Bool[Tensor, "vertices"]
) -> Float[Tensor, "vertices 3"]:
    """Give vertices that no view sees the colour of the nearest one that a view sees."""
    if colored.all() or not colored.any():
        return colors
    _, nearest = cKDTree(vertices[colored].cpu()).query(vertices[~colored].cpu())
    colors[~colored] = colors[colored][torch.from_numpy(nearest).to(colors.device)]
    return colors
