"""train_mvgd.py: the loss in all its configurations, and the script as a user launches it."""

import json
import os
import shutil
import subprocess
import sys
from types import ModuleType

import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from script_modules import load_script
from training.event_files import assert_tracked

from anyviews.cameras import Cameras
from anyviews.data import open_samples
from anyviews.models.mvgd import MVGDExplicitAttentionProcessor
from anyviews.pipelines import MVGDPipeline
from anyviews.training.optimization import name_sharded_blocks


MICRO = {
    "num_blocks": 1,
    "num_layers_per_block": 1,
    "num_latents": 4,
    "latent_dim": 16,
    "token_dim": 16,
    "num_attention_heads": 2,
    "image_feature_dim": 8,
    "image_embed_dim": 8,
    "task_embed_dim": 4,
}
WORLD = {"views": 6, "height": 16, "width": 16, "block": 4, "samples": 1}


@pytest.fixture(scope="module")
def script(repository) -> ModuleType:
    """The training script as a module."""
    return load_script(repository / "training_scripts" / "train_mvgd.py")


def make(script, options: dict | None = None, **arguments):
    """A method, its network and one batch of four procedural rooms."""
    torch.manual_seed(0)
    given = script.MVGDArguments(
        resolution=16,
        transformer_options={**MICRO, **(options or {})},
        **{"max_context_views": 3, "max_targets": 2, **arguments},
    )
    method = script.MVGDMethod(given, script.DataArguments())
    network = method.build(given)
    samples = iter(open_samples("procedural-rooms", transform=method.transform, **WORLD))
    return method, network, method.collate([next(samples) for _ in range(4)])


def losses(method, network, batch, seed: int = 0) -> dict[str, torch.Tensor]:
    return method.loss(network, batch, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("options", "arguments"),
    [
        ({"prediction_type": "epsilon"}, {}),
        ({"prediction_type": "v_prediction", "latent_self_conditioning": True}, {}),
        ({"prediction_type": "flow", "noise_parametrization": "flow_sigma"}, {}),
        ({"patch_size": 1, "sweep_stride": 1}, {"max_scene_tokens": 10, "max_prediction_tokens": 20}),
        ({"read_mode": "joint", "token_scene_attention": False, "ray_points": 0}, {"task_sampling": "alternate"}),
        ({"depth_type": "distance", "scale_from": "translation"}, {"scale_augmentation": 1.5}),
        ({"tasks": ["rgb"]}, {}),
    ],
    ids=lambda value: " ".join(map(str, value.values())) if isinstance(value, dict) else None,
)
def test_every_configuration_trains(script, options, arguments):
    method, network, batch = make(script, options, **arguments)
    for head in network.transformer.heads.values():
        torch.nn.init.normal_(head.weight, std=0.1)  # zero heads stop the gradient at the first step
    result = losses(method, network, batch)
    assert result["loss"].isfinite()
    result["loss"].backward()
    without = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    chosen = set(result) - {"loss"}
    unused = [name for name in without if not any(f".{task}" in name for task in {"rgb", "depth"} - chosen)]
    assert unused == []


def test_loss_at_initialisation_is_the_power_of_the_goal(script):
    """With zero heads the prediction is 0, so the RGB loss of noise prediction is the noise's variance."""
    method, network, batch = make(script, {"prediction_type": "epsilon"})
    assert losses(method, network, batch)["rgb"].item() == pytest.approx(1.0, abs=0.1)


