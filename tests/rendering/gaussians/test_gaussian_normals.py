"""Normals of Gaussians as images."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from gaussian_scenes import orbit_cameras, random_gaussians
from strategies import random_similarity

from anyviews.cameras import Cameras
from anyviews.gaussians import FIELDS, Gaussians
from anyviews.geometry.depth import normals_from_depth
from anyviews.geometry.quaternions import matrix_to_quaternion
from anyviews.geometry.rays import camera_rays, pixel_centers
from anyviews.rendering.gaussians import render_gaussians, render_normals


def sphere_of_discs(radius: float, count: int) -> Gaussians:
    """Flat Gaussians that cover a sphere around the origin, their normals outwards or inwards."""
    index = torch.arange(count, dtype=torch.float64) + 0.5
    height, azimuth = 1 - 2 * index / count, math.pi * (1 + math.sqrt(5)) * index
    ring = (1 - height**2).sqrt()
    outwards = torch.stack([ring * azimuth.cos(), ring * azimuth.sin(), height], dim=-1)
    sideways = F.normalize(torch.linalg.cross(torch.tensor([0.31, 0.53, 0.79]).double().expand(count, 3), outwards))
    axes = torch.stack([sideways, torch.linalg.cross(outwards, sideways), outwards], dim=-1)
    axes[::2] = axes[::2] * torch.tensor([1.0, -1.0, -1.0])  # half of them turned around
    width = 1.6 * radius / math.sqrt(count)
    scales = torch.tensor([width, width, 0.05 * width]).double().expand(count, 3)
    opacities = torch.full((count,), 0.9).double()
    return Gaussians.from_colors(radius * outwards, matrix_to_quaternion(axes), scales, opacities, outwards.abs())


def sphere_normals(cameras: Cameras, radius: float) -> torch.Tensor:
    """True normals [V, 3, H, W] of a sphere around the origin; 0 beside it."""
    grid = pixel_centers(cameras.height, cameras.width, dtype=cameras.dtype).flatten(0, 1)
    origins, rays = camera_rays(cameras, grid.expand(len(cameras), *grid.shape))
    along = (origins * rays).sum(-1)
    discriminant = along**2 - (origins**2).sum(-1) + radius**2
    hit = origins - (along + discriminant.clamp(min=0).sqrt())[..., None] * rays
    normals = torch.where(discriminant[..., None] > 0, hit / radius, 0)
    return normals.mT.unflatten(-1, (cameras.height, cameras.width))


def test_normals_of_a_sphere():
    gaussians, cameras = sphere_of_discs(0.7, 1500), orbit_cameras(3, 32, 40, dtype=torch.float64)
    found, expected = render_normals(gaussians, cameras, "reference"), sphere_normals(cameras, 0.7)
    view = render_gaussians(gaussians, cameras, "reference")
    inside = (view.alphas[:, 0] > 0.99) & expected.any(1)
    assert inside.sum() > 500
    cosine = (found * expected).sum(1)[inside].clamp(-1, 1)
    assert cosine.arccos().rad2deg().mean() < 5 and cosine.min() > 0.9
    torch.testing.assert_close(found.norm(dim=1), (view.alphas[:, 0] > 0).double())
    # another way to the same surface, from where it is instead of how it lies
    from_depth = normals_from_depth(view.depths, cameras)
    assert (from_depth * expected).sum(1)[inside].clamp(-1, 1).arccos().rad2deg().median() < 15


def test_each_camera_sees_the_side_that_faces_it():
    disc = Gaussians.from_colors(
        torch.zeros(1, 3),
        torch.tensor([[1.0, 0, 0, 0]]),
        torch.tensor([[0.5, 0.5, 0.01]]),
        torch.ones(1),
        torch.ones(1, 3),
    )
    cameras = orbit_cameras(2)  # one from each side of the disc
    normals = render_normals(disc, cameras, "reference")
    middle = normals[:, :, 12, 15]
    torch.testing.assert_close(middle, -cameras.centers.sign() * torch.tensor([0.0, 0.0, -1.0]))
    assert middle[0, 2] == -middle[1, 2]


def test_normals_turn_with_the_world():
    gaussians, cameras = random_gaussians(0, 15, 1, torch.float64), orbit_cameras(2, 12, 16, dtype=torch.float64)
    similarity = random_similarity(3)
    scale = similarity.scale.item()
    turned = render_normals(
        gaussians.transform(similarity), similarity.apply_cameras(cameras), "reference", near=0.01 * scale
    )
    expected = torch.einsum("ij,vjhw->vihw", similarity.rotation, render_normals(gaussians, cameras, "reference"))
    torch.testing.assert_close(turned, expected)


def test_batches_options_and_gradients():
    gaussians, cameras = random_gaussians(0, 15), orbit_cameras(2, 12, 16)
    alone = render_normals(gaussians, cameras, "reference", near=2.4)
    pair = Gaussians(**{name: torch.stack([getattr(gaussians, name)] * 2) for name in FIELDS})
    together = render_normals(pair, Cameras.stack([cameras, cameras]), "reference", near=2.4)
    assert together.shape == (2, 2, 3, 12, 16)
    torch.testing.assert_close(together, alone.expand(2, 2, 3, 12, 16))
    assert not torch.equal(alone, render_normals(gaussians, cameras, "reference"))
    gaussians.rotations.requires_grad_()
    render_normals(gaussians, cameras, "reference").square()[:, 0].sum().backward()
    assert gaussians.rotations.grad.isfinite().all() and gaussians.rotations.grad.any()


def test_bad_input_is_named_as_it_was_given():
    gaussians, cameras = random_gaussians(0, 5), orbit_cameras(3)
    with pytest.raises(ValueError, match=r"cameras of batch shape \(\) do not fit Gaussians of batch shape \(\)"):
        render_normals(gaussians, cameras[0], "reference")
    with pytest.raises(ValueError, match=r"cameras\[1\]: focal lengths must be positive"):
        wrong = cameras.intrinsics.clone()
        wrong[1, 0, 0] = -1
        render_normals(gaussians, replace(cameras, intrinsics=wrong), "reference")
    with pytest.raises(TypeError, match="background"):
        render_normals(gaussians, cameras, "reference", background=torch.ones(3))
