"""Agreement of views: perfect for the truth, and worse in the way it was made worse."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from scipy.ndimage import map_coordinates
from strategies import property_settings, random_rotation, seeds

from anyviews.cameras import Cameras, rigid
from anyviews.data.world import render_world
from anyviews.evaluation.consistency import cross_view_consistency, score_reprojection


@pytest.fixture(scope="module")
def room():
    return render_world(torch.tensor([3]), views=3, height=48, width=48).scene(0)


def scores(room, images=None, depths=None) -> dict[str, float]:
    given = (room.images if images is None else images, room.depths if depths is None else depths)
    return cross_view_consistency(*given, room.depths, room.cameras)


def test_true_depth_agrees_with_itself(room):
    assert scores(room)["depth"] < 0.02


def test_constant_images_agree_and_noise_does_not(room):
    constant = torch.full_like(room.images, 0.3)
    assert scores(room, constant)["color"] == pytest.approx(0, abs=1e-6)
    truth, noisy = scores(room)["color"], scores(room, torch.rand_like(room.images))["color"]
    assert truth < 0.1 < noisy


def test_a_common_depth_scale_is_consistent_but_a_scale_of_one_view_is_not(room):
    assert scores(room, depths=room.depths * 2)["depth"] == pytest.approx(scores(room)["depth"], abs=1e-4)
    factors = torch.tensor([1.0, 1.0, 2.0])[:, None, None, None]
    # only the pairs with the third view disagree, each by log 2
    assert math.log(2) * 0.3 < scores(room, depths=room.depths * factors)["depth"] < math.log(2)


def test_views_that_share_nothing_have_no_score(room):
    away = room.depths.clone()
    away[1:] = 0
    result = cross_view_consistency(room.images, room.depths, away, room.cameras)
    assert math.isnan(result["color"]) and math.isnan(result["depth"])


def nearby_cameras(seed: int, count: int, height: int, width: int) -> Cameras:
    """Cameras that look the same way from places a little apart, some turned by a few degrees."""
    generator = torch.Generator().manual_seed(seed)
    turn = random_rotation(generator, count)
    tilt = torch.linalg.qr(torch.eye(3, dtype=torch.float64) + 0.05 * turn)[0]
    tilt = tilt * torch.diagonal(tilt, dim1=-2, dim2=-1).sign()[..., None, :]
    centers = 0.3 * torch.randn(count, 3, generator=generator, dtype=torch.float64)
    intrinsics = torch.tensor([[20.0, 0, width / 2], [0, 22.0, height / 2], [0, 0, 1]], dtype=torch.float64)
    return Cameras.create(intrinsics.expand(count, 3, 3), rigid(tilt, centers), height, width)


def reprojection_errors(depths: np.ndarray, cameras: Cameras) -> np.ndarray:
    """Relative differences of all pairs, written out in numpy."""
    poses, intrinsics = cameras.camera_to_world.numpy(), cameras.intrinsics.numpy()
    views, height, width = depths.shape
    y, x = np.mgrid[:height, :width] + 0.5
    errors = []
    for i in range(views):
        rays = np.stack([x, y, np.ones_like(x)], -1) @ np.linalg.inv(intrinsics[i]).T
        world = (rays * depths[i][..., None]) @ poses[i][:3, :3].T + poses[i][:3, 3]
        for j in set(range(views)) - {i}:
            seen = (world - poses[j][:3, 3]) @ poses[j][:3, :3]
            pixels = seen @ intrinsics[j].T
            with np.errstate(all="ignore"):
                u, v = pixels[..., 0] / pixels[..., 2], pixels[..., 1] / pixels[..., 2]
            inside = (seen[..., 2] > 0) & (u >= 0) & (u <= width) & (v >= 0) & (v <= height)
            places = [v[inside] - 0.5, u[inside] - 0.5]
            observed = 1 / map_coordinates(1 / depths[j], places, order=1, mode="nearest")
            errors.append(np.abs(seen[..., 2][inside] - observed) / observed)
    return np.concatenate(errors)


@property_settings
@given(seeds)
def test_reprojection_is_that_of_numpy(seed):
    cameras = nearby_cameras(seed, 3, 9, 12)
    depths = 2 + torch.rand(3, 1, 9, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    expected = np.sort(reprojection_errors(depths[:, 0].numpy(), cameras))
    scores = {name: score.value for name, score in score_reprojection(depths, cameras, (0.1,)).items()}
    if len(expected) == 0:
        assert math.isnan(scores["reprojection_error"])
        return
    assert scores["reprojection_error"] == pytest.approx(expected[(len(expected) - 1) // 2], rel=1e-6)
    assert scores["reprojection_within@0.1"] == pytest.approx((expected < 0.1).mean(), rel=1e-6)


def test_true_depth_reprojects_and_wrong_depth_does_not(room):
    truth = score_reprojection(room.depths, room.cameras)
    factors = torch.tensor([1.0, 1.2, 0.8])[:, None, None, None]
    wrong = score_reprojection(room.depths * factors, room.cameras)
    assert truth["reprojection_error"].value < 0.02 < wrong["reprojection_error"].value
    assert truth["reprojection_within@0.05"].value > wrong["reprojection_within@0.05"].value
    assert truth["reprojection_error"].protocol["pairs"] == 6


def test_reprojection_of_nothing_is_not_defined(room):
    nothing = score_reprojection(torch.zeros_like(room.depths), room.cameras)
    assert all(math.isnan(score.value) for score in nothing.values())
    assert math.isnan(score_reprojection(room.depths[:1], room.cameras[:1])["reprojection_error"].value)
    with pytest.raises(ValueError, match="NaN or infinite"):
        score_reprojection(room.depths / 0, room.cameras)
