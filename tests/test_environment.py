"""Environments: the mapping of pixels to directions, wrap-around, and what is refused."""

import math

import pytest
import torch

from anyviews.environment import Environment


@pytest.fixture
def environment():
    return Environment(torch.rand(3, 16, 32, generator=torch.Generator().manual_seed(0)) + 0.1)


def test_looking_up_pixel_directions_gives_the_pixels(environment):
    found = environment.look_up(environment.directions()).movedim(-1, 0)
    assert torch.allclose(found, environment.radiance, atol=1e-4)


def test_axes(environment):
    directions = environment.directions()
    assert directions[0].mean(0)[1] > 0.99
    # between the two middle columns and rows lies +Z, a quarter further on -X
    assert torch.allclose(directions[7:9, 15:17].mean((0, 1)), torch.tensor([0.0, 0.0, 1.0]), atol=0.02)
    assert torch.allclose(directions[7:9, 23:25].mean((0, 1)), torch.tensor([-1.0, 0.0, 0.0]), atol=0.02)


def test_solid_angles_weigh_directions_evenly(environment):
    weights = environment.solid_angles()
    assert math.isclose(weights.sum().item(), 4 * math.pi, rel_tol=1e-5)
    second_moment = torch.einsum("hw,hwi,hwj->ij", weights, environment.directions(), environment.directions())
    assert torch.allclose(second_moment, torch.eye(3) * 4 * math.pi / 3, atol=0.05)


def test_interpolation_wraps_around(environment):
    first, last = environment.radiance[:, 8, 0], environment.radiance[:, 8, -1]
    v = (8 + 0.5) / 16 * math.pi
    seam = torch.tensor([0.0, math.cos(v), -math.sin(v)])
    assert torch.allclose(environment.look_up(seam), (first + last) / 2, atol=1e-5)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0])
def test_unusable_radiance_is_named(environment, value):
    environment.radiance[1, 3, 5] = value
    with pytest.raises(ValueError, match="row 3, column 5"):
        environment.validate()


def test_darkness_is_refused():
    with pytest.raises(ValueError, match="black"):
        Environment(torch.zeros(3, 4, 8)).validate()
