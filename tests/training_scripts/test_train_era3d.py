"""train_era3d.py: examples, loss, and a run that is resumed."""

import json
import math
from dataclasses import replace
from types import ModuleType

import pytest
import torch
from script_modules import load_script
from training.event_files import assert_tracked

from anyviews.data.samples import Sample
from anyviews.data.world.objects.turntable import turntable_views
from anyviews.models.era3d import min_snr_weights


MICRO = {
    "sample_size": 8,
    "block_out_channels": [8, 16],
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlockMV2D"],
    "up_block_types": ["CrossAttnUpBlockMV2D", "UpBlock2D"],
    "attention_head_dim": [2, 2],
    "norm_num_groups": 4,
    "cross_attention_dim": 8,
    "projection_class_embeddings_input_dim": 16,
}
REGRESSING = {"regress_elevation": True, "regress_focal_length": True, "num_regress_blocks": 1}
WORLD = {"samples": 1, "block": 2, "repeats": 4}


@pytest.fixture(scope="module")
def script(repository) -> ModuleType:
    """The training script as a module."""
    return load_script(repository / "training_scripts" / "train_era3d.py")


def make(script, options: dict | None = None, count: int = 2, **arguments):
    """A method, its network and one batch of procedural objects at 16 pixels."""
    torch.manual_seed(0)
    given = script.Era3DArguments(resolution=16, unet_options={**MICRO, **(options or {})}, **arguments)
    data = script.DataArguments(dataset_name="procedural-objects", dataset_options=WORLD)
    method = script.Era3DMethod(given, data)
    network = method.build(given)
    samples = iter(method.open_dataset(data, 0, 1))
    return method, network, method.collate([next(samples) for _ in range(count)])


