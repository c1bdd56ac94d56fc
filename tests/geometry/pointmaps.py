"""Pointmaps whose cameras are known: rooms of the procedural world, and their depth as points of one frame."""

from functools import cache

import torch
from torch import Tensor

from anyviews.cameras import Cameras
from anyviews.data.world import render_world
from anyviews.geometry.rays import pixel_centers
from anyviews.views import Views


@cache
def apartment(seed: int, views: int = 6, side: int = 48, trajectory: str = "walk") -> Views:
    """Photos of an apartment in the frame of the first camera."""
    scenes = render_world(
        torch.tensor([seed]), views, side, side, "apartment", "cpu", 1, False, metric=True, trajectory=trajectory
    )
    views = scenes.scene(0)
    return Views(views.images, views.cameras.relative_to(views.cameras[0]), depths=views.depths)


def points_of(views: Views) -> Tensor:
    """What each pixel sees [V, H, W, 3], NaN where nothing."""
    cameras, size = views.cameras.to(dtype=torch.float64), (views.height, views.width)
    pixels = pixel_centers(*size, dtype=torch.float64).flatten(0, 1).expand(len(views), -1, 2)
    points = cameras.unproject(pixels, views.depths.flatten(1).double()).unflatten(1, size)
    return points.where((views.depths > 0).movedim(1, -1), torch.nan).float()


def disturbed(points: Tensor, noise: float, outliers: float, seed: int = 0) -> Tensor:
    """Points with noise in parts of their distance from the origin, and some in other places altogether."""
    generator = torch.Generator().manual_seed(seed)
    moved = points + noise * points.norm(dim=-1, keepdim=True) * torch.randn(points.shape, generator=generator)
    wrong = torch.rand(points.shape[:-1], generator=generator)[..., None] < outliers
    return torch.where(wrong, moved + 2 * torch.randn(points.shape, generator=generator), moved)


def rotation_errors(found: Cameras, wanted: Cameras) -> Tensor:
    """Degrees between rotations."""
    cosine = ((found.rotation * wanted.rotation).sum((-2, -1)) - 1) / 2
    return torch.rad2deg(torch.arccos(cosine.clamp(-1, 1)))
