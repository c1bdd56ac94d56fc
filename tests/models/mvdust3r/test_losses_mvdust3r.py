"""Training losses: the official values and gradients, and what must hold for any scene."""

import functools
import json

import pytest
import torch
from golden_mvdust3r import FOLDER, assert_close, golden, in_view_order, needs_golden
from small_mvdust3r import random_images, small_model
from torch import Tensor

from anyviews.cameras import Cameras
from anyviews.models.mvdust3r.losses_mvdust3r import (
    point_losses,
    points_in_references,
    render_losses,
    slot_views,
)
from anyviews.models.mvdust3r.modeling_mvdust3r import MVDust3rPlusOutput


PATHS = {"m1": 1, "m3": 3}


@functools.cache
def official(case: str) -> dict:
    return json.loads((FOLDER / "losses.json").read_text(encoding="utf-8"))[case]["values"]


def golden_scene(case: str) -> tuple[Cameras, Tensor, Tensor]:
    """Cameras and world points of the input views, and which of their pixels are valid."""
    values = golden(f"loss_{case}")
    views = slice(len(values["pred.pts3d"]))
    points = values["gt.pts3d"][views].transpose(0, 1)
    cameras = [values[f"gt.camera_{name}"][views].transpose(0, 1) for name in ("intrinsics", "pose")]
    valid = values["gt.valid_mask"][views].transpose(0, 1).bool()
    return Cameras.create(*cameras, *points.shape[2:4]), points, valid


def golden_losses(case: str):
    """The official prediction, with gradients to come, and its losses."""
    values, paths = golden(f"loss_{case}"), PATHS[case]
    cameras, points, valid = golden_scene(case)
    # the official targets are unprojected through integer pixels, so they are taken as they are
    pose = cameras.world_to_camera[:, :paths]
    targets = torch.einsum("bmij,bvhwj->bmvhwi", pose[..., :3, :3], points) + pose[:, :, None, None, None, :3, 3]
    predicted = [in_view_order(values[f"pred.{name}"], paths).requires_grad_() for name in ("pts3d", "conf")]
    return predicted, point_losses(*predicted, targets, valid, range(paths))


@needs_golden
@pytest.mark.parametrize("case", PATHS)
def test_point_losses_and_their_gradients_are_the_official_ones(case):
    (points, confidence), losses = golden_losses(case)
    assert losses.loss.item() == pytest.approx(official(case)["conf_loss"], abs=1e-6)
    losses.loss.backward()
    assert_close(points.grad, in_view_order(golden(f"loss_{case}")["grad.pts3d"], PATHS[case]), 1e-6)
    assert_close(confidence.grad, in_view_order(golden(f"loss_{case}")["grad.conf"], PATHS[case]), 1e-6)


@needs_golden
@pytest.mark.parametrize("case", PATHS)
def test_units_are_the_official_normalisation(case):
    _, losses = golden_losses(case)
    assert_close(losses.units.flatten(), golden(f"loss_{case}")["render.pred_norm_factor"], 1e-6)


def scene(batch: int = 2, views: int = 4, size: int = 6) -> tuple[Cameras, Tensor]:
    """Random cameras near the origin and depth in front of them."""
    intrinsics = torch.tensor([[float(size), 0.0, size / 2], [0.0, size, size / 2], [0.0, 0.0, 1.0]])
    poses = torch.eye(4).repeat(batch, views, 1, 1)
    poses[..., :3, :3] = torch.linalg.matrix_exp(0.2 * skew(torch.randn(batch, views, 3)))
    poses[..., :3, 3] = 0.3 * torch.randn(batch, views, 3)
    cameras = Cameras.create(intrinsics.expand(batch, views, 3, 3), poses, size, size)
    return cameras, 1 + 2 * torch.rand(batch, views, 1, size, size)


def skew(vectors: Tensor) -> Tensor:
    x, y, z = vectors.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))


def test_the_reference_sees_its_own_points_at_their_depth():
    cameras, depths = scene()
    points = points_in_references(depths, cameras, [2, 0])
    torch.testing.assert_close(points[:, 0, 2, ..., 2], depths[:, 2, 0])
    torch.testing.assert_close(points[:, 1, 0, ..., 2], depths[:, 0, 0])


def test_points_of_all_paths_are_the_same_points():
    cameras, depths = scene()
    found = points_in_references(depths, cameras, [1, 3])
    poses = cameras.camera_to_world[:, [1, 3]]
    world = torch.einsum("bmij,bmvhwj->bmvhwi", poses[..., :3, :3], found) + poses[:, :, None, None, None, :3, 3]
    torch.testing.assert_close(world[:, 0], world[:, 1], atol=1e-5, rtol=1e-5)


