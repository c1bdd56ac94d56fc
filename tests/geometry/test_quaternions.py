"""Quaternions against scipy's rotations."""

import pytest
import torch
from hypothesis import given
from scipy.spatial.transform import Rotation
from strategies import assert_close, batch_shapes, dtypes, property_settings, random_rotation, seeds

from anyviews.geometry.quaternions import matrix_to_quaternion, multiply_quaternions, quaternion_to_matrix


def random_quaternions(seed: int, *batch: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*batch, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def scipy_rotation(quaternions: torch.Tensor) -> Rotation:
    return Rotation.from_quat(quaternions.double().reshape(-1, 4).numpy(), scalar_first=True)


@property_settings
@given(seeds, batch_shapes, dtypes)
def test_matrices_are_those_of_scipy(seed, batch, dtype):
    quaternions = random_quaternions(seed, *batch, dtype=dtype)
    expected = torch.from_numpy(scipy_rotation(quaternions).as_matrix()).reshape(*batch, 3, 3).to(dtype)
    assert_close(quaternion_to_matrix(quaternions), expected)
    assert_close(quaternion_to_matrix(-3 * quaternions), expected)


@property_settings
@given(seeds, batch_shapes, dtypes)
def test_matrices_come_back_as_unit_quaternions(seed, batch, dtype):
    matrices = random_rotation(torch.Generator().manual_seed(seed), *batch, dtype=dtype)
    quaternions = matrix_to_quaternion(matrices)
    assert quaternions.shape == (*batch, 4) and (quaternions[..., 0] >= 0).all()
    assert_close(quaternions.norm(dim=-1), torch.ones(batch, dtype=dtype))
    assert_close(quaternion_to_matrix(quaternions), matrices)


@property_settings
@given(seeds, batch_shapes, dtypes)
def test_products_apply_the_right_one_first(seed, batch, dtype):
    left, right = (random_quaternions(seed + i, *batch, dtype=dtype) for i in range(2))
    product = multiply_quaternions(left, right)
    assert_close(quaternion_to_matrix(product), quaternion_to_matrix(left) @ quaternion_to_matrix(right))
    expected = torch.from_numpy((scipy_rotation(left) * scipy_rotation(right)).as_matrix()).reshape(*batch, 3, 3)
    assert_close(quaternion_to_matrix(product), expected.to(dtype))


def test_products_broadcast():
    one, many = random_quaternions(0, 2, 1), random_quaternions(1, 5)
    product = multiply_quaternions(one, many)
    assert product.shape == (2, 5, 4)
    torch.testing.assert_close(product[1, 3], multiply_quaternions(one[1, 0], many[3]))
    torch.testing.assert_close(multiply_quaternions(many, one)[1, 3], multiply_quaternions(many[3], one[1, 0]))


@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-4, 90.0, 179.9999, 180.0])
@pytest.mark.parametrize("axis", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (0.6, -0.8, 0), (0.5, 0.5, -(0.5**0.5))])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_half_turns_and_tiny_turns(angle, axis, dtype):
    turn = Rotation.from_rotvec(torch.tensor(axis).double().numpy() * angle, degrees=True)
    matrix = torch.from_numpy(turn.as_matrix()).to(dtype)
    back = Rotation.from_quat(matrix_to_quaternion(matrix).double().numpy(), scalar_first=True)
    error = (back * turn.inv()).magnitude()
    assert error < (1e-6 if dtype == torch.float32 else 1e-14)


@pytest.mark.parametrize("quaternion", [(1, 0, 0, 0), (1e-3, 1, 0, 0), (0.5, -0.5, 0.5, 0.5), (3, 4, 0, 0)])
def test_gradients(quaternion):
    quaternion = torch.tensor(quaternion, dtype=torch.float64, requires_grad=True)
    other = torch.tensor([0.3, -0.7, 0.2, 1.1], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(quaternion_to_matrix, quaternion)
    assert torch.autograd.gradcheck(multiply_quaternions, (quaternion, other))
    # there and back only makes the length one, also where two candidates of the way back are equally long
    found, expected = (
        torch.autograd.functional.jacobian(function, quaternion)
        for function in (
            lambda q: matrix_to_quaternion(quaternion_to_matrix(q)),
            lambda q: torch.nn.functional.normalize(q, dim=-1),
        )
    )
    torch.testing.assert_close(found, expected)
