"""Depth maps: z-depth and distance, and what one camera's depth says about another camera's image."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from ..cameras import Cameras
from .rays import pixel_centers


@dataclass(frozen=True)
class Reprojection:
    """Where the pixels of camera a fall in camera b, and how deep.

    Args:
        pixels: [*batch, H, W, 2], (x, y) in b of each pixel of a; (-1, -1) where a's depth is unknown or the point is
            behind b.
        depth: [*batch, 1, H, W], z-depth in b of the points that a sees; 0 where unknown or behind b.
        observed_depth: [*batch, 1, H, W], b's own depth at these pixels; 0 where unknown or outside b.
        covisible: [*batch, 1, H, W], where the two agree within the tolerance: both cameras see the point.
    """

    pixels: Float[Tensor, "*batch height width 2"]
    depth: Float[Tensor, "*batch 1 height width"]
    observed_depth: Float[Tensor, "*batch 1 height width"]
    covisible: Bool[Tensor, "*batch 1 height width"]


def distance_from_depth(
    depth: Float[Tensor, "*batch 1 height width"], cameras: Cameras
) -> Float[Tensor, "*batch 1 height width"]:
    """Distances from the camera's centre, given z-depths of its image (0, unknown, stays 0)."""
    return depth * _ray_lengths(depth, cameras)


def depth_from_distance(
    distance: Float[Tensor, "*batch 1 height width"], cameras: Cameras
) -> Float[Tensor, "*batch 1 height width"]:
    """Z-depths, given distances from the camera's centre (0, unknown, stays 0)."""
    return distance / _ray_lengths(distance, cameras)


def normals_from_depth(
    depth: Float[Tensor, "*batch 1 height width"], cameras: Cameras
) -> Float[Tensor, "*batch 3 height width"]:
    """Unit normals in the world frame, towards the camera, of the surface that depth maps show.

    Across an image axis, a pixel's surface goes on to the neighbour that is nearer in space, so that a step in depth
    bends no normal; on planes they are exact.

    Args:
        depth: [*batch, 1, H, W], z-depth, 0 where unknown.
        cameras: cameras of batch shape [*batch].

    Returns:
        [*batch, 3, H, W], 0 where the depth of the pixel, or of both its neighbours along an axis, is unknown.
    """
    points = cameras.unproject(_pixel_grid(depth, cameras), depth.flatten(-3))
    points = points.unflatten(-2, depth.shape[-2:])  # [*batch, H, W, 3]
    down, right = (_shorter_step(points, depth[..., 0, :, :] > 0, dim) for dim in (-3, -2))
    return F.normalize(torch.linalg.cross(down, right), dim=-1).movedim(-1, -3)


def _shorter_step(
    points: Float[Tensor, "*batch height width 3"], known: Bool[Tensor, "*batch height width"], dim: int
) -> Float[Tensor, "*batch height width 3"]:
    """The way to the next or from the last point along an image axis, whichever is shorter; 0 if both are unknown."""
    size = points.shape[dim]
    pair = known.narrow(dim + 1, 0, size - 1) & known.narrow(dim + 1, 1, size - 1)
    step = torch.where(pair[..., None], points.diff(dim=dim), 0)
    length = torch.where(pair, step.detach().norm(dim=-1), torch.inf)[..., None]
    nothing = torch.zeros_like(points.narrow(dim, 0, 1))
    next_step, last_step = torch.cat([step, nothing], dim), torch.cat([nothing, step], dim)
    endless = torch.full_like(nothing[..., :1], torch.inf)
    is_next = torch.cat([length, endless], dim) <= torch.cat([endless, length], dim)
    return torch.where(is_next, next_step, last_step)


def _ray_lengths(values: Float[Tensor, "*batch 1 height width"], cameras: Cameras) -> Tensor:
    """Length of the ray through each pixel up to z-depth 1, [*batch, 1, H, W]."""
    pixels = _pixel_grid(values, cameras)
    homogeneous = torch.cat([pixels, torch.ones_like(pixels[..., :1])], dim=-1)
    rays = homogeneous @ torch.linalg.inv(cameras.intrinsics).mT
    return rays.norm(dim=-1).reshape(values.shape)


def _pixel_grid(values: Float[Tensor, "*batch 1 height width"], cameras: Cameras) -> Tensor:
    """Pixel centres of an image, [*batch, H*W, 2]."""
    height, width = values.shape[-2:]
    grid = pixel_centers(height, width, values.device, cameras.dtype).flatten(0, 1)
    return grid.expand(*cameras.batch_shape, height * width, 2)


def reproject_depth(
    depth_a: Float[Tensor, "*batch 1 height_a width_a"],
    cameras_a: Cameras,
    depth_b: Float[Tensor, "*batch 1 height_b width_b"],
    cameras_b: Cameras,
    tolerance: float = 0.05,
) -> Reprojection:
    """Carry the depth maps of cameras a to cameras b and compare them with b's own.

    Args:
        depth_a: [*batch, 1, Ha, Wa], z-depth, 0 where unknown.
        cameras_a: cameras of batch shape [*batch].
        depth_b: [*batch, 1, Hb, Wb], z-depth, 0 where unknown.
        cameras_b: cameras of batch shape [*batch].
        tolerance: largest difference of the two depths, relative to b's, that still counts as the same surface.
    """
    points = cameras_a.unproject(_pixel_grid(depth_a, cameras_a), depth_a.flatten(-3))
    pixels, depth = cameras_b.project(points)
    usable = (depth_a.flatten(-3) > 0) & (depth > 0)
    pixels = torch.where(usable[..., None], pixels, -1).unflatten(-2, depth_a.shape[-2:])
    depth = torch.where(usable, depth, 0).reshape(depth_a.shape)

    # Inverse depth is linear over the image of a plane, so that blending it is exact there; across an edge the blend
    # agrees with neither side. A pixel with an unknown neighbour is unknown.
    known = depth_b > 0
    inverse = torch.where(known, 1 / torch.where(known, depth_b, 1), 0)
    inverse, known = warp_images(torch.cat([inverse, known.to(inverse)], dim=-3), pixels).split(1, dim=-3)
    seen = known > 0.999
    observed = torch.where(seen, 1 / torch.where(seen, inverse, 1), 0)
    covisible = seen & ((depth - observed).abs() <= tolerance * observed)
    return Reprojection(pixels, depth, observed, covisible)


def warp_images(
    images: Float[Tensor, "*batch channels height_b width_b"], pixels: Float[Tensor, "*batch height_a width_a 2"]
) -> Float[Tensor, "*batch channels height_a width_a"]:
    """Sample images bilinearly at pixels (x, y); with `Reprojection.pixels`, b's colours as a sees them.

    Args:
        images: [*batch, C, Hb, Wb].
        pixels: [*batch, Ha, Wa, 2], in pixels of the images; outside of them the result is 0.
    """
    size = pixels.new_tensor([images.shape[-1], images.shape[-2]])
    inside = ((pixels >= 0) & (pixels <= size)).all(-1)
    warped = F.grid_sample(
        images.reshape(-1, *images.shape[-3:]),
        (pixels / size * 2 - 1).reshape(-1, *pixels.shape[-3:]),
        mode="bilinear",
        padding_mode="border",
        align_corners=False,
    )
    warped = warped.reshape(*images.shape[:-2], *pixels.shape[-3:-1])
    return torch.where(inside[..., None, :, :], warped, 0)