def losses(method, network, batch, seed: int = 0) -> dict[str, torch.Tensor]:
    return method.loss(network, batch, torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def turns(script):
    """One object from eight level and eight tilted cameras."""
    return script.render_turns([1], 24, 1, tilted=(25.0, 35.0))[0]


def test_every_azimuth_can_be_the_front(script, turns):
    colors, share = torch.arange(3), 0.8
    examples = [script.make_example(turns, front, False, colors, share) for front in (0, 2)]
    # turned by 90 degrees, front becomes left, and right becomes front: order front, 45, right, back, left, 315
    assert torch.equal(examples[1]["views"][1, 0], examples[0]["views"][1, 2])
    assert torch.equal(examples[1]["views"][1, 4], examples[0]["views"][1, 0])
    assert examples[0]["views"].shape == (2, 6, 3, 24, 24)


def test_right_is_on_the_viewers_right(script, turns):
    """The camera of view 2 stands where the front camera's x axis points."""
    centers = turns.cameras.centers
    right = turns.cameras.camera_to_world[0, :3, 0]
    offset = centers[script.VIEW_TURNS[2]] / centers[script.VIEW_TURNS[2]].norm()
    assert torch.dot(offset, right) == pytest.approx(1, abs=1e-4)
    assert script.VIEW_TURNS == [0, 1, 2, 4, 6, 7]


def test_normals_are_in_the_frame_of_the_front_view(script, turns):
    """Of the front most point towards the viewer, of the right view to the right, of the back away."""
    example = script.make_example(turns, 0, False, torch.arange(3), 0.8)
    normals = example["views"][0] * 2 - 1
    known = (turns[script.VIEW_TURNS].depths > 0).float()
    mean = (normals * known).sum((2, 3)) / known.sum((2, 3))
    assert mean[0, 2] > 0.3 and mean[2, 0] > 0.3 and mean[3, 2] < -0.3 and mean[4, 0] < -0.3
    unit = normals.norm(dim=1, keepdim=True)[known > 0]
    assert (unit - 1).abs().max() < 1e-3
    assert (example["views"][0][(known == 0).expand(6, 3, 24, 24)] == 1).all()


def test_mirrored_objects_are_views_of_a_mirrored_object(script, turns):
    plain, mirrored = (script.make_example(turns, 0, flag, torch.arange(3), 0.8) for flag in (False, True))
    exchanged = [0, 5, 4, 3, 2, 1]
    assert torch.equal(mirrored["views"][1], plain["views"][1, exchanged].flip(-1))
    x, yz = mirrored["views"][0][:, :1], mirrored["views"][0][:, 1:]
    known = (turns[script.VIEW_TURNS].depths > 0)[exchanged].flip(-1)
    flipped = plain["views"][0, exchanged].flip(-1)
    torch.testing.assert_close(x[known], 1 - flipped[:, :1][known], atol=1e-5, rtol=0)
    torch.testing.assert_close(yz, flipped[:, 1:], atol=1e-5, rtol=0)
    assert torch.equal(mirrored["condition"], plain["condition"].flip(-1))


def test_pose_is_that_of_the_condition_image(script, turns):
    pose = script.make_example(turns, 3, False, torch.arange(3), 0.8)["pose"]
    camera = turns.cameras[11]
    height = camera.centers[1] / camera.centers.norm()
    assert pose[0] == pytest.approx(math.asin(height), abs=1e-4)
    assert 25 <= math.degrees(pose[0]) <= 35
    millimetres = camera.intrinsics[0, 0] * 36 / 24  # the sensor is 36 mm wide, the image 24 pixels
    assert pose[1] == pytest.approx(24 / millimetres.item(), rel=1e-4)
    level = script.make_example(turns[list(range(8))], 3, False, torch.arange(3), 0.8)
    assert not level["pose"].any()


def test_views_of_an_object_have_one_scale_and_fit(script, turns):
    level = turns[list(range(8))]
    assert level.cameras.centers.norm(dim=1).std() < 1e-4
    assert not level.masks[:, :, [0, -1]].any() and not level.masks[..., [0, -1]].any()
    spans = []
    for along in (2, 3):
        touched = level.masks.any(dim=along)[:, 0].nonzero()[:, 1]
        spans.append(int(touched.max() - touched.min()) + 1)
    assert max(spans) == pytest.approx(0.9 * 24, abs=2)


@pytest.mark.parametrize("options", [{}, REGRESSING], ids=["level", "regressing"])
def test_every_parameter_is_trained(script, options):
    method, network, batch = make(script, options)
    for name, parameter in network.named_parameters():
        if name.endswith("attn_mv.to_out.0.weight"):
            torch.nn.init.normal_(parameter, std=0.1)
    result = losses(method, network, batch)
    assert set(result) == {"normal", "color", "loss"} | ({"camera"} if options else set())
    result["loss"].backward()
    without = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    # CLIP's projection reads the class token, so the norm of the others' last layer has no part
    assert [name for name in without if not name.startswith("image_encoder")] == []


def test_loss_of_a_perfect_prediction_is_zero(script):
    """The goal is v of the scheduler of the pipeline, so that DDIM recovers the clean latents from it."""
    method, _, batch = make(script)
    seen = {}

    class Perfect(torch.nn.Module):
        def forward(self, pixels, label, noisy, timesteps):
            alpha = method.parts.scheduler.alphas_cumprod[timesteps][:, None, None, None]
            clean = method.latents(batch["views"].transpose(0, 1).flatten(0, 2))
            noise = (noisy[:, :12] - alpha.sqrt() * clean) / (1 - alpha).sqrt()
            seen["timesteps"] = timesteps
            return alpha.sqrt() * noise - (1 - alpha).sqrt() * clean, None

    assert method.loss(Perfect(), batch, torch.Generator().manual_seed(0))["loss"] < 1e-6
    per_object = seen["timesteps"].unflatten(0, (2, 2, 6))
    assert torch.equal(per_object, per_object[:1, :, :1].expand(2, 2, 6))
    assert per_object[0, 0, 0] != per_object[0, 1, 0]


def test_condition_is_dropped_as_often_as_asked(script):
    method, _, batch = make(script, condition_dropout=0.2)
    batch = {name: value[:1].expand(400, *value.shape[1:]) for name, value in batch.items()}
    kept = {}

    class Probe(torch.nn.Module):
        def forward(self, pixels, label, noisy, timesteps):
            kept["latents"] = noisy[:, 12:].flatten(1).any(1)
            kept["embedding"] = label(torch.ones(len(pixels), 8)).any(1)
            return noisy[:, :12], None

    method.loss(Probe(), batch, torch.Generator().manual_seed(0))
    latents, embedding = (kept[name].unflatten(0, (2, 400, 6))[0, :, 0] for name in ("latents", "embedding"))
    for name in kept:  # alike for all rows of an object
        rows = kept[name].unflatten(0, (2, 400, 6))
        assert torch.equal(rows, rows[:1, :, :1].expand_as(rows))
    shares = [(~latents & embedding), (latents & ~embedding), (~latents & ~embedding), (latents & embedding)]
    found = torch.stack(shares).float().mean(1)
    torch.testing.assert_close(found, torch.tensor([0.2, 0.2, 0.2, 0.4]), atol=0.06, rtol=0)


def test_no_dropout_keeps_all_conditions(script):
    method, network, batch = make(script, condition_dropout=0.0)
    seen = {}
    network.unet.register_forward_pre_hook(lambda module, inputs: seen.update(sample=inputs[0], labels=inputs[3]))
    losses(method, network, batch)
    assert seen["sample"][:, 12:].flatten(1).any(1).all() and seen["labels"].any(1).all()


def test_min_snr_weights():
    alphas = torch.tensor([0.0, 0.5, 5 / 6, 0.99])
    snr = alphas / (1 - alphas)
    torch.testing.assert_close(min_snr_weights(alphas, 5.0), snr.clamp(max=5) / (snr + 1))
    assert torch.equal(min_snr_weights(alphas, None), torch.ones(4))


def test_pixels_of_the_image_encoder_are_those_of_the_pipeline(script):
    method, _, batch = make(script)
    bytes_ = (batch["condition"] * 255).byte()
    given = method.parts.feature_extractor(images=list(bytes_.movedim(1, -1).numpy()), return_tensors="pt")
    size = method.parts.feature_extractor.crop_size["height"]
    assert given["pixel_values"].shape[-2:] == (size, size)
    error = (method.clip_pixels(bytes_ / 255) - given["pixel_values"]).abs()
    assert error.mean() < 0.02  # Pillow rounds to 8 bits after resizing


def test_pretrained_parts_stay_frozen(script, monkeypatch):
    method, _, _ = make(script)
    monkeypatch.setattr(script.Era3DPipeline, "from_pretrained", lambda folder: method.parts)
    method.arguments.pretrained_model_name_or_path = "folder"
    network = method.build(method.arguments)
    trained = {name.split(".")[0] for name, p in network.named_parameters() if p.requires_grad}
    assert trained == {"unet"}
    method.arguments.train_all = True
    trained = {name.split(".")[0] for name, p in method.build(method.arguments).named_parameters() if p.requires_grad}
    assert trained == {"unet", "image_encoder", "prompts"}


def test_bad_arguments_are_refused(script):
    with pytest.raises(ValueError, match="base needs --pretrained_model_name_or_path"):
        script.fresh_pipeline(script.Era3DArguments(size="base", resolution=512))
    method, _, _ = make(script)
    with pytest.raises(ValueError, match="known of procedural-objects only"):
        method.open_dataset(script.DataArguments(dataset_name="procedural-rooms"), 0, 1)
    regressing, _, _ = make(script, REGRESSING)
    with pytest.raises(ValueError, match="this model regresses the camera of its input"):
        regressing.open_dataset(script.DataArguments(dataset_name="folder"), 0, 1)


def test_shards_of_turntables_give_the_examples_of_rendered_objects(script):
    method, _, _ = make(script)
    seed = 5
    twelve = turntable_views(torch.tensor([seed]), 16, samples=1).scene(0)
    (eight,) = script.render_turns([seed], 16, 1)
    expected, found = (method.transform(Sample("object", views, 3)) for views in (eight, twelve))
    for name, value in expected.items():
        # pixels are rendered in other batches
        torch.testing.assert_close(found[name], value, atol=1e-3, rtol=0, msg=name)
    for wrong in (twelve[1:], twelve[:7], replace(twelve, normals=None)):
        with pytest.raises(ValueError, match="object: needed are 8 level views first"):
            method.transform(Sample("object", wrong, 3))


def test_one_object_is_learned(script):
    """The same noise is removed better after some steps on one object."""
    method, network, batch = make(script, {"block_out_channels": [16, 32]}, count=1, condition_dropout=0.0)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)

    def judged():
        with torch.no_grad():
            return sum(losses(method, network, batch, seed=1000 + i)["loss"].item() for i in range(10))

    before = judged()
    for step in range(60):
        optimizer.zero_grad()
        losses(method, network, batch, seed=step)["loss"].backward()
        optimizer.step()
    assert judged() < 0.6 * before


