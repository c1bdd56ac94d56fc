"""Operations of inference that are computed in another way than they are written equal what is written."""

import pytest
import torch
import torch.nn.functional as F
from small_mvdust3r import random_images, small_model

from anyviews.models.mvdust3r import MVDust3rPlusModel, winograd_mvdust3r
from anyviews.models.mvdust3r.layers_mvdust3r import ROWS_AT_ONCE, MVDust3rMLP
from anyviews.models.mvdust3r.linear_mvdust3r import MVDust3rLinear
from anyviews.models.mvdust3r.winograd_mvdust3r import convolve


@pytest.fixture(autouse=True)
def without_gradients():
    with torch.no_grad():
        yield


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found.double() - expected).detach().norm() / expected.norm())


@pytest.mark.parametrize("band_bytes", [1, 2**24])
@pytest.mark.parametrize(("height", "width"), [(8, 8), (13, 5), (1, 1), (32, 9)])
def test_wide_convolutions(monkeypatch, height, width, band_bytes):
    monkeypatch.setattr(winograd_mvdust3r, "BAND_BYTES", band_bytes)
    maps, weight, bias = torch.randn(2, 64, height, width), torch.randn(96, 64, 5, 5), torch.randn(96)
    expected = F.conv2d(maps.double(), weight.double(), bias.double(), padding=2)
    for given in (maps, maps.contiguous(memory_format=torch.channels_last)):
        found = convolve(given, weight, bias)
        assert found.shape == expected.shape
        assert 0 < relative_error(found, expected) < 1e-5
    assert relative_error(convolve(maps.bfloat16(), weight.bfloat16(), bias.bfloat16()), expected) < 0.02


def test_wide_convolutions_take_fewer_products(monkeypatch):
    """The path is really taken: a plain convolution would see all 25 taps."""
    seen = []
    plain = F.conv2d
    monkeypatch.setattr(F, "conv2d", lambda maps, weight, *a, **k: seen.append(weight) or plain(maps, weight, *a, **k))
    convolve(torch.randn(1, 64, 8, 8), torch.randn(64, 64, 5, 5), torch.randn(64))
    assert [tuple(weight.shape) for weight in seen] == [(64, 64, 1, 5)] * 8


@pytest.mark.parametrize(("channels", "size"), [(8, 5), (64, 3)])
def test_other_convolutions(channels, size):
    maps, weight, bias = torch.randn(1, 64, 6, 7), torch.randn(channels, 64, size, size), torch.randn(channels)
    torch.testing.assert_close(convolve(maps, weight, bias), F.conv2d(maps, weight, bias, padding=size // 2))


@pytest.mark.parametrize("gelu", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_linear_layers(gelu, bias):
    layer, states = MVDust3rLinear(24, 40, bias=bias, gelu=gelu), torch.randn(2, 3, 24)
    product = F.linear(states.double(), layer.weight.double(), layer.bias.double() if bias else None)
    expected = F.gelu(product) if gelu else product
    assert relative_error(layer(states), expected) < 1e-6
    with torch.enable_grad():
        assert relative_error(layer(states), expected) < 1e-6
        layer(states).sum().backward()
    assert layer.weight.grad.any()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(states).dtype == torch.bfloat16
        assert relative_error(layer(states), expected) < 0.01
    layer.to(torch.bfloat16)
    assert layer(states).dtype == torch.bfloat16
    assert relative_error(layer(states), expected) < 0.01
    with torch.backends.mkldnn.flags(enabled=False):
        assert relative_error(layer(states), expected) < 0.01


def test_feed_forward_layers_in_parts():
    mlp, states = MVDust3rMLP(8, 2), torch.randn(2, ROWS_AT_ONCE // 2 + 3, 8)
    with torch.enable_grad():
        expected = mlp(states).detach()
    torch.testing.assert_close(mlp(states), expected)


def test_bfloat16_weights_meet_a_float32_stream(tmp_path):
    small_model().save_pretrained(tmp_path)
    model = MVDust3rPlusModel.from_pretrained(tmp_path, dtype=torch.bfloat16)
    streams, linear = [], []
    for layer in (*model.encoder_layers, *model.decoder.source_layers, *model.decoder.fusion_layers):
        layer.register_forward_hook(lambda module, arguments, output: streams.append(output.dtype))
        layer.mlp.down.register_forward_hook(lambda module, arguments, output: linear.append(output.dtype))
    model(random_images())
    assert set(streams) == {torch.float32}
    assert set(linear) == {torch.bfloat16}
