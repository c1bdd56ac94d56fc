"""Scores of pointmaps on procedural rooms: what is perfect, what is blind, and units."""

import pytest
import torch

from anyviews.data.procedural import HELD_OUT_SEED_START
from anyviews.evaluation.pointmaps import (
    VIEWS_PER_ROOM,
    Prediction,
    evaluate_pointmaps,
    held_out_rooms,
    mean_pointmap,
    score_room,
    standing_cameras,
    true_points,
)
from anyviews.geometry.pose_recovery import recover_cameras
from anyviews.models.mvdust3r import MVDust3rPlusModel


@pytest.fixture(scope="module")
def rooms():
    return held_out_rooms(3, 32)


def test_rooms_are_in_metres_and_never_those_of_training(rooms):
    other = held_out_rooms(3, 32, first_seed=0)
    assert not torch.allclose(rooms[0].images, other[0].images)
    distances = torch.stack([true_points(room).norm(dim=-1).amax() for room in rooms])
    assert distances.max() < (8**2 + 8**2 + 3.6**2) ** 0.5 and distances.min() > 2
    assert HELD_OUT_SEED_START == 2**31


def test_more_views_are_added_to_the_same_first_ones(rooms):
    more = held_out_rooms(1, 32, views=VIEWS_PER_ROOM)[0]
    assert len(more) == VIEWS_PER_ROOM and torch.equal(more.images[:4], rooms[0].images)


def test_the_truth_in_any_unit_has_the_best_scores(rooms):
    points = 3 * true_points(rooms[0])
    scores = score_room(Prediction(points, recover_cameras(points, torch.ones(points.shape[:-1]))), rooms[0])
    assert scores["error"] < 1e-6 and scores["nd"] < 1e-4
    assert scores["dac@0.2"] == scores["rra@15"] == scores["rta@15"] == 1
    assert scores["rotation"] < 0.5


def test_the_mean_of_one_room_is_that_room(rooms):
    points = mean_pointmap(rooms[:1])
    assert score_room(Prediction(points, standing_cameras(rooms[0])), rooms[0])["error"] < 1e-6
    assert score_room(Prediction(points, standing_cameras(rooms[1])), rooms[1])["error"] > 0.05


def test_standing_cameras_are_as_wrong_as_the_cameras_turn(rooms):
    scores = score_room(Prediction(None, standing_cameras(rooms[0])), rooms[0])
    assert "nd" not in scores and scores["rotation"] > 0.5


def test_a_model_is_scored_and_drawn(rooms, tmp_path):
    options = {"image_size": 32, "encoder_num_layers": 1, "decoder_num_layers": 1, "use_skip": False}
    model = MVDust3rPlusModel.from_size("tiny", **options).eval()
    for head in (model.reference_point_head, model.source_point_head):
        torch.nn.init.zeros_(head.projection.weight)
        head.projection.bias.data[: 3 * model.config.patch_size**2].view(3, -1)[2] = 1  # points before the camera
    report = evaluate_pointmaps(model, rooms[:2], picture=tmp_path / "sheet.png")
    assert report["means"]["nd"] == pytest.approx(sum(room["nd"] for room in report["rooms"]) / 2)
    assert report["means"]["error"] > 0.1 and (tmp_path / "sheet.png").stat().st_size > 0
