"""Maps that belong to a photo but were stored in other pixels: looked up where the photo's pixels see them."""

from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from ...geometry.rays import pixel_centers
from ...views import Views


# Pixels on the border of two samples go to the second one, whatever the rounding.
TIE = 1e-6

Projection = Callable[[Float[Tensor, "points 2"]], Float[Tensor, "points 2"]]


def pinhole(intrinsics: Float[Tensor, "3 3"]) -> Projection:
    """From (x / z, y / z) in the camera to pixels of an ideal camera."""
    return lambda points: points @ intrinsics[:2, :2].mT.to(points) + intrinsics[:2, 2].to(points)


def fisheye(intrinsics: Float[Tensor, "3 3"], coefficients: tuple[float, float, float, float]) -> Projection:
    """From (x / z, y / z) in the camera to pixels of a fisheye camera, COLMAP's OPENCV_FISHEYE.

    Source: OpenCV, "Fisheye camera model"; coefficients are k1 to k4.
    """

    def project(points: Float[Tensor, "points 2"]) -> Float[Tensor, "points 2"]:
        radius = points.norm(dim=-1, keepdim=True).clamp(min=1e-12)
        angle = radius.atan()
        bent = angle * (1 + sum(k * angle ** (2 * i + 2) for i, k in enumerate(coefficients)))
        return pinhole(intrinsics)(points * bent / radius)

    return project


def with_depth(views: Views, depth: Float[Tensor, "1 height width"], projection: Projection) -> Views:
    """One view with the depth of another picture from the same place: the nearest sample, unknown outside of it.

    Args:
        views: of one posed image.
        depth: z-depth in world units, 0 where unknown.
        projection: of the picture that the depth was stored in.
    """
    return replace(views, depths=sampled(views, depth, projection)[None])


def sampled(
    views: Views, values: Float[Tensor, "channels rows columns"], projection: Projection
) -> Float[Tensor, "channels height width"]:
    """The nearest values of a map behind each pixel of one view; 0 outside of the map."""
    pixels = pixel_centers(views.height, views.width, dtype=torch.float64).reshape(-1, 2)
    homogeneous = torch.cat([pixels, torch.ones_like(pixels[:, :1])], dim=-1)
    points = homogeneous @ torch.linalg.inv(views.cameras.intrinsics[0].double()).mT
    columns, rows = (projection(points[:, :2]) + TIE).floor().long().unbind(-1)
    height, width = values.shape[-2:]
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    found = values[:, rows.clamp(0, height - 1), columns.clamp(0, width - 1)]
    return torch.where(inside, found, 0).reshape(-1, views.height, views.width)
