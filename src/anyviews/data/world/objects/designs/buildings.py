"""Buildings and machines."""

from dataclasses import replace

from ...lighting.draw import Draw
from ..parts import rotation_about
from .household import ACCENT, BODY, DARK, SCREEN, TRIM, Made
from .palette import Palette
from .shapes import ALONG_X, ALONG_Z, ball, box, cone, cylinder, prism, regular, ring, rod, star


def tower(draw: Draw, palette: Palette) -> Made:
    """A tower, castle, lighthouse or skyscraper."""
    materials = palette.standard()
    materials[BODY] = palette.matte() if draw.chance(0.6) else materials[BODY]
    square = draw.pick((0.0, 1.0))
    width, level, parts = draw.between(0.28, 0.45), -0.9, []
    for index in range(draw.integer(2, 4)):
        half = draw.between(0.18, 0.38)
        narrow = width * draw.between(0.75, 1.0)
        part = cone(width, narrow, half, 0.02, center=(0, level + half, 0), square=square, material=BODY)
        parts.append(replace(part, material=BODY if index % 2 == 0 else ACCENT))
        rows = max(1, int(half / 0.13))
        window = box((0.1, 0.055, 0.04), 0.01, center=(0.9 * width, level + half, 0), radial=draw.pick((4, 6, 8)))
        parts.append(replace(window, repeats=(1, rows, 1), spacing=(1, 0.2, 1), operation="cut", material=DARK))
        level += 2 * half
        parts.append(cylinder(narrow + 0.05, 0.03, 0.01, center=(0, level, 0), square=square, material=TRIM))
        width = narrow * draw.between(0.6, 0.95)
    kind = draw.integer(0, 2)
    if kind == 0:
        tall = draw.between(0.15, 0.35)
        parts.append(cone(1.15 * width, 0.02, tall, 0.01, center=(0, level + tall, 0), square=square, material=ACCENT))
        parts.append(ball(0.05, center=(0, level + 2 * tall + 0.03, 0), material=TRIM))
    elif kind == 1:
        merlons = draw.pick((6, 8, 10))
        parts.append(box((0.06, 0.09, 0.06), 0.005, center=(width, level + 0.08, 0), radial=merlons, material=BODY))
    else:
        parts.append(cylinder(0.7 * width, 0.1, center=(0, level + 0.1, 0), material=SCREEN))
        parts.append(cone(0.85 * width, 0.03, 0.1, center=(0, level + 0.28, 0), material=ACCENT))
    if draw.chance(0.4):
        aside = draw.between(0.45, 0.6)
        parts.append(cylinder(0.14, 0.4, center=(aside, -0.5, 0), radial=4, material=BODY))
        parts.append(cone(0.19, 0.02, 0.13, center=(aside, 0.02, 0), radial=4, material=ACCENT))
    base = draw.between(0.5, 0.75)
    parts.append(cylinder(base, 0.06, center=(0, -0.93, 0), square=square, material=TRIM))
    return parts, materials


def house(draw: Draw, palette: Palette) -> Made:
    """A house with a gable, windows, a door and a chimney."""
    materials = palette.standard()
    materials[BODY] = palette.matte() if draw.chance(0.5) else materials[BODY]
    x, y, z = draw.between(0.4, 0.6), draw.between(0.25, 0.5), draw.between(0.4, 0.75)
    peak = draw.between(0.2, 0.55)
    gable = [(-x, -y), (x, -y), (x, y), (0, y + peak), (-x, y)]
    parts = [prism(gable, z, 0.01)]
    eave = 1.2
    slope = [
        (0, y + peak),
        (eave * x, y - (eave - 1) * peak),
        (eave * x, y - (eave - 1) * peak + 0.06),
        (0, y + peak + 0.08),
    ]
    roof = prism(slope, z + 0.08, 0.01, mirrored=(True, False), material=ACCENT)
    parts.append(roof)
    rows, columns = draw.integer(1, 2), draw.integer(2, 3)
    gap, rise = 1.5 * z / columns, 0.9 * y
    hole = box((0.06, 0.13, 0.09), 0.005, center=(x, 0.1 * y, 0), mirrored=(True, False), material=SCREEN)
    parts.append(replace(hole, repeats=(1, rows, columns), spacing=(1, rise, gap), operation="cut"))
    pane = box((0.012, 0.14, 0.012), 0.004, center=(x - 0.02, 0.1 * y, 0), mirrored=(True, False), material=TRIM)
    parts.append(replace(pane, repeats=(1, rows, columns), spacing=(1, rise, gap)))
    sill = box((0.04, 0.02, 0.11), 0.005, center=(x, 0.1 * y - 0.15, 0), mirrored=(True, False), material=TRIM)
    parts.append(replace(sill, repeats=(1, rows, columns), spacing=(1, rise, gap)))
    parts.append(box((0.12, 0.2, 0.03), 0.01, center=(draw.between(-0.2, 0.2), -y + 0.2, z), material=DARK))
    parts.append(cylinder(0.11, 0.04, 0.01, center=(0, y + 0.3 * peak, z), rotation=ALONG_Z, material=SCREEN))
    if draw.chance(0.7):
        chimney = (0.5 * x, y + 0.7 * peak, draw.between(-0.5, 0.5) * z)
        parts.append(box((0.09, 0.3, 0.09), 0.01, center=chimney, material=BODY))
    if draw.chance(0.5):
        parts.append(box((0.3, 0.03, 0.16), 0.01, center=(0, -0.1, z + 0.14), material=ACCENT))
        parts.append(rod((0.25, -y, z + 0.25), (0.25, -0.1, z + 0.25), 0.03, mirrored=(True, False), material=TRIM))
    parts.append(box((x + 0.2, 0.04, z + 0.25), 0.02, center=(0, -y - 0.02, 0), material=TRIM))
    materials[BODY] = palette.labelled(materials[BODY], 4, (0, 0), (0.5 * x, 0.3 * y))
    return parts, materials


