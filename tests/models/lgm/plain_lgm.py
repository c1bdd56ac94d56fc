"""A small model, and the network's arithmetic as it is written down, of the benchmark."""

import torch
from torch import Tensor

from anyviews.models.lgm import LGMModel


# every kind of layer, and a way up that is shorter than the way down
SMALL = {
    "input_size": 16,
    "down_channels": (32, 32, 64),
    "down_attention": (False, True, True),
    "up_channels": (64, 32),
    "up_attention": (True, False),
    "num_heads": 4,
    "output_size": 16,
}


def small_model(**overrides) -> LGMModel:
    """A model in evaluation mode whose output depends on everything: no norm is left at one or zero."""
    model = LGMModel.from_size("big", **{**SMALL, **overrides}).eval()
    with torch.no_grad():
        for value in model.parameters():
            if value.ndim < 2:
                value.add_(torch.randn_like(value) * 0.2)
    return model


def random_inputs(batch: int = 2, size: int = 16) -> Tensor:
    return torch.randn(batch, 4, 9, size, size)
