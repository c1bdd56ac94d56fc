"""Vehicles: cars and trucks, rockets, planes."""

from dataclasses import replace

from ...lighting.draw import Draw
from ..parts import rotation_about
from .household import ACCENT, BODY, DARK, SCREEN, TRIM, Made
from .palette import Palette
from .shapes import ALONG_X, ALONG_Z, ball, box, cone, cylinder, ellipsoid, prism, ring, rod, turned


def car(draw: Draw, palette: Palette) -> Made:
    """A car, van or truck, heading along +x."""
    materials = palette.standard()
    if draw.chance(0.7):
        materials[BODY] = palette.glossy()
    length, half = draw.between(0.7, 0.95), draw.between(0.28, 0.4)
    low, hood, roof = -0.15, draw.between(0.02, 0.2), draw.between(0.3, 0.6)
    front, back = draw.between(0.05, 0.5) * length, draw.between(-0.95, -0.4) * length
    slope = draw.between(0.05, 0.3)
    outline = [(-length, low), (length, low), (length, 0.7 * hood), (front + slope, hood), (front, roof)]
    outline += [(back, roof), (back - 0.3 * slope, hood), (-length, 0.8 * hood)]
    body = prism(outline, half, draw.between(0.03, 0.08))
    parts = [body]
    # wheel arches, then windows along the cabin
    wheel = draw.between(0.15, 0.24)
    place = (0.62 * length, low - 0.02, half)
    arch = cylinder(1.2 * wheel, 0.12, center=place, rotation=ALONG_Z, mirrored=(True, True))
    parts.append(replace(arch, operation="cut", material=DARK))
    glass = 0.5 * (roof - hood) * 0.75
    center = ((front + back) / 2 + 0.02, (roof + hood) / 2, 0)
    reach = max(0.1, 0.5 * (front - back) - 0.06)
    parts.append(box((reach, glass, half + 0.012), 0.02, center=center, material=SCREEN))
    if draw.chance(0.4):
        parts.append(box((0.02, glass, half + 0.05), 0.005, center=center, material=BODY))
    tyre = cylinder(wheel, 0.09, 0.03, center=place, rotation=ALONG_Z, mirrored=(True, True), material=DARK)
    hub = cylinder(0.6 * wheel, 0.1, 0.02, center=place, rotation=ALONG_Z, mirrored=(True, True), material=TRIM)
    parts += [tyre, hub]
    parts.append(ball(0.07, center=(length, 0.3 * hood, 0.65 * half), mirrored=(False, True), material=SCREEN))
    parts.append(box((0.06, 0.05, half + 0.03), 0.02, center=(length, low, 0), mirrored=(True, False), material=TRIM))
    grille = box((0.05, 0.012, 0.5 * half), 0.004, center=(length, 0.1, 0), repeats=(1, 3, 1), spacing=(1, 0.05, 1))
    parts.append(replace(grille, operation="cut", material=DARK))
    extra = draw.integer(0, 3)
    if extra == 0:
        parts.append(box((0.3 * length, 0.22, half), 0.02, center=(-0.65 * length, hood + 0.15, 0), material=ACCENT))
        materials[ACCENT] = palette.labelled(materials[ACCENT], draw.pick((4, 5)), (0, 0), (0.22 * length, 0.13))
    elif extra == 1:
        parts.append(box((0.5 * (front - back), 0.02, 0.8 * half), center=(center[0], roof + 0.09, 0), material=TRIM))
    elif extra == 2:
        parts.append(box((0.05, 0.02, half), center=(-length, hood + 0.18, 0), material=ACCENT))
        parts.append(box((0.03, 0.1, 0.02), center=(-length, hood + 0.08, 0.6 * half), mirrored=(False, True)))
    stripe = draw.between(0.04, 0.12)
    if draw.chance(0.5):
        along = 0.45 * (front - back)
        parts.append(box((along, 0.06, stripe), 0.02, center=(center[0], roof + 0.03, 0), material=ACCENT))
    materials[BODY] = palette.labelled(
        materials[BODY], draw.pick((4, 5)), (draw.between(-0.2, 0.2), 0.0), (draw.between(0.15, 0.3), 0.09)
    )
    return parts, materials


