"""Radiance of surfaces under an environment: by samples, exact in the limit, or by prefiltered light, fast.

Neither finds what stands between a surface and the light: no shadows and no light from one surface to another.
"""

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ...color import linear_from_srgb
from ...environment import Environment
from .environment_samples import STEP, STEPS, EnvironmentSampler
from .ggx import (
    DIELECTRIC_REFLECTANCE,
    dominant_directions,
    environment_reflectance,
    gltf_brdf,
    tangents,
)
from .light import Light
from .materials import SurfaceMaterials


# Pixels times samples that are shaded at once, to stay in the cache of a CPU.
CPU_BLOCK, ACCELERATOR_BLOCK = 1 << 17, 1 << 22
# Sets of directions that are drawn from an environment for points to choose from.
OFFSETS = 256
# Interpolated normals may turn away from the camera; they are bent back to this cosine.
LEAST_COSINE = 0.02
# Lobes of smoother surfaces are lost in the rounding of 32 bits; this one is narrower than a pixel of environments.
LEAST_ROUGHNESS = 0.07
# Rows of the environments that are blurred for the fast way.
PREFILTERED_HEIGHT = 128


def shade(
    materials: SurfaceMaterials,
    to_camera: Float[Tensor, "points 3"],
    environment: Environment,
    samples: int = 64,
    seed: int = 0,
) -> Float[Tensor, "points 3"]:
    """Outgoing linear radiance of points under an environment that nothing hides, by multiple importance sampling.

    Half of the directions are drawn from the environment, others for each point; a quarter each from the cosine and
    from the visible GGX normals (E. Heitz, "Sampling the GGX distribution of visible normals", 2018), weighted by
    the power heuristic (E. Veach and L. Guibas, 1995). The result is the same in every run and tends to the integral
    of the material of glTF 2.0 (appendix B) as samples grow.

    Args:
        materials: with normals.
        to_camera: [N, 3], unit, in the world frame.
        environment: the light.
        samples: directions per point, at least 4.
        seed: of the directions.

    Raises:
        ValueError: if the materials have no normals, or samples are too few.
    """
    if samples < 4:
        raise ValueError(f"samples is {samples}; accepted are 4 and more")
    normals = _facing_normals(materials, to_camera)
    generator = torch.Generator().manual_seed(seed)
    sampler = EnvironmentSampler(environment)
    counts = samples - 2 * (samples // 4), samples // 4, samples // 4
    ends = (0, counts[0], counts[0] + counts[1], samples)
    spans = [slice(first, last) for first, last in pairwise(ends)]
    table = sampler.draw(counts[0] * OFFSETS, generator).to(normals)
    table_light, table_density = environment.look_up(table), sampler.densities(table)
    turns = torch.rand(len(normals), 2, generator=generator).to(normals)
    # every point has one direction in each part of the light, and neighbours have others
    steps = torch.arange(counts[0], device=normals.device) * OFFSETS
    offsets = ((torch.arange(len(normals), dtype=torch.float64) * STEP % 1) * OFFSETS).long().to(normals.device)
    block = CPU_BLOCK if normals.device.type == "cpu" else ACCELERATOR_BLOCK
    radiance = torch.empty_like(normals)
    for part in torch.arange(len(normals), device=normals.device).split(max(1, block // samples)):
        surface, roughness = materials[part], materials.roughness[part].clamp(min=LEAST_ROUGHNESS)
        local = _Local(normals[part], to_camera[part], roughness)
        cosine, glossy = _spread(counts[1], turns[part]), _spread(counts[2], turns[part] + 0.5)
        own = torch.cat([local.cosine_directions(cosine), local.glossy_directions(glossy)], dim=1)
        given = offsets[part, None] + steps
        directions = torch.cat([table[given], own], dim=1)  # [part, samples, 3]
        # expected numbers of directions per solid angle, of the three ways to draw them
        densities = torch.stack(
            [
                torch.cat([table_density[given], sampler.densities(own)], dim=1) * counts[0],
                local.cosine_densities(directions) * counts[1],
                local.glossy_densities(directions) * counts[2],
            ]
        )
        chosen = torch.cat([densities[way, :, span] for way, span in enumerate(spans)], dim=1)
        weights = chosen / densities.square().sum(0).clamp(min=1e-20)
        light = torch.cat([table_light[given], environment.look_up(own)], dim=1)
        reflected = gltf_brdf(
            linear_from_srgb(surface.base_colors)[:, None].expand_as(directions),
            roughness[:, None].expand(-1, samples, -1),
            surface.metallic[:, None].expand(-1, samples, -1),
            normals[part][:, None].expand_as(directions),
            to_camera[part][:, None].expand_as(directions),
            directions,
        )
        facing = (normals[part][:, None] * directions).sum(-1).clamp(min=0)
        radiance[part] = (reflected * light * (facing * weights)[..., None]).sum(1)
    return radiance


def prefiltered_light(environment: Environment) -> Light:
    """An environment made ready for `shade_prefiltered`, reduced where it is larger than 128x256."""
    radiance = environment.validate().radiance[None]
    if environment.height > PREFILTERED_HEIGHT:
        weights = environment.solid_angles()[None, None]
        size = (PREFILTERED_HEIGHT, 2 * PREFILTERED_HEIGHT)
        total = F.interpolate(radiance * weights, size, mode="area")
        radiance = total / F.interpolate(weights.expand_as(radiance[:, :1]), size, mode="area")
    return Light.from_environments(radiance)


def shade_prefiltered(
    materials: SurfaceMaterials, to_camera: Float[Tensor, "points 3"], light: Light
) -> Float[Tensor, "points 3"]:
    """About what `shade` gives, without noise and many times faster: the split sum (B. Karis, 2013).

    Diffuse light is the exact convolution; lobes of specular light are taken to be round, which shows where rough
    surfaces are seen at a slant.

    Args:
        materials: with normals.
        to_camera: [N, 3], unit, in the world frame.
        light: of `prefiltered_light`.

    Raises:
        ValueError: if the materials have no normals.
    """
    normals = _facing_normals(materials, to_camera)
    base, roughness = linear_from_srgb(materials.base_colors), materials.roughness[:, 0]
    cosine = (normals * to_camera).sum(-1)
    scale, bias, loss = (values[0][:, None] for values in environment_reflectance(roughness[None], cosine[None]))
    received = light.irradiance(normals[None])[0]
    for direction, power in zip(light.key_directions[0], light.key_irradiance[0], strict=True):
        received = received + (normals @ direction).clamp(min=0)[:, None] * power
    dominant = dominant_directions(normals, to_camera, cosine, roughness)
    reflectance = torch.lerp(torch.full_like(base, DIELECTRIC_REFLECTANCE), base, materials.metallic)
    specular = (reflectance * scale + bias) * light.reflected(dominant[None], roughness[None])[0]
    transmitted = (1 - DIELECTRIC_REFLECTANCE) * (1 - loss)
    return base * (1 - materials.metallic) * received * transmitted + specular


def _facing_normals(materials: SurfaceMaterials, to_camera: Tensor) -> Tensor:
    """Normals, bent where they turn away from the camera."""
    if materials.normals is None:
        raise ValueError("the materials have no normals; give SurfaceMaterials with normals [N, 3]")
    cosine = (materials.normals * to_camera).sum(-1, keepdim=True)
    return F.normalize(materials.normals + to_camera * (LEAST_COSINE - cosine).clamp(min=0), dim=-1)


def _spread(count: int, turns: Float[Tensor, "points 2"]) -> Float[Tensor, "points samples 2"]:
    """Evenly spread points of the unit square, shifted for each point."""
    index = torch.arange(count, dtype=torch.float64)[:, None]
    base = (index * torch.tensor(STEPS, dtype=torch.float64)) % 1
    return (base.to(turns) + turns[:, None]) % 1


class _Local:
    """Directions drawn around the normals of points, and their densities per solid angle."""

    def __init__(self, normals: Tensor, to_camera: Tensor, roughness: Tensor):
        first, second = tangents(normals)
        self.axes = torch.stack([first, second, normals], dim=-1)  # [N, 3, 3]
        self.view = (to_camera[:, None] @ self.axes)[:, 0]
        self.alpha = roughness.square()

    def cosine_directions(self, uniform: Float[Tensor, "points samples 2"]) -> Tensor:
        """In proportion to the cosine with the normal."""
        radius, angle = uniform[..., 0].sqrt(), uniform[..., 1] * (2 * math.pi)
        local = torch.stack([radius * angle.cos(), radius * angle.sin(), (1 - uniform[..., 0]).sqrt()], dim=-1)
        return local @ self.axes.mT

    def cosine_densities(self, directions: Tensor) -> Tensor:
        return (directions @ self.axes[..., 2:])[..., 0].clamp(min=0) / math.pi

    def glossy_directions(self, uniform: Float[Tensor, "points samples 2"]) -> Tensor:
        """Mirrored at GGX normals in proportion to how much of them is seen (Heitz 2018, listing 1)."""
        stretched = F.normalize(torch.cat([self.alpha * self.view[:, :2], self.view[:, 2:]], dim=-1), dim=-1)
        first, second = tangents(stretched)
        radius, angle = uniform[..., 0].sqrt(), uniform[..., 1] * (2 * math.pi)
        x, y = radius * angle.cos(), radius * angle.sin()
        # the half of the disc that lies behind the horizon is pressed into the part that is seen
        axis = F.normalize(torch.stack([-stretched[:, 1], stretched[:, 0], torch.zeros_like(x[:, 0])], dim=-1), dim=-1)
        upright = axis.norm(dim=-1, keepdim=True) < 0.5
        axis = torch.where(upright, first, axis)
        other = torch.where(upright, second, torch.linalg.cross(stretched, axis, dim=-1))
        seen = 0.5 * (1 + stretched[:, 2:])
        y = torch.lerp((1 - x * x).clamp(min=0).sqrt(), y, seen)
        z = (1 - x * x - y * y).clamp(min=0).sqrt()
        half = x[..., None] * axis[:, None] + y[..., None] * other[:, None] + z[..., None] * stretched[:, None]
        half = F.normalize(torch.cat([self.alpha[:, None] * half[..., :2], half[..., 2:].clamp(min=1e-6)], -1), dim=-1)
        view = self.view[:, None]
        local = 2 * (view * half).sum(-1, keepdim=True) * half - view
        return local @ self.axes.mT

    def glossy_densities(self, directions: Tensor) -> Tensor:
        local = directions @ self.axes
        half = F.normalize(local + self.view[:, None], dim=-1)
        squared, n_v, n_h = self.alpha.square(), self.view[:, 2:], half[..., 2].clamp(min=0)
        distribution = squared / (math.pi * (n_h * n_h * (squared - 1) + 1).square())
        # Smith's masking, G1 * D * v.h / (n.v * 4 v.h): v.h cancels
        masked = 2 / (n_v + (squared + (1 - squared) * n_v * n_v).sqrt())
        return torch.where(local[..., 2] > 0, masked * distribution / 4, 0)
