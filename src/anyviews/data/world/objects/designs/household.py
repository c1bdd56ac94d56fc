"""Things of the house: vessels, furniture, appliances, lamps, packages, clocks, tools."""

from dataclasses import replace
from itertools import pairwise

from ...lighting.draw import Draw
from ..materials import Material
from ..parts import Part, rotation_about
from .palette import Palette
from .shapes import ALONG_X, ALONG_Z, ball, box, cone, cylinder, ellipsoid, prism, regular, ring, rod, turned


Made = tuple[list[Part], list[Material]]
BODY, TRIM, ACCENT, DARK, SCREEN = range(5)


def vessel(draw: Draw, palette: Palette) -> Made:
    """A vase, bottle, jar, mug or pot."""
    materials = palette.standard()
    height = draw.between(0.5, 0.95)
    foot, belly, waist, mouth = (draw.between(0.15, 0.55) for _ in range(4))
    belly = max(belly, 0.3)
    low, high = draw.between(-0.5, 0.1) * height, draw.between(0.3, 0.75) * height
    profile = [(foot, -height), (foot * 0.95, -0.9 * height), (belly, low), (belly * 0.97, low + 0.15), (waist, high)]
    profile += [(waist, high + 0.08), (mouth, height)]
    square = draw.pick((0.0, 0.0, 0.0, 1.0))
    parts = [turned(profile, 0.04, square=square)]
    parts.append(
        ring(foot, draw.between(0.02, 0.05), center=(0, -height, 0), material=TRIM, blend=0.02, square=square)
    )
    if draw.chance(0.55):
        # hollow
        inner = [(0.75 * waist, high - 0.1), (0.8 * waist, high + 0.1), (mouth - 0.06, height + 0.1)]
        parts.append(turned(inner, 0.02, operation="cut", material=ACCENT, square=square))
        parts.append(ring(mouth, 0.035, center=(0, height, 0), material=TRIM, blend=0.02, square=square))
    else:
        parts.append(cylinder(mouth * 0.9, 0.06, center=(0, height + 0.03, 0), material=ACCENT, blend=0.01))
        parts.append(ball(draw.between(0.06, 0.13), center=(0, height + 0.16, 0), material=TRIM, blend=0.05))
    for _ in range(draw.integer(0, 3)):
        y = draw.between(-0.8, 0.8) * height
        parts.append(ring(_radius_at(profile, y), 0.025, center=(0, y, 0), material=TRIM, blend=0.03, square=square))
    handles = draw.integer(0, 2)
    if handles:
        size = draw.between(0.18, 0.32)
        place = (max(belly, waist) + 0.2 * size, draw.between(0.0, 0.4) * height, 0.0)
        loop = ring(size, draw.between(0.035, 0.06), center=place, rotation=ALONG_Z, material=ACCENT, blend=0.06)
        parts.insert(1, replace(loop, mirrored=(handles == 2, False)))
    if draw.chance(0.25):
        start, end = (-0.6 * belly, low, 0.0), (-belly - 0.35, 0.45 * height, 0.0)
        parts.insert(1, rod(start, end, draw.between(0.05, 0.09), blend=0.12))
    if draw.chance(0.5):
        materials[BODY] = palette.labelled(
            materials[BODY], 5, (draw.between(-0.2, 0.2), low + 0.05), (0.9 * belly, draw.between(0.15, 0.3))
        )
    return parts, materials


def _radius_at(profile: list[tuple[float, float]], y: float) -> float:
    """The radius of a profile at a height."""
    for (r0, y0), (r1, y1) in pairwise(profile):
        if y0 <= y <= y1:
            return r0 + (r1 - r0) * (y - y0) / max(y1 - y0, 1e-6)
    return profile[-1][0]


