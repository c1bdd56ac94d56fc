"""Official weights become models: every weight is accounted for, and nothing in their file is run."""

import argparse
import json
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
from golden_mvdust3r import golden, golden_keys, golden_output, needs_golden, official_weights
from official_layout import official_checkpoint
from safetensors.torch import save_file
from script_modules import load_script

from anyviews.models.mvdust3r import (
    MVDust3rPlusImageProcessor,
    MVDust3rPlusModel,
    config_of_checkpoint,
    convert_mvdust3r_state_dict,
    unused_weights,
)


REAL = {
    "encoder": 1024,
    "encoder_layers": 24,
    "decoder": 768,
    "decoder_layers": 12,
    "skip": 256,
    "hidden": 768,
    "patch": 16,
}


@pytest.fixture(scope="module")
def converter(repository):
    return load_script(repository / "utils" / "convert_mvdust3r.py")


def training_file(path: Path, weights: dict, **more) -> Path:
    """What the authors' training scripts save: weights, arguments, optimiser and counters."""
    moments = {index: {"step": torch.tensor(3.0), "exp_avg": value} for index, value in enumerate(weights.values())}
    checkpoint = {
        "model": weights,
        "args": argparse.Namespace(model="Network(img_size=(224, 224))", lr=1e-4, output_dir="out"),
        "optimizer": {"state": moments, "param_groups": [{"lr": np.float64(1e-4), "params": list(moments)}]},
        "scaler": {"scale": 65536.0},
        "epoch": 99,
        "best_so_far": np.float32(0.5),
        **more,
    }
    torch.save(checkpoint, path)
    return path


@needs_golden
@pytest.mark.parametrize(
    ("variant", "tensors", "parameters"), [("mvd", 953, 547_989_522), ("mvdp", 1241, 661_429_266)]
)
def test_layout_of_the_real_files(variant, tensors, parameters):
    """The names and shapes that this folder's tests make are those of the official networks."""
    official = golden_keys(variant)
    with torch.device("meta"):
        made = official_checkpoint(fusion=variant == "mvdp", sizes=REAL)
    assert len(made) == official["n_tensors"] == tensors
    assert {key: list(value.shape) for key, value in made.items()} == {
        key: entry["shape"] for key, entry in official["tensors"].items()
    }
    assert official["n_parameters"] == parameters


@pytest.mark.parametrize(("fusion", "tensors", "parameters"), [(False, 953, 547_989_522), (True, 1241, 661_429_266)])
@pytest.mark.parametrize("colors", ["pixels", "head"])
def test_every_weight_of_the_real_networks_has_its_place(fusion, tensors, parameters, colors):
    with torch.device("meta"):
        weights = official_checkpoint(fusion=fusion, sizes=REAL)
        config = config_of_checkpoint(weights, gaussian_colors=colors)
        model = MVDust3rPlusModel(config)
    assert len(weights) == tensors
    assert config.to_diff_dict().get("num_references", 4) == (4 if fusion else 1)
    converted = convert_mvdust3r_state_dict(weights, colors)
    assert {key: value.shape for key, value in converted.items()} == {
        key: value.shape for key, value in model.state_dict().items()
    }
    unused = unused_weights(weights, colors)
    assert len(unused) == (5 if colors == "pixels" else 1)
    assert sum(p.numel() for p in model.parameters()) == parameters - sum(weights[key].numel() for key in unused)


