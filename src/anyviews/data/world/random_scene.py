"""Random rooms: everything that is rendered, as a pure function of uniform numbers."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .primitives import Solids
from .shading import Lights
from .surfaces import random_pictures, surface_table
from .trajectories import MARGIN, room_cameras
from .uniforms import Uniforms


# Boxes, ellipsoids, cylinders.
ROOM_SOLIDS = (4, 2, 2)
# below everything, where no camera looks
HIDDEN = 1e4
UNIFORMS_PER_SCENE = 1200
UNIFORMS_PER_VIEW = 64


@dataclass(frozen=True)
class RandomScene:
    """Scenes and their cameras in room units; `scale` takes them to world units.

    Args:
        solids: boxes, ellipsoids and cylinders.
        room: [B, 3], half extents of the room.
        surfaces: parameters of each surface by column name, [B, S] each.
        pictures: rectangles on each face of the room by column name, [B, 6] each.
        lights: lamps and ambient light.
        centers: [B, V, 3], camera centres.
        rotations: [B, V, 3, 3], camera to world.
        tangent: [B, 1], tangent of half the horizontal field of view.
        scale: [B, 1].
    """

    solids: Solids
    room: Float[Tensor, "scenes 3"]
    surfaces: dict[str, Tensor]
    pictures: dict[str, Tensor]
    lights: Lights
    centers: Float[Tensor, "scenes views 3"]
    rotations: Float[Tensor, "scenes views 3 3"]
    tangent: Float[Tensor, "scenes 1"]
    scale: Float[Tensor, "scenes 1"]


def random_room(seeds: Int[Tensor, "scenes"], views: int, device: torch.device | str) -> RandomScene:
    """Furnished box rooms with cameras inside."""
    uniforms = Uniforms(seeds, UNIFORMS_PER_SCENE + views * UNIFORMS_PER_VIEW, device)
    scale = uniforms.log_between(0.5, 4.0, 1)
    room = torch.cat([uniforms.between(2, 4, 1), uniforms.between(1.2, 1.8, 1), uniforms.between(2, 4, 1)], dim=-1)
    solids = furniture(uniforms, room)
    surfaces = surface_table(uniforms, solids, (0.2, 2.4))
    pictures = random_pictures(uniforms, room)
    lamps = uniforms.between(-0.7, 0.7, 2, 3) * room[:, None]
    lamps[..., 1] = -0.85 * room[:, None, 1]
    lights = random_lights(uniforms, lamps)
    tangent = torch.tan(uniforms.between(50, 85, 1) * torch.pi / 360)
    centers, rotations = room_cameras(uniforms, views, room, solids)
    # whatever still stands in the way of a camera is cleared out of the room
    blocked = (solids.clearance(centers) < MARGIN / 2).any(1)
    solids = hide(solids, blocked)
    return RandomScene(solids, room, surfaces, pictures, lights, centers, rotations, tangent, scale)


def hide(solids: Solids, hidden: Tensor) -> Solids:
    """Move the solids where `hidden` [B, N] is true out of sight."""
    away = solids.centers.new_tensor([0.0, HIDDEN, 0.0])
    return replace(solids, centers=torch.where(hidden[..., None], away, solids.centers))


def furniture(uniforms: Uniforms, room: Float[Tensor, "scenes 3"]) -> Solids:
    """Between three and eight solids on the floor or on the walls of rooms."""
    count = sum(ROOM_SOLIDS)
    boxes = torch.arange(count, device=room.device) < ROOM_SOLIDS[0]
    sizes = torch.stack(
        [
            uniforms.log_between(0.2, 0.8, count),
            uniforms.log_between(0.2, 0.9, count),
            uniforms.log_between(0.2, 0.8, count),
        ],
        dim=-1,
    )
    # cylinders are round; ellipsoids vary a little about a sphere
    round_sizes = torch.stack([sizes[..., 0], sizes[..., 1], sizes[..., 0]], dim=-1) * 0.8
    ball = sizes[..., :1] * uniforms.between(0.7, 1.1, count, 3) * 0.8
    balls = torch.arange(count, device=room.device) < ROOM_SOLIDS[0] + ROOM_SOLIDS[1]
    sizes = torch.where(boxes[:, None], sizes, torch.where(balls[:, None], ball, round_sizes))
    centers = uniforms.between(-0.9, 0.9, count, 3) * room[:, None]
    on_wall = uniforms.chance(0.25, count)
    centers[..., 1] = torch.lerp(room[:, None, 1] - sizes[..., 1], centers[..., 1] * 0.6, on_wall)
    # what hangs on a wall is pushed to the nearer of the x or z walls and set parallel to it
    side = uniforms.take(count) < 0.5
    for axis, chosen in ((0, side), (2, ~side)):
        flush = centers[..., axis].sign() * (room[:, None, axis] - 0.8 * sizes[..., axis])
        centers[..., axis] = torch.where((on_wall > 0) & chosen, flush, centers[..., axis])
    yaw = uniforms.between(0, torch.pi, count) * (1 - on_wall) * uniforms.chance(0.75, count)
    rotations = torch.zeros(*yaw.shape, 3, 3, device=room.device)
    rotations[..., 0, 0] = rotations[..., 2, 2] = yaw.cos()
    rotations[..., 0, 2], rotations[..., 2, 0] = yaw.sin(), -yaw.sin()
    rotations[..., 1, 1] = 1
    return hide(Solids(centers, rotations, sizes, ROOM_SOLIDS), ~keep(uniforms, count, 3))


def keep(uniforms: Uniforms, count: int, fewest: int) -> Tensor:
    """A random choice [B, count] of between `fewest` and `count` solids."""
    number = uniforms.between(fewest, count + 1, 1).floor()
    rank = uniforms.take(count).argsort(-1).argsort(-1)
    return rank < number


def random_lights(uniforms: Uniforms, positions: Float[Tensor, "scenes 2 3"]) -> Lights:
    """One or two lamps and ambient light."""
    powers = uniforms.between(0.5, 1.6, 2)
    powers[:, 1] *= uniforms.chance(0.6)
    tint = 1 - 0.2 * uniforms.take(3)
    return Lights(
        positions=positions,
        powers=powers,
        reach=uniforms.between(3.0, 8.0),
        ambient=uniforms.between(0.25, 0.6),
        tint=tint,
        occlusion=uniforms.between(0.1, 0.5),
    )
