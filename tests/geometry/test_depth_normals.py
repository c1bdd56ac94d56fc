"""Normals of the surfaces that depth maps show."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from strategies import dtypes, property_settings, random_cameras, seeds

from anyviews.cameras import Cameras
from anyviews.geometry.depth import normals_from_depth
from anyviews.geometry.rays import camera_rays, pixel_centers


def rays_of(cameras: Cameras) -> tuple[torch.Tensor, torch.Tensor]:
    """Origins and directions of z-depth 1 through all pixels, [V, H * W, 3]."""
    grid = pixel_centers(cameras.height, cameras.width, dtype=cameras.dtype).flatten(0, 1)
    return camera_rays(cameras, grid.expand(*cameras.batch_shape, *grid.shape), normalize=False)


def as_image(values: torch.Tensor, cameras: Cameras) -> torch.Tensor:
    return values.mT.unflatten(-1, (cameras.height, cameras.width))


@property_settings
@given(seeds, dtypes)
def test_normals_of_planes_are_exact(seed, dtype):
    cameras = random_cameras(seed, 2, height=7, width=9, dtype=dtype)
    origins, directions = rays_of(cameras)
    # a plane two units ahead, tilted by up to 30 degrees from facing the camera
    tilt = 0.5 * torch.rand(2, 1, 3, dtype=dtype, generator=torch.Generator().manual_seed(seed)) - 0.25
    normal = F.normalize(tilt - cameras.rotation[..., None, :, 2], dim=-1)
    ahead = origins + 2 * cameras.rotation[..., None, :, 2]
    depth = ((ahead - origins) * normal).sum(-1) / (directions * normal).sum(-1)
    usable = (depth > 0.1) & (depth < 20)
    depth = as_image(torch.where(usable, depth, 0)[..., None], cameras)
    found = normals_from_depth(depth, cameras)
    known = found.abs().sum(-3, keepdim=True) > 0
    expected = torch.where(known, as_image(normal.expand_as(directions), cameras), 0)
    torch.testing.assert_close(found, expected, atol=2e-3 if dtype == torch.float32 else 1e-9, rtol=0)
    assert known[..., 1:-1, 1:-1].sum() >= 0.5 * (depth[..., 1:-1, 1:-1] > 0).sum()


def test_a_step_in_depth_bends_no_normal():
    cameras = random_cameras(0, height=6, width=8)
    depth = torch.full((1, 6, 8), 2.0, dtype=torch.float64)
    depth[..., 4:] = 5.0
    towards = -cameras.rotation[:, 2, None, None]
    torch.testing.assert_close(normals_from_depth(depth, cameras), towards.expand(3, 6, 8))


def test_unknown_depth_has_no_normal_and_leaves_gradients_finite():
    cameras = random_cameras(0, height=6, width=8)
    depth = torch.full((1, 6, 8), 2.0, dtype=torch.float64)
    depth[0, 2, 3] = 0
    depth[0, :, 6:] = 0
    depth[0, 4, 6] = 2.0
    depth.requires_grad_()
    normals = normals_from_depth(depth, cameras)
    missing = (normals == 0).all(0)
    assert missing[2, 3] and missing[:4, 6:].all() and missing[4, 6], "its column has no other known depth"
    assert missing.sum() == 1 + 12
    normals[0].sum().backward()
    assert depth.grad.isfinite().all()


@pytest.mark.parametrize("height, width", [(1, 5), (5, 1), (1, 1)])
def test_an_image_of_one_row_has_no_normals(height, width):
    cameras = random_cameras(0, height=height, width=width)
    assert not normals_from_depth(torch.ones(1, height, width, dtype=torch.float64), cameras).any()
