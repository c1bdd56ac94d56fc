"""Undistortion of photos: the radial-tangential lens model of OpenCV and COLMAP (k1, k2, p1, p2)."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from ..cameras import Cameras
from ..geometry.rays import pixel_centers


# Undistorting may enlarge the focal length up to this factor to keep the unknown outside of the photo out of it.
LARGEST_ZOOM = 4.0


def distort_points(
    points: Float[Tensor, "*batch points 2"], coefficients: Float[Tensor, "*batch 4"]
) -> Float[Tensor, "*batch points 2"]:
    """Where the lens puts the points of an ideal pinhole camera.

    Source: OpenCV, "Camera Calibration and 3D Reconstruction"; the model OPENCV of COLMAP (RADIAL and SIMPLE_RADIAL
    with the missing coefficients zero).

    Args:
        points: [*batch, N, 2], (x / z, y / z) in the camera.
        coefficients: [*batch, 4], k1, k2, p1, p2.

    Returns:
        [*batch, N, 2], in the same units.
    """
    k1, k2, p1, p2 = coefficients[..., None, :].unbind(-1)
    x, y = points.unbind(-1)
    r2 = x * x + y * y
    radial = 1 + r2 * (k1 + r2 * k2)
    return torch.stack(
        [
            x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
            y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
        ],
        dim=-1,
    )


def undistort(
    maps: dict[str, Float[Tensor, "1 _ height width"] | None],
    cameras: Cameras,
    coefficients: Float[Tensor, "1 4"],
    name: str,
) -> tuple[dict[str, Tensor | None], Cameras]:
    """Resample one photo and its maps as an ideal pinhole camera of the same size and pose would see them.

    The focal length is kept, or enlarged just enough that every pixel was seen by the photo.

    Args:
        maps: images, masks (interpolated) and depths (nearest sample, so that no surface is invented), [1, C, H, W].
        cameras: one camera, [1], of the distorted photo.
        coefficients: [1, 4], k1, k2, p1, p2.
        name: what to call the photo in an error.

    Returns:
        The maps resampled, and their pinhole camera.

    Raises:
        ValueError: if the coefficients fold the image, so that no pinhole image of it exists.
    """
    zoomed = _zoomed(cameras, _smallest_zoom(cameras, coefficients, name))
    pixels, _ = _source_pixels(zoomed, cameras, coefficients, border_only=False)
    size = cameras.image_sizes.flip(-1).to(pixels)
    grid = (2 * pixels / size[:, None] - 1).reshape(1, cameras.height, cameras.width, 2)

    def resample(values: Tensor | None, mode: str) -> Tensor | None:
        if values is None:
            return None
        return F.grid_sample(values, grid.to(values), mode, padding_mode="border", align_corners=False)

    modes = {"depths": "nearest"}
    return {key: resample(values, modes.get(key, "bilinear")) for key, values in maps.items()}, zoomed


def _zoomed(cameras: Cameras, zoom: float) -> Cameras:
    scale = torch.tensor([zoom, zoom, 1.0], dtype=cameras.dtype)
    pinhole = torch.diag_embed(torch.diagonal(cameras.intrinsics, dim1=-2, dim2=-1) * scale)
    pinhole[..., :2, 2] = cameras.intrinsics[..., :2, 2]
    return Cameras(pinhole, cameras.camera_to_world, cameras.image_sizes)


def _source_pixels(
    pinhole: Cameras, cameras: Cameras, coefficients: Float[Tensor, "1 4"], border_only: bool
) -> tuple[Float[Tensor, "1 points 2"], Bool[Tensor, ""]]:
    """Pixels of the distorted photo behind those of the pinhole image, and whether the photo knows all of them."""
    pixels = pixel_centers(cameras.height, cameras.width, dtype=cameras.dtype)
    if border_only:
        pixels = torch.cat([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    pixels = pixels.reshape(1, -1, 2)
    focal, center = _focal_and_center(pinhole)
    points = (pixels - center) / focal
    focal, center = _focal_and_center(cameras)
    source = distort_points(points, coefficients) * focal + center
    r2 = points.square().sum(-1)
    k1, k2 = coefficients[..., None, :2].unbind(-1)
    # beyond the turning point of the radial polynomial, the model maps new rays onto old pixels
    unfolded = torch.stack([1 + t * r2 * (3 * k1 + 5 * k2 * t * r2) for t in (0.25, 0.5, 0.75, 1.0)]) > 0
    # between the outermost pixel centres nothing is extrapolated; the margin is for rounding
    size = cameras.image_sizes.flip(-1).to(source)[:, None]
    inside = (source > 0.5 - 1e-3) & (source < size - 0.5 + 1e-3)
    return source, inside.all() & unfolded.all()


def _focal_and_center(cameras: Cameras) -> tuple[Float[Tensor, "1 1 2"], Float[Tensor, "1 1 2"]]:
    focal = torch.diagonal(cameras.intrinsics, dim1=-2, dim2=-1)[:, None, :2]
    return focal, cameras.intrinsics[:, None, :2, 2]


def _smallest_zoom(cameras: Cameras, coefficients: Float[Tensor, "1 4"], name: str) -> float:
    def known(zoom: float) -> bool:
        return bool(_source_pixels(_zoomed(cameras, zoom), cameras, coefficients, border_only=True)[1])

    if known(1.0):
        return 1.0
    if not known(LARGEST_ZOOM):
        raise ValueError(
            f"{name}: the distortion k1, k2, p1, p2 = {coefficients[0].tolist()} folds the image; check the "
            "coefficients, or undistort the photos with `colmap image_undistorter`"
        )
    low, high = 1.0, LARGEST_ZOOM
    for _ in range(16):
        middle = (low + high) / 2
        low, high = (low, middle) if known(middle) else (middle, high)
    return high