def test_loss_of_a_batch_is_the_mean_of_its_samples_losses(script, monkeypatch):
    """Else several processes or accumulation would not give the update of one large batch; here with sparse depth."""
    method, network, batch = make(script, {"prediction_type": "epsilon", "depth_max": 1000.0, "depth_min": 0.01})
    for head in network.transformer.heads.values():
        torch.nn.init.normal_(head.weight, std=0.1)
    for sample, kept in enumerate((16, 4, 9, 1)):
        batch["depths"][sample, ..., kept:, :] = 0

    def same_noise(values, generator):
        return torch.randn(values.shape[1:], generator=torch.Generator().manual_seed(3)).expand_as(values)

    monkeypatch.setattr(script, "randn_like", same_noise)
    monkeypatch.setattr(method, "draw_noise_level", lambda count, generator, device: (
        torch.full((count,), 0.5), torch.full((count, 1, 1), 0.5**0.5), torch.full((count, 1, 1), 0.5**0.5),
    ))  # fmt: skip
    tensors = {name: value for name, value in batch.items() if isinstance(value, torch.Tensor)}
    singles = [
        losses(method, network, {**batch, **{name: value[i : i + 1] for name, value in tensors.items()}})
        for i in range(4)
    ]
    for name, value in losses(method, network, batch).items():
        torch.testing.assert_close(value, torch.stack([each[name] for each in singles]).mean(), rtol=1e-5, atol=1e-6)


def test_sharding_gathers_one_block_at_a_time(script):
    _, network, _ = make(script)
    name_sharded_blocks(network)
    assert network._no_split_modules == ["RINBlock"]


def test_clean_depth_of_unknown_pixels_does_not_matter(script):
    method, network, batch = make(script)
    for head in network.transformer.heads.values():
        torch.nn.init.normal_(head.weight, std=0.1)
    sparse = {**batch, "depths": batch["depths"].clone()}
    sparse["depths"][..., ::2, :] = 0  # every patch keeps some pixels
    before = losses(method, network, sparse)
    assert not torch.equal(before["depth"], losses(method, network, batch)["depth"])

    empty = {**batch, "depths": torch.zeros_like(batch["depths"])}
    result = losses(method, network, empty)
    assert result["depth"].item() == 0
    assert result["rgb"].isfinite() and result["rgb"] > 0


def test_depth_tokens_exist_only_where_depth_is_known(script):
    method, network, batch = make(script, {"patch_size": 1, "sweep_stride": 1})
    batch["depths"][..., 8:, :] = 0
    seen = {}
    network.transformer.register_forward_pre_hook(lambda module, args, kwargs: seen.update(kwargs), with_kwargs=True)
    losses(method, network, batch)
    per_target = seen["masks"]["depth"].unflatten(1, (batch["targets"], 16, 16))
    assert per_target[..., :8, :].all() and not per_target[..., 8:, :].any()
    assert seen["masks"]["rgb"].all()


def test_depth_along_the_ray_is_larger_than_z_depth(script):
    z, distance = (make(script, {"depth_type": kind, "depth_max": 1000.0}) for kind in ("z", "distance"))
    power = [losses(method, network, batch)["depth"].item() for method, network, batch in (z, distance)]
    assert power[0] != power[1]


def test_loss_does_not_depend_on_the_world_frame_or_its_unit(script):
    method, network, batch = make(script, {"depth_max": 1000.0, "depth_min": 0.01})
    for head in network.transformer.heads.values():
        torch.nn.init.normal_(head.weight, std=0.1)
    rotation = torch.linalg.qr(torch.randn(3, 3))[0]
    rotation = rotation * torch.linalg.det(rotation).sign()
    moved = {**batch, "camera_to_world": batch["camera_to_world"].clone(), "depths": batch["depths"] * 7}
    moved["camera_to_world"][..., :3, :3] = rotation @ batch["camera_to_world"][..., :3, :3]
    centers = batch["camera_to_world"][..., :3, 3] @ rotation.T * 7 + torch.tensor([3.0, -2.0, 1.0])
    moved["camera_to_world"][..., :3, 3] = centers
    expected, found = losses(method, network, batch), losses(method, network, moved)
    torch.testing.assert_close(found["loss"], expected["loss"], rtol=1e-3, atol=1e-5)


def test_same_seed_same_batch_same_loss(script):
    first, second = (losses(*make(script))["loss"] for _ in range(2))
    assert torch.equal(first, second)
    method, network, batch = make(script, {"prediction_type": "epsilon"})
    assert not torch.equal(losses(method, network, batch, seed=1)["loss"], losses(method, network, batch)["loss"])


