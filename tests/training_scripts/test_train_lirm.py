"""train_lirm.py: examples whose rays meet what they show, updates, the sharpness, and a run from start to end."""

import dataclasses
import json
from types import ModuleType

import pytest
import torch
import yaml
from script_modules import load_script
from training.event_files import assert_tracked

from anyviews.data import open_samples
from anyviews.geometry.paths import look_at
from anyviews.geometry.rays import camera_rays, pixel_centers
from anyviews.models.lirm import LIRMModel
from anyviews.views import Views


MICRO = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "fuse_hidden_size": 32,
    "plane_token_size": 2,
    "plane_upsample": 4,
    "plane_dim": 4,
    "mlp_dim": 8,
    "nde_token_size": 2,
    "nde_upsample": 2,
    "nde_dim": 4,
}
GIVEN = {
    "resolution": 16,
    "target_resolution": 24,
    "window": 12,
    "samples": 12,
    "min_views": 2,
    "max_views": 2,
    "max_updates": 2,
    "targets": 2,
    "sharpness_warmup": 4,
    "max_train_steps": 12,
    "color_augmentation": 0.0,
}

WORLD = {"views": 6, "height": 24, "width": 24, "block": 2, "repeats": 2, "samples": 1, "maps": True}


@pytest.fixture(scope="module")
def script(repository) -> ModuleType:
    """The training script as a module."""
    return load_script(repository / "training_scripts" / "train_lirm.py")


@pytest.fixture(scope="module")
def samples() -> list:
    found = iter(open_samples("procedural-objects", **WORLD))
    return [next(found) for _ in range(3)]


def make(script, **arguments):
    given = script.LIRMArguments(**{**GIVEN, "model_options": MICRO, **arguments})
    return script.LIRMMethod(given, script.DataArguments())


def batch_of(method, samples) -> dict:
    return method.collate([method.transform(sample) for sample in samples])


def test_rays_meet_the_surface_where_the_depth_says(script, samples):
    """Points of one window, seen by an input's rays, have the colour that the photo shows there."""
    from anyviews.models.lirm.sweep_lirm import project_points

    example = make(script, mirror_augmentation=False).transform(samples[0])
    known = example["target_depth"][:, 0] > 0
    points = example["target_origins"] + example["target_directions"] * example["target_depth"]
    points = points.movedim(1, -1)[known]
    assert known.sum() > 20 and points.norm(dim=-1).max() <= 0.5 + 1e-4
    pixels, seen = project_points(points, example["origins"][None], example["directions"][None])
    size = example["images"].shape[-1]
    inside = []
    for view, photo in enumerate(example["images"]):
        place = pixels[0, view][seen[0, view]].floor().long().clamp(0, size - 1)
        inside.append((photo[:, place[:, 1], place[:, 0]].amin(0) < 0.98).float().mean())
    assert torch.stack(inside).mean() > 0.9


def test_points_near_the_surface_have_their_distance_to_it(script):
    method = make(script, surface_weight=1.0, space_points=500)
    found = method._near_surface(views_of_a_ball(0.3), torch.Generator().manual_seed(0))
    distances = found["surface_distances"]
    assert found["surface_points"].shape == (500, 3)
    assert -0.01 <= distances.min() < -0.005 and 0.045 < distances.max() <= 0.05
    torch.testing.assert_close(found["surface_points"].norm(dim=-1) - 0.3, distances, atol=1e-5, rtol=0)


def test_points_that_are_seen_through_are_outside_and_everywhere_around(script):
    method = make(script, free_weight=1.0, space_points=2000)
    points = method._seen_through(views_of_a_ball(0.3), torch.Generator().manual_seed(0))
    radii = points.norm(dim=-1)
    assert points.shape == (2000, 3) and radii.max() <= 0.5 + 1e-4
    assert (radii > 0.3).float().mean() > 0.99  # depth ends at whole pixels
    assert all((points * sign > 0).all(1).any() for sign in torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 3))


