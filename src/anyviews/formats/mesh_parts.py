"""Several meshes as one."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from ..mesh import Material, Mesh
from .texture_atlas import merge_materials


def join_meshes(parts: Sequence[Mesh]) -> Mesh:
    """One mesh of all parts; several materials become one (`merge_materials`).

    Normals are kept if all parts have them; parts without colours or material are white where others have some. Where
    a texture repeats too often for one material, vertices get the colours of the textures instead.
    """
    if len({id(part.material) for part in parts}) > 1:
        try:
            parts = _with_one_material(parts)
        except ValueError:
            parts = [replace(part, vertex_colors=part.base_colors_at_vertices(), material=None) for part in parts]
    starts = torch.tensor([0, *(len(part.vertices) for part in parts[:-1])]).cumsum(0)
    fill = {
        "vertex_colors": lambda part: torch.ones_like(part.vertices),
        "texture_coordinates": lambda part: torch.zeros_like(part.vertices[:, :2]),
    }
    joined = {
        name: torch.cat([blank(part) if getattr(part, name) is None else getattr(part, name) for part in parts])
        for name, blank in fill.items()
        if any(getattr(part, name) is not None for part in parts)
    }
    if all(part.vertex_normals is not None for part in parts):
        joined["vertex_normals"] = torch.cat([part.vertex_normals for part in parts])
    return Mesh(
        torch.cat([part.vertices for part in parts]),
        torch.cat([part.faces + start for part, start in zip(parts, starts, strict=True)]),
        material=parts[0].material,
        **joined,
    )


def _with_one_material(parts: Sequence[Mesh]) -> list[Mesh]:
    # glTF's surface of what has no material
    white = Material(torch.ones(3, 1, 1), torch.ones(1, 1, 1), torch.zeros(1, 1, 1))
    materials = [white if part.material is None else part.material for part in parts]
    blank = [torch.zeros_like(part.vertices[:, :2]) for part in parts]
    places = [
        zeros if part.texture_coordinates is None else part.texture_coordinates
        for part, zeros in zip(parts, blank, strict=True)
    ]
    material, moved = merge_materials(materials, places)
    return [
        replace(part, texture_coordinates=place, material=material) for part, place in zip(parts, moved, strict=True)
    ]
