"""Nearest surfaces along camera rays, light that gets past solids, and darkening near them."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..primitives import (
    NO_HIT,
    TINY,
    Solids,
    box_hit,
    cylinder_hit,
    ellipsoid_hit,
    less,
    local_ray,
    multiply,
    quadratic,
)
from .scenes import Apartments
from .tiles import Candidates, Frames


Vector = tuple[Tensor, Tensor, Tensor]

# Distance in metres within which a solid darkens what lies next to it.
DARKENING_REACH = 0.3
# of the shortest shadow; keeps the penumbra of touching solids from vanishing
SHARPEST = 2e-3


def groups(apartments: Apartments) -> list[tuple[int, int, object]]:
    """(first solid, end, function) of walls, boxes, ellipsoids and cylinders."""
    boxes, balls, cylinders = apartments.solids.counts
    ends = [apartments.shell, boxes, boxes + balls, boxes + balls + cylinders]
    hits = [box_hit, box_hit, ellipsoid_hit, cylinder_hit]
    return [(a, b, hit) for a, b, hit in zip([0, *ends], ends, hits, strict=False) if b > a]


def camera_frames(solids: Solids, frames: Frames) -> tuple[Float[Tensor, "pairs 3 3"], Float[Tensor, "pairs 3"]]:
    """Rotation and centre of each frame's camera in the unit frame of each of its scene's solids, in a row."""
    to_unit = solids.world_to_unit[frames.scene]
    rotations = multiply(to_unit, frames.rotations[:, None])
    centers = multiply(to_unit, (frames.centers[:, None] - solids.centers[frames.scene])[..., None])[..., 0]
    return rotations.flatten(0, 1), centers.flatten(0, 1)


def nearest(
    apartments: Apartments,
    local: tuple[Tensor, Tensor],
    directions: Float[Tensor, "tiles 2 rays"],
    frame: Int[Tensor, "tiles"],
    seen: Bool[Tensor, "tiles solids"],
    near: Float[Tensor, "tiles solids"],
) -> tuple[Float[Tensor, "tiles rays"], Float[Tensor, "tiles rays"]]:
    """z-depth (NO_HIT where nothing was hit) and surface of the nearest hit of each ray.

    Args:
        apartments: the scenes.
        local: of `camera_frames`.
        directions: x and y of the camera-frame directions, whose z is 1.
        frame: the frame of each tile.
        seen: the solids that each tile's rays can meet.
        near: the least depth of each solid.

    Returns:
        depth, and 3 * solid + part as a float, where the part is the axis of a box's face, 0 for curved surfaces and
        1 for caps.
    """
    depth = torch.full_like(directions[:, 0], NO_HIT)
    surface = torch.zeros_like(depth)
    count = seen.shape[1]
    for start, end, hit in groups(apartments):
        # nothing of what lies behind a wall is looked at
        candidates = Candidates.of(seen[:, start:end] & (near[:, start:end] < depth.amax(1, keepdim=True)))
        order = candidates.order
        some_depth, some_surface, some_directions = depth[order], surface[order], directions[order]
        first = frame[order] * count + start
        for alive, solid in candidates.steps():
            pair = first[:alive] + solid
            ray = local_ray(local[1][pair, None], local[0][pair, None], some_directions[:alive])
            hit_depth, part = hit(*ray)
            hit_depth, best = hit_depth[:, 0], some_depth[:alive]
            part = (part[:, 0] if part.dim() else part) + ((solid + start) * 3)[:, None]
            some_surface[:alive] = torch.lerp(some_surface[:alive], part, less(hit_depth, best))
            best.copy_(torch.minimum(best, hit_depth))
        depth[order], surface[order] = some_depth, some_surface
    return depth, surface


def bounds(points: Vector) -> tuple[Float[Tensor, "tiles 3"], Float[Tensor, "tiles 3"]]:
    """Centre and half extents of the points of each tile."""
    low = torch.stack([p.amin(1) for p in points], dim=-1)
    high = torch.stack([p.amax(1) for p in points], dim=-1)
    return (low + high) / 2, (high - low) / 2


def world_extents(solids: Solids) -> Float[Tensor, "scenes solids 3"]:
    """Half extents of the solids' bounding boxes along the axes of the world."""
    return (solids.rotations.abs() * solids.sizes[..., None, :]).sum(-1)


def darkening(
    apartments: Apartments, scene: Int[Tensor, "tiles"], points: Vector, normals: Vector
) -> Float[Tensor, "tiles rays"]:
    """How much of the light from all sides arrives, from the distance of boxes to a point before the surface.

    At DARKENING_REACH before a free surface no box is nearer than that (as in "Rendering Worlds with Two Triangles",
    Quilez 2008).
    """
    solids = apartments.solids
    boxes = solids.counts[0]
    before = tuple(p + DARKENING_REACH * n for p, n in zip(points, normals, strict=True))
    center, half = bounds(before)
    apart = (center[:, None] - solids.centers[scene, :boxes]).abs() - half[:, None]
    within = (apart < world_extents(solids)[scene, :boxes] + DARKENING_REACH).all(-1)
    # walls, and furniture that also casts shadows: books and the like are too small to matter
    counted = apartments.used & apartments.casts
    counted[:, : apartments.shell] = apartments.used[:, : apartments.shell]
    candidates = Candidates.of(within & counted[scene, :boxes])
    order = candidates.order
    before = tuple(p[order] for p in before)
    free = torch.full_like(before[0], DARKENING_REACH)
    to_local, centers = solids.rotations.mT[scene[order]], solids.centers[scene[order]]
    sizes, row = solids.sizes[scene[order]], torch.arange(len(order), device=scene.device)
    for alive, solid in candidates.steps():
        rotation, size = to_local[row[:alive], solid], sizes[row[:alive], solid]
        offsets = tuple(p[:alive] - centers[row[:alive], solid, k, None] for k, p in enumerate(before))
        outside = [transform(rotation[:, k], offsets).abs_() - size[:, k, None] for k in range(3)]
        inside = torch.maximum(torch.maximum(*outside[:2]), outside[2]).clamp_(max=0)
        squared = sum(component.clamp_(min=0).square_() for component in outside)
        distance = squared.sqrt_().add_(inside)
        some = free[:alive]
        some.copy_(torch.minimum(some, distance))
    near = (free / DARKENING_REACH).clamp_(0, 1).neg_().add_(1)
    result = torch.ones_like(points[0])
    result[order] = 1 - 0.75 * near * near
    return result


