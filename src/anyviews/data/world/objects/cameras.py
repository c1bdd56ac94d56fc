"""Cameras around objects, as near as the object still fits into the picture."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ..lighting.draw import Draw
from .grid import CELL, EXTENT, RESOLUTION, Grid, compacted, nodes


# the object spans this part of the picture in the direction in which it spans most
FILL = (0.55, 0.95)
NEAREST = 1.2


@dataclass(frozen=True)
class ObjectCameras:
    """Pinhole cameras with square pixels and the principal point in the middle.

    Args:
        centers: [B, V, 3], in units of the object.
        rotations: [B, V, 3, 3], camera to world, OpenCV axes.
        tangents: [B, V], of half the horizontal field of view.
    """

    centers: Float[Tensor, "scenes views 3"]
    rotations: Float[Tensor, "scenes views 3 3"]
    tangents: Float[Tensor, "scenes views"]


def object_cameras(draws: Sequence[Draw], views: int, grid: Grid, aspect: float) -> ObjectCameras:
    """Random cameras.

    Most scenes have views from a range of azimuths and elevations, each framed on its own; the others have views from
    all over a sphere at one distance.

    Args:
        draws: random numbers of each scene.
        views: cameras per scene.
        grid: tells how much room the object takes.
        aspect: height over width of the pictures.
    """
    device = grid.values.device
    rows = [_sphere(draw, views) if draw.chance(0.3) else _around(draw, views) for draw in draws]
    numbers = torch.tensor(rows, dtype=torch.float32).to(device)
    azimuth, elevation, roll, tangent, fill, shift_x, shift_y, common = numbers.unbind(-1)
    backward = torch.stack([elevation.cos() * azimuth.sin(), elevation.sin(), elevation.cos() * azimuth.cos()], dim=-1)
    rotations = looking_along(-backward, roll)
    right, down = rotations[..., 0], rotations[..., 1]
    target = right * shift_x[..., None] + down * shift_y[..., None]
    distance = fitting_distances(grid, rotations, target, tangent, fill, aspect)
    # seen from a sphere, all views are as far away as the farthest
    distance = torch.where(common > 0, distance.amax(1, keepdim=True), distance)
    return ObjectCameras(target + backward * distance[..., None], rotations, tangent)


def looking_along(forward: Float[Tensor, "*batch 3"], roll: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch 3 3"]:
    """Camera-to-world rotations that look along `forward` with +Y up, rolled about their axis by radians."""
    upward = torch.tensor([0.0, 1.0, 0.0], device=forward.device).expand_as(forward)
    right = F.normalize(torch.linalg.cross(forward, upward), dim=-1)
    down = torch.linalg.cross(forward, right)
    cosine, sine = roll.cos()[..., None], roll.sin()[..., None]
    return torch.stack([cosine * right + sine * down, cosine * down - sine * right, forward], dim=-1)


def fitting_distances(
    grid: Grid,
    rotations: Float[Tensor, "scenes views 3 3"],
    target: Float[Tensor, "scenes views 3"],
    tangent: Float[Tensor, "scenes views"],
    fill: Float[Tensor, "scenes views"],
    aspect: float,
) -> Float[Tensor, "scenes views"]:
    """The distances from which objects take at most a part of each picture.

    Args:
        grid: the objects.
        rotations: camera to world.
        target: what the cameras look at, in units of the object.
        tangent: of half the horizontal field of view.
        fill: the part, in (0, 1].
        aspect: height over width of the pictures.
    """
    chosen = compacted(grid.values.flatten(1).abs() < 0.5 * CELL)
    points = nodes(RESOLUTION, EXTENT, grid.values.device)[chosen]
    offsets = points[:, None] - target[:, :, None]
    x, y, z = ((offsets * rotations[:, :, None, :, k]).sum(-1) for k in range(3))
    # points that fill up a batch are not near the surface
    near = (grid.values.flatten(1).gather(1, chosen).abs() < 0.5 * CELL)[:, None]
    limit = (tangent * fill)[..., None]
    needed = torch.maximum(x.abs() / limit, y.abs() / (limit * aspect)) - z
    return needed.masked_fill(~near, 0).amax(-1).clamp(min=NEAREST)


def _around(draw: Draw, views: int) -> list[list[float]]:
    """Views from a part of the sphere, with varied framing."""
    spread = draw.log_between(0.5, 2 * math.pi)
    azimuth, elevation = draw.between(0, 2 * math.pi), math.radians(draw.between(-12, 50))
    tangent = math.tan(math.radians(draw.between(10, 35)))
    tilt = min(spread, 1.2)
    rows = []
    for _ in range(views):
        up = min(max(elevation + tilt * draw.between(-0.5, 0.5), math.radians(-35)), math.radians(80))
        fill = draw.between(*FILL)
        # the more room there is, the farther the object may be from the middle
        room = 0.8 * (1 - fill)
        rows.append(
            [
                azimuth + spread * draw.between(-0.5, 0.5),
                up,
                math.radians(draw.between(-6, 6)),
                tangent * draw.log_between(0.8, 1.25),
                fill,
                room * draw.between(-1, 1),
                room * draw.between(-1, 1),
                0.0,
            ]
        )
    return rows


def _sphere(draw: Draw, views: int) -> list[list[float]]:
    """Views uniformly distributed on a sphere, upright and centred."""
    tangent, fill = math.tan(math.radians(draw.between(10, 37))), draw.between(0.8, 0.95)
    return [
        [draw.between(0, 2 * math.pi), math.asin(draw.between(-0.9999, 0.9999)), 0.0, tangent, fill, 0.0, 0.0, 1.0]
        for _ in range(views)
    ]
