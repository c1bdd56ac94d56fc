"""View-independent shading: ambient light, two lamps without shadows, and darkening in the corners of a room."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Lights:
    """Light of each scene.

    Args:
        positions: [B, 2, 3], lamps in room units.
        powers: [B, 2].
        reach: [B], distance in room units at which a lamp has half its power.
        ambient: [B].
        tint: [B, 3], colour of all light.
        occlusion: [B], strength of the darkening near the planes of the room.
    """

    positions: Float[Tensor, "scenes 2 3"]
    powers: Float[Tensor, "scenes 2"]
    reach: Float[Tensor, "scenes"]
    ambient: Float[Tensor, "scenes"]
    tint: Float[Tensor, "scenes 3"]
    occlusion: Float[Tensor, "scenes"]


def irradiance(
    lights: Lights,
    points: tuple[Tensor, Tensor, Tensor],
    normals: tuple[Tensor, Tensor, Tensor],
    surface: dict[str, Tensor],
    room: Float[Tensor, "scenes 3"],
) -> Tensor:
    """Light that arrives at surface points, before the tint.

    Args:
        lights: the scenes' lights.
        points: x, y and z in room units, [B, V, P] each.
        normals: unit normals, y down.
        surface: `emission` of each point, and `in_plane`: 1 on faces of the room.
        room: half extents of the room.
    """
    light = (normals[1] * -0.2 + 0.8) * lights.ambient[:, None, None]
    for lamp in range(lights.positions.shape[1]):
        position = lights.positions[:, lamp, :, None, None]
        x, y, z = (position[:, k] - points[k] for k in range(3))
        squared = x * x + y * y + z * z
        cosine = (x * normals[0] + y * normals[1] + z * normals[2]) * squared.rsqrt()
        falloff = (squared / lights.reach[:, None, None] ** 2).add_(1).reciprocal_()
        light += cosine.clamp_(min=0).mul_(falloff) * lights.powers[:, lamp, None, None]
    near_planes = -surface["in_plane"]
    for k in range(3):
        # quickly decaying with the distance to the nearer of two opposite planes
        near_planes = near_planes + ((points[k].abs() - room[:, k, None, None]) * 5).exp_()
    light *= 1 - near_planes.clamp_(0, 1) * lights.occlusion[:, None, None]
    light = light * 1.5 / (light + 0.5)
    return torch.lerp(light, torch.ones_like(light), surface["emission"])


def surface_normals(
    surface: dict[str, Tensor], points: tuple[Tensor, Tensor, Tensor], to_camera: tuple[Tensor, Tensor, Tensor]
) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
    """Unit normals on the camera's side, and their cosine with the direction to the camera (not normalised).

    Args:
        surface: the affine normal of each point, `n<row><column>` symmetric and `n<row>`.
        points: x, y and z in room units.
        to_camera: x, y and z of vectors towards the camera.
    """
    x, y, z = points
    normals = [
        torch.addcmul(surface[f"n{k}"], surface[f"n{a}"], x)
        .addcmul_(surface[f"n{b}"], y)
        .addcmul_(surface[f"n{c}"], z)
        for k, (a, b, c) in enumerate((("00", "01", "02"), ("01", "11", "12"), ("02", "12", "22")))
    ]
    inverse = (normals[0] ** 2 + normals[1] ** 2 + normals[2] ** 2).add_(1e-12).rsqrt_()
    cosine = normals[0] * to_camera[0] + normals[1] * to_camera[1] + normals[2] * to_camera[2]
    inverse = torch.copysign(inverse, cosine)
    return tuple(normal * inverse for normal in normals), cosine * inverse
