"""Adapters of the cross-view attentions: which layers, their files, and getting rid of them."""

import json

import pytest
import torch
from peft import LoraConfig, PeftModel
from plain_lgm import SMALL, random_inputs, small_model
from safetensors.torch import load_file, save_file

from anyviews.models.lgm import LGMModel, lgm_lora_config


def with_adapter(rank: int = 4, **options):
    """A model, its output without an adapter, and with a trained-looking one."""
    model, values = small_model(), random_inputs(1)
    with torch.no_grad():
        before = model(values).maps
        model.add_lora(lgm_lora_config(rank, **options))
        assert torch.equal(model(values).maps, before), "a fresh adapter changes nothing"
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.2)
        after = model(values).maps
    assert (after - before).abs().max() > 1e-3
    return model, values, before, after


def maps(model, values):
    with torch.no_grad():
        return model(values).maps


def test_the_sixteen_attentions_of_the_released_model():
    with torch.device("meta"):
        model = LGMModel.from_size("big")
        model.add_lora()
    trained = {name: value for name, value in model.named_parameters() if value.requires_grad}
    assert sum(value.numel() for value in trained.values()) == 2_654_208
    assert len({name.split(".attn.")[0] for name in trained}) == 16
    assert all(".attn.qkv." in name or ".attn.proj." in name for name in trained)
    assert {name.rsplit(".", 3)[1] for name in trained} == {"lora_A", "lora_B"}


def test_only_the_adapter_learns():
    model, values, *_ = with_adapter()
    model.train()
    model(values).maps.square().mean().backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == ("lora_" in name), name


def test_save_load_merge_and_unload(tmp_path):
    model, values, before, after = with_adapter()
    model.save_lora_weights(tmp_path / "adapter")
    weights = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert len(weights) == 2 * sum("lora_A" in name for name, _ in model.named_parameters())
    assert json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())["r"] == 4

    model.unload_lora()
    assert model.lora_adapters == [] and torch.equal(maps(model, values), before)
    assert set(model.state_dict()) == set(small_model().state_dict())
    assert all(parameter.requires_grad for parameter in model.parameters())

    model.load_lora_weights(tmp_path / "adapter", adapter_name="boosted")
    assert model.lora_adapters == ["boosted"]
    assert not any(parameter.requires_grad for parameter in model.parameters())
    torch.testing.assert_close(maps(model, values), after)
    model.merge_lora("boosted")
    torch.testing.assert_close(maps(model, values), after, atol=1e-5, rtol=1e-5)
    model.save_pretrained(tmp_path / "merged")
    torch.testing.assert_close(
        maps(LGMModel.from_pretrained(tmp_path / "merged"), values), after, atol=1e-5, rtol=1e-5
    )


def test_training_goes_on_from_a_file(tmp_path):
    model, *_ = with_adapter()
    model.save_lora_weights(tmp_path / "adapter")
    fresh = small_model()
    fresh.load_lora_weights(tmp_path / "adapter", trainable=True)
    trained = [name for name, parameter in fresh.named_parameters() if parameter.requires_grad]
    assert trained and all("lora_" in name for name in trained)


def test_peft_reads_the_files(tmp_path):
    model, values, _, after = with_adapter(alpha=8)
    model.save_lora_weights(tmp_path / "adapter")
    model.unload_lora()
    wrapped = PeftModel.from_pretrained(model, tmp_path / "adapter").eval()
    torch.testing.assert_close(maps(wrapped, values), after)


def test_adapters_of_other_models_are_refused(tmp_path):
    model, *_ = with_adapter()
    model.save_lora_weights(tmp_path / "adapter")
    with pytest.raises(ValueError, match="not empty"):
        model.save_lora_weights(tmp_path / "adapter")

    other = small_model(**{**SMALL, "down_channels": (32, 64, 64)})
    with pytest.raises(ValueError, match=r"down_blocks\.1\.attns\.0\.attn\.proj\.lora_A\.weight: found \(4, 32\)"):
        other.load_lora_weights(tmp_path / "adapter")
    fewer = small_model(mid_attention=False)
    with pytest.raises(ValueError, match=r"4 weights differ.*mid_block.*wanted nothing"):
        fewer.load_lora_weights(tmp_path / "adapter")
    assert other.lora_adapters == fewer.lora_adapters == []

    path = tmp_path / "adapter" / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "r": 8}))
    with pytest.raises(ValueError, match=r"not one of rank 8 .*found \(4, 32\), wanted \(8, 32\)"):
        small_model().load_lora_weights(tmp_path / "adapter")
    save_file({}, tmp_path / "adapter" / "adapter_model.safetensors")
    with pytest.raises(ValueError, match="found nothing"):
        small_model().load_lora_weights(tmp_path / "adapter")
    with pytest.raises(FileNotFoundError, match="has no adapter"):
        small_model().load_lora_weights(tmp_path)


def test_adapters_are_asked_for_by_name():
    model, *_ = with_adapter()
    with pytest.raises(ValueError, match="an adapter 'default' already"):
        model.add_lora(lgm_lora_config(4))
    with pytest.raises(ValueError, match="no LoRA adapter 'other'; it has default"):
        model.merge_lora("other")
    with pytest.raises(ValueError, match="no LoRA adapter to remove"):
        small_model().unload_lora()
    with pytest.raises(ValueError, match="no LoRA adapter 'default'; it has none"):
        small_model().save_lora_weights("anywhere")
    assert isinstance(lgm_lora_config(), LoraConfig)
