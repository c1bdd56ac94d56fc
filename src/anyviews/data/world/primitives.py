"""Analytic intersections of camera rays with a box room, boxes, ellipsoids and cylinders.

Rays are origin + depth * direction where the direction has z = 1 in the camera, so that the ray parameter is the
z-depth. A solid is the unit cube, sphere or cylinder under an affine map, which leaves the ray parameter as it is.
Masks are floats: selecting with arithmetic is several times faster than torch.where on a CPU.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


NO_HIT = 1e6
NEAR = 1e-3
# keeps divisions finite for rays that are exactly parallel to a face
TINY = 1e-9

ROOM_SURFACES = 6


@dataclass(frozen=True)
class Solids:
    """Boxes, then ellipsoids, then upright cylinders, each in its own rotated and scaled frame.

    Args:
        centers: [B, N, 3].
        rotations: [B, N, 3, 3], columns are the axes of the solid in the world.
        sizes: [B, N, 3], half extents along these axes.
        counts: how many of the N are boxes, ellipsoids and cylinders.
    """

    centers: Float[Tensor, "scenes solids 3"]
    rotations: Float[Tensor, "scenes solids 3 3"]
    sizes: Float[Tensor, "scenes solids 3"]
    counts: tuple[int, int, int]

    @property
    def world_to_unit(self) -> Float[Tensor, "scenes solids 3 3"]:
        """Linear maps that take each solid to its unit shape."""
        return self.rotations.mT / self.sizes[..., None]

    def clearance(self, points: Float[Tensor, "scenes points 3"]) -> Float[Tensor, "scenes points solids"]:
        """Distance (a lower bound, negative inside) of points [B, N, 3] to the bounding box of each solid."""
        offsets = points[:, :, None] - self.centers[:, None]
        local = multiply(self.rotations.mT[:, None], offsets[..., None])[..., 0]
        return (local.abs() - self.sizes[:, None]).amax(-1)


def multiply(a: Float[Tensor, "*#batch rows inner"], b: Float[Tensor, "*#batch inner columns"]) -> Tensor:
    """Product of small matrices in full precision, which matmul gives up under TF32 and autocast."""
    return (a[..., :, :, None] * b[..., None, :, :]).sum(-2)


def less(a: Tensor, b: Tensor | float) -> Tensor:
    """1.0 where a < b, else 0.0."""
    return torch.lt(a, b, out=torch.empty_like(a))


def intersect(
    solids: Solids,
    room: Float[Tensor, "scenes 3"],
    centers: Float[Tensor, "scenes views 3"],
    rotations: Float[Tensor, "scenes views 3 3"],
    directions: Float[Tensor, "scenes 2 pixels"],
) -> tuple[Float[Tensor, "scenes views pixels"], Float[Tensor, "scenes views pixels"]]:
    """The nearest surface along each ray.

    Args:
        solids: the solids of each scene.
        room: half extents of the box room around the origin.
        centers: camera centres.
        rotations: camera-to-world rotations.
        directions: x and y of the camera-frame ray directions, whose z is 1.

    Returns:
        z-depth (NO_HIT where nothing was hit) and the index of the surface as a float. Surfaces are numbered: six
        faces of the room, three axes of each box, ellipsoids, side and caps of each cylinder.
    """
    depth, surface = room_hit(room, centers, rotations, directions)
    to_unit = solids.world_to_unit[:, :, None]
    local_rotations = multiply(to_unit, rotations[:, None])
    local_origins = multiply(to_unit, (centers[:, None] - solids.centers[:, :, None])[..., None])[..., 0]
    boxes, ellipsoids, _ = solids.counts
    first = ROOM_SURFACES
    for index in range(sum(solids.counts)):
        ray = local_ray(local_origins[:, index], local_rotations[:, index], directions)
        if index < boxes:
            hit_depth, face = box_hit(*ray)
            taken = 3
        elif index < boxes + ellipsoids:
            hit_depth, face = ellipsoid_hit(*ray)
            taken = 1
        else:
            hit_depth, face = cylinder_hit(*ray)
            taken = 2
        closer = less(hit_depth, depth)
        surface = torch.lerp(surface, face + first, closer)
        depth = torch.minimum(depth, hit_depth)
        first += taken
    return depth, surface


def local_ray(
    origins: Float[Tensor, "scenes views 3"],
    rotations: Float[Tensor, "scenes views 3 3"],
    directions: Float[Tensor, "scenes 2 pixels"],
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Per axis, origins [B, V, 1] and directions [B, V, P] of the rays in a solid's frame."""
    x, y = directions[:, None, 0], directions[:, None, 1]
    rotations = rotations[..., None]
    along = tuple(
        torch.addcmul(torch.addcmul(rotations[:, :, k, 2], rotations[:, :, k, 1], y), rotations[:, :, k, 0], x)
        for k in range(3)
    )
    return origins[..., None].unbind(2), along


