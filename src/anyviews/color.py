"""The sRGB curve: between displayed values and linear light (IEC 61966-2-1)."""

import torch
from jaxtyping import Float
from torch import Tensor


def srgb_from_linear(linear: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Displayed values in [0, 1] of linear light; light above 1 is clipped, with no other tone mapping."""
    linear = linear.clamp(0, 1)
    # the power has no slope at 0, where the straight part is taken
    curved = 1.055 * linear.clamp(min=0.0031308).pow(1 / 2.4) - 0.055
    return torch.where(linear <= 0.0031308, 12.92 * linear, curved)


def linear_from_srgb(srgb: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Linear light in [0, 1] of displayed values in [0, 1]."""
    return torch.where(srgb <= 0.04045, srgb / 12.92, ((srgb.clamp(min=0.04045) + 0.055) / 1.055).pow(2.4))