def test_cpu_training_spells_attention_out(script):
    _, network, _ = make(script)
    if torch.accelerator.is_available():
        pytest.skip("an accelerator is present: attention stays fused")
    processors = network.transformer.attn_processors.values()
    assert all(isinstance(processor, MVGDExplicitAttentionProcessor) for processor in processors)


def test_one_scene_is_learned_by_heart(script):
    """Image and depth of one batch, from pure noise in one step."""
    options = {"num_latents": 16, "latent_dim": 64, "token_dim": 64, "num_blocks": 2, "prediction_type": "sample"}
    method, network, batch = make(script, options, noise_time_power=0.1, max_targets=1)
    batch = {name: value[:1] if isinstance(value, torch.Tensor) else value for name, value in batch.items()}
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 250)
    for step in range(250):
        result = losses(method, network, batch, seed=step)
        optimizer.zero_grad()
        result["loss"].backward()
        optimizer.step()
        schedule.step()

    cameras = Cameras.create(batch["intrinsics"][0], batch["camera_to_world"][0], 16, 16)
    target = slice(batch["first_target"], batch["first_target"] + 1)
    output = method.pipeline(network.eval())(
        batch["images"][0, : batch["contexts"]],
        cameras[: batch["contexts"]],
        target_cameras=cameras[target],
        num_inference_steps=1,
        ensemble_size=1,
        output_type="pt",
    )
    error = (output.images - batch["images"][0, target]).square().mean()
    assert -10 * error.log10() > 30
    depth = batch["depths"][0, target]
    assert ((output.depths - depth).abs() / depth).mean() < 0.05


def launch(repository, folder, *extra: str, processes: int = 1) -> list[dict]:
    """Run the script as users do; returns the lines of losses.jsonl."""
    several = ["--multi_gpu", "--num_processes", str(processes)] if processes > 1 else ["--num_processes", "1"]
    command = [
        sys.executable, "-m", "accelerate.commands.launch", *several, "--main_process_port", "0",
        str(repository / "training_scripts" / "train_mvgd.py"), "--output_dir", str(folder), "--resolution", "16",
        "--transformer_options", json.dumps(MICRO), "--dataset_options", json.dumps(WORLD),
        "--train_batch_size", "2", "--max_context_views", "3", "--max_targets", "2", *extra,
    ]  # fmt: skip
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line) for line in (folder / "losses.jsonl").read_text().splitlines()]


def test_two_processes_train_validate_resume_and_export(repository, tmp_path):
    common = ["--validation_scenes", "2", "--mixed_precision", "bf16", "--checkpointing_steps", "2"]
    whole = launch(repository, tmp_path / "whole", "--max_train_steps", "4", *common, processes=2)
    position = json.loads((tmp_path / "whole" / "checkpoint-4" / "position-1.json").read_text())
    assert position["num_processes"] == 2

    half = tmp_path / "half"
    shutil.copytree(tmp_path / "whole" / "checkpoint-2", half / "checkpoint-2")
    resumed = launch(
        repository, half, "--max_train_steps", "4", "--validation_steps", "4",
        "--resume_from_checkpoint", "latest", *common, processes=2,
    )  # fmt: skip
    assert [line["step"] for line in whole] == [1, 2, 3, 4]
    assert [(line["step"], line["loss"]) for line in resumed] == [(line["step"], line["loss"]) for line in whole[2:]]
    assert (half / "validation" / "step-00000004" / "step-4.png").stat().st_size > 0

    assert_tracked(half, "mvgd", [4])
    card = ModelCard.load(half / "README.md")
    assert card.data.library_name == "diffusers" and "mvgd" in card.data.tags
    arguments = yaml.safe_load(card.text.split("```yaml")[1].split("```")[0])
    assert arguments["max_train_steps"] == 4 and arguments["transformer_options"] == MICRO

    exported = [MVGDPipeline.from_pretrained(folder).transformer.state_dict() for folder in (half, tmp_path / "whole")]
    assert all(torch.equal(a, b) for a, b in zip(exported[0].values(), exported[1].values(), strict=True))
