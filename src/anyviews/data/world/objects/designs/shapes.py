"""Solids by their usual names, and outlines, as parts."""

import math
from collections.abc import Sequence
from typing import Any

from ..parts import Part, Vector, chained, rotation_about


# far enough on the other side of the axis that the inside of a turned part is inside
BEYOND_AXIS = -1.0
ALONG_X = rotation_about("z", -90)
ALONG_Z = rotation_about("x", 90)


def box(half: Vector, rounding: float = 0.02, **options: Any) -> Part:
    """A box with half extents `half` and rounded edges."""
    rounding = min(rounding, 0.95 * min(half))
    x, y = half[0] - rounding, half[1] - rounding
    outline = ((-x, -y), (x, -y), (x, y), (-x, y))
    return Part(outline=outline, half_depth=half[2] - rounding, rounding=rounding, **options)


def turned(profile: Sequence[tuple[float, float]], rounding: float = 0.015, **options: Any) -> Part:
    """A solid of revolution about y; `profile` is (radius, y) from bottom to top."""
    inner = [(max(radius - rounding, 0.0), y) for radius, y in profile]
    inner[0] = (inner[0][0], inner[0][1] + rounding)
    inner[-1] = (inner[-1][0], inner[-1][1] - rounding)
    outline = ((BEYOND_AXIS, inner[0][1]), *inner, (BEYOND_AXIS, inner[-1][1]))
    return Part(outline=outline, revolved=True, rounding=rounding, **options)


def cylinder(radius: float, half_height: float, rounding: float = 0.015, **options: Any) -> Part:
    """An upright cylinder."""
    rounding = min(rounding, 0.9 * half_height, 0.9 * radius)
    return turned([(radius, -half_height), (radius, half_height)], rounding, **options)


def cone(low: float, high: float, half_height: float, rounding: float = 0.015, **options: Any) -> Part:
    """An upright cone or frustum with these radii below and above."""
    return turned([(low, -half_height), (max(high, rounding), half_height)], rounding, **options)


def ball(radius: float, **options: Any) -> Part:
    """A sphere."""
    return Part(rounding=radius, **options)


def ellipsoid(radii: Vector, **options: Any) -> Part:
    """An ellipsoid, or with `square` up to 1 a rounded box."""
    return Part(radii=radii, **options)


def ring(radius: float, thickness: float, **options: Any) -> Part:
    """A torus about y."""
    return Part(outline=((radius, 0.0),), revolved=True, rounding=thickness, **options)


def rod(start: Vector, end: Vector, radius: float, **options: Any) -> Part:
    """A straight rod with round ends."""
    along = [b - a for a, b in zip(start, end, strict=True)]
    length = math.sqrt(sum(value * value for value in along))
    # turn the y axis first about z and then about y
    tilt = math.degrees(math.acos(max(-1.0, min(1.0, along[1] / length))))
    heading = math.degrees(math.atan2(-along[2], along[0]))
    rotation = chained(rotation_about("y", heading), rotation_about("z", -tilt))
    middle = tuple((a + b) / 2 for a, b in zip(start, end, strict=True))
    outline = ((0.0, -length / 2), (0.0, length / 2))
    return Part(outline=outline, revolved=True, rounding=radius, center=middle, rotation=rotation, **options)


def prism(outline: Sequence[tuple[float, float]], half_depth: float, rounding: float = 0.015, **options: Any) -> Part:
    """An outline extruded along z; the rounding is added around it."""
    return Part(outline=tuple(outline), half_depth=max(half_depth - rounding, 0.005), rounding=rounding, **options)


def regular(corners: int, radius: float, turn: float = 0.0) -> list[tuple[float, float]]:
    """The corners of a regular polygon."""
    angles = [2 * math.pi * (k + turn) / corners for k in range(corners)]
    return [(radius * math.cos(angle), radius * math.sin(angle)) for angle in angles]


def star(points: int, outer: float, inner: float) -> list[tuple[float, float]]:
    """A star, its first point upwards."""
    angles = [math.pi / 2 + math.pi * k / points for k in range(2 * points)]
    radii = [inner if k % 2 else outer for k in range(2 * points)]
    return [(r * math.cos(a), r * math.sin(a)) for r, a in zip(radii, angles, strict=True)]


def scaled(outline: Sequence[tuple[float, float]], x: float, y: float) -> list[tuple[float, float]]:
    """An outline stretched along its axes."""
    return [(a * x, b * y) for a, b in outline]


ARROW = ((-0.5, -0.18), (0.1, -0.18), (0.1, -0.42), (0.5, 0.0), (0.1, 0.42), (0.1, 0.18), (-0.5, 0.18))
CROSS = tuple(
    (x, y)
    for x, y in (
        (-0.17, -0.5), (0.17, -0.5), (0.17, -0.17), (0.5, -0.17), (0.5, 0.17), (0.17, 0.17),
        (0.17, 0.5), (-0.17, 0.5), (-0.17, 0.17), (-0.5, 0.17), (-0.5, -0.17), (-0.17, -0.17),
    )
)  # fmt: skip
ELL = ((-0.5, -0.5), (0.5, -0.5), (0.5, -0.15), (-0.15, -0.15), (-0.15, 0.5), (-0.5, 0.5))
TEE = ((-0.15, -0.5), (0.15, -0.5), (0.15, 0.2), (0.5, 0.2), (0.5, 0.5), (-0.5, 0.5), (-0.5, 0.2), (-0.15, 0.2))
HEART = ((0.0, -0.5), (0.5, 0.1), (0.45, 0.4), (0.2, 0.5), (0.0, 0.3), (-0.2, 0.5), (-0.45, 0.4), (-0.5, 0.1))
OUTLINES = (ARROW, CROSS, ELL, TEE, HEART, tuple(star(5, 0.5, 0.23)), tuple(regular(6, 0.5)), tuple(regular(3, 0.5)))