def test_a_perfect_prediction_of_any_size_has_no_error():
    cameras, depths = scene()
    targets = points_in_references(depths, cameras, [0, 1])
    valid = depths[:, :, 0] > 0
    factor = torch.rand(2, 2, 1, 1, 1, 1) + 0.5
    losses = point_losses(targets * factor, torch.ones(targets.shape[:-1]), targets, valid, [0, 1])
    assert losses.error.item() < 1e-6
    torch.testing.assert_close(losses.units, losses.target_units * factor[..., 0, 0, 0, 0])


def test_pixels_of_unknown_depth_do_not_matter():
    cameras, depths = scene()
    depths[:, :, :, :2] = 0
    depths[0, 1] = 0  # a whole view
    targets, valid = points_in_references(depths, cameras, [0]), depths[:, :, 0] > 0
    points, confidence = torch.randn_like(targets), 1 + torch.rand(targets.shape[:-1])
    expected = point_losses(points, confidence, targets, valid, [0])
    hidden = ~valid[:, None]
    points[hidden], confidence[hidden] = 100.0, 50.0
    points.requires_grad_()
    found = point_losses(points, confidence, targets, valid, [0])
    torch.testing.assert_close(found.loss, expected.loss)
    found.loss.backward()
    assert not points.grad[hidden].any() and points.grad[~hidden].any()


def test_without_any_depth_there_is_an_error():
    cameras, depths = scene()
    targets = points_in_references(depths, cameras, [0])
    with pytest.raises(ValueError, match="no pixel of the batch has a known depth"):
        point_losses(targets, torch.ones(targets.shape[:-1]), targets, torch.zeros(2, 4, 6, 6, dtype=bool), [0])


def test_slots_hold_references_first_and_exchange_each_with_the_first():
    assert slot_views([0, 1, 2], 4) == [[0, 1, 2, 3], [1, 0, 2, 3], [2, 1, 0, 3]]
    assert slot_views([3, 1], 4) == [[3, 1, 0, 2], [1, 3, 0, 2]]


def gaussian_output(points: Tensor, scale: float) -> MVDust3rPlusOutput:
    shape = points.shape[:-1]
    return MVDust3rPlusOutput(
        points=points,
        confidence=torch.ones(shape),
        opacities=torch.full(shape, 0.999),
        scales=torch.full((*shape, 3), scale),
        rotations=torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(*shape, 1),
        references=(0,),
    )


def test_true_gaussians_are_rendered_with_less_error_than_wrong_ones_in_any_unit():
    cameras, _ = scene(batch=1, size=16)
    depths = torch.full((1, 4, 1, 16, 16), 2.0)
    pixel_values = random_images(1, 4, 16, 16)
    targets, valid = points_in_references(depths, cameras, [0]), depths[:, :, 0] > 0
    colors = []
    for points in (targets, 3 * targets, targets * torch.tensor([1.0, 1.0, -1.0])):
        output = gaussian_output(points, scale=0.003)
        losses = point_losses(points, output.confidence, targets, valid, [0])
        one_view = slice(1)  # rendered alone, the Gaussians of the other views hide it where they disagree
        first = MVDust3rPlusOutput(**{k: v[:, :, one_view] if torch.is_tensor(v) else v for k, v in output.items()})
        rendered = render_losses(first, pixel_values[:, one_view], pixel_values[:, one_view],
                                 cameras[:, one_view], cameras[:, one_view], losses)  # fmt: skip
        colors.append(rendered.color.item())
    assert colors[0] == pytest.approx(colors[1], rel=1e-2)
    assert colors[0] < 0.5 * colors[2]


def test_scales_out_of_bounds_are_penalised():
    cameras, depths = scene(batch=2)
    targets, valid = points_in_references(depths, cameras, [0]), depths[:, :, 0] > 0
    found = {}
    for scale in (-0.1, 0.002, 0.1):
        output = gaussian_output(targets, scale)
        output.scales *= targets.norm(dim=-1).mean((1, 2, 3, 4)).reshape(2, 1, 1, 1, 1, 1)
        losses = point_losses(targets, output.confidence, targets, valid, [0])
        images = random_images(2, 4, 6, 6)
        found[scale] = render_losses(output, images, images, cameras, cameras, losses).scale.item()
    assert found[0.002] == 0
    assert found[0.1] == pytest.approx((0.1 - 4e-3) ** 2, rel=1e-3)
    assert found[-0.1] == pytest.approx((0.1 + 1e-4) ** 2, rel=1e-3)


def test_every_parameter_of_the_model_learns_from_both_losses():
    model = small_model(gaussian_colors="pixels", use_skip=False, patch_size=2, gaussian_hidden_size=64).train()
    cameras, depths = scene(batch=1, size=8)
    pixel_values = random_images(1, 4, 8, 8)
    output = model(pixel_values, all_paths=True)
    targets = points_in_references(depths, cameras, output.references)
    losses = point_losses(output.points, output.confidence, targets, depths[:, :, 0] > 0, output.references)
    rendered = render_losses(output, pixel_values, pixel_values, cameras, cameras, losses)
    (losses.loss + rendered.color + rendered.scale).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []
