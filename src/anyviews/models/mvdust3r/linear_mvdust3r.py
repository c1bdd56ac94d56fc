"""Linear layers that use the fastest matrix product of the machine, in the precision of their weights."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ..onednn import product, serves


class MVDust3rLinear(nn.Linear):
    """A linear layer, with an exact GELU behind it if asked for.

    Without gradients, products on a CPU go through oneDNN, bias and GELU included.

    Inputs take the precision of the weights, so that a float32 residual stream can meet bfloat16 weights without
    autocast.
    """

    def __init__(self, inputs: int, outputs: int, bias: bool = True, gelu: bool = False):
        super().__init__(inputs, outputs, bias)
        self.gelu = gelu

    def forward(self, states: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        if not torch.is_grad_enabled():
            dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else self.weight.dtype
            if serves(states.device, dtype):
                weight, bias = (None if values is None else values.to(dtype) for values in (self.weight, self.bias))
                return product(states.to(dtype), weight, bias, "gelu" if self.gelu else "none")
        if self.weight.dtype != torch.float32:  # float32 weights are left to autocast
            states = states.to(self.weight.dtype)
        states = F.linear(states, self.weight, self.bias)
        return F.gelu(states) if self.gelu else states
