"""Matrix products by oneDNN, the fastest library that PyTorch has for many processors.

The BLAS that PyTorch takes for float32 on a CPU asks who made the processor, and reaches half the rate or less on
AVX-512 that is not Intel's; oneDNN asks what the processor can do. PyTorch offers it for linear layers only through an
operator of its compiler, which no documentation promises: it is used where it is found as it is known.
"""

from functools import cache
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor


Activation = Literal["none", "relu", "gelu"]

# What the operator takes: states, weight, bias, activation, its numbers, its algorithm.
KNOWN_ARGUMENTS = ("Tensor", "Tensor", "Optional[Tensor]", "str", "List[Optional[number]]", "Optional[str]")


def serves(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether `product` can be used now for tensors of this device and precision."""
    if device.type != "cpu" or torch.compiler.is_compiling() or not torch.backends.mkldnn.enabled:
        return False
    return (dtype == torch.float32 and has_operator()) or (dtype == torch.bfloat16 and _has_fast_bfloat16())


def product(
    states: Float[Tensor, "*batch inputs"],
    weight: Float[Tensor, "outputs inputs"],
    bias: Float[Tensor, "outputs"] | None = None,
    activation: Activation = "none",
) -> Float[Tensor, "*batch outputs"]:
    """activation(states @ weight.T + bias) by oneDNN, without gradients; only where `serves` says so.

    Args:
        states: of one precision with the others, not empty.
        weight: as in torch.nn.Linear.
        bias: added to every row.
        activation: "gelu" is the exact one.
    """
    # parts of larger tensors would be read element by element; the last argument: GELU by the error function
    states, weight = states.contiguous(), weight.contiguous()
    return torch.ops.mkldnn._linear_pointwise(states, weight, bias, activation, [], "none")


@cache
def has_operator() -> bool:
    """Whether this PyTorch has the operator, with the arguments that are known."""
    if not torch.backends.mkldnn.is_available() or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return False
    arguments = torch.ops.mkldnn._linear_pointwise.default._schema.arguments
    return tuple(str(argument.type) for argument in arguments) == KNOWN_ARGUMENTS


@cache
def _has_fast_bfloat16() -> bool:
    """Whether the processor multiplies in bfloat16 itself."""
    name = "_is_mkldnn_bf16_supported"
    return has_operator() and hasattr(torch.ops.mkldnn, name) and getattr(torch.ops.mkldnn, name)()
