"""Scene scale normalisation, ray maps, the parametrisation of colour and depth, and patches."""

import math

import pytest
import torch
from strategies import assert_close, random_cameras, random_pixels, random_rotation, random_similarity

from anyviews.cameras import Cameras, rigid
from anyviews.geometry.rays import pixel_centers
from anyviews.models.mvgd import (
    decode_depth,
    decode_rgb,
    encode_depth,
    encode_rgb,
    limit_scale,
    normalize_cameras,
    patchify,
    ray_map,
    unpatchify,
)


def cameras_at(centers: list[list[float]], rotation: torch.Tensor | None = None) -> Cameras:
    """Cameras [1, N] at these places, in one orientation."""
    centers = torch.tensor([centers], dtype=torch.float64)
    rotation = torch.eye(3, dtype=torch.float64) if rotation is None else rotation
    intrinsics = torch.tensor([[20.0, 0, 8], [0, 20, 8], [0, 0, 1]], dtype=torch.float64)
    shape = centers.shape[:-1]
    return Cameras.create(intrinsics.expand(*shape, 3, 3), rigid(rotation.expand(*shape, 3, 3), centers), 16, 16)


@pytest.mark.parametrize("scale_from", ["center", "translation"])
@pytest.mark.parametrize("seed", range(5))
def test_world_similarity_only_scales_the_scale(seed, scale_from):
    context, targets = random_cameras(seed, 3, 4), random_cameras(seed + 100, 3, 2)
    similarity = random_similarity(seed, 3)
    expected = normalize_cameras(context, targets, scale_from)
    moved = normalize_cameras(similarity.apply_cameras(context), similarity.apply_cameras(targets), scale_from)
    assert_close(moved.context.camera_to_world, expected.context.camera_to_world)
    assert_close(moved.targets.camera_to_world, expected.targets.camera_to_world)
    assert_close(moved.scale, expected.scale * similarity.scale)


def test_first_target_becomes_the_identity():
    normalized = normalize_cameras(random_cameras(0, 2, 3), random_cameras(1, 2, 2))
    assert_close(normalized.targets.camera_to_world[:, 0], torch.eye(4, dtype=torch.float64).expand(2, 4, 4))
    assert (normalized.targets.centers[:, 1].norm(dim=-1) > 0.1).all()


def test_scale_is_the_largest_absolute_component():
    context = cameras_at([[1.0, 2.0, 3.0], [0.0, -4.0, 2.0]])
    normalized = normalize_cameras(context, cameras_at([[1.0, 1.0, 1.0]]))
    assert normalized.scale.tolist() == [5.0]
    assert_close(normalized.context.centers[0], torch.tensor([[0, 0.2, 0.4], [-0.2, -1, 0.2]], dtype=torch.float64))


def test_scale_from_translation_reads_the_world_to_camera_matrix():
    quarter_turn = torch.tensor([[math.sqrt(0.5), -math.sqrt(0.5), 0], [math.sqrt(0.5), math.sqrt(0.5), 0], [0, 0, 1]])
    context = cameras_at([[2.0, 0.0, 0.0]], quarter_turn.double())
    target = cameras_at([[0.0, 0.0, 0.0]])
    assert normalize_cameras(context, target, "center").scale.item() == pytest.approx(2)
    assert normalize_cameras(context, target, "translation").scale.item() == pytest.approx(math.sqrt(2))


def test_given_scale_replaces_the_baseline():
    context, targets = cameras_at([[0.0, 0.0, 3.0]]), cameras_at([[0.0, 0.0, 0.0]])
    normalized = normalize_cameras(context, targets, scale=torch.tensor([12.0], dtype=torch.float64))
    assert normalized.context.centers.flatten().tolist() == [0, 0, 0.25]


def test_limit_scale_brings_the_farthest_depth_to_depth_max():
    depths = torch.tensor([[900.0, 2.0, 5000.0], [100.0, 2.0, 1.0]])
    valid = torch.tensor([[True, True, False], [True, True, True]])
    scale = limit_scale(torch.ones(2), depths, valid, depth_max=200.0)
    assert scale.tolist() == [4.5, 1.0]  # E1: the scale grows, and unknown depth does not count
    assert ((depths / scale[:, None])[valid].max()) == 200


def test_limit_scale_takes_the_quantile_of_known_depth_only():
    depths = torch.cat([torch.arange(1.0, 102.0), torch.zeros(99)])[None]
    scale = limit_scale(torch.tensor([0.1]), depths, depths > 0, depth_max=10.0, quantile=0.9)
    torch.testing.assert_close(scale, torch.tensor([9.1]))


