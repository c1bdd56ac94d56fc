"""Procedural patterns of surfaces, filtered over the footprint of a pixel.

Every pattern gives how much of a second and of a third colour there is, for points as flat tensors [n].
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..lighting.noise import fractal_noise, noise
from .glyphs import STROKES, glyph_distance


@dataclass(frozen=True)
class Surface:
    """Points on surfaces, and the parameters of their materials.

    Args:
        u: [n], along the surface to the right.
        v: [n], along the surface upwards.
        position: [n, 3], in the frame of the part.
        face: [n], a whole number: which side of the part.
        footprint: [n], width of a pixel on the surface.
        values: parameters by name, [n] each.
    """

    u: Tensor
    v: Tensor
    position: Tensor
    face: Tensor
    footprint: Tensor
    values: dict[str, Tensor]

    def select(self, index: Tensor) -> "Surface":
        """Some of the points."""
        flat = (self.u, self.v, self.position, self.face, self.footprint)
        return Surface(*(value[index] for value in flat), {name: value[index] for name, value in self.values.items()})


def hashed(*numbers: Tensor) -> Tensor:
    """A random-looking number in [0, 1) for each tuple of whole numbers."""
    total = torch.zeros_like(numbers[0], dtype=torch.int64)
    for number, factor in zip(numbers, (73856093, 19349663, 83492791, 49979687), strict=False):
        total = total ^ (number.long() * factor)
    total = ((total ^ (total >> 15)) * 2246822519) & 0xFFFFFFFF
    total = ((total ^ (total >> 13)) * 3266489917) & 0xFFFFFFFF
    return ((total >> 8) & 0xFFFFFF).float() / (1 << 24)


def pulse(x: Tensor, duty: Tensor | float, width: Tensor) -> Tensor:
    """The part of [x - width / 2, x + width / 2] whose fractional part is below `duty`."""

    def integral(value: Tensor) -> Tensor:
        whole = value.floor()
        part = value - whole
        return whole * duty + (torch.minimum(part, duty) if isinstance(duty, Tensor) else part.clamp(max=duty))

    width = width.clamp(min=1e-3)
    return ((integral(x + width / 2) - integral(x - width / 2)) / width).clamp_(0, 1)


def step(distance: Tensor, footprint: Tensor) -> Tensor:
    """1 where the distance is negative, smoothed over a footprint."""
    return (0.5 - distance / footprint.clamp(min=1e-5)).clamp_(0, 1)


def scaled(surface: Surface) -> tuple[Tensor, Tensor, Tensor]:
    """u and v in periods of the pattern after its turn, and the footprint in periods."""
    values = surface.values
    cosine, sine = values["turn"].cos(), values["turn"].sin()
    u = (surface.u * cosine + surface.v * sine) / values["period"] + values["offset_u"] + surface.face * 3.7
    v = (surface.v * cosine - surface.u * sine) / values["period"] + values["offset_v"]
    return u, v, surface.footprint / values["period"]


def plain(surface: Surface) -> tuple[Tensor, Tensor]:
    zero = torch.zeros_like(surface.u)
    return zero, zero


def stripes(surface: Surface) -> tuple[Tensor, Tensor]:
    u, _, width = scaled(surface)
    return pulse(u, surface.values["duty"], width), pulse(u * 0.5 - 0.2, 0.1, width * 0.5)


def checks(surface: Surface) -> tuple[Tensor, Tensor]:
    u, v, width = scaled(surface)
    first, second = pulse(u, 0.5, width), pulse(v, 0.5, width)
    return first + second - 2 * first * second, torch.zeros_like(u)


def tartan(surface: Surface) -> tuple[Tensor, Tensor]:
    u, v, width = scaled(surface)
    wide = 0.5 * (pulse(u, surface.values["duty"], width) + pulse(v, surface.values["duty"], width))
    return wide, torch.maximum(pulse(u + 0.4, 0.08, width), pulse(v + 0.4, 0.08, width))


def dots(surface: Surface) -> tuple[Tensor, Tensor]:
    u, v, width = scaled(surface)
    row = v.floor()
    u = u + 0.5 * (row % 2)
    column = u.floor()
    radius = surface.values["duty"] * 0.45
    away = ((u - column - 0.5).square() + (v - row - 0.5).square()).sqrt()
    level = torch.lerp(step(away - radius, width), 3.14 * radius * radius, (width - 0.4).clamp(0, 1))
    third = (hashed(column, row, surface.values["seed"]) < 0.25).float()
    return level * (1 - third), level * third


def bricks(surface: Surface) -> tuple[Tensor, Tensor]:
    u, v, width = scaled(surface)
    v = v * 2
    row = v.floor()
    u = u + 0.5 * (row % 2)
    joint = torch.maximum(pulse(u, 0.06, width), pulse(v, 0.12, 2 * width))
    varied = hashed(u.floor(), row, surface.values["seed"]) * (1 - width).clamp(0, 1)
    return varied * 0.7, joint


def tiles(surface: Surface) -> tuple[Tensor, Tensor]:
    u, v, width = scaled(surface)
    joint = torch.maximum(pulse(u, 0.06, width), pulse(v, 0.06, width))
    chosen = hashed(u.floor(), v.floor(), surface.values["seed"])
    return (chosen < surface.values["duty"]).float() * (1 - width * 0.7).clamp(0, 1), joint


def panels(surface: Surface) -> tuple[Tensor, Tensor]:
    """Rectangles of three colours and several sizes, as on painted machines."""
    u, v, width = scaled(surface)
    u, v, width = u * 0.35, v * 0.35, width * 0.35
    column = u.floor()
    v = v + hashed(column, surface.values["seed"])
    row = v.floor()
    half = (hashed(column, row, surface.values["seed"]) < 0.4).float()
    u = u * (1 + half)
    chosen = hashed(u.floor(), row, surface.values["seed"], surface.face)
    line = torch.maximum(pulse(u + 0.01, 0.02, width * (1 + half)), pulse(v + 0.01, 0.02, width))
    return (chosen < 0.35).float() * (1 - line), torch.maximum((chosen > 0.8).float(), line)


def scales(surface: Surface) -> tuple[Tensor, Tensor]:
    """Overlapping round scales, or a honeycomb of circles."""
    u, v, width = scaled(surface)
    v = v * 2
    row = v.floor()
    u = u + 0.5 * (row % 2)
    across, up = u - u.floor() - 0.5, v - row
    edge = (across.square() + (up * 0.5).square()).sqrt() - 0.5
    rim = step(edge.abs() - 0.06, width)
    return torch.lerp(up, torch.full_like(up, 0.5), (width * 2).clamp(0, 1)) * 0.8, rim


def wood(surface: Surface) -> tuple[Tensor, Tensor]:
    position = surface.position / surface.values["period"][:, None]
    drawn = position * position.new_tensor([1.0, 0.18, 1.0])
    bend = fractal_noise(drawn * 0.6 + surface.values["offset_u"][:, None], 2)
    radius = ((drawn[:, 0] - 1.3).square() + drawn[:, 2].square()).sqrt() * 2 + bend * 1.3
    ring = radius - radius.floor()
    fade = (1 - 2 * surface.footprint / surface.values["period"]).clamp(0, 1)
    fibres = noise(position * position.new_tensor([9.0, 0.7, 9.0]))
    level = torch.lerp(torch.full_like(ring, 0.35), ring * ring, fade) + 0.18 * fibres * fade
    return level.clamp(0, 1), torch.zeros_like(ring)


def marble(surface: Surface) -> tuple[Tensor, Tensor]:
    position = surface.position / surface.values["period"][:, None] + surface.values["offset_u"][:, None]
    bend = fractal_noise(position * 0.8, 4)
    wave = torch.sin((position[:, 0] + 0.6 * position[:, 1] - 0.4 * position[:, 2]) * 2 + 5 * bend)
    veins = (1 - wave.abs()).pow(6 + 6 * surface.values["duty"])
    return veins, (fractal_noise(position * 1.7 + 5, 3).clamp(0, 1)) * 0.5


def blotches(surface: Surface) -> tuple[Tensor, Tensor]:
    """Camouflage, maps and animal skins: noise cut at two levels."""
    position = surface.position / surface.values["period"][:, None] + surface.values["offset_u"][:, None]
    level = fractal_noise(position, 3)
    width = (2 * surface.footprint / surface.values["period"]).clamp(min=0.02)
    second = fractal_noise(position + 7.3, 3)
    return step(0.05 - level, width), step(0.35 - second, width)


def granite(surface: Surface) -> tuple[Tensor, Tensor]:
    position = surface.position / surface.values["period"][:, None] * 4 + surface.values["offset_u"][:, None]
    fade = (1 - 3 * surface.footprint / surface.values["period"]).clamp(0, 1)
    fine, coarse = noise(position * 2.3), noise(position)
    return (0.5 + 0.8 * coarse * fade).clamp(0, 1), (fine * 3 - 1.2).clamp(0, 1) * fade


def gradient(surface: Surface) -> tuple[Tensor, Tensor]:
    level = surface.v / surface.values["period"] * 0.35 + 0.5
    return (level * level.clamp(0, 1) * (3 - 2 * level)).clamp(0, 1), torch.zeros_like(level)


def waves(surface: Surface) -> tuple[Tensor, Tensor]:
    """Zigzags or waves in bands."""
    u, v, width = scaled(surface)
    sharp = (u - u.round()).abs() * 2
    round_ = 0.5 + 0.5 * torch.sin(6.2832 * u)
    v = v + torch.lerp(sharp, round_, (surface.values["duty"] > 0.5).float()) * 0.6
    return pulse(v, 0.5, 2 * width), pulse(v * 0.5, 0.12, width)


def text(surface: Surface) -> tuple[Tensor, Tensor]:
    """Lines of letters all over."""
    width = surface.footprint / surface.values["period"]
    level = lines_of_text(
        surface.u / surface.values["period"] + surface.values["offset_u"],
        surface.v / surface.values["period"] * 0.8 + surface.values["offset_v"],
        width,
        surface.values["seed"] + surface.face * 17,
    )
    return level, torch.zeros_like(level)


def lines_of_text(x: Tensor, y: Tensor, width: Tensor, seed: Tensor) -> Tensor:
    """1 on the letters of random words; a line is 1 high and a letter 0.62 wide."""
    row = y.floor()
    column = (x / 0.62).floor()
    glyph = (hashed(column, row, seed) * len(STROKES)).floor().clamp(max=len(STROKES) - 1)
    gap = hashed(column, row, seed + 91) < 0.17
    up = (y - row - 0.1) / 0.8
    distance = glyph_distance(glyph, (x / 0.62 - column).clamp(0, 1), up.clamp(0, 1)) * 0.8
    bold = 0.045 + 0.03 * hashed(row, seed)
    level = torch.lerp(step(distance - bold, width), torch.full_like(x, 0.28), (width * 3 - 0.6).clamp(0, 1))
    return level * ~gap * ((up > 0) & (up < 1))


# The order is that of the numbers by which materials name them.
PATTERNS: dict[str, Callable[[Surface], tuple[Tensor, Tensor]]] = {
    "plain": plain,
    "stripes": stripes,
    "checks": checks,
    "tartan": tartan,
    "dots": dots,
    "bricks": bricks,
    "tiles": tiles,
    "panels": panels,
    "scales": scales,
    "wood": wood,
    "marble": marble,
    "blotches": blotches,
    "granite": granite,
    "gradient": gradient,
    "waves": waves,
    "text": text,
}
