"""Random Gaussians around the origin and cameras that look at them, for every test that renders or writes Gaussians.

Tests in this folder import `gaussian_scenes`, tests elsewhere `rendering.gaussians.gaussian_scenes`.
"""

import math

import torch

from anyviews.cameras import Cameras, rigid
from anyviews.gaussians import Gaussians


DISTANCE = 2.5


def random_gaussians(
    seed: int,
    count: int,
    degree: int = 0,
    dtype: torch.dtype = torch.float32,
    scale: float = 0.08,
) -> Gaussians:
    """Visible, well-conditioned Gaussians: means within 0.8 of the origin, scales between scale / 2 and 2 scale.

    Quaternions have any length, colours are inside (0, 1) from every side, so that no clamp hides a gradient.
    """
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    directions = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator, dtype=torch.float64), dim=-1)
    rotations = torch.nn.functional.normalize(torch.randn(count, 4, generator=generator, dtype=torch.float64), dim=-1)
    harmonics = 0.05 * (2 * uniform(count, (degree + 1) ** 2, 3) - 1)
    harmonics[:, 0] = 2 * (uniform(count, 3) - 0.5)
    gaussians = Gaussians(
        0.8 * uniform(count, 1) ** (1 / 3) * directions,
        rotations * (0.5 + uniform(count, 1)),
        scale * torch.exp2(2 * uniform(count, 3) - 1),
        0.1 + 0.8 * uniform(count),
        harmonics,
    )
    return gaussians.to(dtype=dtype)


def orbit_cameras(
    views: int, height: int = 24, width: int = 32, skew: float = 0.0, dtype: torch.dtype = torch.float32
) -> Cameras:
    """Cameras on a rising spiral at distance 2.5, looking at the origin, which they see off their image's centre."""
    step = torch.arange(views, dtype=torch.float64)
    azimuth, elevation = 2 * math.pi * step / views, 0.5 * torch.sin(1 + 2.0 * step)
    outwards = torch.stack(
        [elevation.cos() * azimuth.sin(), elevation.sin(), -elevation.cos() * azimuth.cos()], dim=-1
    )
    forward = -outwards
    right = torch.nn.functional.normalize(
        torch.linalg.cross(torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64).expand_as(forward), forward), dim=-1
    )
    rotation = torch.stack([right, torch.linalg.cross(forward, right), forward], dim=-1)
    focal = 1.1 * min(height, width)
    intrinsics = torch.tensor(
        [[focal, skew, 0.48 * width], [0.0, 1.05 * focal, 0.53 * height], [0.0, 0.0, 1.0]], dtype=torch.float64
    )
    pose = rigid(rotation, DISTANCE * outwards)
    return Cameras.create(intrinsics.expand(views, 3, 3).to(dtype), pose.to(dtype), height, width)
