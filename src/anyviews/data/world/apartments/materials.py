"""Materials of an apartment: base colours with sharp patterns, roughness, metallic, emission.

One formula (`texture.py`) draws them all from these numbers: cells (planks, tiles, bricks, checks, stripes) with
joints between them, grain (wood, marble, paint), and motifs in finer cells (dots, carpet, text).
"""

import colorsys
from dataclasses import dataclass, fields, replace

from ..lighting.draw import Draw


Color = tuple[float, float, float]


@dataclass(frozen=True)
class Material:
    """Numbers of the texture formula; lengths in metres, frequencies of the grain in radians per metre.

    Args:
        first: linear base colour.
        second: linear base colour that parity, hash and grain mix in.
        motif: linear base colour of motifs.
        joint: linear base colour between cells.
        cell_u, cell_v: size of a cell.
        stagger: shift of every next row of cells, in cells.
        joint_u, joint_v: width of the joints.
        parity_u, parity_v: 1 where the mix alternates from cell to cell along u or v.
        parity: weight of that alternation in the mix.
        variation: weight of a random number per cell in the mix.
        grain_u, grain_v, warp: frequencies of the grain and how much it is bent.
        grain: weight of the grain in the mix.
        sharpness: 1 for smooth grain, more for areas with edges.
        motif_u, motif_v: size of the cells of motifs.
        radius: of a motif, as a part of half its cell.
        corners: 0 for round motifs, 1 for rectangles.
        presence: the part of the cells that hold a motif.
        strokes: random subdivisions of a motif along each axis, as in letters; 0 for none.
        motif_weight: 1 where there are motifs, else 0.
        roughness, metallic: as in glTF.
        emission: radiance, as a multiple of the base colour, that the surface emits; such a surface reflects nothing.
        seed: of the random numbers per cell.
    """

    first: Color
    second: Color = (0.0, 0.0, 0.0)
    motif: Color = (0.0, 0.0, 0.0)
    joint: Color = (0.0, 0.0, 0.0)
    cell_u: float = 1e3
    cell_v: float = 1e3
    stagger: float = 0.0
    joint_u: float = 0.0
    joint_v: float = 0.0
    parity_u: float = 0.0
    parity_v: float = 0.0
    parity: float = 0.0
    variation: float = 0.0
    grain_u: float = 1.0
    grain_v: float = 1.0
    warp: float = 0.0
    grain: float = 0.0
    sharpness: float = 1.0
    motif_u: float = 1.0
    motif_v: float = 1.0
    radius: float = 0.5
    corners: float = 0.0
    presence: float = 1.0
    strokes: float = 0.0
    motif_weight: float = 0.0
    roughness: float = 0.6
    metallic: float = 0.0
    emission: float = 0.0
    seed: float = 0.0

    def numbers(self) -> list[float]:
        """All values in the order of MATERIAL_COLUMNS."""
        values = []
        for field in fields(self):
            value = getattr(self, field.name)
            values += value if isinstance(value, tuple) else [value]
        return values


COLORS = ("first", "second", "motif", "joint")
MATERIAL_COLUMNS = [f"{name}{k}" for name in COLORS for k in range(3)]
MATERIAL_COLUMNS += [field.name for field in fields(Material) if field.name not in COLORS]


def color(draw: Draw, saturation: tuple[float, float], value: tuple[float, float], hue: float | None = None) -> Color:
    """A linear colour of the given ranges of displayed saturation and value."""
    hue = draw.unit() if hue is None else hue
    displayed = colorsys.hsv_to_rgb(hue % 1, draw.between(*saturation), draw.between(*value))
    return tuple(c**2.2 for c in displayed)


def scaled(base: Color, factor: float) -> Color:
    """A lighter or darker colour of the same hue."""
    return tuple(min(1.0, c * factor) for c in base)


def wood_color(draw: Draw) -> Color:
    """From pale birch to dark walnut."""
    return color(draw, (0.25, 0.65), (0.3, 0.85), draw.between(0.05, 0.1))


def paint(draw: Draw, saturation=(0.0, 0.5), value=(0.5, 0.95), roughness=(0.3, 0.9)) -> Material:
    """A plain colour with faint unevenness."""
    base = color(draw, saturation, value)
    grain = {"grain_u": draw.between(2, 9), "grain_v": draw.between(2, 9), "warp": 2.0, "grain": 0.25}
    return Material(base, scaled(base, 0.85), roughness=draw.between(*roughness), seed=seed(draw), **grain)


