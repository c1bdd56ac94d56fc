"""Models and states are saved and loaded as a transformers user expects."""

import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_lirm import photos, rays, small_model
from transformers import AutoConfig, AutoModel

from anyviews.models.lirm import LIRM_SIZES, LIRMConfig, LIRMModel, LIRMState


@pytest.mark.parametrize("overrides", [{}, {"nde_type": "none", "weight_norm": False}, {"sweep_size": 2}])
def test_round_trip(tmp_path, overrides):
    model, given = small_model(**overrides), photos()
    model.save_pretrained(tmp_path)
    assert sorted(load_file(tmp_path / "model.safetensors")) == sorted(model.state_dict())
    for loader in (LIRMModel, AutoModel):
        loaded = loader.from_pretrained(tmp_path)
        assert isinstance(loaded, LIRMModel)
        assert not loaded.training
        assert loaded.config.to_diff_dict() == model.config.to_diff_dict()
        with torch.no_grad():
            torch.testing.assert_close(
                loaded(**given).planes.planes, model(**given).planes.planes, atol=1e-5, rtol=1e-4
            )


def test_fresh_process(tmp_path):
    small_model().save_pretrained(tmp_path)
    code = f"""
import torch
from anyviews.models.lirm import LIRMModel
model = LIRMModel.from_pretrained({str(tmp_path)!r})
print(sum(float(weight.double().sum()) for weight in model.parameters()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    expected = sum(
        float(weight.detach().double().sum()) for weight in LIRMModel.from_pretrained(tmp_path).parameters()
    )
    assert float(done.stdout) == pytest.approx(expected, abs=1e-9)


def test_half_the_weights_in_half_precision(tmp_path):
    """The transformer may be bfloat16; decoders stay float32, and so does what they give."""
    small_model().save_pretrained(tmp_path)
    model = LIRMModel.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert model.layers[0].mlp.up.weight.dtype == torch.bfloat16
    assert {weight.dtype for weight in model.decoders.parameters()} == {torch.float32}
    with torch.no_grad():
        output = model(**photos())
        assert output.state.planes.dtype == torch.bfloat16
        again = model(**photos(), state=output.state)
        render = model.render(again.planes, *rays())
    assert all(value.dtype == torch.float32 and value.isfinite().all() for value in render.maps().values())


@pytest.mark.parametrize("change", ["lacks", "holds unknown"])
def test_weights_that_do_not_fit_are_refused(tmp_path, change):
    small_model().save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    if change == "lacks":
        weights.pop("plane_embedding")
    else:
        weights["extra"] = torch.zeros(1)
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=change):
        LIRMModel.from_pretrained(tmp_path)


@pytest.mark.parametrize("size", LIRM_SIZES)
def test_sizes_round_trip(tmp_path, size):
    config = LIRMConfig.from_size(size)
    config.save_pretrained(tmp_path)
    assert AutoConfig.from_pretrained(tmp_path).to_diff_dict() == config.to_diff_dict()


@pytest.mark.parametrize("nde_type", ["panorama", "none"])
def test_a_state_can_be_kept_and_continued(tmp_path, nde_type):
    model, given = small_model(nde_type=nde_type), photos()
    with torch.no_grad():
        state = model(**given).state
        state.save(tmp_path / "object.safetensors")
        loaded = LIRMState.load(tmp_path / "object.safetensors")
        assert loaded.updates == 1
        expected, found = model(**given, state=state), model(**given, state=loaded.to("cpu"))
    assert torch.equal(found.planes.planes, expected.planes.planes)
    assert (loaded.panoramas is None) == (nde_type == "none")
    with pytest.raises(ValueError, match="exists already"):
        state.save(tmp_path / "object.safetensors")


def test_files_that_hold_no_state_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"LIRMState\.save writes one"):
        LIRMState.load(tmp_path / "none.safetensors")
    (tmp_path / "text.safetensors").write_text("not tensors at all")
    with pytest.raises(ValueError, match=r"is no \.safetensors file"):
        LIRMState.load(tmp_path / "text.safetensors")
    save_file({"weights": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="holds weights and no state of LIRM"):
        LIRMState.load(tmp_path / "model.safetensors")
