"""Layers in which context views look at each other."""

import pytest
import torch
from small_mvgd import SMALL, small_model
from strategies import random_cameras

from anyviews.cameras import Cameras
from anyviews.models.mvgd import MVGDTransformerModel


VIEWS, TOKENS = 5, 4


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


def scenes_of_views(model: MVGDTransformerModel, scenes: int = 2) -> tuple[torch.Tensor, Cameras]:
    cameras = random_cameras(0, scenes, VIEWS, dtype=torch.float32)
    return torch.randn(scenes, VIEWS * TOKENS, model.config.token_dim), cameras


def test_models_without_scene_layers_leave_tokens_as_they_are():
    model = small_model()
    tokens, cameras = scenes_of_views(model)
    assert model.mix_scene(tokens, cameras) is tokens
    assert not any("scene_blocks" in name for name, _ in model.named_parameters())


@pytest.mark.parametrize("neighbours", [1, 3, 9])
@pytest.mark.parametrize("views_at_once", [1, 2, 100])
def test_any_number_of_views_at_once_gives_the_same(neighbours, views_at_once):
    model = small_model(scene_layers=2, scene_neighbours=neighbours)
    tokens, cameras = scenes_of_views(model)
    expected = model.mix_scene(tokens, cameras)
    assert expected.shape == tokens.shape
    torch.testing.assert_close(model.mix_scene(tokens, cameras, views_at_once), expected)


def test_scenes_do_not_mix():
    model = small_model(scene_layers=2, scene_neighbours=3)
    tokens, cameras = scenes_of_views(model)
    alone = model.mix_scene(tokens[1:], cameras[1:])
    torch.testing.assert_close(model.mix_scene(tokens, cameras)[1:], alone)


def test_views_follow_their_order():
    model = small_model(scene_layers=2, scene_neighbours=3)
    tokens, cameras = scenes_of_views(model, scenes=1)
    order = torch.randperm(VIEWS)
    by_view = tokens.unflatten(1, (VIEWS, TOKENS))
    shuffled = model.mix_scene(by_view[:, order].flatten(1, 2), cameras[:, order])
    expected = model.mix_scene(tokens, cameras).unflatten(1, (VIEWS, TOKENS))[:, order]
    torch.testing.assert_close(shuffled.unflatten(1, (VIEWS, TOKENS)), expected)


def test_a_view_sees_its_neighbours_only():
    model = small_model(scene_layers=1, scene_neighbours=2)
    cameras = random_cameras(0, 1, VIEWS, dtype=torch.float32)
    pose = torch.eye(4).repeat(1, VIEWS, 1, 1)
    pose[0, :, 0, 3] = torch.tensor([0.0, 1.0, 5.0, 6.0, 20.0])  # pairs of neighbours, and one view far away
    cameras = Cameras(cameras.intrinsics, pose, cameras.image_sizes)
    tokens = torch.randn(1, VIEWS * TOKENS, SMALL["token_dim"])
    changed = tokens.clone()
    changed[:, TOKENS : 2 * TOKENS] = torch.randn(1, TOKENS, SMALL["token_dim"])  # the second view
    difference = (model.mix_scene(changed, cameras) - model.mix_scene(tokens, cameras)).abs()
    per_view = difference.unflatten(1, (VIEWS, TOKENS)).amax((0, 2, 3))
    assert per_view[0] > 1e-4
    assert per_view[2:].max() == 0
