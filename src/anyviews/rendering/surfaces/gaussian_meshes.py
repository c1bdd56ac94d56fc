"""Gaussians to a mesh: depth maps of their surface, rendered and fused."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from ...cameras import Cameras
from ...gaussians import Gaussians
from ...geometry.bounds import robust_bounds
from ...geometry.paths import look_at
from ...mesh import Mesh
from ..gaussians import render_gaussians
from .fusion import bounds_of_depths, fuse_depths
from .gaussian_depth import surface_depth


# Fainter Gaussians do not make a surface.
MIN_OPACITY = 0.1
# A pixel with less alpha is empty: it clears the space along its ray.
EMPTY_ALPHA = 0.1
# Field of view of the cameras around an object, in degrees, and the room they leave around it.
FIELD_OF_VIEW, ROOM = 40.0, 1.05
# Farthest part of a single object, in distances from its middle within which half of it lies.
LARGEST_SPREAD = 5.0
# How far a surface may reach from the depth of most opacity, in voxels and in typical sizes of Gaussians.
MARGIN_VOXELS, MARGIN_SIZES = 4.0, 2.0


@torch.no_grad()
def mesh_from_gaussians(
    gaussians: Gaussians,
    cameras: Cameras | None = None,
    views: int = 48,
    image_size: int = 512,
    resolution: int = 256,
    min_alpha: float = 0.5,
    backend: str = "auto",
    **options,
) -> Mesh:
    """Turn Gaussians into a mesh: render images and depth of their surface, and fuse them.

    Args:
        gaussians: one set, without batch dimensions.
        cameras: [V] that see the surface from the side that is wanted, all of one image size; needed for rooms and
            other scenes that surround the viewer. By default the Gaussians are one object, and cameras look at it
            from all directions of a sphere around it.
        views: how many cameras to place around the object.
        image_size: of their images, in pixels; about twice the resolution shows all details.
        resolution: voxels along the longest side of the box.
        min_alpha: pixels that the Gaussians cover less have no surface.
        backend: of `render_gaussians`.
        **options: of `fuse_depths`, such as voxel_size, truncation, bounds, min_part and max_gigabytes.

    Raises:
        ValueError: if there are no Gaussians, no surface, or no single object to place cameras around.
    """
    gaussians.validate()
    if gaussians.batch_shape:
        raise ValueError(f"the Gaussians have batch shape {gaussians.batch_shape}; give one set, as gaussians[0]")
    if not 0 < min_alpha <= 1:
        raise ValueError(f"min_alpha is {min_alpha}; accepted are numbers above 0 up to 1")
    solid = gaussians.prune(min_opacity=min(MIN_OPACITY, gaussians.opacities.max().item()))
    if cameras is None:
        cameras = cameras_around(solid, views, image_size)
    images, alphas, depths = _render(gaussians, cameras, backend)
    if not (alphas >= min_alpha).any():
        raise ValueError(
            f"no pixel of {len(cameras)} views shows a surface: the largest alpha is {alphas.max():.3g} and min_alpha "
            f"{min_alpha:g}; give a lower min_alpha, or cameras that see the Gaussians"
        )
    size = solid.scales.amax(-1).median()
    if options.get("bounds") is None:
        low, high = bounds_of_depths(depths, cameras, (alphas >= min_alpha).to(depths))
        options["bounds"] = low - size, high + size
    low, high = options["bounds"]
    voxel_size = options.get("voxel_size") or (high - low).max().item() / resolution
    margin = max(MARGIN_VOXELS * voxel_size, MARGIN_SIZES * size.item())
    for index in range(len(cameras)):
        depths[index] = surface_depth(gaussians, cameras[index : index + 1], alphas[index], margin, backend)

    empty = alphas < min(EMPTY_ALPHA, min_alpha)
    weights = ((alphas >= min_alpha) | empty).to(depths)
    return fuse_depths(images, depths, cameras, (~empty).to(depths), weights, resolution=resolution, **options)


def cameras_around(gaussians: Gaussians, views: int = 48, image_size: int = 512) -> Cameras:
    """Cameras evenly on a sphere around one object, which fills their square images.

    Args:
        gaussians: one set, without batch dimensions.
        views: how many.
        image_size: of their images, in pixels.

    Raises:
        ValueError: if the Gaussians spread too far to be one object, as those of a scene with its surroundings do.
    """
    if views < 4 or image_size < 8:
        raise ValueError(f"views is {views} and image_size {image_size}; accepted are at least 4 and at least 8")
    low, high = robust_bounds(gaussians.means)
    middle = (low + high) / 2
    distances = (gaussians.means - middle).norm(dim=-1)
    spread = distances.quantile(0.98) if len(distances) < 1 << 24 else distances.max()
    if spread > LARGEST_SPREAD * distances.median():
        raise ValueError(
            f"half of the Gaussians lie within {distances.median():.3g} of their middle, but others {spread:.3g} "
            "away: a scene with its surroundings rather than one object; give cameras that look at the wanted surface "
            "from the wanted side (those of the photos), or crop the Gaussians to the object first"
        )
    inside = ((gaussians.means >= low) & (gaussians.means <= high)).all(-1)
    radius = ROOM * (distances + gaussians.scales.amax(-1))[inside].max()
    half_angle = math.radians(FIELD_OF_VIEW / 2)
    eyes = _directions(views).to(middle)
    # up along the axis that a camera looks along the least
    up = torch.eye(3).to(middle)[eyes.abs().argmin(-1)]
    focal = image_size / 2 / math.tan(half_angle)
    intrinsics = middle.new_tensor([[focal, 0, image_size / 2], [0, focal, image_size / 2], [0, 0, 1]])
    return look_at(middle + radius / math.sin(half_angle) * eyes, middle, up, intrinsics, image_size, image_size)


def _render(
    gaussians: Gaussians, cameras: Cameras, backend: str
) -> tuple[
    Float[Tensor, "views 3 height width"], Float[Tensor, "views 1 height width"], Float[Tensor, "views 1 height width"]
]:
    """Colours of the Gaussians alone, alpha, and expected depth."""
    rendered = render_gaussians(gaussians, cameras, backend)
    images = (rendered.images / rendered.alphas.clamp(min=EMPTY_ALPHA)).clamp(0, 1)
    return images, rendered.alphas, rendered.depths


def _directions(count: int) -> Float[Tensor, "count 3"]:
    """Unit vectors evenly over the sphere, along a Fibonacci spiral."""
    index = torch.arange(count, dtype=torch.float64) + 0.5
    height = 1 - 2 * index / count
    azimuth = index * math.pi * (1 + math.sqrt(5))
    radius = (1 - height**2).sqrt()
    return torch.stack([radius * azimuth.cos(), height, radius * azimuth.sin()], dim=-1)