def machine(draw: Draw, palette: Palette) -> Made:
    """Gears, pistons and pipes on a base plate."""
    materials = palette.standard()
    materials[TRIM] = palette.metal()
    parts = [box((0.8, 0.08, 0.5), 0.03, center=(0, -0.6, 0))]
    parts.append(cylinder(0.05, 0.06, center=(0.68, -0.52, 0.38), mirrored=(True, True), material=TRIM))
    wall = draw.between(0.3, 0.55)
    parts.append(box((0.6, wall, 0.07), 0.02, center=(0, wall - 0.6, -0.15), material=BODY, blend=0.05))
    x = -0.4
    while x < 0.5:
        radius = draw.between(0.16, 0.36)
        y, depth = draw.between(-0.15, 0.3), draw.between(0.04, 0.09)
        teeth = draw.integer(5, 8)
        gear = star(teeth, radius, 0.75 * radius) if draw.chance(0.4) else regular(40, 0.8 * radius)[::5]
        parts.append(prism(gear, depth, 0.02, center=(x, y, 0.12), material=draw.pick((TRIM, ACCENT))))
        parts.append(cylinder(0.35 * radius, 0.2, 0.02, center=(x, y, 0.1), rotation=ALONG_Z, material=TRIM))
        parts.append(cylinder(0.1 * radius, 0.3, 0.005, center=(x, y, 0.1), rotation=ALONG_Z, material=DARK))
        x += 1.5 * radius
    if draw.chance(0.7):
        parts.append(cylinder(0.13, 0.3, 0.03, center=(0.5, -0.2, -0.35), material=ACCENT))
        parts.append(ring(0.14, 0.03, center=(0.5, -0.05, -0.35), material=TRIM))
        parts.append(rod((0.5, 0.1, -0.35), (0.5, 0.35, -0.35), 0.05, material=TRIM, blend=0.03))
        parts.append(rod((0.5, 0.35, -0.35), (-0.3, 0.35, -0.35), 0.05, material=TRIM))
        parts.append(rod((-0.3, 0.35, -0.35), (-0.3, -0.5, -0.35), 0.05, material=TRIM))
    if draw.chance(0.6):
        turn = rotation_about("z", draw.between(-40, 40))
        parts.append(cylinder(0.16, 0.25, 0.04, center=(-0.5, wall - 0.2, -0.1), rotation=turn, material=BODY))
    else:
        parts.append(cone(0.2, 0.1, 0.15, center=(-0.45, 2 * wall - 0.5, -0.15), material=ACCENT, blend=0.03))
    if draw.chance(0.5):
        parts.append(cylinder(0.18, 0.3, center=(0, -0.35, 0.3), rotation=ALONG_X, material=ACCENT))
        rim = ring(0.185, 0.02, center=(0, -0.35, 0.3), rotation=ALONG_X, repeats=(1, 3, 1), material=TRIM)
        parts.append(replace(rim, spacing=(1, 0.22, 1)))
    parts.append(cylinder(0.12, 0.04, 0.01, center=(0.42, 2 * wall - 0.75, -0.06), rotation=ALONG_Z, material=SCREEN))
    materials[BODY] = palette.labelled(
        materials[BODY], draw.pick((4, 5)), (draw.between(-0.2, 0.2), 0.1), (0.22, 0.13)
    )
    return parts, materials
