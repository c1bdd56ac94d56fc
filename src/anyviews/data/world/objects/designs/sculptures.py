"""Things without a name: turned pieces, totems, emblems, carvings."""

from dataclasses import replace

from ...lighting.draw import Draw
from ..parts import Part, chained, rotation_about
from .household import ACCENT, BODY, DARK, SCREEN, TRIM, Made
from .palette import Palette
from .shapes import (
    ALONG_Z,
    OUTLINES,
    ball,
    box,
    cone,
    cylinder,
    ellipsoid,
    prism,
    regular,
    ring,
    rod,
    scaled,
    star,
    turned,
)


def turned_piece(draw: Draw, palette: Palette) -> Made:
    """A chess piece, candlestick, trophy or baluster."""
    materials = palette.standard()
    count = draw.integer(6, 9)
    heights = sorted(draw.between(-0.8, 0.75) for _ in range(count))
    base = draw.between(0.35, 0.5)
    profile = [(base, -0.95), (base, -0.85)]
    profile += [(draw.between(0.08, 0.36), y) for y in heights if y > -0.8] + [(draw.between(0.1, 0.4), 0.9)]
    square = draw.pick((0.0, 0.0, 0.0, 0.7, 1.0))
    parts = [turned(profile, draw.between(0.015, 0.06), square=square)]
    for radius, y in profile[2 : 2 + draw.integer(1, 4)]:
        parts.append(
            ring(radius, draw.between(0.02, 0.05), center=(0, y, 0), material=TRIM, blend=0.02, square=square)
        )
    top = draw.integer(0, 4)
    if top == 0:
        parts.append(ball(0.2, center=(0, 1.0, 0), material=ACCENT, blend=0.03))
    elif top == 1:
        parts.append(prism(star(5, 0.35, 0.15), 0.06, 0.02, center=(0, 1.2, 0), material=ACCENT))
    elif top == 2:
        parts.append(box((0.07, 0.1, 0.07), center=(0.2, 0.95, 0), radial=draw.integer(4, 8), material=BODY))
    elif top == 3:
        parts.append(
            ring(0.25, 0.05, center=(profile[-1][0] + 0.1, 0.55, 0), rotation=ALONG_Z, mirrored=(True, False))
        )
        parts[-1] = replace(parts[-1], material=TRIM, blend=0.03)
    else:
        parts.append(ellipsoid((0.2, 0.3, 0.2), center=(0, 1.05, 0), material=SCREEN))
    if draw.chance(0.5):
        parts.append(box((base + 0.08, 0.12, base + 0.08), 0.02, center=(0, -1.0, 0), material=DARK))
        materials[DARK] = palette.labelled(materials[DARK], draw.pick((0, 1, 4, 5)), (0, 0), (0.7 * base, 0.08))
    return parts, materials


def _solid(draw: Draw, size: float, **options: object) -> Part:
    """A random simple solid of about this size."""
    kind = draw.integer(0, 6)
    a, b, c = (size * draw.between(0.6, 1.2) for _ in range(3))
    if kind == 0:
        return box((a, b, c), draw.between(0.01, 0.4 * size), **options)
    if kind == 1:
        return ellipsoid((a, b, c), square=draw.pick((0.0, 0.0, 1.0)), **options)
    if kind == 2:
        return cylinder(a, b, draw.between(0.01, 0.1), square=draw.pick((0.0, 1.0)), **options)
    if kind == 3:
        return cone(
            a, draw.between(0.02, 0.6) * a, b, draw.between(0.01, 0.05), square=draw.pick((0.0, 1.0)), **options
        )
    if kind == 4:
        return prism(regular(draw.integer(5, 8), a), 0.6 * b, draw.between(0.01, 0.06), **options)
    if kind == 5:
        return prism(scaled(draw.pick(OUTLINES), 1.8 * a, 1.8 * b), 0.5 * c, draw.between(0.01, 0.05), **options)
    return ring(0.75 * a, 0.35 * size, **options)


def _turn(draw: Draw) -> tuple[float, ...]:
    """A random rotation, often a plain one."""
    if draw.chance(0.5):
        return rotation_about(draw.pick(("x", "y", "z")), draw.pick((0, 90, 45, 30)))
    return chained(rotation_about("y", draw.between(0, 360)), rotation_about("x", draw.between(-90, 90)))


