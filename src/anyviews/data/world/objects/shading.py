"""Radiance of surfaces under image-based light, with shadows found in the distance grid.

Specular light is the split sum (B. Karis, "Real shading in Unreal Engine 4", 2013) along the dominant direction of the
lobe (S. Lagarde and C. de Rousiers, "Moving Frostbite to PBR", 2014). Diffuse light is the exact convolution, reduced
by the part of a few wide cones that the object itself covers; the brightest spots of the environment cast shadows of
their own. Where nothing is covered and light is constant, both are exact.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from ....rendering.shading.ggx import (
    DIELECTRIC_REFLECTANCE,
    dominant_directions,
    environment_reflectance,
    tangents,
)
from ....rendering.shading.light import Light, look_up
from .grid import CELL, Grid


# Cones that sample the hemisphere: cosine with the normal, and azimuth.
CONE_COSINE = 0.55
CONES = ((1.0, 0.0), *((CONE_COSINE, 2 * math.pi * k / 5) for k in range(5)))
CONE_STEPS = (1.6, 3.2, 6.0, 11.0, 19.0)  # in cells
SHADOW_STEPS = 12
KEY_SINE = 0.06
# of the light that the object itself blocks, about what its own surface sends instead
INTERREFLECTION = 0.75


def shade(
    light: Light,
    grid: Grid,
    points: Float[Tensor, "scenes points 3"],
    normals: Float[Tensor, "scenes points 3"],
    to_camera: Float[Tensor, "scenes points 3"],
    materials: Float[Tensor, "scenes points 5"],
) -> Float[Tensor, "scenes points 3"]:
    """Outgoing radiance of surface points.

    Args:
        light: of each scene.
        grid: distance to each object, which tells what is covered.
        points: in units of the object.
        normals: unit.
        to_camera: unit.
        materials: linear base colour, roughness, metallic.
    """
    base, roughness, metallic = materials[..., :3], materials[..., 3], materials[..., 4:]
    n_v = (normals * to_camera).sum(-1).clamp(1e-3, 1)
    scale, bias, loss = environment_reflectance(roughness, n_v)

    start = points + normals * CELL
    diffuse = base * (1 - metallic)
    open_light, seen = diffuse_light(light, grid, start, normals)
    # what covers a point is lit too: it sends back about its own share of the light
    between = INTERREFLECTION * diffuse.mean(-1, keepdim=True)
    received = torch.lerp(seen, open_light, between)
    transmitted = (1 - DIELECTRIC_REFLECTANCE) * (1 - loss)

    dominant = dominant_directions(normals, to_camera, n_v, roughness)
    reflected = light.reflected(dominant, roughness)
    aperture = (roughness.square() * 0.9 + 0.05).clamp(max=0.6)
    open_part = cone_visibility(grid, start, dominant, torch.minimum(aperture, 0.9 * (dominant * normals).sum(-1)))
    own = base.mean(-1, keepdim=True) * open_light * 0.5
    reflected = torch.lerp(own, reflected, open_part[..., None])
    reflectance = torch.lerp(torch.full_like(base, DIELECTRIC_REFLECTANCE), base, metallic)
    specular = (reflectance * scale[..., None] + bias[..., None]) * reflected
    return diffuse * received * transmitted[..., None] + specular


def diffuse_light(
    light: Light, grid: Grid, start: Float[Tensor, "scenes points 3"], normals: Float[Tensor, "scenes points 3"]
) -> tuple[Float[Tensor, "scenes points 3"], Float[Tensor, "scenes points 3"]]:
    """Irradiance over pi without and with what the object covers.

    Args:
        light: of each scene.
        grid: distance to each object.
        start: points a little above the surface.
        normals: unit.
    """
    first, second = tangents(normals)
    total = covered = 0
    for cosine, azimuth in CONES:
        sine = math.sqrt(1 - cosine * cosine)
        sideways = sine * (math.cos(azimuth) * first + math.sin(azimuth) * second)
        direction = cosine * normals + sideways
        sent = look_up(light.broad, direction) * cosine
        total = total + sent
        covered = covered + sent * cone_visibility(grid, start, direction, 0.9 * CONE_COSINE)[..., None]
    rest = light.irradiance(normals)
    seen = rest * covered / total.clamp(min=1e-6)
    for index in range(light.key_directions.shape[1]):
        direction = light.key_directions[:, index, None].expand_as(normals)
        facing = (direction * normals).sum(-1, keepdim=True).clamp(min=0)
        direct = light.key_irradiance[:, index, None] * facing
        rest = rest + direct
        seen = seen + direct * shadow(grid, start, direction)[..., None]
    return rest, seen


def cone_visibility(
    grid: Grid,
    start: Float[Tensor, "scenes points 3"],
    directions: Float[Tensor, "scenes points 3"],
    sine: Float[Tensor, "scenes points"] | float,
) -> Float[Tensor, "scenes points"]:
    """About the part of a cone that nothing covers: the least distance over the radius of the cone along its axis."""
    least = torch.ones_like(start[..., 0])
    for step in CONE_STEPS:
        reach = step * CELL
        distance = grid.look_up(torch.add(start, directions, alpha=reach))
        # `start` is a cell above the surface, which a plane keeps along the cone
        least = torch.minimum(least, (distance / reach / sine).clamp_(min=0))
    return least


def shadow(
    grid: Grid, start: Float[Tensor, "scenes points 3"], directions: Float[Tensor, "scenes points 3"]
) -> Float[Tensor, "scenes points"]:
    """Soft shadow of a small light: sphere tracing towards it."""
    least = torch.ones_like(start[..., 0])
    reach = torch.full_like(least, 0.5 * CELL)
    for _ in range(SHADOW_STEPS):
        distance = grid.look_up(torch.addcmul(start, directions, reach[..., None]))
        least = torch.minimum(least, ((distance + 0.15 * CELL) / (reach * KEY_SINE + 0.3 * CELL)).clamp_(min=0))
        reach = reach + distance.clamp(0.8 * CELL, 0.4)
    return least
