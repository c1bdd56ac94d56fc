"""Matrix products in float32 on the fastest library that a CPU has, with gradients."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..onednn import product, serves


# Gradients of smaller weights are sums over many points and few channels, at which the BLAS is better.
LARGE_WEIGHT = 1 << 14


def linear(
    states: Float[Tensor, "*batch inputs"],
    weight: Float[Tensor, "outputs inputs"],
    bias: Float[Tensor, "outputs"] | None = None,
    relu: bool = False,
) -> Float[Tensor, "*batch outputs"]:
    """states @ weight.T + bias, with a ReLU behind it if asked for.

    Float32 on a CPU goes through oneDNN. All else, half precision under autocast too, is torch's own.
    """
    if _in_float32(states, weight) and serves(states.device, torch.float32):
        return _Linear.apply(states, weight, bias, relu)
    states = F.linear(states, weight, bias)
    return F.relu(states) if relu else states


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, states: Tensor, weight: Tensor, bias: Tensor | None, relu: bool) -> Tensor:
        result = product(states, weight, bias, "relu" if relu else "none")
        ctx.save_for_backward(states, weight, *([result] if relu else []))
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        states, weight, *result = ctx.saved_tensors
        if result:
            gradient = torch.ops.aten.threshold_backward(gradient, result[0], 0)
        of_states = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            of_states = product(gradient, weight.T)
        rows, columns = gradient.flatten(0, -2), states.flatten(0, -2)
        if ctx.needs_input_grad[1]:
            of_weight = product(rows.T, columns.T) if weight.numel() >= LARGE_WEIGHT else rows.T @ columns
        if ctx.needs_input_grad[2]:
            of_bias = rows.sum(0)
        return of_states, of_weight, of_bias, None


def _in_float32(states: Tensor, weight: Tensor) -> bool:
    """Whether all is float32 and stays so; without points there is nothing to compute."""
    if torch.is_autocast_enabled("cpu") or not states.numel():
        return False
    return states.dtype == weight.dtype == torch.float32