def wood(draw: Draw, along_u: bool = True) -> Material:
    """Grain that runs along one axis."""
    base = wood_color(draw)
    slow, fast = draw.between(1, 5), draw.log_between(25, 110)
    return Material(
        base,
        scaled(base, draw.between(0.35, 0.7)),
        grain_u=slow if along_u else fast,
        grain_v=fast if along_u else slow,
        warp=draw.between(1, 4),
        grain=draw.between(0.5, 1.0),
        roughness=draw.between(0.2, 0.6),
        seed=seed(draw),
    )


def planks(draw: Draw) -> Material:
    """Floorboards: each another tone, with dark joints and random shifts."""
    boards = wood(draw)
    return replace(
        boards,
        cell_u=draw.between(0.5, 1.6),
        cell_v=draw.between(0.07, 0.22),
        stagger=draw.pick([0.5, 0.33, 0.41]),
        joint_u=0.004,
        joint_v=draw.between(0.003, 0.007),
        joint=scaled(boards.first, 0.15),
        grain=boards.grain * 0.5,
        variation=draw.between(0.25, 0.7),
        roughness=draw.between(0.15, 0.5),
    )


def tiles(draw: Draw) -> Material:
    """Square or oblong tiles, plain, chequered or each another tone."""
    base = color(draw, (0.0, 0.45), (0.35, 0.95))
    second = scaled(base, draw.between(0.3, 0.8)) if draw.chance(0.6) else color(draw, (0.0, 0.5), (0.15, 0.9))
    side = draw.log_between(0.1, 0.6)
    chequered = draw.chance(0.45)
    return Material(
        base,
        second,
        joint=color(draw, (0.0, 0.15), (0.25, 0.85)),
        cell_u=side,
        cell_v=side * (1.0 if chequered else draw.pick([1.0, 0.5, 1.0])),
        joint_u=draw.between(0.004, 0.012),
        joint_v=draw.between(0.004, 0.012),
        parity_u=1.0,
        parity_v=1.0,
        parity=float(chequered),
        variation=0.15 if chequered else draw.between(0.1, 0.6),
        grain_u=draw.between(3, 20),
        grain_v=draw.between(3, 20),
        warp=3.0,
        grain=draw.between(0.0, 0.5),
        roughness=draw.between(0.08, 0.45),
        seed=seed(draw),
    )


def bricks(draw: Draw) -> Material:
    """A brick wall, red, painted or of grey stone."""
    base = color(draw, (0.35, 0.7), (0.35, 0.75), draw.between(0.0, 0.07))
    if draw.chance(0.35):
        base = color(draw, (0.0, 0.15), (0.45, 0.95))
    return Material(
        base,
        scaled(base, draw.between(0.35, 0.75)),
        joint=color(draw, (0.0, 0.15), (0.45, 0.9)),
        cell_u=draw.between(0.2, 0.3),
        cell_v=draw.between(0.065, 0.12),
        stagger=0.5,
        joint_u=0.012,
        joint_v=0.012,
        variation=draw.between(0.5, 0.9),
        grain_u=30.0,
        grain_v=40.0,
        warp=3.0,
        grain=0.4,
        roughness=0.9,
        seed=seed(draw),
    )


def wallpaper(draw: Draw) -> Material:
    """Stripes or motifs on a light ground."""
    base = color(draw, (0.05, 0.4), (0.65, 0.97))
    other = color(draw, (0.05, 0.5), (0.35, 0.95))
    if draw.chance(0.4):
        return Material(
            base,
            other if draw.chance(0.5) else scaled(base, 0.7),
            cell_u=draw.between(0.05, 0.3),
            parity_u=1.0,
            parity=1.0,
            roughness=0.85,
            seed=seed(draw),
        )
    size = draw.log_between(0.07, 0.35)
    return Material(
        base,
        scaled(base, 0.9),
        other,
        motif_u=size,
        motif_v=size * draw.between(0.8, 1.5),
        radius=draw.between(0.3, 0.65),
        corners=draw.pick([0.0, 0.0, 1.0]),
        presence=draw.pick([1.0, 1.0, 0.6]),
        strokes=draw.pick([0.0, 0.0, 3.0, 5.0]),
        motif_weight=1.0,
        grain=0.3,
        roughness=0.85,
        seed=seed(draw),
    )


def carpet(draw: Draw) -> Material:
    """Pile of mixed threads, sometimes with large rectangles or stripes."""
    base = color(draw, (0.1, 0.7), (0.25, 0.85))
    size = draw.between(0.015, 0.04)
    return Material(
        base,
        color(draw, (0.1, 0.8), (0.2, 0.9)) if draw.chance(0.6) else scaled(base, 0.6),
        scaled(base, draw.pick([0.55, 1.6])),
        cell_u=draw.log_between(0.12, 0.7),
        cell_v=draw.log_between(0.12, 0.7),
        parity_u=1.0,
        parity_v=draw.pick([0.0, 1.0]),
        parity=draw.pick([0.0, 0.8, 0.8]),
        motif_u=size,
        motif_v=size,
        radius=0.9,
        corners=1.0,
        presence=0.45,
        motif_weight=1.0,
        roughness=1.0,
        seed=seed(draw),
    )