def totem(draw: Draw, palette: Palette) -> Made:
    """Solids stacked on one another, with rings and knobs around them."""
    materials = palette.standard()
    parts, level = [], -0.9
    blend = draw.pick((0.0, 0.02, 0.08))
    for index in range(draw.integer(3, 5)):
        size = draw.between(0.18, 0.42)
        part = _solid(draw, size, center=(0, level + size, 0), material=draw.pick((BODY, TRIM, ACCENT)), blend=blend)
        turn = rotation_about("y", draw.between(0, 90))
        parts.append(replace(part, rotation=turn, ripple=draw.pick((0.0, 0.0, 0.02)), ripple_waves=(12.0, 12.0, 12.0)))
        if index and draw.chance(0.6):
            parts.append(ring(0.8 * size, 0.04, center=(0, level, 0), material=TRIM, blend=0.02))
        if draw.chance(0.5):
            knob = _solid(draw, 0.25 * size, center=(size, level + size, 0), radial=draw.integer(3, 8))
            parts.append(replace(knob, material=draw.pick((ACCENT, SCREEN, DARK)), blend=0.02))
        level += 1.7 * size
    # what does not touch is held together
    parts.insert(0, rod((0, -0.8, 0), (0, level - 0.2, 0), 0.05, material=TRIM))
    return parts, materials


def emblem(draw: Draw, palette: Palette) -> Made:
    """A sign, medal or logo: an outline in relief on a plate, on a stand."""
    materials = palette.standard()
    size = draw.between(0.55, 0.75)
    plates = (
        prism(regular(draw.integer(5, 8), size, 0.25), 0.09, 0.03),
        cylinder(size, 0.09, 0.03, rotation=ALONG_Z),
        box((size, 0.8 * size, 0.09), 0.04),
        prism(star(draw.integer(6, 10), size, 0.8 * size), 0.09, 0.02),
    )
    parts = [draw.pick(plates)]
    relief = scaled(draw.pick(OUTLINES), 1.1 * size, 1.1 * size)
    parts.append(prism(relief, 0.08, 0.015, center=(0, 0, 0.1), material=ACCENT, blend=draw.pick((0.0, 0.03))))
    behind = scaled(draw.pick(OUTLINES), size, size)
    if draw.chance(0.7):
        parts.append(
            prism(behind, 0.06, 0.01, center=(0, 0, -0.1), material=TRIM, operation=draw.pick(("add", "cut")))
        )
    studs = ball(0.05, center=(0.85 * size, 0, 0.08), material=TRIM)
    for k in range(draw.pick((0, 4, 6))):
        turn = rotation_about("z", 60 * k + 30)
        parts.append(replace(studs, center=(0.8 * size * turn[0], 0.8 * size * turn[3], 0.08)))
    if draw.chance(0.7):
        parts.append(rod((0, -size, 0), (0, -size - 0.4, 0), 0.05, material=TRIM, blend=0.02))
        parts.append(cylinder(0.35, 0.05, center=(0, -size - 0.42, 0), square=draw.pick((0.0, 1.0)), material=DARK))
    else:
        parts.append(ring(0.12, 0.035, center=(0, size + 0.1, 0), rotation=ALONG_Z, material=TRIM))
    materials[BODY] = palette.labelled(materials[BODY], draw.pick((4, 5)), (0, -0.3 * size), (0.4 * size, 0.15 * size))
    return parts, materials


def carving(draw: Draw, palette: Palette) -> Made:
    """A solid that others are joined to and cut from, symmetrically."""
    materials = palette.standard()
    parts = [replace(_solid(draw, draw.between(0.5, 0.7)), rotation=_turn(draw))]
    if draw.chance(0.4):
        parts.append(
            replace(_solid(draw, draw.between(0.6, 0.75)), rotation=_turn(draw), operation="keep", material=TRIM)
        )
    mirrored = draw.pick(((True, False), (True, True), (False, True)))
    radial = draw.pick((1, 1, 3, 4, 5, 6))
    for _ in range(draw.integer(3, 6)):
        size = draw.between(0.1, 0.3)
        place = (draw.between(0.2, 0.6), draw.between(-0.5, 0.5), draw.between(-0.4, 0.4) if radial == 1 else 0.0)
        cut = draw.chance(0.4)
        part = _solid(draw, size, center=place, operation="cut" if cut else "add", material=draw.pick((1, 2, 3, 4)))
        part = replace(
            part, rotation=_turn(draw) if radial == 1 else part.rotation, blend=draw.pick((0.0, 0.02, 0.06))
        )
        parts.append(replace(part, radial=radial, mirrored=mirrored if radial == 1 else (False, False)))
    if draw.chance(0.5):
        parts.append(turned([(0.1, -0.2), (0.1, 0.2)], 0.01, operation="cut", material=DARK, rotation=_turn(draw)))
    return parts, materials
