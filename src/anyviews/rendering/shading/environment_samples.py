"""Directions drawn from an environment in proportion to its light."""

import torch
from jaxtyping import Float
from torch import Tensor

from ...environment import Environment
from .light import luminance


# The golden ratio's additive sequences (M. Roberts, 2018): evenly spread points in one and two dimensions.
STEP = 0.6180339887498949
STEPS = (0.7548776662466927, 0.5698402909980532)


class EnvironmentSampler:
    """Draws directions, and says how likely each is.

    Args:
        environment: a valid environment.
    """

    def __init__(self, environment: Environment):
        self.environment = environment.validate()
        self.angles = environment.solid_angles().flatten().double()
        power = luminance(environment.radiance[None]).flatten().double() * self.angles
        self.probabilities = power / power.sum()
        self.cumulative = self.probabilities.cumsum(0)

    def draw(self, count: int, generator: torch.Generator) -> Float[Tensor, "samples 3"]:
        """Unit directions, stratified by the light that arrives from them."""
        device = self.angles.device
        shift = torch.rand(3, generator=generator, dtype=torch.float64)
        index = torch.arange(count, dtype=torch.float64)
        place = ((index + shift[0]) / count).to(device)
        pixel = torch.searchsorted(self.cumulative, place * self.cumulative[-1]).clamp(max=len(self.angles) - 1)
        height, width = self.environment.height, self.environment.width
        # anywhere in the pixel
        across, down = ((index * step + start) % 1 for step, start in zip(STEPS, shift[1:], strict=True))
        u = (pixel % width + across.to(device)) / width * (2 * torch.pi)
        top, bottom = ((pixel // width + side).double() / height * torch.pi for side in (0, 1))
        y = torch.lerp(top.cos(), bottom.cos(), down.to(device))
        sine = (1 - y * y).clamp(min=0).sqrt()
        return torch.stack([sine * u.sin(), y, -sine * u.cos()], dim=-1).float()

    def densities(self, directions: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch"]:
        """Probability per solid angle with which `draw` gives unit directions."""
        x, y, z = directions.unbind(-1)
        height, width = self.environment.height, self.environment.width
        column = (torch.atan2(x, -z) * (width / (2 * torch.pi))).floor().long() % width
        row = (y.clamp(-1, 1).acos() * (height / torch.pi)).floor().long().clamp(max=height - 1)
        density = (self.probabilities / self.angles).float()
        return density[row * width + column]
