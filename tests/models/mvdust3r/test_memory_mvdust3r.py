"""Inference keeps the memory that is stated for it."""

import re

import pytest
import torch
from live_bytes import LiveBytes
from transformers import AttentionInterface

from anyviews.models.mvdust3r import MVDust3rPlusConfig, MVDust3rPlusModel, peak_bytes, plan_head_views
from anyviews.models.mvdust3r.attention_mvdust3r import rotary_tables
from anyviews.models.mvdust3r.layers_mvdust3r import MVDust3rDecoderLayer


def measured(model: MVDust3rPlusModel, views: int, side: int, batch: int = 1, **options) -> int:
    images = torch.zeros(batch, views, 3, side, side)
    with torch.no_grad(), LiveBytes() as live:
        model(images, **options)
    return live.peak


CASES = {
    "one path": ({"num_references": 1}, {}),
    "fused paths": ({}, {}),
    "all heads at once": ({}, {"head_views": None}),
    "one view at a time": ({}, {"head_views": 1}),
    "all paths": ({}, {"all_paths": True}),
    "wide skip": ({"skip_hidden_size": 64}, {"head_views": 3}),
    "predicted colours": ({"gaussian_colors": "head", "harmonics_degree": 2}, {"head_views": 2}),
    "points only": ({"use_skip": False, "use_gaussians": False}, {}),
    "wide decoder": ({"decoder_hidden_size": 256, "use_skip": False}, {}),
    "wide encoder": ({"encoder_hidden_size": 512, "num_references": 1}, {"head_views": 1}),
}


@pytest.mark.parametrize("case", CASES)
def test_stated_memory_is_kept(case):
    overrides, options = CASES[case]
    model = MVDust3rPlusModel.from_size("tiny", encoder_num_layers=1, decoder_num_layers=2, **overrides).eval()
    for views, batch in ((3, 1), (12, 1), (5, 3)):
        stated = peak_bytes(model.config, views, 64, 64, batch=batch, **options)
        found = measured(model, views, 64, batch, **options)
        assert found <= stated <= 1.6 * found, (views, batch)


def test_stated_memory_of_the_paper_is_kept_by_the_decoder():
    """On a meta device, where only sizes are known, with attention that writes no scores."""

    def fused(module, query, key, value, attention_mask, scaling):
        return torch.empty_like(query).transpose(1, 2), None

    AttentionInterface.register("sizes_only", fused)
    with torch.device("meta"):
        model = MVDust3rPlusModel(MVDust3rPlusConfig()).eval()
        model.set_attn_implementation("sizes_only")
        images = torch.zeros(1, 100, 3, 224, 224)
    with torch.no_grad(), LiveBytes() as live:
        model.decode(model.encode(images), 4, False, (224, 224))
    assert live.peak <= peak_bytes(model.config, 100, 224, 224) <= 1.2 * live.peak


def test_memory_is_linear_in_the_number_of_views():
    model = MVDust3rPlusModel.from_size("tiny", encoder_num_layers=1, decoder_num_layers=2).eval()
    few, more, many = (measured(model, views, 32) for views in (10, 20, 40))
    assert many - more <= 2.05 * (more - few)


def test_memory_of_training_is_linear_too():
    """The gradients of windows are added up one by one: with all at once, peaks would grow with the square."""
    config = MVDust3rPlusConfig.from_size("tiny")
    config._attn_implementation = "sdpa"
    layer = MVDust3rDecoderLayer(config).train()
    rotation = rotary_tables(2, 2, config.decoder_hidden_size // config.decoder_num_heads, config.rope_base)

    def peak(views: int) -> int:
        tokens = torch.randn(1, views, 4, config.decoder_hidden_size, requires_grad=True)
        with LiveBytes() as live:
            layer(tokens, tokens, rotation, 0).sum().backward()
        return live.peak

    assert peak(64) <= 4.5 * peak(16)


def test_the_plan_is_the_largest_that_fits():
    config = MVDust3rPlusConfig()
    assert plan_head_views(config, 24, 224, 224, None) is None
    with pytest.raises(ValueError, match="max_memory=1 bytes is too little for 24 views of 224x224") as error:
        plan_head_views(config, 24, 224, 224, 1)
    least = int(re.search(r"at least (\d+) bytes", str(error.value))[1])
    assert plan_head_views(config, 24, 224, 224, least) >= 1
    with pytest.raises(ValueError, match="is too little"):
        plan_head_views(config, 24, 224, 224, least - 1)
    for limit in (12 * 10**8, 2 * 10**9):
        chosen = plan_head_views(config, 24, 224, 224, limit)
        assert peak_bytes(config, 24, 224, 224, chosen) <= limit < peak_bytes(config, 24, 224, 224, chosen + 1)
    assert plan_head_views(config, 24, 224, 224, 10**12) == 24
