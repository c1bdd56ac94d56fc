"""Invariants of scenes."""

import pytest
import torch
from hypothesis import given
from strategies import assert_close, dtypes, property_settings, random_cameras, random_views, seeds

from anyviews.gaussians import Gaussians
from anyviews.geometry.rays import pixel_centers
from anyviews.scene import PointCloud, Scene


@property_settings
@given(seeds, dtypes)
def test_point_cloud_reprojects_on_its_own_pixels(seed, dtype):
    views = random_views(seed, 3, height=6, width=9, dtype=dtype)
    cloud = Scene(views.cameras, images=views.images, depths=views.depths).point_cloud()
    known = views.depths[:, 0] > 0
    assert len(cloud) == known.sum()
    first = 0
    for camera, image, depth, mask in zip(views.cameras, views.images, views.depths, known, strict=True):
        own = slice(first, first + int(mask.sum()))
        pixels, seen_depth = camera.project(cloud.positions[own])
        assert_close(pixels, pixel_centers(6, 9, dtype=dtype)[mask], scale=10)
        assert_close(seen_depth, depth[0][mask])
        assert torch.equal(cloud.colors[own], image[:, mask].mT)
        first = own.stop


@property_settings
@given(seeds)
def test_surer_points_have_smaller_uncertainty(seed):
    views = random_views(seed, 2, height=4, width=5)
    uncertainty = torch.rand(2, 1, 4, 5, generator=torch.Generator().manual_seed(seed))
    cloud = Scene(views.cameras, depths=views.depths, depth_uncertainty=uncertainty).point_cloud()
    known = uncertainty[views.depths > 0]
    assert torch.equal(cloud.confidence.argsort(descending=True), known.argsort())
    assert cloud.colors is None


def test_own_points_come_first():
    own = PointCloud(torch.rand(4, 3))
    views = random_views(0, 2)
    assert Scene(views.cameras, depths=views.depths, points=own).point_cloud() is own
    assert Scene(views.cameras[:0], points=own).point_cloud() is own


@pytest.mark.parametrize("depths", [None, torch.zeros(2, 1, 24, 32)])
def test_nothing_to_make_points_of(depths):
    with pytest.raises(ValueError, match="no points, no known depth and no Gaussians"):
        Scene(random_cameras(0, 2, dtype=torch.float32), depths=depths).point_cloud()


def test_names_and_length_follow_the_cameras():
    scene = Scene(random_cameras(0, 3))
    assert len(scene) == 3
    assert scene.names == ("0000", "0001", "0002")
    assert scene.scale == "relative"


def test_gaussians_stand_in_for_points():
    gaussians = Gaussians.from_colors(
        torch.rand(5, 3), torch.rand(5, 4), torch.rand(5, 3), torch.rand(5), torch.rand(5, 3)
    )
    points = Scene(random_cameras(0, 2, dtype=torch.float32), gaussians=gaussians).point_cloud()
    assert torch.equal(points.positions, gaussians.means)
    assert torch.equal(points.confidence, gaussians.opacities)
    assert torch.allclose(points.colors, gaussians.colors)
