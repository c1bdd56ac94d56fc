"""Volume rendering of LIRM's signed distances along rays (VolSDF, Yariv et al., 2021).

Samples lie at the middles of equal steps inside the box. Signed distances are needed at all of them, everything else
only where a sample is visible: what a ray leaves out weighs less than `SKIPPED_WEIGHT` in total.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from .decoders_lirm import LIRMDecoders, LIRMTables
from .occupancy_lirm import LIRMOccupancy


SKIPPED_WEIGHT = 1e-4

# The object is nowhere outside of the visual hull by more than this, in units of the object frame.
CARVED = 0.04

# Pixels that are less opaque have no depth and no numerical normal.
VALID_OPACITY = 0.98

# Steps of the forward differences that numerical normals are made of.
NORMAL_STEPS = 8 / (2 * math.sqrt(3))


@dataclass(frozen=True)
class LIRMRender:
    """Maps along rays, on white; those that a model does not predict, or that were not asked for, are None.

    Args:
        opacity: [B, R, 1] in [0, 1].
        depth: [B, R, 1] distance along the ray in units of the object frame, 0 where opacity is at most 0.98.
        normals: [B, R, 3], predicted normals as composited on white: neither of unit length nor in [0, 1].
        radiance, base_colors: [B, R, 3] sRGB in [0, 1].
        roughness, metallic: [B, R, 1] in [0, 1].
        numerical_normals: [B, R, 3], unit, of the signed distances; 1 where opacity is at most 0.98.
    """

    opacity: Float[Tensor, "*batch 1"]
    depth: Float[Tensor, "*batch 1"]
    normals: Float[Tensor, "*batch 3"]
    radiance: Float[Tensor, "*batch 3"] | None = None
    base_colors: Float[Tensor, "*batch 3"] | None = None
    roughness: Float[Tensor, "*batch 1"] | None = None
    metallic: Float[Tensor, "*batch 1"] | None = None
    numerical_normals: Float[Tensor, "*batch 3"] | None = None

    def maps(self) -> dict[str, Tensor]:
        """The maps that are there."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class RaySettings:
    """How rays are followed.

    Args:
        samples: steps along the diagonal of the box.
        sharpness: inverse deviation of the density around the surface.
        occupancy: cells to look at; None for all.
        numerical_normals: compute them too.
        skipped_weight: samples that are left out weigh less than this in total, per ray.
        inset: the density is that of a surface so much further inside, in units of the inverse sharpness.
    """

    samples: int
    sharpness: float
    occupancy: LIRMOccupancy | None = None
    numerical_normals: bool = False
    skipped_weight: float = SKIPPED_WEIGHT
    inset: float = 0.0

    def step(self, box_radius: float) -> float:
        """Length of a step."""
        return 2 * math.sqrt(3) * box_radius / self.samples

    def carved_distance(self) -> float:
        """Outside of the visual hull by more than this, samples are not looked at: their density is below 1/400."""
        return 6 / self.sharpness

    def invisible_distance(self, box_radius: float) -> float:
        """Outside of the surface by more than this, samples weigh less than `SKIPPED_WEIGHT` in any total."""
        strongest = self.sharpness * self.step(box_radius) / 2
        return max(math.log(strongest * self.samples / SKIPPED_WEIGHT), 0.0) / self.sharpness


def density(distances: Float[Tensor, "*batch"], sharpness: float) -> Float[Tensor, "*batch"]:
    """Density of signed distances: sharpness times the distribution of a Laplace variable (Eq. 2 and 3 of VolSDF)."""
    return sharpness * (0.5 + 0.5 * distances.sign() * torch.expm1(-sharpness * distances.abs()))


