"""Signed distance of objects: the exact field that surfaces, normals and grids are taken from.

Distances to outlines, extrusions and revolutions, rounding, shells, elongation and repetition follow J. Hart, "Sphere
tracing", 1996, and the polynomial smooth minimum of I. Quilez. Tensors are [B, P]: scenes and points.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from .parts import Parts, Slot


# differences of single precision are best over about this length
NORMAL_STEP = 6e-4

Coordinates = tuple[Tensor, Tensor, Tensor]


def distance(
    parts: Parts, points: Float[Tensor, "scenes points 3"], owners: bool = False
) -> tuple[Float[Tensor, "scenes points"], Float[Tensor, "scenes points"] | None]:
    """Signed distance to the surface (a lower bound away from it), and the part that makes the surface there.

    Args:
        parts: the objects.
        points: in the coordinates of the objects.
        owners: whether to tell the index of the part as a float; else None is returned for it.
    """
    x, y, z = ((points[..., k] * parts.radii).add_(parts.centers[:, k, None]) for k in range(3))
    total = torch.full_like(x, 1e3)
    owner = torch.zeros_like(x) if owners else None
    for index, slot in enumerate(parts.slots):
        part = part_distance(slot, x, y, z).mul_(slot.values["sign_part"])
        total = total.mul_(slot.values["sign_all"])
        if owner is not None:
            owner = torch.where(part < total, float(index), owner)
        total = smooth_minimum(total, part, slot.values["blend"]).mul_(slot.values["sign_all"])
    return total.div_(parts.radii), owner


def smooth_minimum(first: Tensor, second: Tensor, blend: Tensor) -> Tensor:
    """The smaller of two distances, less where they are within `blend` of each other."""
    overlap = (first - second).abs_().neg_().add_(blend).clamp_(min=0)
    return torch.minimum(first, second).sub_(overlap.mul_(overlap).mul_(0.25 / blend))


def normals(parts: Parts, points: Float[Tensor, "scenes points 3"]) -> Float[Tensor, "scenes points 3"]:
    """Unit gradients of the distance, by central differences."""
    offsets = NORMAL_STEP * torch.eye(3, device=points.device)
    offsets = torch.cat([offsets, -offsets])
    # all six in one evaluation, which costs less than six
    samples = (points[:, None] + offsets[:, None]).flatten(1, 2)
    high, low = distance(parts, samples)[0].unflatten(1, (2, 3, -1)).unbind(1)
    return torch.nn.functional.normalize((high - low).mT, dim=-1)


def part_distance(slot: Slot, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Distance to the parts of one slot in their own unit."""
    values, features = slot.values, slot.features
    x, y, z = _placed(slot, *_folded(slot, x, y, z))
    if "ripple" in features:
        waves = torch.sin(x * values["waves_x"]) * torch.cos(y * values["waves_y"]) * torch.cos(z * values["waves_z"])
    if "elongate" in features:
        x, y, z = (
            value - torch.maximum(torch.minimum(value, values[f"elongation_{axis}"]), -values[f"elongation_{axis}"])
            for axis, value in (("x", x), ("y", y), ("z", z))
        )
    if "outline" in features:
        result = _outlined(slot, x, y, z)
    if "ellipsoid" in features:
        ellipsoid = _superellipsoid(slot, x, y, z)
        result = torch.where(values["is_ellipsoid"] > 0, ellipsoid, result) if "outline" in features else ellipsoid
    result = result - values["rounding"]
    if "shell" in features:
        result = torch.where(values["shell"] > 0, result.abs() - values["shell"], result)
    if "ripple" in features:
        # waves make the field steeper than a distance
        steepness = values["ripple"] * torch.maximum(
            torch.maximum(values["waves_x"], values["waves_y"]), values["waves_z"]
        )
        result = result.addcmul_(waves, values["ripple"]).div_(1 + steepness)
    return result


def _folded(slot: Slot, x: Tensor, y: Tensor, z: Tensor) -> Coordinates:
    """Points moved to the copy of a mirrored or repeated part that is described."""
    values, features = slot.values, slot.features
    if "radial" in features:
        sector = 2 * math.pi / values["radial"]
        angle = torch.atan2(z, x)
        angle = angle.sub_((angle / sector).round_().mul_(sector))
        radius = (x * x).addcmul_(z, z).sqrt_()
        chosen = values["radial"] > 1
        x, z = torch.where(chosen, radius * angle.cos(), x), torch.where(chosen, radius * angle.sin(), z)
    if "mirror" in features:
        x = torch.lerp(x, x.abs(), values["mirrored_x"])
        z = torch.lerp(z, z.abs(), values["mirrored_z"])
    return x, y, z