def test_limit_scale_without_any_known_depth_keeps_the_scale():
    assert limit_scale(torch.tensor([3.0]), torch.full((1, 4), 1e9), torch.zeros(1, 4, dtype=bool), 10.0) == 3


@pytest.mark.parametrize(("depth", "state"), [(0.1, -1.0), (1.0, -0.394), (10.0, 0.212), (200.0, 1.0)])
def test_depth_states(depth, state):
    encoded = encode_depth(torch.tensor([depth]), 0.1, 200.0)
    assert encoded.item() == pytest.approx(state, abs=5e-4)
    assert decode_depth(encoded, 0.1, 200.0).item() == pytest.approx(depth, rel=1e-5)


def test_depth_outside_the_range_is_clamped():
    assert encode_depth(torch.tensor([0.0, 1e6]), 0.1, 200.0).tolist() == [-1, 1]
    torch.testing.assert_close(decode_depth(torch.tensor([-3.0, 3.0]), 0.1, 200.0), torch.tensor([0.1, 200.0]))


def test_colour_states():
    colours = torch.tensor([0.0, 0.25, 1.0])
    assert encode_rgb(colours).tolist() == [-1, -0.5, 1]
    assert decode_rgb(encode_rgb(colours)).tolist() == colours.tolist()
    assert decode_rgb(torch.tensor([-2.0, 2.0])).tolist() == [0, 1]


def test_rays_reach_the_points_that_cameras_unproject():
    cameras = random_cameras(3, 2, height=24, width=32)
    rays = ray_map(cameras, 6, 8, normalize=False)
    origins, directions = rays[..., :3], rays[..., 3:6]
    assert_close(origins, cameras.centers[:, None].expand_as(origins))  # E4: the centre, not the translation
    depth = random_pixels(4, cameras, 48)[1]
    pixels = pixel_centers(6, 8, dtype=torch.float64).flatten(0, 1) * 4  # token centres, in pixels of the image
    expected = cameras.unproject(pixels.expand(2, -1, -1), depth)
    assert_close(origins + depth[..., None] * directions, expected, scale=10)


def test_rays_do_not_depend_on_the_image_size():
    cameras = random_cameras(5, 3, height=24, width=32)
    assert_close(ray_map(cameras.resize(96, 128), 6, 8), ray_map(cameras, 6, 8))


def test_normalized_rays_are_unit_and_footprint_leads_to_the_neighbours():
    rays = ray_map(random_cameras(6), 6, 8)
    direction, right, down = (part.unflatten(0, (6, 8)) for part in rays[..., 3:].split(3, dim=-1))
    assert_close(direction.norm(dim=-1), torch.ones(6, 8, dtype=torch.float64))
    assert_close((direction + right)[:, :-1], direction[:, 1:])
    assert_close((direction + down)[:-1], direction[1:])


def test_target_rays_start_at_the_origin_of_any_world():
    rotation = random_rotation(torch.Generator().manual_seed(0))
    context, targets = cameras_at([[5.0, 6.0, 9.0]], rotation), cameras_at([[5.0, 6.0, 7.0]], rotation)
    rays = ray_map(normalize_cameras(context, targets).targets, 3, 3)[0, 0]
    assert_close(rays[:, :3], torch.zeros(9, 3, dtype=torch.float64))
    assert_close(rays[4, 3:6] / rays[4, 5], torch.tensor([0.0, 0, 1], dtype=torch.float64))


@pytest.mark.parametrize("patch_size", [1, 2, 4])
def test_unpatchify_inverts_patchify(patch_size):
    maps = torch.randn(2, 3, 4, 8, 12)
    tokens = patchify(maps, patch_size)
    rows, columns = 8 // patch_size, 12 // patch_size
    assert tokens.shape == (2, 3 * rows * columns, 4 * patch_size**2)
    assert torch.equal(unpatchify(tokens, 3, rows, columns, patch_size), maps)


def test_patches_are_in_the_order_of_rays():
    pixels = pixel_centers(8, 12).movedim(-1, 0)[None, None]  # the map whose values are pixel coordinates
    tokens = patchify(pixels, 4)[0].unflatten(-1, (2, 16)).mean(-1)
    assert torch.equal(tokens, pixel_centers(2, 3).flatten(0, 1) * 4)
