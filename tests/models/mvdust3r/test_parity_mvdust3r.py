"""The network computes what the official one computes."""

import pytest
import torch
from golden_mvdust3r import CASES, OUTPUTS, assert_close, golden, golden_output, needs_golden, official_model

from anyviews.models.mvdust3r.attention_mvdust3r import rotary_tables, rotate
from anyviews.models.mvdust3r.heads_mvdust3r import activate_confidence, activate_points


pytestmark = needs_golden


@pytest.mark.parametrize("case", CASES)
def test_outputs(case):
    model, images = official_model(case), golden(f"case_{case}")["images"]
    with torch.no_grad():
        every, first = model(images, all_paths=True), model(images)
    expected = {name: golden_output(case, name) for name in OUTPUTS}
    assert (expected["scales"] is None) == case.endswith("plain")
    for name, value in expected.items():
        if value is None:
            assert getattr(every, name) is None
        else:
            assert_close(every[name], value, 1e-4)
            assert_close(first[name], value[:, :1], 1e-4)
    assert every.references == tuple(range(CASES[case]))
    assert first.references == (0,)


@pytest.mark.parametrize("case", CASES)
def test_tokens_of_every_layer(case):
    """Encoder, projection, every decoder layer before and after fusion, and the last norm."""
    model, expected = official_model(case), golden(f"case_{case}")
    seen = {}

    def record(name):
        return lambda module, arguments, output: seen.__setitem__(name, output)

    layers = {"embedded": model.encoder_to_decoder, "norm": model.decoder.norm}
    for kind in ("reference", "source", "fusion"):
        for index, layer in enumerate(getattr(model.decoder, f"{kind}_layers")):
            layers[f"{kind}{index}"] = layer
    hooks = [layer.register_forward_hook(record(name)) for name, layer in layers.items()]
    with torch.no_grad():
        encoded = model.encode(expected["images"])
        model.decode(encoded, CASES[case], True, expected["images"].shape[-2:])
    for hook in hooks:
        hook.remove()

    batch, views = expected["images"].shape[:2]
    paths = CASES[case]
    assert_close(encoded.transpose(0, 1), expected["enc_tokens"], 1e-4)
    assert_close(seen["embedded"].transpose(0, 1), expected["dec_embed"], 1e-4)
    assert_close(seen["norm"].movedim(1, 0).flatten(1, 2), expected["dec_norm_out"], 1e-4)
    for index, layer in enumerate(expected["dec_layers"].view(-1, paths, views, batch, *encoded.shape[2:3], 48)):
        references, sources = seen[f"reference{index}"], seen[f"source{index}"]
        for path in range(paths):
            for view in range(views):
                if index == 0 and paths > 1:  # paths are still equal: places are views
                    found = references[:, path] if view == path else sources[:, view]
                else:
                    slot = (view - path) % views
                    found = references[path::paths, 0] if slot == 0 else sources[path::paths, slot - 1]
                assert_close(found, layer[path, view], 1e-4)
        if paths > 1:
            fused = seen[f"fusion{index}"].unflatten(0, (batch, views))  # [batch, views, paths, tokens, width]
            assert_close(fused.permute(2, 1, 0, 3, 4), expected["fused_layers"][index], 1e-4)


@pytest.mark.parametrize(("head_dim", "grid"), [(16, (3, 4)), (64, (14, 14))])
def test_rotary_positions(head_dim, grid):
    fixture = golden("rope2d")
    tokens = fixture[f"tokens_hd{head_dim}"].transpose(1, 2)  # [batch, tokens, heads, head_dim]
    found = rotate(tokens, rotary_tables(*grid, head_dim, 100.0))
    assert_close(found.transpose(1, 2), fixture[f"out_hd{head_dim}"], 2e-6)


def test_head_activations():
    fixture = golden("primitives")
    raw = fixture["act.raw"]
    assert (raw[:, :3].norm(dim=1) == 0).any()
    points = activate_points(raw[:, :3].permute(0, 2, 3, 1))
    torch.testing.assert_close(points, fixture["act.pts3d"], atol=1e-6, rtol=1e-6)
    confidence = activate_confidence(raw[:, 3], 1.0, 1e9)
    torch.testing.assert_close(confidence, fixture["act.conf"], atol=1e-6, rtol=1e-6)
