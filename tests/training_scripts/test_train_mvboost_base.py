"""train_mvboost.py --stage base: examples, the loss, and the script as a user launches it."""

import dataclasses
import json
import math
import os
import subprocess
import sys
from types import ModuleType

import pytest
import torch
from huggingface_hub import ModelCard
from script_modules import load_script
from training.event_files import assert_tracked

from anyviews.cameras import Cameras
from anyviews.data.samples import Sample
from anyviews.data.world.objects.turntable import LONG_LENS, turntable_views
from anyviews.models.lgm import LGMModel, lgm_cameras
from anyviews.training.arguments import DataArguments, parse_arguments


MICRO = {
    "input_size": 16,
    "down_channels": [32, 32],
    "down_attention": [False, True],
    "up_channels": [32, 32],
    "up_attention": [False, False],
    "num_heads": 4,
    "output_size": 16,
}
WORLD = {"views": 10, "height": 16, "width": 16, "block": 2, "repeats": 2, "samples": 1}


@pytest.fixture(scope="module")
def script(repository) -> ModuleType:
    """The training script as a module."""
    return load_script(repository / "training_scripts" / "train_mvboost.py")


@pytest.fixture(scope="module")
def views(script):
    """Two procedural objects from 10 of LGM's cameras each."""
    return [script.orbit_views(seed, 10, 16, samples=1) for seed in (1, 2)]


def make(script, views, dataset: str = "procedural-orbits", **arguments):
    """A method, its model and one batch."""
    torch.manual_seed(0)
    given = script.MVBoostArguments(
        size="micro", model_options=MICRO, **{"grid_distortion": 0.0, "camera_jitter": 0.0, **arguments}
    )
    method = script.LGMMethod(given, DataArguments(dataset_name=dataset))
    model = method.build(given)
    batch = method.collate([method.transform(Sample("object", one, seed)) for seed, one in enumerate(views)])
    return method, model, batch


def test_orbits_are_those_of_the_method(script, views):
    around = views[0].images[views[0].masks.expand(-1, 3, -1, -1) == 0]
    assert around.min() > 0.999, "the background is white"
    ring = views[0].cameras[:8]
    expected = lgm_cameras([45.0 * i for i in range(8)], size=16)
    torch.testing.assert_close(ring.camera_to_world, expected.camera_to_world)
    border = torch.cat([views[0].masks[..., 0, :], views[0].masks[..., :, 0]])
    assert border.max() == 0 and 0.05 < views[0].masks.mean() < 0.6, "the object is in the picture"


def test_inputs_are_a_quarter_turn_apart_in_the_frame_of_the_first(script, views):
    _, _, batch = make(script, views, supervised_views=4)
    expected = lgm_cameras(size=16)
    torch.testing.assert_close(batch["camera_to_world"].shape, torch.Size([2, 4, 4, 4]))
    # whatever the first is, the inputs are those of the released model; compared views are inputs in another order
    rays = batch["pixel_values"][:, :, 3:]
    from anyviews.models.lgm import prepare_images

    reference = prepare_images(torch.zeros(4, 3, 16, 16), expected, size=16)[:, 3:]
    torch.testing.assert_close(rays, reference.expand_as(rays), atol=1e-5, rtol=0)
    for poses in batch["camera_to_world"]:
        gaps = torch.cdist(poses[:, :3, 3], expected.centers)
        assert gaps.amin(1).max() < 1e-5 and sorted(gaps.argmin(1).tolist()) == [0, 1, 2, 3]


def test_examples_do_not_depend_on_the_world_frame_its_unit_or_the_background(script, views):
    _, _, expected = make(script, views, "folder", input_candidates=8)
    turn = torch.linalg.qr(torch.randn(3, 3))[0]
    turn = turn * torch.linalg.det(turn).sign()
    moved = []
    for one in views:
        poses = one.cameras.camera_to_world.clone()
        poses[:, :3, :3] = turn @ poses[:, :3, :3]
        poses[:, :3, 3] = poses[:, :3, 3] @ turn.T * 3
        cameras = Cameras(one.cameras.intrinsics, poses, one.cameras.image_sizes)
        moved.append(dataclasses.replace(one, cameras=cameras))
    _, _, found = make(script, moved, "folder", input_candidates=8)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=1e-4, rtol=0, msg=name)
    mask = views[0].masks.round()
    painted = dataclasses.replace(views[0], images=views[0].images * mask + 0.3 * (1 - mask), masks=mask)
    assert (script.on_white(painted)[(mask == 0).expand(-1, 3, -1, -1)] == 1).all()
    with pytest.raises(ValueError, match="no masks"):
        script.on_white(dataclasses.replace(painted, masks=None))
    with pytest.raises(ValueError, match="3 views to choose 4 inputs from"):
        script.choose_inputs(views[0].cameras[:3], 4, torch.Generator())