def rocket(draw: Draw, palette: Palette) -> Made:
    """A rocket, torpedo or lighthouse-like body with fins."""
    materials = palette.standard()
    radius = draw.between(0.18, 0.32)
    profile = [
        (0.6 * radius, -0.75),
        (radius, -0.5),
        (radius, 0.2),
        (0.8 * radius, 0.5),
        (0.35 * radius, 0.8),
        (0.02, 0.98),
    ]
    parts = [turned(profile, 0.02)]
    parts.append(cone(0.5 * radius, 0.8 * radius, 0.1, center=(0, -0.8, 0), material=DARK, blend=0.01))
    fins = draw.integer(3, 5)
    fin = [
        (0.0, 0.3),
        (0.0, -0.15),
        (draw.between(0.2, 0.4), draw.between(-0.45, -0.2)),
        (draw.between(0.2, 0.35), -0.05),
    ]
    parts.append(prism(fin, 0.04, 0.02, center=(0.8 * radius, -0.55, 0), radial=fins, material=ACCENT, blend=0.03))
    for y in [draw.between(-0.4, 0.3) for _ in range(draw.integer(1, 3))]:
        parts.append(ring(1.0 * radius, 0.025, center=(0, y, 0), material=TRIM, blend=0.01))
    windows = draw.integer(1, 3)
    for k in range(windows):
        place = (0, 0.3 - 0.22 * k, radius * 0.97)
        parts.append(cylinder(0.09, 0.03, 0.01, center=place, rotation=ALONG_Z, material=TRIM))
        parts.append(ellipsoid((0.065, 0.065, 0.05), center=place, material=SCREEN))
    if draw.chance(0.5):
        boosters = cylinder(
            0.09, 0.25, 0.03, center=(radius + 0.08, -0.45, 0), radial=draw.integer(2, 4), material=TRIM
        )
        parts.append(boosters)
    materials[BODY] = palette.labelled(materials[BODY], 5, (draw.between(-0.3, 0.3), -0.2), (0.5 * radius, 0.2))
    return parts, materials


def plane(draw: Draw, palette: Palette) -> Made:
    """A plane or glider, heading along +x."""
    materials = palette.standard()
    radius = draw.between(0.12, 0.2)
    body = [(0.03, -0.9), (0.6 * radius, -0.5), (radius, 0.1), (radius, 0.5), (0.6 * radius, 0.8), (0.05, 0.95)]
    parts = [turned(body, 0.02, rotation=ALONG_X)]
    span, chord = draw.between(0.7, 0.95), draw.between(0.15, 0.28)
    sweep = draw.between(-0.1, 0.35)
    wing = [(0.2, 0.0), (0.2 - chord * 2, 0.0), (-sweep - chord, span), (0.1 - sweep, span)]
    level = draw.between(-0.08, 0.12)
    lay = rotation_about("x", 90)
    parts.append(
        prism(
            wing,
            0.04,
            0.015,
            center=(0.1, level, 0),
            rotation=lay,
            mirrored=(False, True),
            material=ACCENT,
            blend=0.03,
        )
    )
    tail = [(0.12, 0.0), (-0.1, 0.0), (-0.2, 0.32), (-0.06, 0.32)]
    flat = replace(
        prism(tail, 0.03, 0.01, rotation=lay, mirrored=(False, True), material=ACCENT), center=(-0.75, 0.02, 0)
    )
    parts += [flat, prism(tail, 0.03, 0.01, center=(-0.75, 0.05, 0), material=BODY, blend=0.02)]
    parts.append(ellipsoid((0.22, 0.11, 0.1), center=(0.35, radius, 0), material=SCREEN))
    engines = draw.integer(0, 2)
    if engines:
        place = (0.15, level - 0.08, 0.35)
        nacelle = cylinder(0.09, 0.16, 0.03, center=place, rotation=ALONG_X, mirrored=(False, True), material=TRIM)
        parts.append(nacelle)
    else:
        parts.append(
            box((0.015, 0.35, 0.04), 0.01, center=(0.97, 0, 0), rotation=rotation_about("x", 30), material=DARK)
        )
        parts.append(cone(0.07, 0.02, 0.07, center=(0.98, 0, 0), rotation=ALONG_X, material=TRIM))
    if draw.chance(0.6):
        strut = rod((0.3, -0.1, 0.05), (0.35, -0.35, 0.2), 0.025, mirrored=(False, True), material=TRIM)
        wheel = cylinder(
            0.09, 0.04, center=(0.35, -0.35, 0.22), rotation=ALONG_Z, mirrored=(False, True), material=DARK
        )
        parts += [strut, wheel]
    materials[ACCENT] = palette.labelled(materials[ACCENT], draw.pick((4, 5)), (-0.15, 0.45), (0.12, 0.2))
    return parts, materials
