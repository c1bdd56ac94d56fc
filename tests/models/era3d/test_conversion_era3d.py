"""utils/convert_era3d.py on a folder in the layout of the releases, with tiny official weights."""

import json
from pathlib import Path
from types import ModuleType

import pytest
import torch
from golden_era3d import assert_close, golden, needs_golden, official_pipeline
from safetensors.torch import load_file, save_file
from script_modules import load_script

from anyviews.models.era3d import Era3DPrompts, Era3DUNetModel


@pytest.fixture(scope="module")
def script(repository) -> ModuleType:
    """The converter as a module."""
    return load_script(repository / "utils" / "convert_era3d.py")


@pytest.fixture
def release(tmp_path) -> Path:
    """A folder as the authors publish it, and beside it the prompt embeddings of their repository."""
    pipe, folder = official_pipeline(), tmp_path / "MacLab-Era3D-512-6view-ortho"
    for name, part in pipe.components.items():
        if name != "prompts":
            part.save_pretrained(folder / name)
    config = json.loads((folder / "unet" / "config.json").read_text())
    config |= {"_class_name": "UNetMV2DConditionModel", "decay": 0.9999, "use_ema_warmup": False}
    config |= {"selfattn_block": "self_rowwise", "mvcd_attention": True, "num_class_embeds": None}
    (folder / "unet" / "config.json").write_text(json.dumps(config))
    torch.save(pipe.prompts.color.detach().half(), tmp_path / "clr_embeds.pt")
    torch.save(pipe.prompts.normal.detach().half(), tmp_path / "normal_embeds.pt")
    return folder


@needs_golden
def test_release_is_converted(script, release, tmp_path, capsys):
    output = tmp_path / "era3d"
    script.main([str(release), str(output), "--prompt-embeddings", str(tmp_path)])
    assert "CC BY 4.0" in capsys.readouterr().out
    assert "license: cc-by-4.0" in (output / "README.md").read_text()
    record = json.loads((output / "source.json").read_text())
    assert record["weights_license"] == "CC BY 4.0 (name the authors)"
    assert record["source"] == "MacLab-Era3D-512-6view-ortho"
    assert len(record["unet_sha256"]) == 64

    unet = Era3DUNetModel.from_pretrained(output / "unet")
    assert "decay" not in unet.config
    for name, value in golden("unet_tiny_ortho_weights").items():
        assert torch.equal(unet.state_dict()[name], value)
    prompts = Era3DPrompts.from_pretrained(output / "prompts")
    assert_close(prompts(), golden("pipeline_tiny_io")["prompt_embeds"], atol=2e-3)  # they were halved
    index = json.loads((output / "model_index.json").read_text())
    assert index["_class_name"] == "Era3DPipeline" and index["unet"] == ["anyviews", "Era3DUNetModel"]
    for part in index:
        assert part.startswith("_") or not isinstance(index[part], list) or (output / part).is_dir()


@needs_golden
def test_half_precision_is_kept(script, release, tmp_path):
    for path in release.rglob("*.safetensors"):
        save_file({k: v.half() if v.is_floating_point() else v for k, v in load_file(path).items()}, path)
    script.main([str(release), str(tmp_path / "out"), "--prompt-embeddings", str(tmp_path)])
    for part in ("unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model", "image_encoder/model"):
        dtypes = {value.dtype for value in load_file(tmp_path / "out" / f"{part}.safetensors").values()}
        assert dtypes == {torch.float16}


@needs_golden
def test_damaged_releases_are_refused(script, release, tmp_path):
    output = tmp_path / "out"
    torch.save({"weights": torch.zeros(6, 7, 24)}, tmp_path / "clr_embeds.pt")
    with pytest.raises(ValueError, match=r"clr_embeds\.pt holds dict"):
        script.main([str(release), str(output), "--prompt-embeddings", str(tmp_path)])
    with pytest.raises(FileNotFoundError, match=r"normal_embeds\.pt is not there"):
        script.main([str(release), str(output), "--prompt-embeddings", str(release)])
    path = release / script.UNET_WEIGHTS
    weights = load_file(path)
    del weights["mid_block.attentions.0.norm.weight"]
    save_file(weights, path)
    with pytest.raises(ValueError, match=r"lacks weights .*mid_block\.attentions\.0\.norm\.weight"):
        script.main([str(release), str(output)])
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"diffusion_pytorch_model\.safetensors"):
        script.main([str(release), str(output)])
    with pytest.raises(FileNotFoundError, match="lacks feature_extractor, image_encoder"):
        script.main([str(tmp_path / "nothing"), str(output)])
    assert not output.exists()
