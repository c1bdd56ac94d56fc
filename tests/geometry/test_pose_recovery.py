"""Recovery of focal lengths and poses from pointmaps."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from geometry.pointmaps import apartment, disturbed, points_of, rotation_errors
from hypothesis import given
from strategies import property_settings, random_similarity, seeds

from anyviews.cameras import Cameras
from anyviews.geometry.pose_recovery import (
    centered_intrinsics,
    confidence_weights,
    recover_cameras,
    recover_focals,
    recover_poses,
    search_focals,
)
from anyviews.views import Views


SCENES = (1, 2, 3)


def ones(points):
    return torch.ones(points.shape[:3])


@pytest.mark.parametrize("seed", SCENES)
def test_perfect_points_give_the_cameras_back(seed):
    views = apartment(seed)
    points = points_of(views)
    found = recover_cameras(points, ones(points))
    torch.testing.assert_close(found.camera_to_world, views.cameras.camera_to_world, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(found.intrinsics, views.cameras.intrinsics, atol=1e-2, rtol=1e-4)
    assert found.image_sizes.tolist() == views.cameras.image_sizes.tolist()


@pytest.mark.parametrize("seed", SCENES)
def test_noise_and_wrong_points_move_cameras_little(seed):
    views = apartment(seed)
    points = disturbed(points_of(views), 0.02, 0.2)
    poses = recover_poses(points, ones(points), views.cameras.intrinsics)
    assert poses.found.all()
    assert rotation_errors(poses.cameras, views.cameras).max() < 2
    distance = (poses.cameras.centers - views.cameras.centers).norm(dim=-1)
    assert (distance / views.depths.flatten(1).median(1).values).max() < 0.06


@pytest.mark.parametrize("noise, outliers, bound", [(0.05, 0.0, 0.01), (0.05, 0.4, 0.03), (0.2, 0.0, 0.02)])
def test_noise_and_wrong_points_do_not_shorten_the_focal_length(noise, outliers, bound):
    views = apartment(1)
    points = disturbed(points_of(views)[:1], noise, outliers)
    found, wanted = recover_focals(points, ones(points)), views.cameras.intrinsics[:1, 0, 0]
    assert ((found / wanted - 1).abs() < bound).all()


def test_confidence_decides_between_two_worlds():
    views = apartment(1)
    points = points_of(views)
    wrong = torch.zeros(points.shape[:3], dtype=torch.bool)
    wrong[:, :, ::2] = wrong[:, ::3] = True  # two thirds
    moved = torch.where(wrong[..., None], points[..., [2, 0, 1]] + 1, points)
    confidence = torch.where(wrong, 1.0, 30.0)
    found = recover_cameras(moved, confidence, views.cameras.intrinsics[:, 0, 0])
    torch.testing.assert_close(found.camera_to_world, views.cameras.camera_to_world, atol=1e-3, rtol=1e-3)
    lost = recover_poses(moved, torch.ones_like(confidence), views.cameras.intrinsics).cameras
    assert (lost.camera_to_world - views.cameras.camera_to_world).abs().amax((1, 2)).max() > 0.1


@given(seeds)
@property_settings
def test_poses_follow_the_world(seed):
    views = apartment(2, views=2)
    similarity = random_similarity(seed)
    points = points_of(views).double()
    known = points.isfinite().all(-1)
    moved = similarity.apply(points.nan_to_num().flatten(0, 2)).view_as(points).where(known[..., None], torch.nan)
    found = recover_poses(moved, ones(points), views.cameras.intrinsics).cameras
    wanted = similarity.apply_cameras(views.cameras.to(dtype=torch.float64))
    torch.testing.assert_close(found.rotation, wanted.rotation, atol=1e-4, rtol=0)
    assert (found.centers - wanted.centers).abs().max() < 1e-4 * similarity.scale + 1e-6


def test_results_depend_on_arguments_alone_in_any_thread():
    points = disturbed(points_of(apartment(2, views=2)), 0.03, 0.2)
    first = recover_cameras(points, ones(points)).camera_to_world
    other = recover_cameras(points, ones(points), seed=1).camera_to_world
    with ThreadPoolExecutor(3) as pool:
        runs = list(pool.map(lambda _: recover_cameras(points, ones(points)).camera_to_world, range(6)))
    assert all(torch.equal(run, first) for run in runs)
    assert not torch.equal(other, first)
    assert (other - first).abs().max() < 0.2


def test_views_without_a_pose_are_named():
    points = points_of(apartment(1)).clone()
    points[1] = torch.randn(points.shape[1:], generator=torch.Generator().manual_seed(0))
    points[2] = 1.0
    points[3] = torch.nan
    with pytest.warns(UserWarning, match=r"3 of 6 views: \[1, 2, 3\]"):
        cameras = recover_cameras(points, ones(points))
    cameras.validate()
    poses = recover_poses(points, ones(points), cameras.intrinsics)
    assert poses.found.tolist() == [True, False, False, False, True, True]
    assert torch.equal(poses.cameras.camera_to_world[2:4], torch.eye(4).expand(2, 4, 4))
    assert poses.inliers[2:4].tolist() == [0, 0]
    assert poses.errors[2:4].isinf().all()


def test_points_on_a_line_have_no_pose():
    line = torch.linspace(1, 4, 256).view(1, 16, 16, 1) * torch.tensor([0.3, 0.2, 1.0])
    poses = recover_poses(line, ones(line), centered_intrinsics(torch.tensor([16.0]), 16, 16))
    assert not poses.found.any()


def test_points_behind_the_camera():
    behind = -points_of(apartment(1))[:1]
    with pytest.raises(ValueError, match="view 0 has no finite point before its camera"):
        recover_focals(behind, ones(behind))
    half = points_of(apartment(1))[:1].clone()
    half[:, ::2] *= -1
    wanted = apartment(1).cameras.intrinsics[0, 0, 0]
    assert (recover_focals(half, ones(half)) / wanted - 1).abs() < 1e-4


def test_focal_lengths_stay_within_bounds():
    flat = torch.zeros(2, 8, 8, 3)
    flat[..., 2] = 1  # all points at the centre: an endless focal length
    flat[1, ..., 0] = torch.linspace(-1e6, 1e6, 8)
    assert recover_focals(flat, ones(flat)).tolist() == pytest.approx([160.0, 0.8])


def test_weights_leave_out_the_uncertain_and_the_undefined():
    points, confidence = torch.zeros(1, 10, 10, 3), torch.arange(1.0, 101.0).view(1, 10, 10)
    points[0, 5, 5] = torch.inf
    confidence[0, 6, 6] = torch.nan
    weights = confidence_weights(points, confidence)
    assert weights[0, 5, 5] == weights[0, 6, 6] == 0
    assert weights[0, 0, :3].tolist() == [0, 0, 0] and weights[0, 0, 4] > 0
    assert weights[0, 9, 8:].tolist() == [1, 1]


def test_portrait_views():
    views = apartment(3).crop(0, 8, 48, 32)
    points = points_of(views)
    found = recover_cameras(points, ones(points))
    assert isinstance(found, Cameras) and (found.height, found.width) == (48, 32)
    torch.testing.assert_close(found.camera_to_world, views.cameras.camera_to_world, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("noise, bound", [(0.0, 0.03), (0.02, 0.1)])
def test_each_view_has_its_own_lens(noise, bound):
    views = apartment(2, views=4, side=64)
    narrow = views[[2, 3]].crop(16, 16, 32, 32).resize(64, 64)  # twice the focal length
    mixed = Views.cat([views[[0, 1]], narrow])
    points = disturbed(points_of(mixed), noise, noise)
    start = mixed.cameras.intrinsics[:1].expand(4, 3, 3)
    found = search_focals(points, ones(points), start)
    assert ((found / mixed.cameras.intrinsics - 1)[:, [0, 1], [0, 1]].abs() < bound).all()
    assert torch.equal(found[:, :2, 2], start[:, :2, 2])
