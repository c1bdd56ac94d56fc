"""Matrix products in float32 on the fastest library that a CPU has, with gradients."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable


# Gradients of smaller weights are sums over many points and few channels, at which the BLAS is better.
LARGE_WEIGHT = 1 << 14


def linear(
    states: Float[Tensor, "*batch inputs"],
    weight: Float[Tensor, "outputs inputs"],
    bias: Float[Tensor, "outputs"] | None = None,
    relu: bool = False,
) -> Float[Tensor, "*batch outputs"]:
    """states @ weight.T + bias, with a ReLU behind it if asked for.

    The BLAS that PyTorch takes for float32 on a CPU asks who made the processor, and reaches half the rate on AVX-512
    that is not Intel's; oneDNN asks what it can do. All else, half precision under autocast too, is torch's own.
    """
    if _served_by_onednn(states, weight):
        return _Linear.apply(states, weight, bias, relu)
    product = F.linear(states, weight, bias)
    return F.relu(product) if relu else product


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, states: Tensor, weight: Tensor, bias: Tensor | None, relu: bool) -> Tensor:
        product = _product(states, weight, bias, "relu" if relu else "none")
        ctx.save_for_backward(states, weight, *([product] if relu else []))
        return product

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        states, weight, *product = ctx.saved_tensors
        if product:
            gradient = torch.ops.aten.threshold_backward(gradient, product[0], 0)
        of_states = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            of_states = _product(gradient, weight.T, None, "none")
        rows, columns = gradient.flatten(0, -2), states.flatten(0, -2)
        if ctx.needs_input_grad[1]:
            of_weight = (
                _product(rows.T, columns.T, None, "none") if weight.numel() >= LARGE_WEIGHT else rows.T @ columns
            )
        if ctx.needs_input_grad[2]:
            of_bias = rows.sum(0)
        return of_states, of_weight, of_bias, None


def _product(states: Tensor, weight: Tensor, bias: Tensor | None, operation: str) -> Tensor:
    # parts of larger tensors would be read element by element
    return torch.ops.mkldnn._linear_pointwise(states.contiguous(), weight.contiguous(), bias, operation, [], "none")


def _served_by_onednn(states: Tensor, weight: Tensor) -> bool:
    if not states.is_cpu or states.dtype != torch.float32 or weight.dtype != torch.float32 or not states.numel():
        return False
    if torch.is_autocast_enabled("cpu") or torch.compiler.is_compiling():
        return False
    return torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled
