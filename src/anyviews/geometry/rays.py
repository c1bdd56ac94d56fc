"""Rays of pixels: pixel grids, world rays and Pluecker coordinates.

This module and `cameras` are the lowest layer of the library: they import nothing else of it.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from ..cameras import Cameras


def pixel_centers(
    height: int, width: int, device: torch.device | str | None = None, dtype: torch.dtype = torch.float32
) -> Float[Tensor, "height width 2"]:
    """Pixel centres [H, W, 2] as (x, y); the top left one is (0.5, 0.5)."""
    y = torch.arange(height, device=device, dtype=dtype) + 0.5
    x = torch.arange(width, device=device, dtype=dtype) + 0.5
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)


def camera_rays(
    cameras: Cameras, pixels: Float[Tensor, "*batch points 2"], normalize: bool = True
) -> tuple[Float[Tensor, "*batch points 3"], Float[Tensor, "*batch points 3"]]:
    """World rays through pixels.

    Args:
        cameras: cameras of batch shape [*batch].
        pixels: [*batch, N, 2] as (x, y).
        normalize: unit directions; otherwise directions have z-depth 1, so that origin + z * direction is the point
            at z-depth z.

    Returns:
        Origins and directions, both [*batch, N, 3].
    """
    homogeneous = torch.cat([pixels, torch.ones_like(pixels[..., :1])], dim=-1)
    directions = homogeneous @ torch.linalg.inv(cameras.intrinsics).mT @ cameras.rotation.mT
    if normalize:
        directions = torch.nn.functional.normalize(directions, dim=-1)
    return cameras.centers[..., None, :].expand_as(directions), directions


def pluecker(origins: Float[Tensor, "*batch 3"], directions: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 6"]:
    """Pluecker coordinates (moment = origin x direction, direction), the same for every origin on the ray."""
    return torch.cat([torch.linalg.cross(origins, directions, dim=-1), directions], dim=-1)
