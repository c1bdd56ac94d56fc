"""Batches of apartments as tensors."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ....environment import Environment
from ..lighting.random_environments import sky as random_sky
from ..primitives import Solids, multiply
from ..surfaces import OBLIQUE, TANGENTS
from .draw import EndlessDraw
from .furnish import Lamp, furnish
from .materials import Material
from .parts import Part, Parts
from .plan import Plan, random_plan
from .shell import build_shell


# Lamps that light a room; the strongest where there are more.
LAMPS = 3
LAMP_COLUMNS = ("x", "y", "z", "red", "green", "blue", "size", "facing_x", "facing_y", "facing_z", "directed")
FACES = 6
SKY_HEIGHT = 64


@dataclass(frozen=True)
class Apartment:
    """One apartment before it becomes tensors."""

    plan: Plan
    parts: Parts
    lamps: list[Lamp]
    sky: Float[Tensor, "3 height width"]


@dataclass(frozen=True)
class Apartments:
    """A batch of apartments in metres; unused rows of the tables are never looked at.

    Args:
        solids: boxes (first those of walls, floors and ceilings), ellipsoids and cylinders.
        shell: how many of the boxes are walls, floors and ceilings.
        used: [B, N], whether there is such a solid.
        casts: [B, N], whether it stops light.
        rooms: [B, N], the room whose lamps light it.
        geometry: [17, B, 3 N], texture axes with offsets and the affine normal, per solid and axis (boxes) or part.
        owners: [B, 6 N], the material per solid and face.
        materials: [columns, B, M].
        lamps: [11, B, R * LAMPS], the columns of LAMP_COLUMNS.
        ambient: [3, B, R], radiance that arrives from all sides in each room.
        skies: [B, 3, He, We].
    """

    solids: Solids
    shell: int
    used: Bool[Tensor, "scenes solids"]
    casts: Bool[Tensor, "scenes solids"]
    rooms: Int[Tensor, "scenes solids"]
    geometry: Float[Tensor, "columns scenes axes"]
    owners: Int[Tensor, "scenes faces"]
    materials: Float[Tensor, "numbers scenes materials"]
    lamps: Float[Tensor, "values scenes lamps"]
    ambient: Float[Tensor, "3 scenes rooms"]
    skies: Float[Tensor, "scenes 3 sky_height sky_width"]


def random_apartment(seed: int) -> Apartment:
    """The apartment of a seed."""
    draw = EndlessDraw(seed)
    plan, parts = random_plan(draw), Parts()
    directions = Environment(torch.zeros(3, SKY_HEIGHT, 2 * SKY_HEIGHT)).directions()
    sky = random_sky(draw, directions).permute(2, 0, 1).float().contiguous()
    radiance = tuple(sky[:, : SKY_HEIGHT // 2].mean((1, 2)).tolist())
    build_shell(draw, plan, parts)
    lamps = furnish(draw, plan, parts, radiance)
    apartment = Apartment(plan, parts, lamps, sky)
    levels = [sum(room_ambient(apartment, index)) / 3 for index in range(len(plan.rooms))]
    mean = sum(levels) / len(levels)
    # as a camera does: exposed for the mean of the rooms; people put strong lamps into dark rooms
    exposure = draw.log_between(0.2, 0.42) / mean
    lamps = [brighter(lamp, exposure * (1.0 if lamp.facing else (mean / levels[lamp.room]) ** 0.7)) for lamp in lamps]
    return Apartment(plan, parts, lamps, sky * exposure)


def brighter(lamp: Lamp, factor: float) -> Lamp:
    """The lamp with its intensity multiplied."""
    return replace(lamp, intensity=tuple(factor * c for c in lamp.intensity))


def pack(apartments: list[Apartment], device: torch.device | str) -> Apartments:
    """A batch of apartments, padded to the most solids, materials and rooms of any of them."""
    groups = ("shell", "boxes", "balls", "cylinders")
    counts = [max(len(getattr(a.parts, name)) for a in apartments) for name in groups]
    packed = [pack_parts(apartment.parts, counts) for apartment in apartments]
    numbers, materials = zip(*packed, strict=True)
    numbers = torch.tensor(numbers, device=device)
    used, centers, sizes, yaw, casts, rooms, anchored, owners = numbers.split([1, 3, 3, 1, 1, 1, 1, FACES], dim=-1)
    rotations = yaw_rotations(yaw[..., 0])
    solids = Solids(centers.contiguous(), rotations, sizes.contiguous(), (counts[0] + counts[1], counts[2], counts[3]))
    most = max(len(table) for table in materials)
    empty = [0.0] * len(materials[0][0])
    materials = torch.tensor([table + [empty] * (most - len(table)) for table in materials], device=device)
    most = max(len(apartment.plan.rooms) for apartment in apartments)
    lights = [room_lights(apartment, most) for apartment in apartments]
    lamps, ambient = (torch.tensor(values, device=device) for values in zip(*lights, strict=True))
    return Apartments(
        solids,
        counts[0],
        used[..., 0] > 0,
        casts[..., 0] > 0,
        rooms[..., 0].long(),
        surface_geometry(solids, anchored[..., 0]),
        owners.flatten(1).long(),
        materials.permute(2, 0, 1).contiguous(),
        lamps.permute(2, 0, 1).contiguous(),
        ambient.permute(2, 0, 1).contiguous(),
        torch.stack([apartment.sky for apartment in apartments]).to(device),
    )


def pack_parts(parts: Parts, counts: list[int]) -> tuple[list[list[float]], list[list[float]]]:
    """Rows of numbers per solid, padded to the counts, and the table of materials that they refer to."""
    rows, table, places = [], [], {}

    def owner(material: Material) -> float:
        # pieces of furniture share their material objects; comparing ids is far cheaper than comparing numbers
        if id(material) not in places:
            places[id(material)] = float(len(table))
            table.append(material.numbers())
        return places[id(material)]

    def faces(part: Part) -> tuple[Material, ...]:
        # a ball has one, the side and the caps of a cylinder stand for two faces each
        return {6: part.materials, 2: part.materials[:1] * 2 + part.materials[1:] * 4}.get(
            len(part.materials), part.materials * FACES
        )

    for group, count in zip((parts.shell, parts.boxes, parts.balls, parts.cylinders), counts, strict=True):
        for part in group:
            flags = [part.yaw, float(part.casts), float(part.room), float(part.anchored)]
            rows.append([1.0, *part.center, *part.size, *flags, *map(owner, faces(part))])
        rows += [[0.0] * 4 + [1.0] * 3 + [0.0] * 10] * (count - len(group))
    return rows, table


def yaw_rotations(yaw: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch 3 3"]:
    """Turns about +Y."""
    cosine, sine, zero, one = yaw.cos(), yaw.sin(), torch.zeros_like(yaw), torch.ones_like(yaw)
    rows = [cosine, zero, sine, zero, one, zero, -sine, zero, cosine]
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))


def surface_geometry(solids: Solids, anchored: Float[Tensor, "scenes solids"]) -> Float[Tensor, "17 scenes axes"]:
    """Texture axes with their offsets, then the affine normal: six numbers of its matrix and three of its constant."""
    boxes, balls, _ = solids.counts
    local = solids.rotations.mT
    flat = torch.zeros_like(local)
    oblique = multiply(local.new_tensor(OBLIQUE).expand(*local.shape[:2], 2, 3), local)
    is_box = torch.arange(local.shape[1], device=local.device) < boxes
    is_cylinder = torch.arange(local.shape[1], device=local.device) >= boxes + balls
    # the side of a cylinder does not depend on the height
    unit = solids.world_to_unit * torch.where(is_cylinder[:, None, None], local.new_tensor([[1.0], [0.0], [1.0]]), 1.0)
    round_gradient = multiply(unit.mT, unit)
    # the normal of a curved surface is the gradient of its quadric, scaled to be of the order of one
    round_gradient = round_gradient * solids.sizes.amin(-1)[..., None, None]
    round_constant = -multiply(round_gradient, solids.centers[..., None])[..., 0]
    columns = []
    for axis in range(3):
        # of balls and cylinders, the first row is the curved surface and the second the caps
        curved = ~is_box if axis == 0 else torch.zeros_like(is_box)
        tangents = torch.where(curved[:, None, None], oblique, local[..., TANGENTS[axis], :])
        quadratic = torch.where(curved[:, None, None], round_gradient, flat)
        constant = torch.where(curved[:, None], round_constant, local[..., axis, :])
        offsets = -(tangents * solids.centers[..., None, :]).sum(-1) * anchored[..., None]
        texture = torch.cat([tangents, offsets[..., None]], dim=-1).flatten(2)
        matrix = torch.stack([quadratic[..., a, b] for a, b in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))], -1)
        columns.append(torch.cat([texture, matrix, constant], dim=-1))
    return torch.stack(columns, dim=2).flatten(1, 2).permute(2, 0, 1).contiguous()


def room_lights(apartment: Apartment, rooms: int) -> tuple[list[list[float]], list[list[float]]]:
    """Rows of LAMP_COLUMNS for each room, and each room's ambient radiance."""
    lamps, ambient = [], []
    for index in range(rooms):
        here = [lamp for lamp in apartment.lamps if lamp.room == index]
        here = sorted(here, key=lambda lamp: -sum(lamp.intensity))[:LAMPS]
        for lamp in here:
            facing = lamp.facing or (0.0, 0.0, 0.0)
            lamps.append([*lamp.position, *lamp.intensity, lamp.size, *facing, float(lamp.facing is not None)])
        lamps += [[0.0] * len(LAMP_COLUMNS)] * (LAMPS - len(here))
        ambient.append(room_ambient(apartment, index))
    return lamps, ambient


def room_ambient(apartment: Apartment, index: int) -> list[float]:
    """Radiance that the walls of a room give back on average, if they reflect half of the light that they get."""
    if index >= len(apartment.plan.rooms):
        return [0.0] * 3
    room, height = apartment.plan.rooms[index], apartment.plan.height
    sides = [room.high[axis] - room.low[axis] for axis in range(2)]
    surface = 2 * (sides[0] * sides[1] + height * sum(sides))
    # a lamp's flux is 4 pi times its intensity, a window's pi times radiance and area
    flux = [
        sum((1.0 if lamp.facing else 4.0) * lamp.intensity[k] for lamp in apartment.lamps if lamp.room == index)
        for k in range(3)
    ]
    return [0.02 + f / surface for f in flux]
