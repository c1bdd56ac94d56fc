"""Agreement of views: perfect for the truth, and worse in the way it was made worse."""

import math

import pytest
import torch

from anyviews.data.world import render_world
from anyviews.evaluation.consistency import cross_view_consistency


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