def _placed(slot: Slot, x: Tensor, y: Tensor, z: Tensor) -> Coordinates:
    """Points in the frame of a part, or of the copy of it that is nearest."""
    values, features = slot.values, slot.features
    x, y, z = x - values["center_x"], y - values["center_y"], z - values["center_z"]
    if "rotate" in features:
        rows = [values[f"rotation_{k}"] for k in range(9)]
        x, y, z = ((x * rows[k]).addcmul_(y, rows[3 + k]).addcmul_(z, rows[6 + k]) for k in range(3))
    if "repeat" in features:
        x, y, z = (_repeated(values, axis, value) for axis, value in (("x", x), ("y", y), ("z", z)))
    return x, y, z


def _repeated(values: dict[str, Tensor], axis: str, value: Tensor) -> Tensor:
    spacing, half, last = values[f"spacing_{axis}"], values[f"half_{axis}"], values[f"last_{axis}"]
    copy = (value / spacing).sub_(half).round_().add_(half)
    return value - torch.maximum(torch.minimum(copy, last), -last) * spacing


def _outlined(slot: Slot, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Distance to an outline that is revolved or extruded."""
    values, features = slot.values, slot.features
    across = x
    if "revolve" in features:
        squared_x, squared_z = x * x, z * z
        across = (squared_x + squared_z).sqrt()
        if "square" in features:
            # the fourth and then the eighth power are close to a square with rounded corners
            corner = (squared_x.pow_(4) + squared_z.pow_(4)).pow_(0.125)
            across = torch.lerp(across, corner, values["square"])
        if "extrude" in features:
            across = torch.where(values["revolved"] > 0, across, x)
    flat = outline_distance(slot, across, y)
    if "extrude" not in features:
        return flat
    beyond = z.abs() - values["half_depth"]
    outside = flat.clamp(min=0).square_().add_(beyond.clamp(min=0).square_()).sqrt_()
    solid = outside.add_(torch.maximum(flat, beyond).clamp_(max=0))
    return torch.where(values["revolved"] > 0, flat, solid) if "revolve" in features else solid


def outline_distance(slot: Slot, x: Tensor, y: Tensor) -> Tensor:
    """Signed distance in the plane to the closed outline; inside is where a ray crosses it an odd number of times."""
    squared = torch.full_like(x, 1e6)
    inside = torch.zeros_like(x, dtype=torch.bool)
    closed = len(slot.edges) > 2
    above = y >= slot.edges[0][1] if closed else None
    for index, (start_x, start_y, along_x, along_y, inverse_x, inverse_y) in enumerate(slot.edges):
        to_x, to_y = x - start_x, y - start_y
        along = (to_x * inverse_x).addcmul_(to_y, inverse_y).clamp_(0, 1)
        if closed:
            left = (along_x * to_y).addcmul_(along_y, to_x, value=-1) > 0
            above_next = y >= slot.edges[(index + 1) % len(slot.edges)][1]
            # an edge is crossed by the ray towards +x if the point is level with it and on its left
            inside ^= (above ^ above_next) & ~(left ^ above)
            above = above_next
        to_x.addcmul_(along, along_x, value=-1)
        to_y.addcmul_(along, along_y, value=-1)
        squared = torch.minimum(squared, to_x.mul_(to_x).addcmul_(to_y, to_y), out=squared)
    result = squared.sqrt_()
    return torch.where(inside, -result, result) if closed else result


def _superellipsoid(slot: Slot, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Distance of first order: the level of the surface's norm over the length of its gradient.

    Far from a flat one that is much too small, and the distance to its bounding box is better.
    """
    values = slot.values
    inverse = [1 / values[f"radius_{axis}"] for axis in ("x", "y", "z")]
    scaled = [value * factor for value, factor in zip((x, y, z), inverse, strict=True)]
    result = _norm_distance(scaled, inverse, 1)
    if "square" in slot.features:
        result = torch.lerp(result, _norm_distance(scaled, inverse, 2), values["square"])
    beyond = [value.abs() - values[f"radius_{axis}"] for axis, value in (("x", x), ("y", y), ("z", z))]
    squared = sum(value.clamp(min=0).square_() for value in beyond)
    return torch.maximum(result, torch.where(squared > 0, squared.sqrt(), result))


def _norm_distance(scaled: list[Tensor], inverse: list[Tensor], doublings: int) -> Tensor:
    """(n - 1) / |grad n| of the 2nd or 4th norm n of the scaled coordinates."""
    powers = [value * value for value in scaled]
    lower = list(scaled)
    if doublings == 2:
        lower = [power * value for power, value in zip(powers, scaled, strict=True)]
        powers = [power * power for power in powers]
    order = 2**doublings
    norm = (powers[0] + powers[1] + powers[2]).clamp_(min=1e-12).pow_(1 / order)
    slopes = [(low * factor).square_() for low, factor in zip(lower, inverse, strict=True)]
    gradient = (slopes[0] + slopes[1] + slopes[2]).sqrt_().div_(norm ** (order - 1)).clamp_(min=1e-3)
    return (norm - 1) / gradient
