"""Real spherical harmonics up to degree 3, with the signs and the order that 3D Gaussian files use."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


MAX_DEGREE = 3

# The value of the constant harmonic: a colour c is stored as the coefficient (c - 0.5) / CONSTANT_HARMONIC.
CONSTANT_HARMONIC = 0.5 / math.sqrt(math.pi)

LINEAR = math.sqrt(3 / (4 * math.pi))
QUADRATIC = math.sqrt(15 / (4 * math.pi))
QUADRATIC_AXIS = math.sqrt(5 / (16 * math.pi))
CUBIC = (
    math.sqrt(35 / (32 * math.pi)),
    math.sqrt(105 / (4 * math.pi)),
    math.sqrt(21 / (32 * math.pi)),
    math.sqrt(7 / (16 * math.pi)),
)


def harmonic_basis(directions: Float[Tensor, "*batch 3"], degree: int) -> Float[Tensor, "*batch coefficients"]:
    """The (degree + 1)**2 harmonics in unit directions [*batch, 3]."""
    x, y, z = directions.unbind(-1)
    basis = [torch.full_like(x, CONSTANT_HARMONIC)]
    if degree >= 1:
        basis += [-LINEAR * y, LINEAR * z, -LINEAR * x]
    if degree >= 2:
        basis += [
            QUADRATIC * x * y,
            -QUADRATIC * y * z,
            QUADRATIC_AXIS * (2 * z * z - x * x - y * y),
            -QUADRATIC * x * z,
            QUADRATIC / 2 * (x * x - y * y),
        ]
    if degree >= 3:
        basis += [
            -CUBIC[0] * y * (3 * x * x - y * y),
            CUBIC[1] * x * y * z,
            -CUBIC[2] * y * (4 * z * z - x * x - y * y),
            CUBIC[3] * z * (2 * z * z - 3 * x * x - 3 * y * y),
            -CUBIC[2] * x * (4 * z * z - x * x - y * y),
            CUBIC[1] / 2 * z * (x * x - y * y),
            -CUBIC[0] * x * (x * x - 3 * y * y),
        ]
    return torch.stack(basis, dim=-1)


def rotate_harmonics(
    coefficients: Float[Tensor, "*batch entries coefficients channels"], rotation: Float[Tensor, "*batch 3 3"]
) -> Float[Tensor, "*batch entries coefficients channels"]:
    """Coefficients whose value in direction R d is what the given ones have in direction d.

    Args:
        coefficients: [*batch, N, K, C] with K = 1, 4, 9 or 16.
        rotation: [*batch, 3, 3], one R for all N entries.
    """
    degree = math.isqrt(coefficients.shape[-2]) - 1
    directions = F.normalize(_probe_directions().to(rotation), dim=-1)
    # harmonics of one degree turn among themselves: their values in enough directions determine the mixture
    sampled = harmonic_basis(directions, degree).pinverse()
    turned = harmonic_basis(directions @ rotation, degree)
    mixture = sampled @ turned
    bands = [
        mixture[..., None, low**2 : (low + 1) ** 2, low**2 : (low + 1) ** 2]
        @ coefficients[..., low**2 : (low + 1) ** 2, :]
        for low in range(degree + 1)
    ]
    return torch.cat(bands, dim=-2)


def _probe_directions() -> Float[Tensor, "directions 3"]:
    """Directions spread over the sphere along a Fibonacci spiral, twice as many as degree 3 needs."""
    index = torch.arange(32, dtype=torch.float64) + 0.5
    height = 1 - index / 16
    azimuth = index * math.pi * (1 + math.sqrt(5))
    radius = (1 - height**2).sqrt()
    return torch.stack([radius * azimuth.cos(), radius * azimuth.sin(), height], dim=-1)
