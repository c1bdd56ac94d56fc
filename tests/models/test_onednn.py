"""Products by oneDNN are torch's own products, and are left to torch where the operator is not what is known."""

import pytest
import torch
import torch.nn.functional as F

from anyviews.models import onednn
from anyviews.models.lirm.linear_lirm import linear
from anyviews.models.mvdust3r.linear_mvdust3r import MVDust3rLinear


ACTIVATIONS = {"none": torch.nn.Identity(), "relu": F.relu, "gelu": F.gelu}
CPU = torch.device("cpu")


@pytest.fixture
def fresh():
    """What is known of this PyTorch is asked anew, before and after."""
    onednn.has_operator.cache_clear(), onednn._has_fast_bfloat16.cache_clear()
    yield
    onednn.has_operator.cache_clear(), onednn._has_fast_bfloat16.cache_clear()


@pytest.fixture
def calls(monkeypatch):
    """The operator is called as often as this list is long."""
    found, operator = [], onednn.product
    for module in ("lirm.linear_lirm", "mvdust3r.linear_mvdust3r"):
        path = f"anyviews.models.{module}.product"
        monkeypatch.setattr(path, lambda *arguments: found.append(1) or operator(*arguments))
    return found


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 0.01)])
def test_products_are_torchs(activation, with_bias, dtype, tolerance):
    if not onednn.serves(CPU, dtype):
        pytest.skip(f"oneDNN does not serve {dtype} here")
    states = torch.randn(2, 5, 48).to(dtype)[..., ::2]
    weight, bias = torch.randn(24, 40).to(dtype).T, torch.randn(40).to(dtype) if with_bias else None
    found = onednn.product(states, weight, bias, activation)
    exact = F.linear(states.double(), weight.double(), None if bias is None else bias.double())
    exact = ACTIVATIONS[activation](exact)
    assert found.dtype == dtype and found.shape == (2, 5, 40)
    assert (found.double() - exact).norm() < tolerance * exact.norm()


def test_what_it_serves():
    assert onednn.serves(CPU, torch.float32) == onednn.has_operator()
    assert not onednn.serves(CPU, torch.float64) and not onednn.serves(CPU, torch.float16)
    assert not onednn.serves(torch.device("meta"), torch.float32)
    with torch.backends.mkldnn.flags(enabled=False):
        assert not onednn.serves(CPU, torch.float32)


@pytest.mark.parametrize("missing", ["operator", "arguments"])
def test_without_the_operator_layers_are_torchs_own(monkeypatch, fresh, calls, missing):
    layer, states = MVDust3rLinear(24, 40, gelu=True), torch.randn(3, 24)
    with torch.no_grad():
        found = [layer(states), linear(states, layer.weight, layer.bias, relu=True)]
    assert len(calls) == (2 if onednn.has_operator() else 0)
    calls.clear()
    onednn.has_operator.cache_clear()
    if missing == "operator":
        monkeypatch.setattr(torch.ops, "mkldnn", object())
    else:
        monkeypatch.setattr(onednn, "KNOWN_ARGUMENTS", onednn.KNOWN_ARGUMENTS[:-1])
    with torch.no_grad():
        plain = [layer(states), linear(states, layer.weight, layer.bias, relu=True)]
    assert not calls and not onednn.serves(CPU, torch.float32)
    torch.testing.assert_close(plain, found, rtol=1e-5, atol=1e-6)


def test_weights_keep_their_names():
    assert list(MVDust3rLinear(4, 8).state_dict()) == ["weight", "bias"]
