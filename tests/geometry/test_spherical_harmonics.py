"""Real spherical harmonics against scipy's complex ones, their orthonormality, and how they turn."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import sph_harm_y
from strategies import assert_close, batch_shapes, dtypes, property_settings, random_rotation, seeds

from anyviews.geometry.spherical_harmonics import CONSTANT_HARMONIC, MAX_DEGREE, harmonic_basis, rotate_harmonics


degrees = st.integers(0, MAX_DEGREE)


def random_directions(seed: int, *batch: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(*batch, 3, generator=generator, dtype=torch.float64), dim=-1).to(dtype)


def random_coefficients(seed: int, *batch: int, degree: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed + 1)
    return torch.randn(*batch, 4, (degree + 1) ** 2, 3, generator=generator, dtype=torch.float64).to(dtype)


def values(coefficients: torch.Tensor, directions: torch.Tensor) -> torch.Tensor:
    """What coefficients [*batch, N, K, C] are worth in directions [D, 3] or [*batch, D, 3]: [*batch, N, D, C]."""
    degree = math.isqrt(coefficients.shape[-2]) - 1
    return harmonic_basis(directions, degree)[..., None, :, :] @ coefficients


def test_basis_is_orthonormal_on_the_sphere():
    # products of two harmonics have degree 6: four heights of Gauss and eight azimuths integrate them exactly
    heights, weights = (torch.from_numpy(values) for values in np.polynomial.legendre.leggauss(4))
    azimuths = 2 * math.pi * (torch.arange(8, dtype=torch.float64) + 0.3) / 8
    height, azimuth = torch.meshgrid(heights, azimuths, indexing="ij")
    radius = (1 - height**2).sqrt()
    basis = harmonic_basis(torch.stack([radius * azimuth.cos(), radius * azimuth.sin(), height], dim=-1), MAX_DEGREE)
    products = torch.einsum("ha,haj,hak->jk", (weights[:, None] * math.pi / 4).expand(4, 8), basis, basis)
    torch.testing.assert_close(products, torch.eye(16, dtype=torch.float64))


def test_basis_is_that_of_scipy():
    directions = random_directions(0, 50)
    polar, azimuth = directions[:, 2].arccos().numpy(), torch.atan2(directions[:, 1], directions[:, 0]).numpy()
    basis = harmonic_basis(directions, MAX_DEGREE)
    for degree in range(MAX_DEGREE + 1):
        for order in range(-degree, degree + 1):
            wave = sph_harm_y(degree, abs(order), polar, azimuth)
            real = wave.real if order == 0 else math.sqrt(2) * (wave.real if order > 0 else wave.imag)
            found = basis[:, degree * (degree + 1) + order]
            torch.testing.assert_close(found, torch.from_numpy(np.ascontiguousarray(real)))


@pytest.mark.parametrize("degree", range(MAX_DEGREE + 1))
def test_lower_degrees_are_the_first_of_higher_ones(degree):
    directions = random_directions(1, 2, 5)
    basis = harmonic_basis(directions, degree)
    assert basis.shape == (2, 5, (degree + 1) ** 2)
    assert torch.equal(basis, harmonic_basis(directions, MAX_DEGREE)[..., : (degree + 1) ** 2])
    assert (basis[..., 0] == CONSTANT_HARMONIC).all()


@property_settings
@given(seeds, batch_shapes, degrees, dtypes)
def test_turned_harmonics_have_the_same_value_in_the_turned_direction(seed, batch, degree, dtype):
    coefficients = random_coefficients(seed, *batch, degree=degree, dtype=dtype)
    rotation = random_rotation(torch.Generator().manual_seed(seed), *batch, dtype=dtype)
    directions = random_directions(seed, 9, dtype=dtype)
    turned = rotate_harmonics(coefficients, rotation)
    assert turned.shape == coefficients.shape and turned.dtype == dtype
    assert_close(values(turned, directions @ rotation.mT), values(coefficients, directions.expand(*batch, 9, 3)))
    if dtype == torch.float32:
        exact = rotate_harmonics(coefficients.double(), rotation.double())
        assert (turned - exact).abs().max() < 2e-5


@property_settings
@given(seeds, degrees)
def test_turns_compose_and_undo(seed, degree):
    coefficients = random_coefficients(seed, degree=degree)
    first, second = random_rotation(torch.Generator().manual_seed(seed), 2)
    in_turn = rotate_harmonics(rotate_harmonics(coefficients, first), second)
    assert_close(rotate_harmonics(coefficients, second @ first), in_turn)
    assert_close(rotate_harmonics(rotate_harmonics(coefficients, first), first.mT), coefficients)
    assert_close(rotate_harmonics(coefficients, torch.eye(3, dtype=torch.float64)), coefficients)
    # the mixture is orthogonal in each degree: a turn changes no energy
    energy = [c[:, 1:].square().sum() for c in (coefficients, in_turn)]
    assert_close(*energy, scale=10)


def test_gradients_of_turned_harmonics():
    coefficients = random_coefficients(0, degree=3)[:1].requires_grad_()
    rotation = random_rotation(torch.Generator().manual_seed(0)).requires_grad_()
    assert torch.autograd.gradcheck(rotate_harmonics, (coefficients, rotation))
