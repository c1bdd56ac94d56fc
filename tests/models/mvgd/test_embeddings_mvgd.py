"""Fourier codes of rays and the code of the noise level."""

import math

import pytest
import torch
from small_mvgd import random_rays

from anyviews.models.mvgd.embeddings_mvgd import NoiseLevelEmbedding, RayEncoding, contract, fourier_features


@pytest.mark.parametrize(("sine_only", "features"), [(False, 102), (True, 51)])
def test_features_of_the_papers_bands(sine_only, features):
    encoding = RayEncoding(8, 8, 100.0, sine_only, footprint=False, points=0, depth_range=(0.1, 200.0))
    assert encoding.features == features
    assert encoding(random_rays(2, 5)).shape == (2, 5, features)


@pytest.mark.parametrize("sine_only", [False, True])
@pytest.mark.parametrize("footprint", [False, True])
@pytest.mark.parametrize("points", [0, 3])
def test_stated_feature_count_is_the_real_one(sine_only, footprint, points):
    encoding = RayEncoding(2, 3, 8.0, sine_only, footprint, points, (0.5, 8.0))
    assert encoding(random_rays(4)).shape == (4, encoding.features)


def test_fourier_features_by_hand():
    features = fourier_features(torch.tensor([0.5]), bands=2, max_resolution=4.0)
    angles = [0.5 * math.pi, math.pi]  # bands linear from 1 to max_resolution / 2
    expected = [*map(math.sin, angles), *map(math.cos, angles), 0.5]
    torch.testing.assert_close(features, torch.tensor(expected), atol=1e-6, rtol=0)


def test_every_sample_of_a_batch_is_encoded():
    rays = random_rays(3, 4)
    encoding = RayEncoding(2, 2, 8.0, False, True, 2, (0.5, 8.0))
    torch.testing.assert_close(encoding(rays)[2], encoding(rays[2]))


def test_points_code_is_equal_where_rays_meet():
    """Two rays that meet at a coded depth share that point's code."""
    encoding = RayEncoding(1, 1, 4.0, False, False, 3, (1.0, 4.0))  # points at depths 1, 2 and 4
    direction = torch.tensor([0.0, 0.6, 0.8])
    rays = torch.zeros(2, 12)
    rays[0, 3:6] = torch.tensor([0.0, 0.0, 1.0])
    rays[1, :3], rays[1, 3:6] = torch.tensor([0.0, 0.0, 2.0]) - 2 * direction, direction
    codes = encoding(rays)[:, -3 * 27 :].unflatten(-1, (3, 27))
    torch.testing.assert_close(codes[0, 1], codes[1, 1], atol=1e-5, rtol=0)
    assert (codes[0, 2] - codes[1, 2]).abs().max() > 0.1


def test_contract_keeps_the_unit_ball_and_bounds_the_rest():
    direction = torch.nn.functional.normalize(torch.randn(50, 3), dim=-1)
    inside = direction * torch.rand(50, 1)
    torch.testing.assert_close(contract(inside), inside)
    radii = torch.logspace(0, 6, 50)
    contracted = contract(direction * radii[:, None])
    norms = contracted.norm(dim=-1)
    torch.testing.assert_close(norms, 2 - 1 / radii)
    torch.testing.assert_close(contracted, direction * norms[:, None])
    assert (norms.diff() > -1e-6).all()
    assert torch.equal(contract(torch.zeros(1, 3)), torch.zeros(1, 3))


def test_noise_levels_are_told_apart_and_the_sinusoid_is_standardised():
    embedding = NoiseLevelEmbedding(16)
    seen = []
    embedding.mlp.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    codes = embedding(torch.tensor([0.0, 0.001, 0.5, 1.0]))
    assert torch.cdist(codes, codes)[~torch.eye(4, dtype=bool)].min() > 1e-3
    torch.testing.assert_close(seen[0].mean(-1), torch.zeros(4), atol=1e-6, rtol=0)
    torch.testing.assert_close(seen[0].std(-1, correction=0), torch.ones(4))
