"""Linear layers that use the fastest matrix product of the machine, in the precision of their weights."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class MVDust3rLinear(nn.Linear):
    """A linear layer, with an exact GELU behind it if asked for.

    Without gradients, products on a CPU go through oneDNN, bias and GELU included. It chooses its kernels by what the
    processor can do; the BLAS that PyTorch takes for float32 also asks who made it, and reaches less than half the
    rate on AVX-512 that is not Intel's.

    Inputs take the precision of the weights, so that a float32 residual stream can meet bfloat16 weights without
    autocast.
    """

    def __init__(self, inputs: int, outputs: int, bias: bool = True, gelu: bool = False):
        super().__init__(inputs, outputs, bias)
        self.gelu = gelu

    def forward(self, states: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        if states.is_cpu and not torch.is_grad_enabled() and not torch.compiler.is_compiling():
            dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else self.weight.dtype
            if _served_by_onednn(dtype):
                weight, bias = (None if values is None else values.to(dtype) for values in (self.weight, self.bias))
                operation = "gelu" if self.gelu else "none"
                # the last argument: GELU by the error function, not by its approximation with tanh
                return torch.ops.mkldnn._linear_pointwise(states.to(dtype), weight, bias, operation, [], "none")
        if self.weight.dtype != torch.float32:  # float32 weights are left to autocast
            states = states.to(self.weight.dtype)
        states = F.linear(states, self.weight, self.bias)
        return F.gelu(states) if self.gelu else states


def _served_by_onednn(dtype: torch.dtype) -> bool:
    if not (torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled):
        return False
    return dtype == torch.float32 or (dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported())
