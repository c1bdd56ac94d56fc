"""Small photos with cameras that every format can hold."""

from dataclasses import replace

import torch
from strategies import random_views

from anyviews.views import Views


def eight_bits(values: torch.Tensor) -> torch.Tensor:
    """Rounded as an 8-bit file rounds, so that round trips are exact."""
    return (values * 255).round() / 255


def pinhole_views(seed: int = 0, count: int = 3, height: int = 20, width: int = 30) -> Views:
    """Random views without skew, with 8-bit images and names in a subfolder."""
    views = random_views(seed, count, height, width)
    intrinsics = views.cameras.intrinsics.clone()
    intrinsics[:, 0, 1] = 0
    return replace(
        views,
        images=eight_bits(views.images),
        cameras=replace(views.cameras, intrinsics=intrinsics),
        names=tuple(f"images/left/{i:03d}.jpg" for i in range(count)),
    )


def assert_same_views(actual: Views, expected: Views, pose_tolerance: float = 1e-5):
    torch.testing.assert_close(actual.images, expected.images, atol=1e-6, rtol=0)
    torch.testing.assert_close(actual.cameras.intrinsics, expected.cameras.intrinsics, atol=1e-5, rtol=1e-6)
    torch.testing.assert_close(
        actual.cameras.camera_to_world, expected.cameras.camera_to_world, atol=pose_tolerance, rtol=1e-6
    )
    torch.testing.assert_close(actual.cameras.image_sizes, expected.cameras.image_sizes)
