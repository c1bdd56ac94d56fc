"""Pose scores against scipy's rotations, numerical integration, and motions that are known."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from scipy.spatial.transform import Rotation
from strategies import property_settings, random_cameras, random_similarity, seeds

from anyviews.cameras import Cameras, rigid
from anyviews.evaluation.angles import angles_between, rotation_angles
from anyviews.evaluation.pose_metrics import (
    absolute_trajectory_error,
    accuracy_within,
    area_under_curve,
    focal_error,
    mean_average_accuracy,
    pair_errors,
    score_cameras,
)


@property_settings
@given(seeds)
def test_pair_errors_are_those_of_scipy(seed):
    cameras, references = random_cameras(seed, 4), random_cameras(seed + 1, 4)
    signed, ignored = pair_errors(cameras, references, signed=True), pair_errors(cameras, references)
    rotation, translation = [], []
    for i in range(4):
        for j in range(i + 1, 4):
            a, b = (
                np.linalg.inv(c.camera_to_world[j].numpy()) @ c.camera_to_world[i].numpy()
                for c in (cameras, references)
            )
            between = Rotation.from_matrix(a[:3, :3]).inv() * Rotation.from_matrix(b[:3, :3])
            rotation.append(np.degrees(between.magnitude()))
            cosine = a[:3, 3] @ b[:3, 3] / np.linalg.norm(a[:3, 3]) / np.linalg.norm(b[:3, 3])
            translation.append(np.degrees(np.arccos(cosine)))
    assert signed.rotation.tolist() == pytest.approx(rotation, abs=1e-5)
    assert signed.translation.tolist() == pytest.approx(translation, abs=1e-5)
    assert ignored.translation.tolist() == pytest.approx(
        np.minimum(translation, 180 - np.array(translation)), abs=1e-5
    )


@property_settings
@given(seeds)
def test_no_score_but_that_of_world_motion_knows_the_frame(seed):
    cameras, references = random_cameras(seed, 5), random_cameras(seed + 1, 5)
    moved = random_similarity(seed).apply_cameras(cameras)
    for name, score in score_cameras(cameras, references).items():
        assert score_cameras(moved, references)[name].value == pytest.approx(score.value, abs=1e-6)
    equal = score_cameras(moved, cameras, thresholds=(5,))
    expected = {"rra@5": 1, "rta@5": 1, "maa@5": 1, "auc@5": 1, "rre": 0, "rte": 0, "ate": 0, "focal_error": 0}
    assert {name: score.value for name, score in equal.items()} == pytest.approx(expected, abs=1e-5)
    world = pair_errors(moved, cameras, motion="world")
    assert world.rotation.max() > 1 or world.translation.max() > 1
    framed = pair_errors(moved.relative_to(moved[0]), cameras.relative_to(cameras[0]), motion="world")
    assert framed.larger.max() < 1e-5


def turned(cameras: Cameras, degrees: list[float]) -> Cameras:
    turns = Rotation.from_rotvec([[0, 0, angle] for angle in degrees], degrees=True).as_matrix()
    return replace(cameras, camera_to_world=rigid(cameras.rotation @ torch.tensor(turns), cameras.centers))


def test_a_turned_camera_is_off_by_its_turn():
    cameras = replace(
        random_cameras(0, 3), camera_to_world=rigid(torch.eye(3).expand(3, 3, 3), torch.rand(3, 3)).double()
    )
    errors = pair_errors(turned(cameras, [0, 0, 12]), cameras)
    assert errors.rotation.tolist() == pytest.approx([0, 12, 12], abs=1e-6)
    scores = score_cameras(turned(cameras, [0, 0, 12]), cameras, thresholds=(5, 15), unit="m")
    assert scores["rra@5"].value == pytest.approx(1 / 3) and scores["rra@15"].value == 1
    assert scores["rre"].value == pytest.approx(8) and scores["rre"].unit == "degrees"
    assert scores["rra@5"].protocol["pairs"] == 3 and scores["ate"].unit == "m"
    assert "similarity" in scores["ate"].protocol["alignment"]


def test_small_angles_are_exact():
    a = torch.tensor([1.0, 0, 0])
    b = torch.tensor([1.0, 1e-5, 0])
    assert angles_between(a, b).item() == pytest.approx(math.degrees(1e-5), rel=1e-4)
    assert angles_between(a, -a).item() == 180 and angles_between(a, 0 * a).item() == 90
    turn = torch.tensor(Rotation.from_rotvec([0, 1e-5, 0]).as_matrix()).float()
    assert rotation_angles(turn, torch.eye(3)).item() == pytest.approx(math.degrees(1e-5), rel=1e-3)
    half = torch.diag(torch.tensor([1.0, -1, -1]))
    assert rotation_angles(half, torch.eye(3)).item() == pytest.approx(180)


def test_cameras_at_one_place_have_no_direction():
    references = random_cameras(0, 3)
    together = replace(references, camera_to_world=rigid(references.rotation, references.centers[:1].expand(3, 3)))
    errors = pair_errors(references, together)
    assert errors.translation.isnan().all() and torch.equal(errors.larger, errors.rotation)
    assert math.isnan(accuracy_within(errors.translation, 15))
    # a prediction that stands still says nothing about the direction: 90 degrees
    assert pair_errors(together, references).translation.tolist() == pytest.approx([90] * 3, abs=1e-4)
    with pytest.raises(ValueError, match=r"batch shapes \(1,\) and \(1,\); give the same number, two or more"):
        pair_errors(references[:1], references[:1])
    with pytest.raises(ValueError, match="accepted are camera and world"):
        pair_errors(references, references, motion="sideways")


def test_areas_and_averages():
    errors = torch.tensor([0.5, 3.0, 3.5, 12.0, 40.0, torch.nan]).double()
    assert accuracy_within(errors, 3) == 0.2 and accuracy_within(errors, 30) == 0.8
    shares = [np.mean(np.array([0.5, 3, 3.5, 12, 40]) < t) for t in range(1, 31)]
    assert mean_average_accuracy(errors, 30) == pytest.approx(np.mean(shares))
    fine = (np.arange(300000) + 0.5) / 10000
    curve = (errors[:5].numpy()[:, None] < fine).mean(0)
    assert area_under_curve(errors, 30) == pytest.approx(curve.mean(), abs=1e-5)
    # SuperGlue's: straight lines between the steps
    ordered = np.concatenate([[0], np.sort(errors[:5].numpy())])
    recall = np.arange(6) / 5
    last = np.searchsorted(ordered, 30)
    joined = np.trapezoid(np.r_[recall[:last], recall[last - 1]], np.r_[ordered[:last], 30.0]) / 30
    assert 0 <= joined - area_under_curve(errors, 30) <= 1 / 10


def test_trajectory_error_is_what_alignment_leaves():
    references = random_cameras(3, 8)
    noise = 0.01 * torch.randn(8, 3, dtype=torch.float64)
    cameras = replace(references, camera_to_world=rigid(references.rotation, references.centers + noise))
    moved = random_similarity(1).apply_cameras(cameras)
    error = absolute_trajectory_error(moved, references)
    assert 0 < error <= noise.square().sum(-1).mean().sqrt()
    assert absolute_trajectory_error(moved, references.scaled(3.0)) == pytest.approx(3 * error, rel=1e-3)


def test_focal_error_does_not_depend_on_the_size_of_the_images():
    references = random_cameras(0, 3, height=24, width=32)
    longer = references.intrinsics.clone()
    longer[:, 0, 0] *= 1.1
    cameras = replace(references, intrinsics=longer)
    assert focal_error(cameras, references) == pytest.approx(0.05)
    assert focal_error(cameras.resize(12, 64), references) == pytest.approx(0.05)


def test_poses_that_are_none_are_refused():
    cameras = random_cameras(0, 3)
    poses = cameras.camera_to_world.clone()
    poses[1, 0, 3] = torch.nan
    with pytest.raises(ValueError, match=r"cameras\[1\]: camera_to_world holds NaN"):
        score_cameras(replace(cameras, camera_to_world=poses), cameras)
