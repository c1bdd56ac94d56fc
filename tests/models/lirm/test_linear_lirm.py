"""The faster product is the same product."""

import pytest
import torch
import torch.nn.functional as F

from anyviews.models.lirm.linear_lirm import LARGE_WEIGHT, linear


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("width", [12, 160])
def test_values_and_gradients(relu, with_bias, width):
    """Of states and weights that are parts of larger tensors, too; small and large weights."""
    states = torch.randn(3, 7, 2 * width)[..., :width].requires_grad_()
    weight = torch.randn(width, 2 * width)[:, ::2].requires_grad_()
    bias = torch.randn(width, requires_grad=True) if with_bias else None
    assert (weight.numel() >= LARGE_WEIGHT) == (width == 160)
    leaves = [states, weight, *([bias] if with_bias else [])]
    found, expected = linear(states, weight, bias, relu), F.linear(states, weight, bias)
    expected = expected.relu() if relu else expected
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    gradient = torch.randn_like(expected)
    for value, other in zip(
        torch.autograd.grad(found, leaves, gradient), torch.autograd.grad(expected, leaves, gradient), strict=True
    ):
        torch.testing.assert_close(value, other, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions_are_torchs_own(dtype):
    states, weight = torch.randn(5, 8, dtype=dtype), torch.randn(4, 8, dtype=dtype)
    assert torch.equal(linear(states, weight, relu=True), F.linear(states, weight).relu())


def test_autocast_is_respected():
    states, weight = torch.randn(5, 8), torch.randn(4, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert linear(states, weight).dtype == torch.bfloat16


def test_no_points():
    weight = torch.randn(4, 8, requires_grad=True)
    product = linear(torch.zeros(0, 8), weight, relu=True)
    assert product.shape == (0, 4)
    product.sum().backward()
    assert not weight.grad.any()
