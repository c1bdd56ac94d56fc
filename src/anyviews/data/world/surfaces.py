"""The surfaces of a scene: their textures, normals and emission, and the pictures and windows on the walls."""

import torch
from jaxtyping import Float
from torch import Tensor

from .primitives import ROOM_SURFACES, Solids, multiply
from .textures import random_materials, texture_rows
from .uniforms import Uniforms


WALLS = (0, 1, 4, 5)  # of the faces -x, +x, -y (ceiling), +y (floor), -z, +z
PICTURES_PER_WALL = 2
PICTURES = PICTURES_PER_WALL * len(WALLS)
# The two axes along which the texture of a face across x, y or z runs.
TANGENTS = ((2, 1), (0, 2), (0, 1))
# The vertical texture axis of curved surfaces is the axis of the solid, the other is oblique to show on all sides.
OBLIQUE = ((0.8, 0.0, 0.6), (0.0, 1.0, 0.0))


def surface_table(uniforms: Uniforms, solids: Solids, wavelengths: tuple[float, float]) -> dict[str, Tensor]:
    """Textures, normals and emission of all surfaces by name: those of `primitives.intersect`, pictures, frames.

    Args:
        uniforms: random numbers.
        solids: the solids, which tell the directions of their textures and normals.
        wavelengths: the finest and the coarsest texture periods in room units.

    Returns:
        Columns [B, S] by name.
    """
    geometry, owner = room_and_solid_surfaces(solids)
    first_picture, first_material = len(owner), ROOM_SURFACES + sum(solids.counts)
    # pictures and then frames lie in the walls and have a material each
    walls = [wall for wall in WALLS for _ in range(PICTURES_PER_WALL)] * 2
    geometry += [geometry[wall] for wall in walls]
    owner += list(range(first_material, first_material + len(walls)))

    owner = torch.tensor(owner, device=solids.centers.device)
    tangents, quadratic, constant = (torch.stack(parts, dim=1) for parts in zip(*geometry, strict=True))
    materials = random_materials(uniforms, first_material + len(walls), *wavelengths)
    table = texture_rows(materials, tangents, owner)
    table |= {f"n{a}{b}": quadratic[..., a, b] for a, b in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))}
    table |= {f"n{k}": constant[..., k] for k in range(3)}
    index = torch.arange(len(owner), device=owner.device)
    in_plane = (index < ROOM_SURFACES) | (index >= first_picture)
    table["in_plane"] = in_plane.float().expand_as(table["n0"])
    table["emission"] = torch.zeros_like(table["n0"])
    windows = uniforms.chance(0.3, PICTURES) * uniforms.between(0.5, 1.0, PICTURES)
    table["emission"][:, first_picture : first_picture + PICTURES] = windows
    return table


def room_and_solid_surfaces(solids: Solids) -> tuple[list[tuple[Tensor, Tensor, Tensor]], list[int]]:
    """Geometry and material index of the surfaces in the order of `primitives.intersect`.

    The geometry is two texture axes [B, 2, 3] and the normal as an affine function of the point: its symmetric
    matrix [B, 3, 3] and constant [B, 3].
    """
    boxes, ellipsoids, _ = solids.counts
    axes = torch.eye(3, device=solids.centers.device).expand(len(solids.centers), 3, 3)
    flat = torch.zeros_like(axes)
    geometry = [(axes[:, TANGENTS[face // 2], :], flat, axes[:, face // 2]) for face in range(ROOM_SURFACES)]
    owner = list(range(ROOM_SURFACES))
    for index in range(sum(solids.counts)):
        local = solids.rotations[:, index].mT
        if index < boxes:
            added = [(local[:, TANGENTS[axis], :], flat, local[:, axis]) for axis in range(3)]
        else:
            is_cylinder = index >= boxes + ellipsoids
            unit = solids.world_to_unit[:, index] * local.new_tensor([[1.0], [1.0 - is_cylinder], [1.0]])
            gradient = multiply(unit.mT, unit)
            center = solids.centers[:, index, :, None]
            added = [(multiply(local.new_tensor(OBLIQUE)[None], local), gradient, -multiply(gradient, center)[..., 0])]
            if is_cylinder:
                added.append((local[:, TANGENTS[1], :], flat, local[:, 1]))
        geometry += added
        owner += [ROOM_SURFACES + index] * len(added)
    return geometry, owner


def random_pictures(uniforms: Uniforms, room: Float[Tensor, "scenes 3"]) -> dict[str, Tensor]:
    """Rectangles on the walls, as columns [B, 6] by name that count only for the faces of a room."""
    columns = {}
    for slot in range(PICTURES_PER_WALL):
        hung = uniforms.chance(0.75, ROOM_SURFACES)
        horizontal = room[:, (2, 2, 0, 0, 0, 0)]
        half_width = uniforms.log_between(0.12, 0.4, ROOM_SURFACES) * horizontal
        half_height = uniforms.log_between(0.18, 0.5, ROOM_SURFACES) * room[:, 1:2]
        # each slot has its half of the wall, so that pictures do not overlap
        along = (slot - 0.5 + uniforms.between(-0.15, 0.15, ROOM_SURFACES)) * horizontal
        height = uniforms.between(-0.4, 0.25, ROOM_SURFACES) * room[:, 1:2]
        is_wall = torch.tensor([float(face in WALLS) for face in range(ROOM_SURFACES)], device=room.device)
        columns[f"picture{slot}_along"] = along
        columns[f"picture{slot}_height"] = height
        columns[f"picture{slot}_half_width"] = half_width * hung * is_wall - (1 - hung * is_wall)
        columns[f"picture{slot}_half_height"] = half_height
    return columns
