"""Files of the authors' weights: known ones become folders, others are refused with the reason."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from script_modules import load_script

from anyviews.models.lgm import LGM_SIZES, LGMModel, check_lgm_weights, config_of_lgm_checkpoint, conversion_lgm


@pytest.fixture(scope="module")
def converter(repository):
    return load_script(repository / "utils" / "convert_lgm.py")


@pytest.fixture
def small_sizes(monkeypatch):
    """The authors' size "tiny" with an eighth of its channels, so that files stay small."""
    options = {**LGM_SIZES["tiny"], "down_channels": (32, 32, 32, 32, 64), "up_channels": (64, 32, 32)}
    monkeypatch.setitem(LGM_SIZES, "tiny", options)
    return LGMModel.from_size("tiny")


@pytest.mark.parametrize("size", ["tiny", "small", "big"])
def test_configuration_of_names_and_shapes(size):
    with torch.device("meta"):
        model = LGMModel.from_size(size)
    assert config_of_lgm_checkpoint(model.state_dict()) == model.config


def test_other_weights_are_refused():
    with torch.device("meta"):
        weights = LGMModel.from_size("big").state_dict()
    with pytest.raises(ValueError, match=r"lacks unet\.conv_in\.weight"):
        config_of_lgm_checkpoint({"conv.weight": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"1 weights differ from the nearest size 'big'.*conv\.bias: found nothing"):
        config_of_lgm_checkpoint({name: value for name, value in weights.items() if name != "conv.bias"})
    wide = {**weights, "conv.weight": torch.empty(15, 14, 1, 1, device="meta")}
    with pytest.raises(ValueError, match=r"found \(15, 14, 1, 1\), wanted \(14, 14, 1, 1\)"):
        config_of_lgm_checkpoint(wide)
    assert config_of_lgm_checkpoint({**weights, "lpips_loss.lin0": torch.zeros(1)}).num_heads == 16
    with pytest.raises(ValueError, match="a holds NaN"):
        check_lgm_weights({"a": torch.tensor([1.0, float("nan")])})
    with pytest.raises(ValueError, match=r"a holds torch\.int64"):
        check_lgm_weights({"a": torch.tensor([1])})


@pytest.mark.parametrize("dtype", [None, "bfloat16"])
def test_a_file_becomes_a_folder(converter, small_sizes, tmp_path, capsys, dtype):
    path = tmp_path / "model_fp16_fixrot.safetensors"
    weights = {name: value.half() for name, value in small_sizes.state_dict().items()}
    save_file({**weights, f"{conversion_lgm.LOSS_PREFIX}lin0.weight": torch.zeros(1)}, path)
    converter.main([str(path), str(tmp_path / "lgm"), *(["--dtype", dtype] if dtype else [])])
    assert "MIT" in capsys.readouterr().out and "license: mit" in (tmp_path / "lgm" / "README.md").read_text()
    assert json.loads((tmp_path / "lgm" / "source.json").read_text())["source_file"] == path.name

    model = LGMModel.from_pretrained(tmp_path / "lgm", dtype=torch.float32)
    for name, value in model.state_dict().items():
        expected = weights[name] if dtype is None else weights[name].to(torch.bfloat16)
        assert torch.equal(value, expected.float()), name
    stored = load_file(tmp_path / "lgm" / "model.safetensors")
    assert {value.dtype for value in stored.values()} == {torch.bfloat16 if dtype else torch.float16}


def test_files_that_are_refused(converter, small_sizes, tmp_path):
    old = tmp_path / "model_fp16.safetensors"
    save_file(small_sizes.state_dict(), old)
    with pytest.raises(ValueError, match="rotations normalised over all Gaussians"):
        converter.main([str(old), str(tmp_path / "lgm")])
    assert not (tmp_path / "lgm").exists()
    converter.main([str(old), str(tmp_path / "lgm"), "--rotations", "per-gaussian"])
    assert (tmp_path / "lgm" / "config.json").exists()

    with pytest.raises(FileNotFoundError, match="download model_fp16_fixrot"):
        converter.main([str(tmp_path / "fixrot.safetensors"), str(tmp_path / "b")])
    broken = tmp_path / "broken_fixrot.safetensors"
    broken.write_bytes(old.read_bytes()[:1000])
    with pytest.raises(ValueError, match="is damaged"):
        converter.main([str(broken), str(tmp_path / "b")])
    pickled = tmp_path / "fixrot.pth"
    pickled.write_bytes(b"")
    with pytest.raises(ValueError, match=r"expected a \.safetensors file"):
        converter.main([str(pickled), str(tmp_path / "b")])
