"""Base colour, roughness and metallic of surface points: the formula behind `materials.Material`.

Everything is filtered analytically: edges are as wide as a pixel, and a pattern fades to its mean where a pixel
covers its cells.
"""

import torch
from jaxtyping import Float
from torch import Tensor


# Random numbers by whole-number keys; a table gives the same on every device.
NOISE_SIZE = 1 << 12
NOISE = torch.rand(NOISE_SIZE, generator=torch.Generator().manual_seed(1))
GLYPH_DENSITY = 0.55


def noise(*keys: Tensor) -> Tensor:
    """A random number in [0, 1) for every combination of whole numbers."""
    index = torch.zeros_like(keys[0])
    for key, factor in zip(keys, (1.0, 57.0, 131.0), strict=False):
        index = index + key * factor
    return NOISE.to(index.device)[index.long() & (NOISE_SIZE - 1)]


def edge(distance: Tensor, width: Tensor) -> Tensor:
    """The part of a pixel of the given width on the positive side of an edge at a signed distance."""
    return (distance / width).add_(0.5).clamp_(0, 1)


def bar(position: Tensor, half: Tensor, width: Tensor) -> Tensor:
    """How much of a pixel at a position in [-0.5, 0.5] of a cell lies within `half` of the cell's middle."""
    covered = edge(half - position.abs(), width)
    # where a pixel is as wide as a cell only the mean is left
    return torch.lerp(covered, (2 * half).clamp(0, 1), (width * 1.5 - 0.5).clamp_(0, 1))


def surface_material(
    material: dict[str, Tensor], u: Tensor, v: Tensor, footprint: Tensor
) -> tuple[list[Tensor], Tensor]:
    """Linear base colour (red, green, blue) and roughness of points.

    Args:
        material: numbers of each point's material by name of `Material`, colours as first0, first1, ...
        u, v: texture coordinates in metres.
        footprint: width of a pixel on the surface in metres.
    """
    cell_v = v / material["cell_v"] + 0.5
    row = cell_v.floor()
    cell_u = u / material["cell_u"] + 0.5 + material["stagger"] * row
    column = cell_u.floor()
    tone = noise(column, row, material["seed"])
    mix = cell_mix(material, column, row, tone, footprint)
    mix = mix + grain(material, u, v, tone, footprint)
    motif = motifs(material, u, v, footprint)
    joint = 1 - bar(
        cell_u - column - 0.5, 0.5 - 0.5 * material["joint_u"] / material["cell_u"], footprint / material["cell_u"]
    ) * bar(cell_v - row - 0.5, 0.5 - 0.5 * material["joint_v"] / material["cell_v"], footprint / material["cell_v"])
    # cells without joints have no edge between them
    joint = joint * ((material["joint_u"] + material["joint_v"]) > 0)
    mix = mix.clamp_(0, 1)
    colors = []
    for k in range(3):
        color = torch.lerp(material[f"first{k}"], material[f"second{k}"], mix)
        color = torch.lerp(color, material[f"motif{k}"], motif)
        colors.append(torch.lerp(color, material[f"joint{k}"], joint))
    return colors, torch.lerp(material["roughness"], material["roughness"].clamp(min=0.8), joint)


def cell_mix(material: dict[str, Tensor], column: Tensor, row: Tensor, tone: Tensor, footprint: Tensor) -> Tensor:
    """How much of the second colour a cell has: alternating and random."""
    count = material["parity_u"] * column + material["parity_v"] * row
    odd = count - 2 * (count * 0.5).floor()
    wide = footprint / torch.minimum(material["cell_u"], material["cell_v"])
    fade = (2 - 2 * wide).clamp_(0, 1)
    alternating = material["parity"] * torch.lerp(torch.full_like(odd, 0.5), odd, fade)
    return alternating + material["variation"] * torch.lerp(torch.full_like(tone, 0.5), tone, fade)


def grain(material: dict[str, Tensor], u: Tensor, v: Tensor, tone: Tensor, footprint: Tensor) -> Tensor:
    """Bent waves, another piece of them in every cell; between 0 and the weight of the grain."""
    phase_u, phase_v = material["grain_u"] * u + 31 * tone, material["grain_v"] * v + 57 * tone
    first = torch.sin(phase_v + material["warp"] * torch.sin(phase_u))
    second = torch.sin(2.7 * phase_u + 0.31 * phase_v + material["warp"] * first)
    wave = ((0.6 * first + 0.4 * second) * material["sharpness"]).clamp_(-1, 1)
    phase = footprint * torch.maximum(material["grain_u"], material["grain_v"])
    return (wave * torch.exp(phase * phase * -0.08) + 1) * (0.5 * material["grain"])


def motifs(material: dict[str, Tensor], u: Tensor, v: Tensor, footprint: Tensor) -> Tensor:
    """Coverage by discs, rectangles or letters of random strokes in a grid of cells."""
    across, up = u / material["motif_u"] + 0.5, v / material["motif_v"] + 0.5
    column, row = across.floor(), up.floor()
    x, y = across - column - 0.5, up - row - 0.5
    half, size = 0.5 * material["radius"], torch.minimum(material["motif_u"], material["motif_v"])
    width = footprint / size
    rectangle = bar(x, half, width) * bar(y, half, width)
    disc = edge(half - (x * x + y * y).sqrt(), width)
    disc = torch.lerp(disc, (3.14 * half * half), (width * 1.5 - 0.5).clamp(0, 1))
    shape = torch.lerp(disc, rectangle, material["corners"])
    seed = material["seed"] + 7
    present = (noise(column, row, seed) < material["presence"]).float()
    present = torch.lerp(present, material["presence"], (width * 1.5 - 0.5).clamp_(0, 1))
    strokes = material["strokes"] / material["radius"].clamp(min=0.1)
    stroke = noise((across * strokes).floor() + 17 * row, (up * strokes).floor(), seed) < GLYPH_DENSITY
    stroke = torch.lerp(stroke.float(), torch.full_like(x, GLYPH_DENSITY), (width * strokes - 0.5).clamp_(0, 1))
    stroke = torch.lerp(torch.ones_like(x), stroke, (material["strokes"] > 0).float())
    return shape * present * stroke * material["motif_weight"]


def material_columns(table: Float[Tensor, "numbers scenes materials"], names: list[str], row: Tensor) -> dict:
    """The numbers of each point's material by name; `row` is scene * M + material."""
    looked_up = table.flatten(1).index_select(1, row.flatten())
    return dict(zip(names, looked_up.unflatten(1, row.shape), strict=True))
