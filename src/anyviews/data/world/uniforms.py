"""Per-seed random numbers that do not depend on the batch or the device."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor


class Uniforms:
    """A stream of uniform numbers for each of several seeds, consumed in a fixed order.

    The numbers are drawn on the CPU, whose generator is the same everywhere, so that a scene is a function of its
    seed alone.

    Args:
        seeds: [B], one per scene.
        count: numbers to draw per seed.
        device: where the numbers are used.
    """

    def __init__(self, seeds: Int[Tensor, "scenes"], count: int, device: torch.device | str):
        rows = [torch.rand(count, generator=torch.Generator().manual_seed(seed)) for seed in seeds.tolist()]
        self.values = torch.stack(rows).to(device)
        self.used = 0

    def take(self, *shape: int) -> Float[Tensor, "scenes *shape"]:
        """The next numbers in [0, 1), as [B, *shape]."""
        count = math.prod(shape)
        assert self.used + count <= self.values.shape[1], "draw more uniforms per seed"
        taken = self.values[:, self.used : self.used + count]
        self.used += count
        return taken.reshape(-1, *shape)

    def between(self, low: float, high: float, *shape: int) -> Float[Tensor, "scenes *shape"]:
        """The next numbers, uniform in [low, high)."""
        return low + (high - low) * self.take(*shape)

    def log_between(self, low: float, high: float, *shape: int) -> Float[Tensor, "scenes *shape"]:
        """The next numbers, log-uniform in [low, high)."""
        return self.between(math.log(low), math.log(high), *shape).exp()

    def chance(self, probability: float, *shape: int) -> Float[Tensor, "scenes *shape"]:
        """1 with the given probability, else 0."""
        return (self.take(*shape) < probability).float()

    def pick(self, options: Float[Tensor, "options *columns"], *shape: int) -> Float[Tensor, "scenes ..."]:
        """Rows of `options` picked with equal probability, as [B, *shape, *columns]."""
        index = (self.take(*shape) * len(options)).long().clamp(max=len(options) - 1)
        return options.to(index.device)[index]
