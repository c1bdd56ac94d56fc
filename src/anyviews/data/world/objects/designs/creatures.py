"""Robots, animals and food."""

from dataclasses import replace

from ...lighting.draw import Draw
from ..parts import rotation_about
from .household import ACCENT, BODY, DARK, SCREEN, TRIM, Made
from .palette import Palette
from .shapes import ALONG_Z, ball, box, cone, cylinder, ellipsoid, ring, rod, turned


def robot(draw: Draw, palette: Palette) -> Made:
    """A robot or toy figure."""
    materials = palette.standard()
    x, y, z = draw.between(0.22, 0.36), draw.between(0.25, 0.36), draw.between(0.16, 0.26)
    if draw.chance(0.6):
        parts = [box((x, y, z), draw.between(0.03, 0.1))]
    else:
        parts = [turned([(0.7 * x, -y), (x, -0.2 * y), (0.8 * x, y)], 0.05)]
    head = draw.between(0.17, 0.28)
    top = y + 0.08 + head
    kind = draw.integer(0, 2)
    shape = (
        box((1.15 * head, 0.85 * head, 0.9 * head), 0.05),
        ball(head),
        cylinder(head, 0.85 * head, 0.06),
    )[kind]
    parts.append(cylinder(0.09, 0.1, center=(0, y + 0.05, 0), material=TRIM, blend=0.02))
    parts.append(replace(shape, center=(0, top, 0), material=ACCENT))
    eye = draw.between(0.045, 0.08)
    front = 0.93 * head
    parts.append(cylinder(1.3 * eye, 0.04, center=(0.45 * head, top, front), rotation=ALONG_Z, mirrored=(True, False)))
    parts[-1] = replace(parts[-1], material=TRIM)
    parts.append(ball(eye, center=(0.45 * head, top, front + 0.03), mirrored=(True, False), material=SCREEN))
    parts.append(box((0.4 * head, 0.02, 0.03), 0.005, center=(0, top - 0.5 * head, front), material=DARK))
    if draw.chance(0.7):
        parts.append(rod((0, top + 0.8 * head, 0), (0, top + head + 0.2, 0), 0.02, material=TRIM))
        parts.append(ball(0.05, center=(0, top + head + 0.22, 0), material=SCREEN))
    shoulder, elbow = (x + 0.05, 0.7 * y, 0.0), (x + draw.between(0.15, 0.3), draw.between(-0.15, 0.25), 0.1)
    hand = (elbow[0] + draw.between(-0.05, 0.1), elbow[1] + draw.between(-0.3, 0.3), draw.between(0.0, 0.35))
    parts.append(ball(0.1, center=shoulder, mirrored=(True, False), material=TRIM, blend=0.02))
    parts.append(rod(shoulder, elbow, 0.055, mirrored=(True, False), material=DARK))
    parts.append(rod(elbow, hand, 0.07, mirrored=(True, False), material=BODY))
    parts.append(ball(0.095, center=hand, mirrored=(True, False), material=ACCENT, blend=0.02))
    foot = -y - draw.between(0.25, 0.4)
    parts.append(rod((0.55 * x, -y, 0), (0.55 * x, foot, 0), 0.07, mirrored=(True, False), material=DARK))
    parts.append(box((0.12, 0.06, 0.2), 0.03, center=(0.55 * x, foot - 0.03, 0.06), mirrored=(True, False)))
    parts[-1] = replace(parts[-1], material=ACCENT)
    dials = cylinder(0.045, 0.03, 0.01, center=(0, -0.45 * y, z), rotation=ALONG_Z, material=TRIM)
    parts.append(replace(dials, repeats=(3, 1, 1), spacing=(0.13, 1, 1)))
    if draw.chance(0.5):
        parts.append(box((0.7 * x, 0.6 * y, 0.1), 0.03, center=(0, 0, -z - 0.05), material=TRIM))
    materials[BODY] = palette.labelled(materials[BODY], 5, (0, 0.3 * y), (0.65 * x, 0.3 * y))
    return parts, materials