def test_a_resumed_run_repeats_an_uninterrupted_one(script, tmp_path):
    def run(folder, steps, **more):
        arguments = script.Era3DArguments(
            resolution=16, unet_options=MICRO, output_dir=str(folder), max_train_steps=steps, train_batch_size=2,
            checkpointing_steps=2, validation_objects=2, validation_steps_of_pipeline=2, mixed_precision="no", **more,
        )  # fmt: skip
        data = script.DataArguments(dataset_name="procedural-objects", dataset_options=WORLD)
        return script.train(script.Era3DMethod(arguments, data), arguments, data)

    whole = run(tmp_path / "whole", 4, validation_steps=4)
    run(tmp_path / "half", 2)
    resumed = run(tmp_path / "half", 4, resume_from_checkpoint="latest")
    assert [record["loss"] for record in resumed] == [record["loss"] for record in whole[2:]]

    scores = json.loads((tmp_path / "whole" / "validation.jsonl").read_text())
    assert {"1 step/others", "2 steps guided/normals", "front repeated/others"} <= set(scores)
    assert scores["front repeated/front"] == pytest.approx(100)
    picture = tmp_path / "whole" / "validation" / "step-00000004" / "step-4.png"
    assert picture.stat().st_size > 0
    assert_tracked(tmp_path / "whole", "era3d", [4])
    index = json.loads((tmp_path / "whole" / "model_index.json").read_text())
    assert index["_class_name"] == "Era3DPipeline" and index["vae"][1] == "Era3DPixelAutoencoder"
    assert (tmp_path / "whole" / "README.md").is_file()
