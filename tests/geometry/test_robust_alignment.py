"""Alignment of pointmaps to each other and to known cameras."""

import pytest
import torch
from geometry.pointmaps import apartment, disturbed, points_of, rotation_errors
from hypothesis import given
from strategies import property_settings, random_similarity, seeds

from anyviews.cameras import rigid
from anyviews.geometry.pose_recovery import recover_poses
from anyviews.geometry.robust_alignment import align_points_robustly, align_points_to_cameras


def moved_away(views, points, seed):
    """Points as in a frame of their own, and the similarity that brings them back."""
    away = random_similarity(seed, dtype=torch.float32)
    known = points.isfinite().all(-1, keepdim=True)
    moved = away.apply(points.nan_to_num().flatten(0, 2)).view_as(points).where(known, torch.nan)
    return moved, away.inverse()


@given(seeds)
@property_settings
def test_a_third_of_wrong_points_moves_nothing(seed):
    generator = torch.Generator().manual_seed(seed)
    source = torch.randn(300, 3, generator=generator, dtype=torch.float64)
    similarity = random_similarity(seed)
    target = similarity.apply(source)
    target[:100] += similarity.scale * (2 + torch.randn(100, 3, generator=generator, dtype=torch.float64))
    source[290:], weights = torch.nan, torch.ones(300, dtype=torch.float64)
    weights[290:] = 0
    found = align_points_robustly(source, target, weights)
    assert (found.scale / similarity.scale - 1).abs() < 1e-6
    torch.testing.assert_close(found.rotation, similarity.rotation, atol=1e-6, rtol=0)
    torch.testing.assert_close(found.apply(source[:290]), similarity.apply(source[:290]), atol=1e-4, rtol=0)


@pytest.mark.parametrize("seed", (1, 2, 3))
def test_points_return_to_the_world_of_known_cameras(seed):
    views = apartment(seed)
    points = points_of(views)
    moved, back = moved_away(views, points, seed)
    confidence = torch.ones(points.shape[:3])
    recovered = recover_poses(moved, confidence, views.cameras.intrinsics)
    found = align_points_to_cameras(moved, confidence, recovered, views.cameras)
    assert (found.scale / back.scale - 1).abs() < 1e-4
    torch.testing.assert_close(found.rotation.float(), back.rotation, atol=1e-4, rtol=0)
    torch.testing.assert_close(found.translation.float(), back.translation, atol=1e-3, rtol=1e-3)


def test_wrong_poses_and_noise_do_not_lead_astray():
    views = apartment(1)
    points = disturbed(points_of(views), 0.03, 0.2)
    points[1] = torch.randn(points.shape[1:], generator=torch.Generator().manual_seed(0))
    moved, back = moved_away(views, points, 5)
    confidence = torch.ones(points.shape[:3])
    recovered = recover_poses(moved, confidence, views.cameras.intrinsics)
    recovered.found[1] = True  # a wrong pose that passed for a good one
    recovered.cameras.camera_to_world[1] = rigid(torch.eye(3), torch.full((3,), 50.0))
    found = align_points_to_cameras(moved, confidence, recovered, views.cameras)
    assert (found.scale / back.scale - 1).abs() < 0.05
    cosine = ((found.rotation * back.rotation).sum() - 1) / 2
    assert torch.rad2deg(torch.arccos(cosine)) < 1
    aligned = found.apply_cameras(recovered.cameras.to(dtype=torch.float64))
    assert rotation_errors(aligned[[0, 2, 3]], views.cameras[[0, 2, 3]]).max() < 2


def test_cameras_in_one_place_give_no_scale():
    views = apartment(1)
    points, cameras = points_of(views), views.cameras
    confidence = torch.ones(points.shape[:3])
    recovered = recover_poses(points, confidence, cameras.intrinsics)
    panorama = type(cameras)(
        cameras.intrinsics, rigid(cameras.rotation, torch.ones_like(cameras.centers)), cameras.image_sizes
    )
    with pytest.raises(ValueError, match="stand in one place"):
        align_points_to_cameras(points, confidence, recovered, panorama)
    recovered.found[1:] = False
    with pytest.raises(ValueError, match="poses of 1 of 6 views were recovered"):
        align_points_to_cameras(points, confidence, recovered, cameras)