def transform(row: Float[Tensor, "tiles 3"], vector: Vector) -> Tensor:
    """One component of a rotated vector."""
    first = vector[0] * row[:, 0, None]
    return first.addcmul_(row[:, 1, None], vector[1]).addcmul_(row[:, 2, None], vector[2])


def unblocked(
    apartments: Apartments,
    scene: Int[Tensor, "tiles"],
    present: Bool[Tensor, "tiles rooms"],
    points: Vector,
    to_lamp: Vector,
    softness: Float[Tensor, "tiles rays"],
) -> Float[Tensor, "tiles rays"]:
    """The part of a lamp's light that furniture lets through to each point.

    Edges of shadows are as soft as the lamp is large: light is blocked in proportion to the way through the solid,
    up to the width of the lamp's cone there.

    Args:
        apartments: the scenes.
        scene: the scene of each tile.
        present: which rooms each tile sees; only their furniture matters.
        points: x, y and z in metres.
        to_lamp: vectors from the points to the lamp.
        softness: width of the lamp over its distance.
    """
    solids, used = apartments.solids, apartments.used & apartments.casts
    lamps = tuple(p + v for p, v in zip(points, to_lamp, strict=True))
    (start, start_half), (end, end_half) = bounds(points), bounds(lamps)
    hull_low = torch.minimum(start - start_half, end - end_half)
    hull_high = torch.maximum(start + start_half, end + end_half)
    centers, extents = solids.centers[scene], world_extents(solids)[scene]
    near = used[scene] & present.gather(1, apartments.rooms[scene])
    near &= ((centers + extents > hull_low[:, None]) & (centers - extents < hull_high[:, None])).all(-1)
    # spheres around solids against the cone from the lamp to the tile
    axis, offset = end - start, centers - start[:, None]
    share = ((offset * axis[:, None]).sum(-1) / axis.square().sum(-1, keepdim=True).clamp(min=1e-6)).clamp(0, 1)
    distance = (offset - share[..., None] * axis[:, None]).norm(dim=-1)
    cone = torch.lerp(start_half.norm(dim=-1, keepdim=True), end_half.norm(dim=-1, keepdim=True), share)
    near &= distance < extents.norm(dim=-1) + cone
    result = torch.ones_like(points[0])
    for first, stop, hit in groups(apartments):
        candidates = Candidates.of(near[:, first:stop])
        order = candidates.order
        light = result[order]
        some_points, some_directions = tuple(p[order] for p in points), tuple(v[order] for v in to_lamp)
        some_softness, some_scene = softness[order], scene[order]
        for alive, solid in candidates.steps():
            where = (some_scene[:alive], solid + first)
            unit = solids.rotations.mT[where] / solids.sizes[where][..., None]
            offsets = tuple(p[:alive] - solids.centers[where][:, k, None] for k, p in enumerate(some_points))
            ray = tuple(transform(unit[:, k], offsets) for k in range(3))
            along = tuple(transform(unit[:, k], tuple(v[:alive] for v in some_directions)) for k in range(3))
            enter, leave, way = crossing(hit, ray, along)
            inside = torch.minimum(leave, torch.ones_like(leave)) - enter.clamp(min=1e-4)
            cone = some_softness[:alive] * enter.clamp_(0, 1) + SHARPEST
            light[:alive] *= 1 - (inside / torch.minimum(cone, way.clamp_(min=1e-6))).clamp_(0, 1)
        result[order] = light
    return result


def crossing(hit: object, origins: Vector, along: Vector) -> tuple[Tensor, Tensor, Tensor]:
    """Where rays enter and leave a unit solid, and the way through its thinnest pair of faces."""
    if hit is ellipsoid_hit:
        a, b = (sum(x * y for x, y in zip(along, v, strict=True)) for v in (along, origins))
        enter, leave = quadratic(a, b, sum(o * o for o in origins) - 1)
        return enter, leave, 2 * (a + TINY).rsqrt_()
    pairs = [slab_ends(o, d) for o, d in zip(origins, along, strict=True)]
    if hit is cylinder_hit:
        a, b = (along[0] * v[0] + along[2] * v[2] for v in (along, origins))
        pairs = [quadratic(a, b, origins[0] ** 2 + origins[2] ** 2 - 1), pairs[1]]
    enter, leave = pairs[0]
    way = leave - enter
    for low, high in pairs[1:]:
        enter, leave, way = torch.maximum(enter, low), torch.minimum(leave, high), torch.minimum(way, high - low)
    return enter, leave, way


def slab_ends(origin: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    """Where rays enter and leave the slab between -1 and 1."""
    inverse = (direction + TINY).reciprocal_()
    middle, half = -origin * inverse, inverse.abs()
    return middle - half, middle + half