def views_of_a_ball(radius: float) -> Views:
    """Two views of a ball around the origin, with depth, normals and masks."""
    intrinsics = torch.tensor([[60.0, 0, 20], [0, 60, 20], [0, 0, 1]]).expand(2, 3, 3)
    centers = torch.tensor([[0.0, 0.5, 2.0], [2.0, 0.5, 0.0]])
    cameras = look_at(centers, torch.zeros(3), torch.tensor([0.0, 1, 0]), intrinsics, 40, 40)
    origins, directions = camera_rays(cameras, pixel_centers(40, 40).flatten(0, 1).expand(2, -1, 2))
    along = (origins * directions).sum(-1, keepdim=True)
    root = along.square() - origins.square().sum(-1, keepdim=True) + radius**2
    surface = origins + directions * (-along - root.clamp(min=0).sqrt())
    maps = {
        "masks": (root > 0).float(),
        "depths": ((surface - origins) * cameras.rotation[:, None, :, 2]).sum(-1, keepdim=True) * (root > 0),
        "normals": torch.where(root > 0, surface / radius, 0.0),
    }
    maps = {name: value.mT.unflatten(-1, (40, 40)) for name, value in maps.items()}
    return Views(torch.zeros(2, 3, 40, 40), cameras, **maps)


def test_points_count_by_their_weights(script, samples):
    method = make(script, surface_weight=3.0, free_weight=2.0)
    batch = batch_of(method, samples[:2])
    network = method.build(method.arguments).eval()
    losses = method.loss(network, batch, torch.Generator())
    network.arguments.surface_weight = network.arguments.free_weight = 0.0
    without = method.loss(network, batch, torch.Generator())
    assert losses["surface"] > 0.01 and losses["free"] > 1e-4 and not {"surface", "free"} & without.keys()
    torch.testing.assert_close(losses["loss"] - 3 * losses["surface"] - 2 * losses["free"], without["loss"])


def test_normals_face_the_rays(script, samples):
    example = make(script).transform(samples[1])
    known = (example["target_normals"].norm(dim=1) > 0.5) & (example["target_masks"][:, 0] > 0.99)
    facing = (example["target_normals"] * example["target_directions"]).sum(1)[known]
    assert known.sum() > 20 and (facing < 0.05).float().mean() > 0.98


def test_examples_depend_on_the_seed_alone(script, samples):
    method = make(script, color_augmentation=0.5)
    first, second = method.transform(samples[0]), method.transform(samples[0])
    other = method.transform(dataclasses.replace(samples[0], seed=samples[0].seed + 1))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["images"], other["images"])


def test_windows_hold_the_object(script):
    mask = torch.zeros(40, 40)
    mask[5:12, 25:35] = 1
    generator = torch.Generator().manual_seed(0)
    held = []
    for _ in range(50):
        left, top, side = (int(value) for value in script.draw_window(mask, 16, generator))
        held.append(float(mask[top : top + side, left : left + side].sum()))
    assert sum(value > 0 for value in held) >= 45


@pytest.mark.parametrize("chunk", [None, 64])
def test_every_parameter_is_trained(script, samples, chunk):
    torch.manual_seed(0)
    # states go from set to set, so that the layer that joins them has slopes
    method = make(script, ray_chunk=chunk, numerical_normal_weight=1.0, model_options={**MICRO, "bptt_steps": 1})
    network, batch = method.build(method.arguments).train(), batch_of(method, samples)
    losses = method.loss(network, {**batch, "updates": 2}, torch.Generator())
    losses["loss"].backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []
    assert all(value.isfinite() for value in losses.values())


def test_the_sharpness_follows_the_batches(script):
    method = make(script)
    network = method.build(method.arguments)
    found = []
    for seen in (0, 2, 4, 8, 12, 100):
        network.batches.fill_(seen)
        found.append(network.sharpness())
    assert found == [10.0, 15.0, 20.0, 110.0, 200.0, 200.0]


def test_bad_arguments_are_refused(script):
    for wrong in ({"min_views": 3}, {"window": 25}, {"max_updates": 0}, {"perceptual_loss": "lpips"}):
        with pytest.raises(ValueError, match=r"found|window|lpips"):
            make(script, **wrong)


