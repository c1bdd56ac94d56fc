"""train_mvboost.py --stage boost: adapters learn refined views from generated ones."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from script_modules import load_script

from anyviews.data.boosted import boosted_views
from anyviews.data.samples import Sample
from anyviews.data.schema import encode_sample
from anyviews.data.shards import write_shards
from anyviews.models.era3d import VIEW_AZIMUTHS
from anyviews.models.lgm import LGMModel, lgm_cameras
from anyviews.training.arguments import DataArguments, parse_arguments


MICRO = {
    "input_size": 16,
    "down_channels": [32, 32],
    "down_attention": [False, True],
    "up_channels": [32, 32],
    "up_attention": [True, False],
    "num_heads": 4,
    "output_size": 16,
}
AZIMUTHS = tuple(VIEW_AZIMUTHS.values())


@pytest.fixture(scope="module")
def script(repository):
    return load_script(repository / "training_scripts" / "train_mvboost.py")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("lgm")
    LGMModel.from_size("micro", **MICRO).save_pretrained(folder)
    return folder


def sample(index: int = 0, **camera) -> Sample:
    """A ball that becomes darker, whatever the view."""
    generator = torch.Generator().manual_seed(index)
    rows, columns = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    inside = (((rows - 7.5) ** 2 + (columns - 7.5) ** 2) < 25).float().expand(6, 1, -1, -1)
    color = torch.rand(3, generator=generator)[:, None, None]
    generated, refined = (1 - inside * (1 - part * color) for part in (0.8, 0.3))
    cameras = lgm_cameras(AZIMUTHS, size=16, **camera)
    return Sample(f"object {index}", boosted_views(generated, refined, inside, cameras, AZIMUTHS), seed=index)


def method_and_model(script, base, **options):
    arguments = script.MVBoostArguments(
        stage="boost", pretrained_model_name_or_path=str(base), lora_rank=4, perceptual_weight=0.0, **options
    )
    method = script.BoostMethod(arguments, DataArguments(dataset_name="folder"))
    return method, method.build(arguments)


def test_generated_views_go_in_and_refined_ones_are_the_truth(script, base):
    method, _ = method_and_model(script, base)
    example = method.transform(sample())
    assert example["pixel_values"].shape == (4, 9, 16, 16) and example["images"].shape == (6, 3, 16, 16)
    center = 8, 8
    seen = example["pixel_values"][0, :3, *center] * torch.tensor([0.229, 0.224, 0.225])
    given = seen + torch.tensor([0.485, 0.456, 0.406])
    torch.testing.assert_close(given * 0.3 / 0.8, example["images"][0, :, *center], atol=0.02, rtol=0)
    other, _ = method_and_model(script, base, boost_target="generated")
    torch.testing.assert_close(other.transform(sample())["images"][0, :, *center], given, atol=0.02, rtol=0)


def test_only_the_adapter_learns_and_it_learns_the_refined_views(script, base):
    method, model = method_and_model(script, base)
    frozen = {name: value.clone() for name, value in model.named_parameters() if not value.requires_grad}
    trained = [value for value in model.parameters() if value.requires_grad]
    assert trained and all("lora_" in name for name, value in model.named_parameters() if value.requires_grad)
    batch = method.collate([method.transform(sample(i)) for i in range(2)])
    optimizer, first = torch.optim.Adam(trained, lr=2e-2), None
    for _ in range(40):
        losses = method.loss(model.train(), batch, None)
        first = losses["loss"].item() if first is None else first
        optimizer.zero_grad()
        losses["loss"].backward()
        optimizer.step()
    assert losses["loss"].item() < 0.8 * first
    for name, value in model.named_parameters():
        assert name not in frozen or torch.equal(value, frozen[name]), name


def test_what_does_not_fit_is_refused(script, base, tmp_path):
    method, model = method_and_model(script, base)
    with pytest.raises(ValueError, match=r"made for an LGM with other cameras .*radius 1.5, 49.1 degrees"):
        method.transform(sample(radius=2.0))
    with pytest.raises(ValueError, match="accepted are generated and refined views"):
        method.transform(replace(sample(), views=sample().views[:6]))
    with pytest.raises(ValueError, match=r"stage boost learns from generated and refined views"):
        method.open_dataset(DataArguments(dataset_name="procedural-orbits"), 0, 1)
    with pytest.raises(ValueError, match="fine-tunes a model; give --pretrained_model_name_or_path"):
        method.build(script.MVBoostArguments(stage="boost"))
    model.save_lora_weights(tmp_path / "adapter")
    options = {"stage": "boost", "pretrained_model_name_or_path": str(base), "lora_weights": str(tmp_path / "adapter")}
    with pytest.raises(ValueError, match="has rank 4, not 8; give --lora_rank 4"):
        method.build(script.MVBoostArguments(**options, lora_rank=8))
    LGMModel.from_size("micro", **{**MICRO, "down_channels": [32, 64]}).save_pretrained(tmp_path / "wider")
    options["pretrained_model_name_or_path"] = str(tmp_path / "wider")
    with pytest.raises(ValueError, match="It was made for another configuration or rank"):
        method.build(script.MVBoostArguments(**options, lora_rank=4))


def test_the_config_parses(repository, script):
    path = repository / "training_scripts" / "configs" / "mvboost_tiny.yaml"
    arguments, data = parse_arguments(script.MVBoostArguments, DataArguments, argv=["--config", str(path)])
    assert arguments.stage == "boost" and arguments.boost_target == "refined" and data.dataset_name


def test_trains_validates_and_exports_an_adapter(repository, base, tmp_path):
    for split, count in (("train", 4), ("test", 2)):
        rows = (encode_sample(sample(index)) for index in range(count))
        write_shards(rows, tmp_path / "data", num_shards=2, split=split)
    command = [
        sys.executable, str(repository / "training_scripts" / "train_mvboost.py"), "--stage", "boost",
        "--pretrained_model_name_or_path", str(base), "--dataset_name", str(tmp_path / "data"), "--lora_rank", "2",
        "--train_batch_size", "2", "--supervised_views", "2", "--max_train_steps", "3", "--validation_steps", "3",
        "--learning_rate", "1e-2", "--output_dir", str(tmp_path / "run"),
    ]  # fmt: skip
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    run = tmp_path / "run"
    assert {"psnr", "ms_ssim"} <= set(json.loads((run / "validation.jsonl").read_text()))
    model = LGMModel.from_pretrained(base).eval()
    values = torch.rand(1, 4, 9, 16, 16)
    with torch.no_grad():
        before = model(values).maps
        model.load_lora_weights(run)
        with_adapter = model(values).maps
        model.merge_lora()
        merged = model(values).maps
    assert not torch.equal(before, with_adapter)
    torch.testing.assert_close(merged, with_adapter, atol=1e-5, rtol=1e-5)
