"""Smooth noise in space from one small periodic volume, the same in every scene; scenes look at different places."""

from functools import cache

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


PERIOD = 16
# successive octaves look at the volume elsewhere
OCTAVE_SHIFT = (3.7, 9.2, 5.1)


@cache
def _volume(device: torch.device) -> Tensor:
    """[1, 1, P + 1, P + 1, P + 1] in [-1, 1]; the last planes repeat the first."""
    values = torch.rand((PERIOD,) * 3, generator=torch.Generator().manual_seed(1)) * 2 - 1
    return F.pad(values[None, None], (0, 1) * 3, mode="circular").to(device)


def noise(points: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch"]:
    """Value noise in [-1, 1] that varies over a length of about 1 and repeats after 16."""
    base = points.floor()
    part = points - base
    # the cubic step hides the grid
    smooth = base.remainder(PERIOD) + part * part * (3 - 2 * part)
    samples = (smooth * (2 / PERIOD) - 1).reshape(1, 1, 1, -1, 3)
    return F.grid_sample(_volume(points.device), samples, align_corners=True).reshape(points.shape[:-1])


def fractal_noise(points: Float[Tensor, "*batch 3"], octaves: int) -> Float[Tensor, "*batch"]:
    """Octaves of noise, each of twice the frequency and half the strength; about in [-1, 1]."""
    total = torch.zeros_like(points[..., 0])
    for octave in range(octaves):
        shift = points.new_tensor(OCTAVE_SHIFT) * octave
        total = total + noise(points * 2.0**octave + shift) * 0.5**octave
    return total * (0.9 if octaves > 1 else 1.0)