def test_a_run_ends_with_a_model_and_is_resumed(script, tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    config = {
        **GIVEN,
        "model_options": MICRO,
        "perceptual_loss": "multi-scale-ssim",
        "dataset_name": "procedural-objects",
        "dataset_options": {
            "views": 6,
            "height": 24,
            "width": 24,
            "block": 2,
            "repeats": 2,
            "samples": 1,
            "maps": True,
        },
        "train_batch_size": 2,
        "max_train_steps": 2,
        "validation_steps": 2,
        "validation_objects": 1,
        "checkpointing_steps": 1,
        "output_dir": str(tmp_path / "run"),
    }
    run(script, config, tmp_path)
    run(script, {**config, "max_train_steps": 3, "resume_from_checkpoint": "latest"}, tmp_path)
    steps = [json.loads(line)["step"] for line in (tmp_path / "run" / "losses.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3]
    scores = json.loads((tmp_path / "run" / "validation.jsonl").read_text().splitlines()[0])
    assert {"nearest view/psnr", "1 set/psnr", "2 sets/psnr", "2 sets/mask_iou"} <= set(scores)
    assert_tracked(tmp_path / "run", "lirm", [2, 3])
    assert LIRMModel.from_pretrained(tmp_path / "run").config.hidden_size == 32


def test_a_stage_goes_on_from_the_one_before_at_its_own_size(script, samples, tmp_path):
    first = make(script).build(make(script).arguments)
    first.lirm.save_pretrained(tmp_path)
    later = {"resolution": 24, "last_sharpness": 90.0, "model_options": {}, "skip_empty": True}
    method = make(script, **later, pretrained_model_name_or_path=str(tmp_path))
    second = method.build(method.arguments)
    assert (second.lirm.config.image_size, second.lirm.config.sdf_inv_std) == (24, 90.0)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    losses = method.loss(second.train(), batch_of(method, samples), torch.Generator())
    plain = make(script, **{**later, "skip_empty": False}).build
    reference = plain(method.arguments).train()
    reference.arguments = dataclasses.replace(method.arguments, skip_empty=False)
    expected = method.loss(reference, batch_of(method, samples), torch.Generator())
    torch.testing.assert_close(losses["loss"], expected["loss"], rtol=2e-3, atol=1e-4)


def test_an_overfit_is_validated_on_its_own_object_in_views_that_are_not_among_the_photos(script):
    world = {**WORLD, "block": 1}
    method = make(script, overfit=True, max_updates=1)
    method.data = script.DataArguments(dataset_name="procedural-objects", dataset_options=world)
    (test,) = method._tests()
    (sample,) = [next(iter(open_samples("procedural-objects", **world)))]
    assert [len(photos) for photos in test.sets] == [2] and len(test.targets) == 2
    assert torch.equal(test.sets[0].images, sample.views.images[:2])
    assert torch.equal(test.targets.images, sample.views.images[2:4])
    first, second = (method.transform(dataclasses.replace(sample, seed=seed)) for seed in (1, 2))
    assert torch.equal(first["images"], second["images"])
    # in one frame, or what was learned is asked for elsewhere
    torch.testing.assert_close(first["target_origins"][:, :, 0, 0], test.targets.cameras.centers)


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_the_stages_of_the_paper_follow_each_other(script, repository, stage):
    path = repository / "training_scripts" / "configs" / f"lirm_base_stage{stage}.yaml"
    arguments, data = script.parse_arguments(script.LIRMArguments, script.DataArguments, argv=["--config", str(path)])
    script.LIRMMethod(arguments, data)
    views = arguments.max_views * arguments.max_updates + arguments.targets
    assert arguments.size == "base" and arguments.gradient_clipping == "tensor"
    assert (arguments.resolution, arguments.window) == ((256, 128), (512, 384), (512, 512))[stage - 1]
    assert arguments.lr_end < arguments.learning_rate and views <= data.dataset_options["views"] + arguments.targets


def run(script, config: dict, folder) -> None:
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    arguments, data = script.parse_arguments(script.LIRMArguments, script.DataArguments, argv=["--config", str(path)])
    script.train(script.LIRMMethod(arguments, data), arguments, data)