def render_rays(
    decoders: LIRMDecoders,
    tables: LIRMTables,
    origins: Float[Tensor, "rays 3"],
    directions: Float[Tensor, "rays 3"],
    objects: Int[Tensor, "rays"],
    settings: RaySettings,
) -> LIRMRender:
    """Follow rays [N, 3] of objects [N] through the box."""
    radius = decoders.config.box_radius
    step = settings.step(radius)
    places, ray, points = _samples(origins, directions, objects, radius, settings)
    first = decoders.first_distances(tables, points, objects[ray])
    if tables.photos is not None:
        near = (first < CARVED + settings.carved_distance()).nonzero()[:, 0]
        places, ray, points, first = places[near], ray[near], points[near], first[near]
    rows = decoders.corners(points, objects[ray])
    distances = decoders.signed_distances(tables, rows, first)

    shape = len(origins), settings.samples
    thickness = density(distances + settings.inset / settings.sharpness, settings.sharpness) * step
    thickness = thickness.new_zeros(shape).flatten().index_put((places,), thickness).view(shape)
    behind = thickness.cumsum(-1)
    weights = (thickness - behind).exp() * -torch.expm1(-thickness)  # light that arrives, and is stopped here
    opacity = -torch.expm1(-behind[:, -1:])
    weights = weights.flatten()[places]

    seen = (weights.detach() > settings.skipped_weight / settings.samples).nonzero()[:, 0]
    ray, points, rows, weights = ray[seen], points[seen], rows[seen], weights[seen]
    distances = distances[seen]
    values = decoders.appearance(tables, points, directions[ray], objects[ray], rows, distances)
    values["depth"] = ((points - origins[ray]) * directions[ray]).sum(-1, keepdim=True)
    if settings.numerical_normals:
        values["numerical_normals"] = decoders.distance_normals(
            tables, points, objects[ray], distances, NORMAL_STEPS * step
        )
    summed = weights.new_zeros(len(origins), sum(value.shape[-1] for value in values.values()))
    summed = summed.index_add(0, ray, weights[:, None] * torch.cat(list(values.values()), dim=-1))
    maps = dict(zip(values, summed.split([value.shape[-1] for value in values.values()], dim=-1), strict=True))
    return _on_white(maps, opacity)


def ray_chunks(
    origins: Float[Tensor, "batch rays 3"], directions: Float[Tensor, "batch rays 3"], chunk: int | None
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Origins, directions and objects of so many rays at a time, of all objects one after the other."""
    batch, rays = origins.shape[:2]
    objects = torch.arange(batch, device=origins.device).repeat_interleave(rays)
    size = max(1, batch * rays if chunk is None else chunk)
    yield from zip(
        origins.flatten(0, 1).split(size), directions.flatten(0, 1).split(size), objects.split(size), strict=True
    )


def in_batches(parts: list[LIRMRender], batch: int) -> LIRMRender:
    """Maps of chunks of rays, put together and by object again."""
    names = parts[0].maps()
    joined = {name: torch.cat([getattr(part, name) for part in parts]).unflatten(0, (batch, -1)) for name in names}
    return LIRMRender(**joined)


def _samples(
    origins: Tensor, directions: Tensor, objects: Tensor, radius: float, settings: RaySettings
) -> tuple[Tensor, Tensor, Tensor]:
    """Samples in the box and in occupied cells: their places among all steps of all rays, their rays, their points."""
    first, second = (-radius - origins) / directions, (radius - origins) / directions
    near = torch.minimum(first, second).amax(-1, keepdim=True).clamp(min=0)
    far = torch.maximum(first, second).amin(-1, keepdim=True)
    steps = torch.arange(settings.samples, device=origins.device) + 0.5
    along = near + steps * settings.step(radius)
    places = (along < far).flatten().nonzero()[:, 0]
    ray = places // settings.samples
    points = torch.addcmul(origins[ray], directions[ray], along.flatten()[places][:, None])
    if settings.occupancy is None:
        return places, ray, points
    kept = settings.occupancy.holds(points, objects[ray]).nonzero()[:, 0]
    return places[kept], ray[kept], points[kept]


def _on_white(maps: dict[str, Tensor], opacity: Tensor) -> LIRMRender:
    """Composited maps: white where nothing is, depth and numerical normals only where the object is."""
    valid = opacity > VALID_OPACITY
    depth = torch.where(valid, maps.pop("depth") / opacity.clamp(min=VALID_OPACITY), 0.0)
    numerical = maps.pop("numerical_normals", None)
    if numerical is not None:
        numerical = torch.where(valid, F.normalize(numerical, dim=-1), 1.0)
    on_white = {name: value + (1 - opacity) for name, value in maps.items()}
    return LIRMRender(opacity, depth, numerical_normals=numerical, **on_white)