@needs_golden
def test_converted_file_gives_the_official_points(converter, tmp_path, capsys):
    """A training file of the recipe's weights, through the command, to the official numbers."""
    file = training_file(tmp_path / "MVDp_s2.pth", official_weights())
    converter.main([str(file), str(tmp_path / "model"), "--head-dim", "16", "--image-size", "64"])
    printed = capsys.readouterr().out
    assert "CC BY-NC 4.0 (non-commercial)" in printed
    model = MVDust3rPlusModel.from_pretrained(tmp_path / "model")
    with torch.no_grad():
        output = model(golden("case_mvdp_n4_m4_b1")["images"])
    for name in ("points", "confidence", "opacities", "scales", "rotations"):
        expected = golden_output("mvdp_n4_m4_b1", name)[:, :1]
        torch.testing.assert_close(output[name], expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("fusion", [False, True])
def test_written_folder(converter, tmp_path, fusion):
    weights = official_checkpoint(fusion=fusion)
    converter.main([str(training_file(tmp_path / "MVD.pth", weights)), str(tmp_path / "a"), "--head-dim", "8"])
    save_file(weights, tmp_path / "plain.safetensors")
    converter.main([str(tmp_path / "plain.safetensors"), str(tmp_path / "b"), "--head-dim", "8"])
    names = {"README.md", "config.json", "model.safetensors", "preprocessor_config.json", "source.json"}
    assert {path.name for path in (tmp_path / "a").iterdir()} == names
    assert (tmp_path / "a" / "model.safetensors").read_bytes() == (tmp_path / "b" / "model.safetensors").read_bytes()

    card = (tmp_path / "a" / "README.md").read_text()
    assert "\nlicense: cc-by-nc-4.0\n" in card
    assert "CC BY-NC 4.0 (non-commercial)" in card
    assert ("MV-DUSt3R+ (arXiv" in card) == fusion
    record = json.loads((tmp_path / "a" / "source.json").read_text())
    assert record["source_file"] == "MVD.pth"
    assert record["weights_license"].startswith("CC BY-NC 4.0")
    assert (record["tensors"], record["unused_tensors"]) == (len(weights), 5)
    assert MVDust3rPlusImageProcessor.from_pretrained(tmp_path / "a").size == {"height": 224, "width": 224}

    model = MVDust3rPlusModel.from_pretrained(tmp_path / "a")
    assert model.config.num_references == (4 if fusion else 1)
    state = model.state_dict()
    assert torch.equal(state["encoder_layers.1.mlp_norm.weight"], weights["enc_blocks.1.norm2.weight"])
    cross = [weights[f"dec_blocks2.1.cross_attn.proj{part}.bias"] for part in "kv"]
    assert torch.equal(state["decoder.source_layers.1.cross_attention.key_value.bias"], torch.cat(cross))
    assert state["reference_point_head.skip.layers.0.norm.num_batches_tracked"] == 7


def test_dust3r_as_a_start(converter, tmp_path, capsys):
    """Its two views come out the same from the full MV-DUSt3R+ that a training starts with."""
    weights = official_checkpoint(fusion=False, skip=False, gaussians=False)
    file = training_file(tmp_path / "dust3r.pth", weights)
    converter.main([str(file), str(tmp_path / "plain"), "--head-dim", "8", "--image-size", "16"])
    converter.main([str(file), str(tmp_path / "full"), "--head-dim", "8", "--image-size", "16", "--for-training"])
    assert "CC BY-NC-SA 4.0" in capsys.readouterr().out
    plain = MVDust3rPlusModel.from_pretrained(tmp_path / "plain")
    full = MVDust3rPlusModel.from_pretrained(tmp_path / "full")
    assert not (plain.config.use_skip or plain.config.use_gaussians or plain.config.has_fusion)
    assert full.config.use_skip and full.config.use_gaussians and full.config.has_fusion
    images = torch.rand(1, 2, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(full(images).points, plain(images).points, atol=1e-5, rtol=1e-4)


def test_files_that_could_run_code_are_refused(converter, tmp_path):
    file = training_file(tmp_path / "bad.pth", official_checkpoint(), elapsed=timedelta(1))
    with pytest.raises(ValueError, match=r"could run code when loaded: datetime\.timedelta"):
        converter.main([str(file), str(tmp_path / "model")])
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dec_norm.weight": None}, "1 weights lack.* decoder.norm.weight: found None, expected \\(16,\\)"),
        ({"dec_norm.weight": torch.zeros(3)}, "1 weights lack.* found \\(3,\\), expected \\(16,\\)"),
        ({"dec_norm.gain": torch.zeros(3)}, "are too many.* decoder.norm.gain"),
        ({"surprise.weight": torch.zeros(3)}, "1 unknown weights, the first are surprise.weight"),
        ({"dec_blocks.0.norm9.weight": torch.zeros(3)}, "unknown weights.*norm9"),
        ({"decoder_embed.weight": None}, "no checkpoint of MV-DUSt3R: it lacks decoder_embed.weight"),
    ],
)
def test_other_weights_are_refused(converter, change, message):
    weights = official_checkpoint()
    for key, value in change.items():
        if value is None:
            del weights[key]
        else:
            weights[key] = value
    with pytest.raises(ValueError, match=message):
        converter.build_model(weights, config_of_checkpoint(weights, head_dim=8), for_training=False)


def test_other_files_are_refused(converter, tmp_path):
    (tmp_path / "broken.pth").write_bytes(b"<html>")
    torch.save({"model": [1, 2]}, tmp_path / "list.pth")
    for name, message in (
        ("a.bin", "expected a .pth"),
        ("broken.pth", "no file of torch.save"),
        ("list.pth", "has no state dict"),
    ):
        with pytest.raises(ValueError, match=message):
            converter.read_state_dict(tmp_path / name)
