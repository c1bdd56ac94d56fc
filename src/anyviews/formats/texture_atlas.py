"""Several materials as one: their textures side by side in an atlas."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ..mesh import Material


# Texels around each material that repeat its border, so that interpolation and small mipmaps stay inside.
PADDING = 8
# Side of what a material takes that is the same everywhere.
UNIFORM_SIDE = 8
# A texture may repeat this many times along a side; the atlas is reduced to a side of at most so many texels.
MOST_REPEATS, LARGEST_SIDE = 4, 8192


@dataclass(frozen=True)
class Cell:
    """Where one material lies.

    Args:
        material: which one.
        low: [2], the whole numbers (u, v) that the cell begins at.
        repeats: how often it is repeated along u and v.
        size: (height, width) in texels of the atlas, without padding.
        corner: (top, left) of the padded cell.
    """

    material: Material
    low: Float[Tensor, "2"]
    repeats: tuple[int, int]
    size: tuple[int, int]
    corner: tuple[int, int] = (0, 0)


def merge_materials(
    materials: Sequence[Material], places: Sequence[Float[Tensor, "_ 2"]]
) -> tuple[Material, list[Float[Tensor, "_ 2"]]]:
    """One material for parts that had one each.

    Args:
        materials: one for each part; the same one may come several times.
        places: texture coordinates of each part's vertices, which may reach beyond [0, 1]: textures repeat.

    Returns:
        The atlas, and the parts' texture coordinates in it.

    Raises:
        ValueError: if a texture repeats more than 4 times along a side.
    """
    groups: dict[int, list[int]] = {}
    for index, material in enumerate(materials):
        groups.setdefault(id(material), []).append(index)
    cells = [_cell(materials[parts[0]], torch.cat([places[i] for i in parts])) for parts in groups.values()]
    cells, height, width = _packed(cells)
    moved: list[Tensor] = [torch.empty(0, 2)] * len(places)
    for cell, parts in zip(cells, groups.values(), strict=True):
        for index in parts:
            moved[index] = _placed(places[index], cell, height, width)
    has_normals = any(material.normals is not None for material in materials)
    names = ("base_color", "roughness", "metallic", *(("normals",) if has_normals else ()))
    return Material(**{name: _atlas(name, cells, height, width) for name in names}), moved


def _cell(material: Material, places: Float[Tensor, "_ 2"]) -> Cell:
    if material.is_uniform:
        return Cell(material, torch.zeros(2), (1, 1), (UNIFORM_SIDE, UNIFORM_SIDE))
    # rounding does not make a texture repeat
    low = (places.amin(0) + 1e-4).floor()
    repeats = (places.amax(0) - 1e-4 - low).ceil().clamp(min=1).long().tolist()
    if max(repeats) > MOST_REPEATS:
        raise ValueError(f"a texture repeats {max(repeats)} times; accepted are {MOST_REPEATS} in a mesh of several")
    textures = (material.base_color, material.roughness, material.metallic, material.normals)
    height, width = (max(t.shape[axis] for t in textures if t is not None) for axis in (-2, -1))
    return Cell(material, low, tuple(repeats), (height * repeats[1], width * repeats[0]))


def _packed(cells: list[Cell]) -> tuple[list[Cell], int, int]:
    """The cells at their places, on shelves, and the height and width of the atlas."""
    area = sum(math.prod(side + 2 * PADDING for side in cell.size) for cell in cells)
    widest = max(cell.size[1] for cell in cells) + 2 * PADDING
    width = max(widest, math.ceil(math.sqrt(area)))
    scale = min(1.0, LARGEST_SIDE / (2 * width))
    if scale < 1:
        sizes = [tuple(max(1, int(side * scale)) for side in cell.size) for cell in cells]
        cells = [Cell(c.material, c.low, c.repeats, size) for c, size in zip(cells, sizes, strict=True)]
        width = LARGEST_SIDE // 2
    placed: dict[int, Cell] = {}
    top = left = shelf = 0
    for index in sorted(range(len(cells)), key=lambda i: -cells[i].size[0]):
        cell = cells[index]
        high, wide = (side + 2 * PADDING for side in cell.size)
        if left + wide > width and left > 0:
            top, left, shelf = top + shelf, 0, 0
        placed[index] = Cell(cell.material, cell.low, cell.repeats, cell.size, (top, left))
        left, shelf = left + wide, max(shelf, high)
    return [placed[index] for index in range(len(cells))], top + shelf, width


def _placed(places: Float[Tensor, "_ 2"], cell: Cell, height: int, width: int) -> Float[Tensor, "_ 2"]:
    """Texture coordinates in the atlas."""
    inside = (places - cell.low) / places.new_tensor(cell.repeats)
    if cell.material.is_uniform:
        inside = torch.full_like(places, 0.5)
    (top, left), (high, wide) = cell.corner, cell.size
    texels = inside * places.new_tensor([wide, high]) + places.new_tensor([left, top]) + PADDING
    return texels / places.new_tensor([width, height])


def _atlas(name: str, cells: Sequence[Cell], height: int, width: int) -> Float[Tensor, "channels height width"]:
    flat = torch.tensor([0.0, 0.0, 1.0])[:, None, None]
    values = [flat if getattr(cell.material, name) is None else getattr(cell.material, name) for cell in cells]
    atlas = (flat if name == "normals" else torch.zeros(len(values[0]), 1, 1)).repeat(1, height, width)
    for cell, texture in zip(cells, values, strict=True):
        tiled = texture.repeat(1, *cell.repeats[::-1])
        if tiled.shape[-2:] != cell.size:
            mode = "area" if tiled.shape[-2] > cell.size[0] else "bilinear"
            tiled = F.interpolate(tiled[None], cell.size, mode=mode)[0]
        padded = F.pad(tiled[None], (PADDING,) * 4, mode="replicate")[0]
        (top, left), (high, wide) = cell.corner, padded.shape[-2:]
        atlas[:, top : top + high, left : left + wide] = padded
    return F.normalize(atlas, dim=0) if name == "normals" else atlas
