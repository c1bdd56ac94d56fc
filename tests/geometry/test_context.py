"""The choice of context views."""

import pytest
import torch
from hypothesis import given
from strategies import batch_shapes, dtypes, property_settings, random_cameras, random_similarity, seeds

from anyviews.cameras import Cameras, rigid
from anyviews.geometry.context import nearest_cameras


def cameras_at(positions: list[float], degrees: list[float]) -> Cameras:
    """Cameras on the x axis, turned around y."""
    angle = torch.deg2rad(torch.tensor(degrees))
    zero, one = torch.zeros_like(angle), torch.ones_like(angle)
    rotation = torch.stack([angle.cos(), zero, angle.sin(), zero, one, zero, -angle.sin(), zero, angle.cos()], dim=-1)
    centers = torch.stack([torch.tensor(positions), zero, zero], dim=-1)
    pose = rigid(rotation.reshape(-1, 3, 3), centers)
    return Cameras.create(torch.eye(3).expand(len(positions), 3, 3), pose, 4, 4)


def test_nearest_by_place_where_the_angles_are_equal():
    candidates = cameras_at([0, 1, 2, 5], [0, 0, 0, 0])
    assert nearest_cameras(cameras_at([1.9, -1.0], [0, 0]), candidates, 3).tolist() == [[2, 1, 0], [0, 1, 2]]


def test_nearest_by_angle_where_the_places_are_equal():
    candidates = cameras_at([0.1, 0.1, 0.1, 0.1], [-90, 10, 180, 30])
    assert nearest_cameras(cameras_at([0.1], [0]), candidates, 4).tolist() == [[1, 3, 0, 2]]


def test_one_radian_counts_as_one_scene_size():
    candidates = cameras_at([-2.0, 2.0], [0, 0])  # size 2
    degrees = torch.rad2deg(torch.tensor(1.0)).item()
    pool = Cameras.cat([candidates, cameras_at([0.0, 0.0], [degrees * 0.8, degrees * 1.6])])
    # size of the pool: sqrt(8 / 4); the places cost 2 / 1.414, the angles 0.8 and 1.6
    assert nearest_cameras(cameras_at([0.0], [0]), pool, 4).tolist() == [[2, 0, 1, 3]]


def test_ties_keep_the_order_given():
    candidates = cameras_at([1.0, 1, 1, 0], [0, 0, 0, 0])
    assert nearest_cameras(cameras_at([1.0], [0]), candidates, 3).tolist() == [[0, 1, 2]]


@property_settings
@given(seeds, batch_shapes, dtypes)
def test_each_camera_is_nearest_to_itself_once(seed, batch, dtype):
    cameras = random_cameras(seed, *batch, 5, dtype=dtype)
    nearest = nearest_cameras(cameras, cameras, 5)
    assert torch.equal(nearest[..., 0], torch.arange(5).expand(*batch, 5))
    assert torch.equal(nearest.sort(-1).values, torch.arange(5).expand(*batch, 5, 5))


@property_settings
@given(seeds)
def test_the_choice_is_invariant_to_world_similarity_and_follows_permutation(seed):
    targets, candidates = random_cameras(seed, 3), random_cameras(seed + 1, 8)
    chosen = nearest_cameras(targets, candidates, 4)
    similarity = random_similarity(seed)
    assert torch.equal(
        nearest_cameras(similarity.apply_cameras(targets), similarity.apply_cameras(candidates), 4), chosen
    )
    order = torch.randperm(8, generator=torch.Generator().manual_seed(seed))
    assert torch.equal(order[nearest_cameras(targets, candidates[order], 4)], chosen)
    assert torch.equal(
        nearest_cameras(targets.reshape(3, 1), candidates[None].reshape(1, 8)[[0, 0, 0]], 4)[:, 0], chosen
    )


@pytest.mark.parametrize("count", [0, 4])
def test_as_many_as_there_are(count):
    with pytest.raises(ValueError, match=f"{count} nearest cameras asked for; accepted is 1 to 3"):
        nearest_cameras(random_cameras(0, 1), random_cameras(0, 3), count)
