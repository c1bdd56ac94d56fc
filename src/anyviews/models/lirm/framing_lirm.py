"""Where an object is, from its masks and cameras alone."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ...cameras import Cameras
from ...geometry.rays import camera_rays, pixel_centers
from .processing_lirm import MASK_THRESHOLD, mask_squares


# Cells per side of the grid in which the visual hull is found.
HULL_RESOLUTION = 64
# A first guess of the radius is widened by this, because the object may be deeper than it is wide.
REACH = 1.6
# A hull whose radius is more than this times what the object spans across the photos is deep for want of photos from
# other sides; the object is then taken to be as deep as it is wide.
DEEP = 1.25
# Viewing directions whose mean has this length or more come from one side: the object's depth is a guess.
ONE_SIDED = 0.9


@dataclass(frozen=True)
class ObjectBounds:
    """A sphere around an object.

    Args:
        center: [3], in the world.
        radius: in world units.
        one_sided: whether the photos were taken from so few directions that the extent along them is a guess.
    """

    center: Float[Tensor, "3"]
    radius: float
    one_sided: bool = False


def find_object(masks: Float[Tensor, "views 1 height width"], cameras: Cameras) -> ObjectBounds:
    """The sphere around the visual hull: around all points that no mask rules out.

    Args:
        masks: 1 on the object; two or more.
        cameras: of the masks' pixels.

    Raises:
        ValueError: if there is one photo only, or no point lies in all masks.
    """
    if len(masks) < 2:
        raise ValueError(
            "one photo does not tell how far away the object is; give two or more, or its center and radius"
        )
    squares = mask_squares(masks)
    middles = squares[:, None, :2] + squares[:, None, 2:] / 2
    origins, directions = (part[:, 0] for part in camera_rays(cameras, middles))
    center = nearest_to_rays(origins, directions)
    depth = ((center - cameras.centers) * cameras.rotation[..., 2]).sum(-1)
    if (depth <= 0).any():
        behind = int((depth <= 0).nonzero()[0])
        raise ValueError(
            f"the middles of the masks meet behind camera {behind}: masks and cameras do not belong together, or the "
            "poses are mirrored or in another convention (accepted are OpenCV axes, camera to world)"
        )
    focal = cameras.intrinsics[:, [0, 1], [0, 1]].mean(-1)
    radius = float((squares[:, 2] / 2 / focal * depth).max())
    middle, across, radius = center, radius, radius * REACH
    one_sided = bool(directions.mean(0).norm() >= ONE_SIDED)
    for _ in range(2):  # the second time in a box that fits
        points = center + radius * _grid(center)
        inside = in_all_masks(points, masks, cameras)
        if not inside.any():
            raise ValueError(
                "no point lies in all masks: masks and cameras do not belong together, or the poses are mirrored or "
                "in another convention (accepted are OpenCV axes, camera to world)"
            )
        hull = points[inside]
        cell = 2 * radius / HULL_RESOLUTION
        center = (hull.amin(0) + hull.amax(0)) / 2
        radius = float((hull - center).norm(dim=-1).max()) + cell
    if radius > DEEP * across:
        center, radius = middle, DEEP * across
    return ObjectBounds(center, radius, one_sided)


def nearest_to_rays(origins: Float[Tensor, "rays 3"], directions: Float[Tensor, "rays 3"]) -> Float[Tensor, "3"]:
    """The point with the least sum of squared distances to lines.

    Args:
        origins: points on the lines.
        directions: unit.
    """
    across = torch.eye(3).to(directions) - directions[:, :, None] * directions[:, None, :]
    # parallel lines leave the place along them open: the least-squares solution of least norm, seen from their middle
    middle = origins.mean(0)
    right = (across @ (origins - middle)[..., None]).sum(0)
    return middle + torch.linalg.lstsq(across.sum(0), right, driver="gelsd").solution[:, 0]


def in_all_masks(
    points: Float[Tensor, "points 3"], masks: Float[Tensor, "views 1 height width"], cameras: Cameras
) -> Bool[Tensor, "points"]:
    """Points that every photo that sees them shows on the object; at least one must see them."""
    pixels, depth = cameras.project(points.expand(len(masks), -1, 3))
    height, width = masks.shape[-2:]
    column, row = pixels.floor().long().unbind(-1)
    seen = (depth > 0) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
    place = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
    covered = (masks.flatten(1) > MASK_THRESHOLD).gather(1, place)
    return (covered | ~seen).all(0) & seen.any(0)


def _grid(like: Tensor) -> Float[Tensor, "cells 3"]:
    """Cell middles of the cube [-1, 1]^3."""
    unit = (pixel_centers(HULL_RESOLUTION, 1, like.device, like.dtype)[:, 0, 1] / HULL_RESOLUTION) * 2 - 1
    return torch.stack(torch.meshgrid(unit, unit, unit, indexing="ij"), dim=-1).flatten(0, 2)
