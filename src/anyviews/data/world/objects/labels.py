"""Labels: a rectangle on one side of a part, with lines of text or a picture of simple shapes."""

import torch
from torch import Tensor

from .patterns import Surface, hashed, lines_of_text, step


PICTURE_SHAPES = 7


def label_layers(surface: Surface) -> tuple[Tensor, Tensor]:
    """Linear colour [n, 3] of labels, and how much of them covers each point [n]."""
    values = surface.values
    half_width, half_height = values["label_width"], values["label_height"]
    x, y = surface.u - values["label_u"], surface.v - values["label_v"]
    corner = 0.25 * torch.minimum(half_width, half_height)
    outside_x, outside_y = x.abs() - half_width + corner, y.abs() - half_height + corner
    distance = (outside_x.clamp(min=0).square() + outside_y.clamp(min=0).square()).sqrt() - corner
    distance = distance + torch.maximum(outside_x, outside_y).clamp(max=0)
    ground, ink, frame = (torch.stack([values[f"label_{k}_{c}"] for c in range(3)], -1) for k in range(3))

    title = y > 0.1 * half_height
    # one large line above three small ones
    height = torch.where(title, 0.75 * half_height, 0.3 * half_height)
    line_x, line_y = x / height, torch.where(title, (y - 0.1 * half_height) / height, y / height + 3)
    inside = (x.abs() < 0.88 * half_width) & (line_y > 0) & (line_y < torch.where(title, 1.0, 3.0))
    letters = lines_of_text(line_x + 20, line_y + 0.0, surface.footprint / height, values["seed"] + title * 5)
    color = torch.lerp(ground, ink, (letters * inside)[:, None])
    picture = _picture(surface, x / half_width, y / half_height, ground, ink, frame)
    color = torch.where((values["label_picture"] > 0)[:, None], picture, color)
    rim = step((distance + 0.08 * half_height).abs() - 0.025 * half_height, surface.footprint)
    return torch.lerp(color, frame, rim[:, None]), step(distance, surface.footprint)


def _picture(surface: Surface, x: Tensor, y: Tensor, ground: Tensor, ink: Tensor, frame: Tensor) -> Tensor:
    """Discs, rings and bars in hashed places and colours before a two-coloured ground; x and y are in [-1, 1]."""
    seed, width = surface.values["seed"], surface.footprint / surface.values["label_height"]
    aspect = surface.values["label_width"] / surface.values["label_height"]
    horizon = 0.4 * torch.sin(x * 3 + seed) * 0.3 - 0.2
    color = torch.lerp(ground, frame, step(y - horizon, width)[:, None])
    for index in range(PICTURE_SHAPES):
        number = torch.full_like(seed, float(index))
        place_x, place_y = hashed(number, seed) * 1.6 - 0.8, hashed(number, seed + 31) * 1.6 - 0.8
        size = 0.12 + 0.35 * hashed(number, seed + 57)
        kind = hashed(number, seed + 73)
        away_x, away_y = (x - place_x) * aspect, y - place_y
        disc = (away_x.square() + away_y.square()).sqrt() - size
        bar = torch.maximum(away_x.abs() - 1.6 * size, away_y.abs() - 0.35 * size)
        ring = (disc + 0.2 * size).abs() - 0.12 * size
        shape = torch.where(kind < 0.4, disc, torch.where(kind < 0.75, bar, ring))
        paint = torch.stack([hashed(number, seed + 101 + c) for c in range(3)], -1) * 0.8
        paint = torch.where((hashed(number, seed + 7) < 0.4)[:, None], ink, paint)
        color = torch.lerp(color, paint, step(shape, width)[:, None])
    return color