def test_augmentation_leaves_the_first_input_and_the_targets_alone(script, views):
    _, _, plain = make(script, views)
    _, _, augmented = make(script, views, grid_distortion=1.0, camera_jitter=1.0)
    changed = (plain["pixel_values"] - augmented["pixel_values"]).abs().amax((0, 3, 4))  # [views, channels]
    assert (changed[0] == 0).all() and (changed[1:] > 1e-3).all()
    assert torch.equal(plain["images"], augmented["images"])
    _, _, mirrored = make(script, views, mirror_augmentation=True, color_augmentation=True)
    assert not torch.equal(mirrored["images"], plain["images"])


def test_loss_names_its_substitute_and_reaches_every_weight(script, views):
    method, model, batch = make(script, views)
    losses = method.loss(model.train(), batch, None)
    assert set(losses) == {"loss", "rgb", "alpha", "1 - ms_ssim"}
    torch.testing.assert_close(losses["loss"], losses["rgb"] + losses["alpha"] + losses["1 - ms_ssim"])
    losses["loss"].backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    half, _, _ = make(script, views, alpha_weight=0.0, perceptual_weight=0.0)
    alone = half.loss(model, batch, None)
    torch.testing.assert_close(alone["loss"], alone["rgb"])


def test_turntables_are_seen_from_long_lens_cameras(script):
    lens = {"field_of_view": 5.72481, "camera_radius": 13.70342}
    given = script.MVBoostArguments(
        size="micro", model_options={**MICRO, **lens}, input_candidates=8, grid_distortion=0.0, camera_jitter=0.0,
        mirror_augmentation=True,
    )  # fmt: skip
    method = script.LGMMethod(given, DataArguments(dataset_name="folder"))
    method.build(given)
    example = method.transform(Sample("object", turntable_views(torch.tensor([3]), 16, samples=1).scene(0), 1))
    expected = lgm_cameras(radius=13.70342, field_of_view=5.72481, size=16)
    rays = script.prepare_images(torch.zeros(4, 3, 16, 16), expected, size=16)[:, 3:]
    torch.testing.assert_close(example["pixel_values"][:, 3:], rays, atol=2e-4, rtol=0)


def test_one_object_is_learned_by_heart(script, views):
    method, model, batch = make(script, views[:1], perceptual_weight=0.0)
    optimizer = torch.optim.Adam(model.train().parameters(), lr=3e-3)
    first = None
    for _ in range(60):
        losses = method.loss(model, batch, None)
        first = losses["rgb"].item() if first is None else first
        optimizer.zero_grad()
        losses["loss"].backward()
        optimizer.step()
    assert losses["rgb"].item() < 0.25 * first


def test_the_config_parses(repository, script):
    path = repository / "training_scripts" / "configs" / "lgm_tiny.yaml"
    arguments, data = parse_arguments(script.MVBoostArguments, DataArguments, argv=["--config", str(path)])
    config = script.LGMMethod(arguments, data).build(arguments).config
    assert config.output_size == config.input_size == 32
    # cameras like those of the turntables, which see as much of the world as LGM's
    assert math.isclose(math.tan(math.radians(config.field_of_view) / 2), LONG_LENS, rel_tol=1e-4)
    seen = config.camera_radius * LONG_LENS
    assert math.isclose(seen, 1.5 * math.tan(math.radians(49.1) / 2), rel_tol=1e-4)


def launch(repository, folder, *extra: str) -> list[dict]:
    """Run the script as users do; returns the lines of losses.jsonl."""
    command = [
        sys.executable, "-m", "accelerate.commands.launch", "--num_processes", "1", "--main_process_port", "0",
        str(repository / "training_scripts" / "train_mvboost.py"), "--stage", "base", "--output_dir", str(folder),
        "--size", "micro", "--model_options", json.dumps(MICRO), "--dataset_name", "procedural-orbits",
        "--dataset_options", json.dumps(WORLD), "--train_batch_size", "1", "--supervised_views", "3",
        "--validation_objects", "1", *extra,
    ]  # fmt: skip
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line) for line in (folder / "losses.jsonl").read_text().splitlines()]


def test_trains_resumes_validates_and_exports(repository, tmp_path):
    whole, rest = tmp_path / "whole", tmp_path / "rest"
    expected = launch(repository, whole, "--max_train_steps", "4", "--checkpointing_steps", "2")
    found = launch(
        repository, rest, "--max_train_steps", "4", "--validation_steps", "4",
        "--resume_from_checkpoint", str(whole / "checkpoint-2"),
    )  # fmt: skip
    assert [line["step"] for line in expected] == [1, 2, 3, 4]
    assert {line["step"]: line["loss"] for line in found}.items() >= {
        line["step"]: line["loss"] for line in expected[2:]
    }.items()
    scores = json.loads((rest / "validation.jsonl").read_text().splitlines()[-1])
    assert {"psnr", "ms_ssim", "nearest_psnr", "white_psnr"} <= set(scores)
    assert (rest / "validation" / "step-00000004" / "step-4.png").stat().st_size > 0
    assert_tracked(rest, "mvboost", [4])
    assert "lgm" in ModelCard.load(rest / "README.md").data.tags
    exported = [LGMModel.from_pretrained(folder).state_dict() for folder in (rest, whole)]
    assert all(torch.equal(a, b) for a, b in zip(exported[0].values(), exported[1].values(), strict=True))
