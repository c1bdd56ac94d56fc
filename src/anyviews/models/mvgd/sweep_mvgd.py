"""Plane sweep: what the photos look like at several depths along each target ray, and whether they agree.

Not part of the paper, whose tokens must find correspondences by attention alone. Where photos agree on a colour, a
surface is likely: parallax becomes visible to a single linear layer, which is what makes little training enough.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ...cameras import Cameras
from .processing_mvgd import patchify, ray_map


# mean colour (3), disagreement of the photos (1), and the share of photos that see the point (1)
SWEEP_CHANNELS = 5

# The standard deviation of colours in [0, 1] is some tenths at most; bring it near unit size.
DEVIATION_GAIN = 4.0


@torch.no_grad()
def plane_sweep(
    images: Float[Tensor, "batch views 3 height width"],
    context: Cameras,
    targets: Cameras,
    config,
    views_at_once: int | None = None,
) -> Float[Tensor, "batch tokens features"]:
    """Compare the photos along the rays of all target tokens.

    Args:
        images: context views, sRGB in [0, 1].
        context: their cameras, batch shape [batch, views], normalised like the targets.
        targets: target cameras, batch shape [batch, T], whose images have the size that is generated.
        config: of the transformer.
        views_at_once: bounds the memory; all by default.

    Returns:
        Features of each patch, in the order of `patchify`: for each depth and each ray of the patch the mean colour
        over the photos that see the point, its standard deviation, and the share of photos that see it.
    """
    stride = config.sweep_stride
    rows, columns = targets.height // stride, targets.width // stride
    rays = ray_map(targets, rows, columns)  # [B, T, rows * columns, 12]
    origins, directions = rays.flatten(1, 2)[..., :6].float().split(3, dim=-1)
    depths = torch.logspace(
        math.log10(config.depth_min), math.log10(config.depth_max), config.sweep_depths, device=rays.device
    )
    # rays this far apart see no finer detail, and unfiltered samples would disagree by chance
    photos = F.avg_pool2d(images.flatten(0, 1).float(), stride).unflatten(0, images.shape[:2])

    batch, views = images.shape[:2]
    shape = (batch, origins.shape[1], config.sweep_depths)
    color = origins.new_zeros(batch, 3, *shape[1:])
    square, seen = origins.new_zeros(batch, 1, *shape[1:]), origins.new_zeros(batch, 1, *shape[1:])
    for start in range(0, views, views_at_once or views):
        window = slice(start, start + (views_at_once or views))
        sampled, visible = _sample(photos[:, window], context[:, window], origins, directions, depths)
        color += (sampled * visible).sum(1)
        square += (sampled.square().mean(2, keepdim=True) * visible).sum(1)
        seen += visible.sum(1)
    count = seen.clamp(min=1)
    mean = color / count
    variance = square / count - mean.square().mean(1, keepdim=True)
    deviation = variance.clamp(min=0).sqrt() * DEVIATION_GAIN
    swept = torch.cat([(mean * 2 - 1) * (seen > 0), deviation, seen / views], dim=1)  # [B, 5, T * rays, K]
    maps = swept.transpose(2, 3).flatten(1, 2).unflatten(2, (targets.batch_shape[1], rows, columns))
    return patchify(maps.transpose(1, 2), config.patch_size // stride)


def _sample(
    photos: Float[Tensor, "batch views 3 height width"],
    cameras: Cameras,
    origins: Float[Tensor, "batch rays 3"],
    directions: Float[Tensor, "batch rays 3"],
    depths: Float[Tensor, "depths"],
) -> tuple[Float[Tensor, "batch views 3 rays depths"], Float[Tensor, "batch views 1 rays depths"]]:
    """Colours of the points at `depths` along the rays in each photo, and where a photo sees them."""
    # a point o + z d falls on A (o - c) + z A d with A = K R^T: two products per ray instead of one per point
    projection = (cameras.intrinsics @ cameras.rotation.mT).float()  # [B, V, 3, 3]
    start = (origins[:, None] - cameras.centers[:, :, None].float()) @ projection.mT
    slope = directions[:, None] @ projection.mT  # [B, V, rays, 3]
    x, y, z = (start[..., i, None] + depths * slope[..., i, None] for i in range(3))
    size = cameras.image_sizes.to(x)[:, :, None, None]  # [B, V, 1, 1, 2] as (height, width)
    inverse = 2 / z.clamp(min=1e-6)
    grid = torch.stack([x * inverse / size[..., 1] - 1, y * inverse / size[..., 0] - 1], dim=-1)
    visible = ((z > 1e-6) & (grid.abs() <= 1).all(-1))[:, :, None].float()
    sampled = F.grid_sample(
        photos.flatten(0, 1), grid.flatten(0, 1), mode="bilinear", padding_mode="border", align_corners=False
    )
    return sampled.unflatten(0, photos.shape[:2]), visible
