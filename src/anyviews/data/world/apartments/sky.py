"""What is seen through the windows: a sky with clouds and a sun, and a skyline."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from ....environment import Environment
from .draw import Draw


HEIGHT, WIDTH = 32, 64


def random_sky(draw: Draw) -> tuple[Float[Tensor, "3 32 64"], tuple[float, float, float]]:
    """An environment, and its mean radiance above the horizon."""
    brightness = draw.log_between(0.7, 4.0)
    warm = draw.between(-1, 1)
    zenith = torch.tensor([0.35, 0.55, 1.0]) if draw.chance(0.6) else torch.tensor([0.8, 0.85, 0.95])
    horizon = torch.tensor([1.0 + 0.1 * warm, 0.98, 1.0 - 0.12 * warm])
    directions = Environment(torch.zeros(3, HEIGHT, WIDTH)).directions()
    up = directions[..., 1].clamp(min=0)
    sky = torch.lerp(horizon, zenith, (up**0.5)[..., None])
    waves = torch.zeros(HEIGHT, WIDTH)
    for _ in range(6):
        frequency = torch.tensor([draw.normal(), 2 * draw.normal(), draw.normal()]) * draw.between(1, 5)
        waves += torch.sin((directions * frequency).sum(-1) + draw.between(0, 6.28))
    clouds = (waves * 0.4 + draw.between(-0.6, 0.6)).clamp(0, 1)[..., None]
    sky = torch.lerp(sky, torch.ones(3), clouds * 0.8)
    azimuth, elevation = draw.between(0, 2 * math.pi), draw.between(0.15, 1.2)
    sun = [math.cos(elevation) * math.sin(azimuth), math.sin(elevation), math.cos(elevation) * math.cos(azimuth)]
    near_sun = (directions * torch.tensor(sun)).sum(-1).clamp(min=0)[..., None]
    sky = sky + (2 * near_sun**20 + 12 * near_sun**300) * torch.tensor([1.0, 0.9, 0.75]) * draw.between(0, 1)
    # houses and trees: a dark band of uneven height, and the ground
    angle = torch.atan2(directions[..., 0], -directions[..., 2])
    ridge = sum(draw.between(0, 0.05) * torch.sin(k * angle + draw.between(0, 6.28)) for k in (1, 2, 3, 5, 8, 13))
    ground = (directions[..., 1] < 0.08 + ridge)[..., None]
    dark = (
        draw.between(0.1, 0.3)
        * torch.tensor([draw.between(0.8, 1.1) for _ in range(3)])
        * (1 + 0.4 * torch.sin(17 * angle))[..., None]
    )
    radiance = (torch.where(ground, dark, sky) * brightness).permute(2, 0, 1).contiguous()
    mean = radiance[:, : HEIGHT // 2].mean((1, 2))
    return radiance, tuple(mean.tolist())