def animal(draw: Draw, palette: Palette) -> Made:
    """An animal figure of blended ellipsoids, heading along +x."""
    materials = palette.standard()
    materials[BODY] = palette.glossy() if draw.chance(0.5) else palette.matte()
    length, girth = draw.between(0.38, 0.55), draw.between(0.2, 0.34)
    blend = draw.between(0.06, 0.16)
    parts = [ellipsoid((length, girth, 0.85 * girth))]
    leg, thick = draw.between(0.25, 0.5), draw.between(0.055, 0.09)
    x, z = 0.65 * length, 0.5 * girth
    lean = draw.between(-0.08, 0.08)
    parts.append(rod((x, 0, z), (x + lean, -girth - leg * 0.7, z), thick, mirrored=(True, True), blend=blend))
    neck = draw.between(0.15, 0.6)
    skull = draw.between(0.14, 0.22)
    head = (length + draw.between(0.0, 0.2), neck, 0.0)
    parts.append(rod((0.7 * length, 0.05, 0), head, draw.between(0.09, 0.14), blend=blend))
    parts.append(ellipsoid((1.2 * skull, skull, 0.9 * skull), center=head, blend=0.05))
    snout = (head[0] + 1.1 * skull, head[1] - 0.25 * skull, 0.0)
    parts.append(ellipsoid((0.6 * skull, 0.45 * skull, 0.5 * skull), center=snout, material=ACCENT, blend=0.04))
    parts.append(ball(0.18 * skull + 0.01, center=(snout[0] + 0.55 * skull, snout[1] + 0.1 * skull, 0), material=DARK))
    eye = (head[0] + 0.5 * skull, head[1] + 0.35 * skull, 0.75 * skull)
    parts.append(ball(0.045, center=eye, mirrored=(False, True), material=SCREEN))
    ear = draw.integer(0, 2)
    above = (head[0] - 0.2 * skull, head[1] + 0.8 * skull, 0.55 * skull)
    if ear == 0:
        parts.append(
            ellipsoid((0.06, draw.between(0.12, 0.3), 0.08), center=above, mirrored=(False, True), blend=0.04)
        )
    elif ear == 1:
        parts.append(cone(0.09, 0.02, 0.12, center=above, mirrored=(False, True), material=ACCENT, blend=0.03))
    else:
        tip = (above[0] - 0.15, above[1] + draw.between(0.15, 0.3), above[2] + 0.12)
        parts.append(rod(above, tip, 0.035, mirrored=(False, True), material=TRIM, blend=0.02))
    tail = (-length - draw.between(0.1, 0.3), draw.between(-0.1, 0.4), 0.0)
    parts.append(rod((-0.8 * length, 0.05, 0), tail, draw.between(0.03, 0.07), material=BODY, blend=0.08))
    if draw.chance(0.5):
        parts.append(ball(0.09, center=tail, material=ACCENT, blend=0.03))
    if draw.chance(0.5):
        parts.append(ring(0.15, 0.035, center=(0.93 * length, 0.4 * neck, 0), rotation=rotation_about("z", -40)))
        parts[-1] = replace(parts[-1], material=TRIM)
    if draw.chance(0.35):
        spikes = cone(0.06, 0.02, 0.09, center=(0, girth + 0.03, 0), repeats=(5, 1, 1), spacing=(0.15, 1, 1))
        parts.append(replace(spikes, material=ACCENT))
    if draw.chance(0.4):
        parts.append(box((0.5 * length, 0.05, 0.9 * girth), 0.04, center=(0, 0.85 * girth, 0), material=ACCENT))
    hoof = cylinder(1.25 * thick, 0.05, center=(x + lean, -girth - leg * 0.7 - 0.03, z), mirrored=(True, True))
    parts.append(replace(hoof, material=DARK))
    return parts, materials


