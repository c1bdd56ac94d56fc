"""Plane sweep: at the true depth the photos agree on the true colour."""

from types import SimpleNamespace

import pytest
import torch

from anyviews.data.world import render_world
from anyviews.models.mvgd import normalize_cameras, plane_sweep
from anyviews.models.mvgd.sweep_mvgd import SWEEP_CHANNELS


DEPTHS, SIZE, STRIDE = 24, 32, 2
CONFIG = SimpleNamespace(sweep_depths=DEPTHS, sweep_stride=STRIDE, patch_size=4, depth_min=0.3, depth_max=40.0)


@pytest.fixture(scope="module")
def world():
    return render_world(torch.arange(6), views=5, height=SIZE, width=SIZE)


def sweep(world, config=CONFIG, contexts=slice(1, 5), **options):
    normalized = normalize_cameras(world.cameras[:, contexts], world.cameras[:, :1])
    features = plane_sweep(world.images[:, contexts], normalized.context, normalized.targets, config, **options)
    return features, normalized.scale


def as_maps(features: torch.Tensor) -> torch.Tensor:
    """[B, depths, 5, rays down, rays across] of one target."""
    rays = CONFIG.patch_size // STRIDE
    grid = SIZE // CONFIG.patch_size
    patches = features.transpose(1, 2).unflatten(2, (grid, grid))
    return torch.nn.functional.pixel_shuffle(patches, rays).unflatten(1, (SWEEP_CHANNELS, DEPTHS)).transpose(1, 2)


def test_shape(world):
    features, _ = sweep(world)
    rays_per_patch = (CONFIG.patch_size // STRIDE) ** 2
    assert features.shape == (6, (SIZE // CONFIG.patch_size) ** 2, DEPTHS * SWEEP_CHANNELS * rays_per_patch)


def test_photos_agree_on_the_true_colour_at_the_true_depth(world):
    features, scale = sweep(world)
    maps = as_maps(features)
    rays = SIZE // STRIDE
    truth = torch.nn.functional.avg_pool2d(world.images[:, 0], STRIDE)
    depth = torch.nn.functional.interpolate(world.depths[:, 0], (rays, rays), mode="nearest-exact")
    pixels = torch.stack(torch.meshgrid(torch.arange(rays), torch.arange(rays), indexing="xy"), -1) + 0.5
    focal = world.cameras.intrinsics[:, 0, 0, 0] / STRIDE
    off_axis = (pixels - rays / 2).square().sum(-1) / focal[:, None, None].square()
    distance = depth[:, 0] * (1 + off_axis).sqrt() / scale[:, None, None]
    levels = torch.logspace(torch.tensor(0.3).log10().item(), torch.tensor(40.0).log10().item(), DEPTHS)
    index = (distance[:, None].log() - levels.log()[:, None, None]).abs().argmin(1)  # [B, rays, rays]
    at_truth = maps.gather(1, index[:, None, None].expand(-1, 1, SWEEP_CHANNELS, -1, -1))[:, 0]
    seen = at_truth[:, 4] > 0.9
    error = ((at_truth[:, :3] + 1) / 2 - truth).abs().mean(1)[seen].mean()
    elsewhere = maps.roll(DEPTHS // 3, dims=1).gather(1, index[:, None, None].expand(-1, 1, SWEEP_CHANNELS, -1, -1))
    assert seen.float().mean() > 0.3
    assert error < 0.08
    assert at_truth[:, 3][seen].mean() < 0.7 * elsewhere[:, 0, 3][seen].mean()


def test_views_a_few_at_a_time_and_in_any_order_give_the_same(world):
    expected, _ = sweep(world)
    torch.testing.assert_close(sweep(world, views_at_once=1)[0], expected, rtol=1e-4, atol=1e-3)
    normalized = normalize_cameras(world.cameras[:, 1:], world.cameras[:, :1])
    order = [2, 0, 3, 1]
    shuffled = plane_sweep(world.images[:, 1:][:, order], normalized.context[:, order], normalized.targets, CONFIG)
    torch.testing.assert_close(shuffled, expected, rtol=1e-4, atol=1e-3)


def test_world_frame_and_unit_do_not_matter(world):
    expected, _ = sweep(world)
    moved = world.cameras.scaled(5.0)
    normalized = normalize_cameras(moved[:, 1:], moved[:, :1])
    found = plane_sweep(world.images[:, 1:], normalized.context, normalized.targets, CONFIG)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-2)