def fabric(draw: Draw) -> Material:
    """Plain, striped or dotted cloth."""
    base = color(draw, (0.1, 0.8), (0.25, 0.9))
    other = color(draw, (0.0, 0.7), (0.2, 0.95))
    kind = draw.unit()
    common = {"roughness": draw.between(0.8, 1.0), "seed": seed(draw)}
    if kind < 0.45:
        return Material(base, scaled(base, 0.75), grain_u=60.0, grain_v=60.0, grain=0.4, warp=1.0, **common)
    if kind < 0.75:
        width = draw.between(0.02, 0.12)
        both = draw.pick([0.0, 1.0])
        return Material(base, other, cell_u=width, cell_v=width, parity_u=1.0, parity_v=both, parity=0.9, **common)
    size = draw.between(0.04, 0.15)
    return Material(base, base, other, motif_u=size, motif_v=size, radius=0.5, motif_weight=1.0, **common)


def metal(draw: Draw) -> Material:
    """Steel, brass, copper or blackened iron."""
    base = draw.pick([(0.56, 0.57, 0.58), (0.78, 0.62, 0.32), (0.82, 0.47, 0.33), (0.2, 0.2, 0.22), (0.9, 0.9, 0.9)])
    return Material(base, scaled(base, 0.8), grain=0.2, grain_v=40.0, roughness=draw.between(0.15, 0.5), metallic=1.0)


def plastic(draw: Draw) -> Material:
    """Glossy and often saturated."""
    return paint(draw, (0.0, 0.95), (0.1, 0.95), (0.08, 0.4))


def stone(draw: Draw) -> Material:
    """Polished marble or terrazzo."""
    base = color(draw, (0.0, 0.2), (0.3, 0.95))
    frequency = draw.log_between(8, 40)
    veins = {"grain_u": frequency, "grain_v": frequency, "warp": 4.0, "grain": 0.9, "sharpness": draw.between(1, 3)}
    return Material(base, scaled(base, draw.between(0.3, 0.7)), roughness=draw.between(0.05, 0.3), **veins)


def leaf(draw: Draw) -> Material:
    """Leaves of a plant: spots of two greens."""
    base = color(draw, (0.4, 0.8), (0.25, 0.6), draw.between(0.22, 0.38))
    spots = {"grain_u": 45.0, "grain_v": 45.0, "warp": 3.0, "grain": 1.0, "sharpness": 3.0}
    return Material(base, scaled(base, 0.35), roughness=0.6, seed=seed(draw), **spots)


def glow(draw: Draw, radiance: float) -> Material:
    """A lamp's shade or bulb, whitish."""
    return Material(color(draw, (0.02, 0.25), (0.95, 1.0), draw.between(0.07, 0.13)), emission=radiance)


def poster(draw: Draw, width: float, height: float) -> Material:
    """A picture of the given size: an abstract painting, large letters, or a page of text."""
    base = color(draw, (0.1, 0.9), (0.3, 1.0))
    border = draw.pick([0.0, 0.05, 0.1]) * min(width, height)
    common = {
        "second": color(draw, (0.1, 0.9), (0.1, 0.95)),
        "joint": color(draw, (0.0, 0.1), (0.85, 0.98)),
        "cell_u": width,
        "cell_v": height,
        "joint_u": 2 * border,
        "joint_v": 2 * border,
        "roughness": draw.pick([0.12, 0.5, 0.8]),
        "seed": seed(draw),
    }
    if draw.chance(0.4):
        frequency = 2 * 3.14159 / (min(width, height) * draw.between(0.4, 1.5))
        bent = {"grain_u": frequency, "grain_v": frequency * draw.between(0.6, 1.6), "warp": draw.between(0.5, 3)}
        return Material(base, grain=1.0, sharpness=draw.pick([1.0, 3.0, 20.0, 20.0]), **bent, **common)
    lines = draw.pick([2.0, 3.0, 5.0, 9.0])
    letter = height / lines
    return Material(
        base if draw.chance(0.6) else color(draw, (0.0, 0.1), (0.85, 1.0)),
        motif=color(draw, (0.0, 0.9), (0.02, 0.35)),
        motif_u=letter * 0.75,
        motif_v=letter,
        radius=0.72,
        corners=1.0,
        presence=0.85,
        strokes=draw.pick([3.0, 4.0]),
        motif_weight=1.0,
        **common,
    )


def seed(draw: Draw) -> float:
    """A whole number that tells one material's random numbers from another's."""
    return float(int(draw.between(0, 1000)))
