"""Invariants of rays and Pluecker coordinates."""

import torch
from hypothesis import given
from strategies import (
    assert_close,
    batch_shapes,
    dtypes,
    property_settings,
    random_cameras,
    random_pixels,
    random_similarity,
    seeds,
    sizes,
)

from anyviews.geometry.rays import camera_rays, pixel_centers, pluecker


@property_settings
@given(sizes, sizes)
def test_pixel_centers_lie_at_half(height, width):
    centers = pixel_centers(height, width)
    assert centers.shape == (height, width, 2)
    assert centers[0, 0].tolist() == [0.5, 0.5]
    assert centers[1, 2].tolist() == [2.5, 1.5]
    assert centers[-1, -1].tolist() == [width - 0.5, height - 0.5]


@property_settings
@given(seeds, batch_shapes, dtypes)
def test_rays_hit_what_they_project(seed, batch, dtype):
    cameras = random_cameras(seed, *batch, dtype=dtype)
    pixels, depth = random_pixels(seed, cameras)
    for normalize in (True, False):
        origins, directions = camera_rays(cameras, pixels, normalize)
        assert_close(cameras.project(origins + depth[..., None] * directions)[0], pixels, scale=32)
    origins, directions = camera_rays(cameras, pixels, normalize=False)
    assert_close(origins + depth[..., None] * directions, cameras.unproject(pixels, depth))
    assert_close(cameras.project(origins + directions)[1], torch.ones_like(depth))  # z-depth 1


@property_settings
@given(seeds, batch_shapes, dtypes)
def test_normalised_rays_start_at_the_center_with_unit_length(seed, batch, dtype):
    cameras = random_cameras(seed, *batch, dtype=dtype)
    origins, directions = camera_rays(cameras, random_pixels(seed, cameras)[0])
    assert_close(directions.norm(dim=-1), torch.ones_like(directions[..., 0]))
    assert torch.equal(origins, cameras.centers[..., None, :].expand_as(origins))


@property_settings
@given(seeds, dtypes)
def test_leading_batch_dimensions_equal_loops(seed, dtype):
    cameras = random_cameras(seed, 2, 3, dtype=dtype)
    pixels, _ = random_pixels(seed, cameras)
    origins, directions = camera_rays(cameras, pixels)
    for i in range(2):
        for j in range(3):
            one_origins, one_directions = camera_rays(cameras[i, j], pixels[i, j])
            assert_close(origins[i, j], one_origins)
            assert_close(directions[i, j], one_directions)


@property_settings
@given(seeds, batch_shapes, dtypes)
def test_pluecker_is_the_same_for_every_origin_on_the_ray(seed, batch, dtype):
    cameras = random_cameras(seed, *batch, dtype=dtype)
    pixels, distance = random_pixels(seed, cameras)
    origins, directions = camera_rays(cameras, pixels)
    coordinates = pluecker(origins, directions)
    assert coordinates.shape == (*batch, pixels.shape[-2], 6)
    assert_close(pluecker(origins - distance[..., None] * directions, directions), coordinates, scale=10)
    moment, direction = coordinates.split(3, dim=-1)
    assert torch.equal(direction, directions)
    assert_close((moment * direction).sum(-1), torch.zeros_like(moment[..., 0]))


@property_settings
@given(seeds)
def test_pluecker_turns_and_moves_with_the_world(seed):
    """Under x -> R x + t, the direction d becomes R d and the moment m becomes R m + t x R d."""
    cameras, motion = random_cameras(seed, 3), random_similarity(seed)
    motion = type(motion)(torch.ones_like(motion.scale), motion.rotation, motion.translation)
    pixels, _ = random_pixels(seed, cameras)
    moment, direction = pluecker(*camera_rays(cameras, pixels)).split(3, dim=-1)
    moved = pluecker(*camera_rays(motion.apply_cameras(cameras), pixels))
    turned = direction @ motion.rotation.mT
    expected = moment @ motion.rotation.mT + torch.linalg.cross(motion.translation.expand_as(turned), turned)
    assert_close(moved, torch.cat([expected, turned], dim=-1), scale=10)