def food(draw: Draw, palette: Palette) -> Made:
    """A cake, burger, doughnut, mushroom or bowl of fruit."""
    materials = palette.standard()
    materials[BODY] = palette.matte() if draw.chance(0.4) else palette.glossy()
    kind = draw.integer(0, 3)
    if kind == 0:
        parts, level, radius = [], -0.6, draw.between(0.55, 0.75)
        parts.append(cylinder(radius + 0.15, 0.03, center=(0, level, 0), material=TRIM))
        for layer in range(draw.integer(1, 3)):
            half = draw.between(0.12, 0.25)
            parts.append(cylinder(radius, half, 0.03, center=(0, level + half, 0), material=(BODY, ACCENT)[layer % 2]))
            level += 2 * half
            drops = ball(
                0.07, center=(radius, level, 0), radial=int(2 * 3.1 * radius / 0.2), material=TRIM, blend=0.04
            )
            parts.append(drops)
            radius *= draw.between(0.6, 0.8)
        if draw.chance(0.5):
            candle = cylinder(0.035, 0.12, center=(0.6 * radius, level + 0.1, 0), radial=draw.integer(3, 6))
            parts.append(replace(candle, material=ACCENT))
        parts.append(ball(0.13, center=(0, level + 0.1, 0), material=SCREEN, blend=0.02))
    elif kind == 1:
        big, small = draw.between(0.5, 0.62), draw.between(0.2, 0.32)
        parts = [ring(big, small)]
        parts.append(
            ring(big, small + 0.02, center=(0, 0.06, 0), material=ACCENT, ripple=0.03, ripple_waves=(9, 0, 9))
        )
        parts.append(cylinder(1.2, 0.3, center=(0, -0.35, 0), operation="cut", material=BODY))
        parts.append(ring(big, small, center=(0, 0, 0), material=BODY))
        for k in range(draw.integer(8, 12)):
            turn = rotation_about("y", 360 * draw.unit())
            reach = big + draw.between(-0.6, 0.6) * small
            high = (max(small**2 - (reach - big) ** 2, 0.0)) ** 0.5 + 0.07
            place = (reach * turn[0], high, reach * turn[6])
            parts.append(ball(0.035, center=place, material=(TRIM, SCREEN, DARK)[k % 3]))
    elif kind == 2:
        wide = draw.between(0.5, 0.85)
        parts = [cone(draw.between(0.2, 0.35), 0.18, 0.4, 0.08, center=(0, -0.35, 0), material=ACCENT)]
        parts.append(ellipsoid((wide, draw.between(0.3, 0.5), wide), center=(0, 0.1, 0), material=BODY))
        parts.append(cylinder(1.2, 0.2, center=(0, -0.19, 0), operation="cut", material=TRIM))
        parts.append(cone(0.3, 0.18, 0.45, 0.08, center=(0, -0.35, 0), material=ACCENT))
        spot = ellipsoid((0.1, 0.05, 0.1), center=(0.55 * wide, 0.36, 0), radial=draw.integer(4, 7), material=TRIM)
        parts.append(spot)
    else:
        bowl = [(0.25, -0.6), (0.3, -0.5), (0.7, -0.15), (0.8, 0.1)]
        parts = [turned(bowl, 0.03), turned([(0.2, -0.4), (0.6, -0.1), (0.75, 0.3)], 0.02, operation="cut")]
        parts.append(ring(0.79, 0.035, center=(0, 0.08, 0), material=TRIM))
        for k in range(draw.integer(4, 7)):
            size = draw.between(0.17, 0.28)
            turn = rotation_about("y", 73.0 * k)
            reach = draw.between(0.2, 0.42) if k else 0.0
            place = (reach * turn[0], draw.between(0.0, 0.2) + (0.15 if not k else 0), reach * turn[6])
            parts.append(ellipsoid((size, size * draw.between(0.8, 1.2), size), center=place, material=1 + k % 4))
            stalk = (place[0], place[1] + size, place[2])
            parts.append(rod(stalk, (stalk[0] + 0.05, stalk[1] + 0.1, stalk[2]), 0.018, material=DARK))
    return parts, materials


__all__ = ["animal", "food", "robot"]