def slab(origin: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    """Depths where rays enter and leave the slab between -1 and 1."""
    inverse = (direction + TINY).reciprocal_()
    middle = inverse * -origin
    half = inverse.abs_()
    return middle - half, middle.add_(half)


def room_hit(
    room: Float[Tensor, "scenes 3"],
    centers: Float[Tensor, "scenes views 3"],
    rotations: Float[Tensor, "scenes views 3 3"],
    directions: Float[Tensor, "scenes 2 pixels"],
) -> tuple[Tensor, Tensor]:
    """Depth and face (2 * axis + whether it is the positive one) where rays that start inside leave the room."""
    origins, along = local_ray(centers / room[:, None], rotations / room[:, None, :, None], directions)
    x, y, z = (slab(origin, direction)[1] for origin, direction in zip(origins, along, strict=True))
    depth = torch.minimum(torch.minimum(x, y), z)
    not_x, not_y = less(depth, x), less(depth, y)
    axis = not_x * (not_y + 1)
    negative = [less(direction, 0.0) for direction in along]
    sign = torch.lerp(negative[0], torch.lerp(negative[1], negative[2], not_y), not_x)
    return depth, axis * 2 + 1 - sign


def accept(enter: Tensor, leave: Tensor) -> Tensor:
    """The entering depth where a ray enters before it leaves, in front of the camera; NO_HIT elsewhere."""
    missed = torch.maximum(less(leave, enter), less(enter, NEAR))
    return torch.maximum(enter, missed.mul_(NO_HIT))


def box_hit(origins: tuple[Tensor, ...], along: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    """Depth where rays enter the unit cube, and the axis of the face."""
    (x, x_out), (y, y_out), (z, z_out) = (slab(o, d) for o, d in zip(origins, along, strict=True))
    enter = torch.maximum(torch.maximum(x, y), z)
    leave = torch.minimum(torch.minimum(x_out, y_out), z_out)
    return accept(enter, leave), less(x, enter) * (less(y, enter) + 1)


def quadratic(a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Roots of a t^2 + 2 b t + c, swapped (enter after leave) where there are none."""
    discriminant = b * b - a * c
    inverse = (a + TINY).reciprocal_()
    root = discriminant.abs().sqrt_().mul_(inverse)
    # a negative sign swaps the roots, so that a ray that misses leaves before it enters
    root = torch.copysign(root, discriminant)
    middle = inverse * -b
    return middle - root, middle + root


def ellipsoid_hit(origins: tuple[Tensor, ...], along: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    """Depth where rays enter the unit sphere; it has one surface."""
    a = along[0] * along[0] + along[1] * along[1] + along[2] * along[2]
    b = origins[0] * along[0] + origins[1] * along[1] + origins[2] * along[2]
    c = origins[0] ** 2 + origins[1] ** 2 + origins[2] ** 2 - 1
    return accept(*quadratic(a, b, c)), a.new_zeros(())


def cylinder_hit(origins: tuple[Tensor, ...], along: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    """Depth where rays enter the unit cylinder along y, and 0 for its side or 1 for a cap."""
    a = along[0] * along[0] + along[2] * along[2]
    b = origins[0] * along[0] + origins[2] * along[2]
    c = origins[0] ** 2 + origins[2] ** 2 - 1
    side, side_out = quadratic(a, b, c)
    cap, cap_out = slab(origins[1], along[1])
    enter, leave = torch.maximum(side, cap), torch.minimum(side_out, cap_out)
    return accept(enter, leave), less(side, cap)
