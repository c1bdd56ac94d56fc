"""Maps that were stored in other pixels than their photo."""

import torch
import torch.nn.functional as F
from hypothesis import given
from strategies import property_settings, random_cameras, seeds

from anyviews.data.adaptors.maps import fisheye, pinhole, sampled, with_depth
from anyviews.formats.distortion import distort_points
from anyviews.views import Views


def one_view(seed, height=12, width=18):
    cameras = random_cameras(seed, 1, height=height, width=width)
    return Views(torch.rand(1, 3, height, width), cameras)


@property_settings
@given(seed=seeds)
def test_same_camera_changes_nothing(seed):
    views = one_view(seed)
    depth = torch.rand(1, 12, 18) + 1
    assert torch.equal(with_depth(views, depth, pinhole(views.cameras.intrinsics[0])).depths[0], depth)


@property_settings
@given(seed=seeds)
def test_resized_photos_take_the_nearest_sample(seed):
    views = one_view(seed)
    values = torch.rand(3, 12, 18)
    for size in ((24, 36), (6, 9), (4, 6)):
        found = sampled(views.resize(*size), values, pinhole(views.cameras.intrinsics[0]))
        assert torch.equal(found, F.interpolate(values[None], size, mode="nearest-exact")[0])


def test_outside_is_unknown():
    views = one_view(0)
    wide = views.cameras.affine(torch.tensor([[0.5, 0.5]]).double(), torch.tensor([[4.5, 3.0]]).double(), 12, 18)
    found = with_depth(Views(views.images, wide), torch.ones(1, 12, 18), pinhole(views.cameras.intrinsics[0])).depths
    expected = torch.zeros(1, 1, 12, 18)
    expected[..., 3:9, 5:13] = 1
    known = found[..., 3:9, 5:13]
    assert torch.equal(known, torch.ones_like(known))
    assert found.sum() <= 6 * 10
    assert (found[..., :2, :] == 0).all()


def test_fisheye_bends_as_its_series_says():
    """Without coefficients the radius is the angle; for small angles each one is a term of the radial model."""
    intrinsics = torch.tensor([[100.0, 0, 50], [0, 110, 40], [0, 0, 1]], dtype=torch.float64)
    points = torch.tensor([[1.0, 0.0], [0.0, -(3**0.5)], [0.0, 0.0]], dtype=torch.float64)
    pixels = fisheye(intrinsics, (0.0, 0.0, 0.0, 0.0))(points)
    pi = torch.pi
    expected = torch.tensor([[50 + 100 * pi / 4, 40], [50, 40 - 110 * pi / 3], [50, 40]], dtype=torch.float64)
    assert torch.allclose(pixels, expected)
    small = torch.rand(1, 20, 2, dtype=torch.float64) * 0.02
    radial = distort_points(small, torch.tensor([[0.3 - 1 / 3, 0, 0, 0]], dtype=torch.float64))[0]
    bent = fisheye(intrinsics, (0.3, 0.0, 0.0, 0.0))(small[0])
    assert (bent - pinhole(intrinsics)(radial)).abs().max() < 1e-4
    eighth = fisheye(intrinsics, (0.0, 0.0, 0.0, 0.5))(points[:1])[0, 0]
    assert torch.isclose(eighth, torch.tensor(50 + 100 * pi / 4 * (1 + 0.5 * (pi / 4) ** 8), dtype=torch.float64))
