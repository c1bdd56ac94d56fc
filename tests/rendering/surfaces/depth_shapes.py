"""Exact depth maps of simple shapes, and distances of points from them."""

import math

import torch
from torch import Tensor

from anyviews.cameras import Cameras
from anyviews.geometry.paths import look_at
from anyviews.geometry.rays import camera_rays, pixel_centers


def lens(size: int, field_of_view: float = 40.0) -> Tensor:
    """Intrinsics of square images."""
    focal = size / 2 / math.tan(math.radians(field_of_view / 2))
    return torch.tensor([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1.0]])


def cameras_on_sphere(count: int, size: int, distance: float = 3.2) -> Cameras:
    """Cameras all around the origin, which they look at."""
    index = torch.arange(count) + 0.5
    height = 1 - 2 * index / count
    azimuth, radius = index * math.pi * (1 + math.sqrt(5)), (1 - height**2).sqrt()
    eyes = distance * torch.stack([radius * azimuth.cos(), height, radius * azimuth.sin()], dim=-1)
    return look_at(eyes, torch.zeros(3), torch.tensor([0.1, 1.0, 0.05]), lens(size), size, size)


def rays(cameras: Cameras) -> tuple[Tensor, Tensor]:
    """Origins and directions, with z-depth 1, of all pixels [V, H*W, 3]."""
    pixels = pixel_centers(cameras.height, cameras.width).flatten(0, 1)
    return camera_rays(cameras, pixels.expand(len(cameras), -1, 2), normalize=False)


def sphere_depth(cameras: Cameras, radius: float = 1.0) -> Tensor:
    """Depth [V, 1, H, W] of a sphere around the origin; 0 beside it."""
    origin, direction = rays(cameras)
    a, b = (direction**2).sum(-1), (origin * direction).sum(-1)
    discriminant = b**2 - a * ((origin**2).sum(-1) - radius**2)
    depth = torch.where(discriminant > 0, (-b - discriminant.clamp(min=0).sqrt()) / a, 0)
    return depth.unflatten(-1, (1, cameras.height, cameras.width))


def box_depth(cameras: Cameras, half: Tensor, inside: bool = False) -> Tensor:
    """Depth [V, 1, H, W] of a box around the origin, or of its walls seen from inside."""
    origin, direction = rays(cameras)
    first, second = (-half - origin) / direction, (half - origin) / direction
    enter, leave = torch.minimum(first, second).amax(-1), torch.maximum(first, second).amin(-1)
    depth = leave if inside else torch.where(leave > enter, enter, 0)
    return depth.unflatten(-1, (1, cameras.height, cameras.width))


def plane_depth(cameras: Cameras, normal: Tensor, offset: float) -> Tensor:
    """Depth [V, 1, H, W] of the plane normal @ x = offset; 0 where it is not ahead."""
    origin, direction = rays(cameras)
    depth = (offset - (origin * normal).sum(-1)) / (direction * normal).sum(-1)
    return torch.where(depth > 0, depth, 0).unflatten(-1, (1, cameras.height, cameras.width))


def colors_at(points: Tensor) -> Tensor:
    """A smooth sRGB colour for each point in [-1.2, 1.2]^3."""
    return points * 0.4 + 0.5


def images_of(cameras: Cameras, depth: Tensor) -> Tensor:
    """The smooth colours [V, 3, H, W] at the points of depth maps, 0 where unknown."""
    origin, direction = rays(cameras)
    points = (origin + direction * depth.flatten(1)[..., None]).mT.unflatten(-1, depth.shape[-2:])
    return colors_at(points).clamp(0, 1) * (depth > 0)


def box_distance(points: Tensor, half: Tensor) -> Tensor:
    """Signed distance of points from a box around the origin, positive outside."""
    beyond = points.abs() - half
    return beyond.clamp(min=0).norm(dim=-1) + beyond.amax(-1).clamp(max=0)