def chair(draw: Draw, palette: Palette) -> Made:
    """A chair, stool or bench."""
    materials = palette.standard()
    width, depth, thick = draw.between(0.35, 0.6), draw.between(0.35, 0.5), draw.between(0.04, 0.1)
    leg = draw.between(0.4, 0.6)
    splay, radius = draw.between(0.0, 0.14), draw.between(0.035, 0.065)
    if draw.chance(0.3):
        parts = [cylinder(width, thick, 0.03)]
    else:
        parts = [box((width, thick, depth), draw.between(0.02, 0.06))]
    x, z = 0.75 * width, 0.75 * depth
    parts.append(
        rod((x, 0, z), (x + splay, -leg, z + splay), radius, mirrored=(True, True), material=TRIM, blend=0.02)
    )
    if draw.chance(0.5):
        y = -leg * draw.between(0.4, 0.7)
        parts.append(rod((-x, y, z), (x, y, z), 0.03, mirrored=(False, True), material=TRIM, blend=0.01))
        parts.append(rod((x, y, -z), (x, y, z), 0.03, mirrored=(True, False), material=TRIM, blend=0.01))
    if draw.chance(0.75):
        back = draw.between(0.35, 0.7)
        lean = draw.between(0.0, 0.12)
        parts.append(rod((x, 0, -z), (x, back, -z - lean), radius, mirrored=(True, False), material=TRIM, blend=0.02))
        if draw.chance(0.5):
            slats = draw.integer(2, 4)
            gap = back / (slats + 0.5)
            middle = (0.0, 0.55 * back, -z - 0.55 * lean)
            slat = box((x, 0.28 * gap, 0.035), center=middle, repeats=(1, slats, 1), spacing=(1, gap, 1))
            parts.append(replace(slat, material=ACCENT))
        else:
            parts.append(box((x, 0.3 * back, 0.045), 0.03, center=(0, 0.65 * back, -z - 0.6 * lean), material=ACCENT))
            materials[ACCENT] = palette.labelled(materials[ACCENT], 5, (0, 0), (0.7 * x, 0.18 * back))
    if draw.chance(0.5):
        parts.append(
            ellipsoid((0.85 * width, 0.07, 0.85 * depth), square=1.0, center=(0, thick + 0.04, 0), material=ACCENT)
        )
    if draw.chance(0.3):
        parts.append(box((0.03, 0.03, depth), center=(width, 0.25, 0), mirrored=(True, False), material=ACCENT))
        parts.append(rod((width, 0, z), (width, 0.25, z), 0.03, mirrored=(True, False), material=TRIM))
    return parts, materials


def table(draw: Draw, palette: Palette) -> Made:
    """A table or desk with things on it."""
    materials = palette.standard()
    width, depth, leg = draw.between(0.5, 0.9), draw.between(0.35, 0.6), draw.between(0.35, 0.6)
    top = cylinder(width, 0.05) if draw.chance(0.35) else box((width, 0.05, depth), 0.02)
    if draw.chance(0.3):
        top = prism(
            [(x, y * depth / width) for x, y in regular(draw.pick((6, 8)), width, 0.5)], 0.05, rotation=ALONG_Z
        )
    parts = [top]
    x, z = 0.7 * width, 0.7 * depth
    if draw.chance(0.6):
        parts.append(
            box(
                (0.05, leg / 2, 0.05), 0.015, center=(x, -leg / 2, z), mirrored=(True, True), material=TRIM, blend=0.01
            )
        )
        if draw.chance(0.5):
            parts.append(box((x, 0.08, z), 0.01, center=(0, -0.1, 0), material=ACCENT))
            parts.append(ball(0.04, center=(0, -0.1, z + 0.02), mirrored=(False, True), material=SCREEN))
    else:
        parts.append(cylinder(0.08, leg / 2, center=(0, -leg / 2, 0), material=TRIM, blend=0.1))
        parts.append(cone(0.4, 0.1, 0.06, center=(0, -leg, 0), material=TRIM, blend=0.05))
    for side in (-1, 1):
        place = side * draw.between(0.2, 0.45) * width
        size = draw.between(0.1, 0.17)
        kind = draw.integer(0, 3)
        if kind == 0:
            parts.append(ball(size, center=(place, 0.05 + size, 0.1), material=SCREEN))
        elif kind == 1:
            parts.append(box((size, 0.7 * size, size), center=(place, 0.05 + 0.7 * size, 0), material=ACCENT))
        elif kind == 2:
            parts.append(cone(size, 0.6 * size, size, center=(place, 0.05 + size, 0), material=DARK))
    return parts, materials


def appliance(draw: Draw, palette: Palette) -> Made:
    """A radio, camera, speaker, oven or instrument: a box with dials, screens, grilles and labels."""
    materials = palette.standard()
    x, y, z = draw.between(0.45, 0.85), draw.between(0.3, 0.7), draw.between(0.2, 0.5)
    rounding = draw.between(0.02, 0.14)
    parts = [box((x, y, z), rounding)]
    if draw.chance(0.4):
        parts = [ellipsoid((x, y, z), square=1.0), box((x * 0.98, y * 0.98, z), 0.05, operation="keep")]
    side = draw.pick((-1, 1))
    if draw.chance(0.6):
        parts.append(box((0.38 * x, 0.5 * y, 0.04), 0.01, center=(side * 0.45 * x, 0.2 * y, z), operation="cut"))
        parts.append(
            box((0.36 * x, 0.48 * y, 0.03), 0.01, center=(side * 0.45 * x, 0.2 * y, z - 0.03), material=SCREEN)
        )
    else:
        radius = 0.42 * min(x, y)
        place = (side * 0.4 * x, 0.1 * y, z)
        for scale, depth, material in ((1.0, 0.06, TRIM), (0.8, 0.12, DARK), (0.55, 0.13, SCREEN)):
            parts.append(cylinder(scale * radius, depth, 0.01, center=place, rotation=ALONG_Z, material=material))
    count = draw.integer(2, 4)
    spacing = 0.75 * x / count
    dial = cylinder(0.33 * spacing, 0.07, 0.01, center=(-side * 0.45 * x, -0.5 * y, z), material=TRIM)
    dial = replace(dial, rotation=ALONG_Z, repeats=(count, 1, 1), spacing=(spacing, 1, 1))
    parts.append(dial)
    if draw.chance(0.7):
        holes = draw.integer(4, 6)
        gap = 0.7 * x / holes
        kind = draw.chance(0.5)
        hole = cylinder(0.3 * gap, 0.06, 0.005) if kind else box((0.3 * gap, 0.05, 0.25 * y), 0.005)
        hole = replace(hole, center=(-side * 0.45 * x, 0.35 * y, z), rotation=ALONG_Z, operation="cut", material=DARK)
        parts.append(replace(hole, repeats=(holes, 1, holes // 2 if kind else 1), spacing=(gap, 1, gap)))
    if draw.chance(0.5):
        parts.append(ring(0.45 * x, 0.035, center=(0, y, 0), rotation=ALONG_Z, material=TRIM, blend=0.02))
    if draw.chance(0.6):
        parts.append(cylinder(0.08, 0.05, center=(0.7 * x, -y, 0.6 * z), mirrored=(True, True), material=DARK))
    if draw.chance(0.4):
        parts.append(rod((0.7 * x, y, 0), (0.9 * x, y + 0.5, 0), 0.025, material=TRIM))
    if draw.chance(0.5):
        vents = replace(box((0.6 * x, 0.025, 0.05), 0.01), repeats=(1, 5, 1), spacing=(1, 0.09, 1))
        parts.append(replace(vents, center=(0, 0, -z), operation="cut", material=DARK))
    face = draw.pick((0, 1, 4, 5))
    materials[BODY] = palette.labelled(materials[BODY], face, (-side * 0.3 * x, -0.1 * y), (0.35 * z + 0.1, 0.18 * y))
    return parts, materials


def lamp(draw: Draw, palette: Palette) -> Made:
    """A table lamp or lantern."""
    materials = palette.standard()
    base = draw.between(0.25, 0.4)
    parts = [cylinder(base, 0.06, 0.02, center=(0, -0.85, 0), square=draw.pick((0.0, 1.0)))]
    parts.append(cone(0.7 * base, 0.06, 0.1, center=(0, -0.72, 0), blend=0.04))
    if draw.chance(0.5):
        elbow = (draw.between(-0.35, -0.15), draw.between(-0.2, 0.1), 0.0)
        head = (draw.between(0.1, 0.4), draw.between(0.4, 0.7), 0.0)
        parts.append(rod((0, -0.7, 0), elbow, 0.04, material=TRIM, blend=0.02))
        parts.append(rod(elbow, head, 0.04, material=TRIM))
        parts.append(ball(0.07, center=elbow, material=ACCENT))
        turn = rotation_about("z", draw.between(-60, -20))
        parts.append(cone(0.32, 0.1, 0.17, center=head, rotation=turn, material=ACCENT, shell=0.015, blend=0.01))
        parts.append(ball(0.11, center=(head[0] - 0.04, head[1] - 0.08, 0), material=SCREEN))
        return parts, materials
    stem = [(0.06, -0.7), (draw.between(0.06, 0.2), -0.4), (0.06, -0.2), (draw.between(0.05, 0.15), 0.0), (0.05, 0.2)]
    parts.append(turned(stem, 0.02, material=TRIM, blend=0.03))
    low, high = draw.between(0.35, 0.6), draw.between(0.12, 0.5)
    shade = cone(low, high, 0.3, 0.01, center=(0, 0.45, 0), material=ACCENT, square=draw.pick((0.0, 0.0, 1.0)))
    parts.append(shade)
    parts.append(ring(low, 0.025, center=(0, 0.15, 0), material=TRIM, square=shade.square))
    parts.append(ring(high, 0.025, center=(0, 0.75, 0), material=TRIM, square=shade.square))
    parts.append(ball(0.06, center=(0, 0.85, 0), material=TRIM, blend=0.03))
    if draw.chance(0.5):
        bead = ball(0.05, center=(low, 0.07, 0), radial=draw.integer(6, 12), material=SCREEN)
        parts.append(bead)
    return parts, materials


def package(draw: Draw, palette: Palette) -> Made:
    """A box, can, book or crate with labels."""
    materials = palette.standard()
    kind = draw.integer(0, 2)
    if kind == 0:
        x, y, z = draw.between(0.35, 0.7), draw.between(0.45, 0.9), draw.between(0.15, 0.5)
        parts = [box((x, y, z), 0.015)]
        parts.append(box((0.3 * x, 0.05, 0.5 * z), 0.01, center=(0, y, 0), material=TRIM))
        materials[BODY] = palette.labelled(palette.glossy(), 5, (0, 0.15 * y), (0.8 * x, 0.55 * y))
        parts.append(box((x + 0.012, 0.12 * y, z + 0.012), 0.01, center=(0, -0.62 * y, 0), material=ACCENT))
        side = palette.labelled(palette.glossy(), draw.pick((0, 1, 4)), (0, 0), (0.6 * z, 0.09 * y))
        materials[ACCENT] = replace(side, pattern="text", period=0.12)
    elif kind == 1:
        radius, height = draw.between(0.3, 0.55), draw.between(0.4, 0.85)
        parts = [cylinder(radius, height, 0.02)]
        rim = ring(radius, 0.03, center=(0, height, 0), material=TRIM)
        parts += [rim, replace(rim, center=(0, -height, 0))]
        parts.append(ring(0.6 * radius, 0.02, center=(0, height, 0), material=TRIM, blend=0.02))
        if draw.chance(0.5):
            parts.append(box((0.5 * radius, 0.02, 0.1), 0.01, center=(0.1, height + 0.02, 0), material=TRIM))
        body = palette.labelled(palette.glossy(), 5, (0, 0.1 * height), (1.2 * radius, 0.5 * height))
        materials[BODY] = replace(body, pattern=draw.pick(("text", "stripes", "gradient", "panels")))
    else:
        parts, level = [], -0.6
        count = draw.integer(2, 4)
        for index in range(count):
            thick = draw.between(0.08, 0.2)
            x, z = draw.between(0.4, 0.75), draw.between(0.35, 0.55)
            turn = rotation_about("y", draw.between(-25, 25))
            center = (draw.between(-0.1, 0.1), level + thick, draw.between(-0.1, 0.1))
            parts.append(box((x, thick, z), 0.02, center=center, rotation=turn, material=index))
            materials[index] = palette.labelled(palette.glossy(), 5, (0, 0), (0.8 * x, 0.7 * thick))
            level += 2 * thick + 0.01
        if draw.chance(0.6):
            parts.append(ball(0.17, center=(0, level + 0.15, 0), material=SCREEN))
    return parts, materials


def clock(draw: Draw, palette: Palette) -> Made:
    """A clock or gauge on a stand."""
    materials = palette.standard()
    radius, depth = draw.between(0.5, 0.7), draw.between(0.1, 0.25)
    square = draw.pick((0.0, 0.0, 1.0))
    parts = [cylinder(radius, depth, 0.03, rotation=ALONG_Z, square=square)]
    parts.append(ring(0.95 * radius, 0.05, center=(0, 0, depth), rotation=ALONG_Z, material=TRIM, square=square))
    parts.append(cylinder(0.85 * radius, 0.02, 0.005, center=(0, 0, depth), rotation=ALONG_Z, material=ACCENT))
    marks = draw.pick((4, 8, 12))
    for mark in range(marks):
        turn = rotation_about("z", 360 * mark / marks)
        place = (-0.7 * radius * turn[1], 0.7 * radius * turn[4], depth + 0.02)
        parts.append(box((0.02, 0.07, 0.02), 0.005, center=place, rotation=turn, material=DARK))
    for length, degrees in ((0.6, draw.between(0, 360)), (0.4, draw.between(0, 360))):
        turn = rotation_about("z", degrees)
        end = (-length * radius * turn[1], length * radius * turn[4], depth + 0.05)
        parts.append(rod((0, 0, depth + 0.05), end, 0.022, material=DARK))
    parts.append(cylinder(0.05, 0.06, center=(0, 0, depth + 0.03), rotation=ALONG_Z, material=TRIM))
    if draw.chance(0.6):
        parts.append(
            rod((0.5 * radius, -0.6 * radius, 0), (0.7 * radius, -radius - 0.2, 0), 0.06, mirrored=(True, False))
        )
        parts.append(ball(0.16, center=(0.55 * radius, radius, 0), mirrored=(True, False), material=TRIM))
    else:
        parts.append(box((0.9 * radius, 0.08, 1.3 * depth), center=(0, -radius - 0.03, 0), material=TRIM, blend=0.03))
    materials[BODY] = palette.labelled(materials[BODY], 5, (0, 0), (0.3, 0.12))
    return parts, materials


def tool(draw: Draw, palette: Palette) -> Made:
    """A hammer, screwdriver, brush or torch."""
    materials = palette.standard()
    grip = [(0.09, -0.9), (0.13, -0.8), (draw.between(0.07, 0.13), -0.5), (0.12, -0.2), (0.08, -0.1)]
    parts = [turned(grip, 0.02)]
    for k in range(draw.integer(0, 3)):
        parts.append(ring(0.11, 0.025, center=(0, -0.75 + 0.15 * k, 0), material=DARK, blend=0.01))
    kind = draw.integer(0, 3)
    parts.append(cylinder(0.055, 0.5, center=(0, 0.3, 0), material=TRIM, blend=0.02))
    if kind == 0:
        parts.append(cylinder(0.16, 0.3, 0.03, center=(0.1, 0.75, 0), rotation=ALONG_X, material=TRIM, blend=0.02))
        claw = [(-0.1, 0.12), (-0.1, -0.12), (-0.6, -0.02), (-0.6, 0.04)]
        parts.append(prism(claw, 0.12, 0.02, center=(0, 0.75, 0), material=TRIM, blend=0.03))
    elif kind == 1:
        blade = [(-0.12, 0.4), (-0.06, -0.3), (0.06, -0.3), (0.12, 0.4)]
        parts.append(prism(blade, 0.05, 0.01, center=(0, 0.75, 0), material=TRIM, blend=0.02))
    elif kind == 2:
        nut = [(x, y) for x, y in regular(6, 0.28)]
        parts.append(prism(nut, 0.09, 0.03, center=(0, 0.85, 0), material=TRIM, blend=0.05))
        parts.append(prism(regular(6, 0.14), 0.3, 0.005, center=(0, 0.88, 0), operation="cut", material=DARK))
        parts.append(box((0.1, 0.25, 0.3), 0.01, center=(0, 1.1, 0), operation="cut", material=DARK))
    else:
        parts.append(cone(0.1, 0.32, 0.15, center=(0, 0.7, 0), material=ACCENT, blend=0.03))
        parts.append(cylinder(0.33, 0.1, center=(0, 0.9, 0), material=TRIM))
        parts.append(ellipsoid((0.28, 0.06, 0.28), center=(0, 1.0, 0), material=SCREEN))
    materials[BODY] = palette.labelled(materials[BODY], 5, (0, -0.5), (0.1, 0.2))
    return parts, materials
