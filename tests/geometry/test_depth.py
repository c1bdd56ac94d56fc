"""Depth maps: distance along the ray, and reprojection between cameras."""

import pytest
import torch
from hypothesis import given
from strategies import assert_close, batch_shapes, dtypes, property_settings, random_cameras, random_similarity, seeds

from anyviews.cameras import Cameras
from anyviews.geometry.depth import depth_from_distance, distance_from_depth, reproject_depth, warp_images
from anyviews.geometry.paths import look_at
from anyviews.geometry.rays import camera_rays, pixel_centers


HEIGHT, WIDTH = 18, 24


def wall(cameras: Cameras, normal: torch.Tensor, offset: torch.Tensor | float) -> torch.Tensor:
    """Z-depth [*batch, 1, H, W] of the plane normal . x = offset; 0 where it is behind the camera."""
    grid = pixel_centers(cameras.height, cameras.width, dtype=cameras.dtype).flatten(0, 1)
    origins, directions = camera_rays(cameras, grid.expand(*cameras.batch_shape, *grid.shape), normalize=False)
    depth = (offset - origins @ normal) / (directions @ normal)
    return depth.clamp(min=0).reshape(*cameras.batch_shape, 1, cameras.height, cameras.width)


def facing_cameras(seed: int, *batch: int, dtype: torch.dtype = torch.float64) -> Cameras:
    """Cameras in front of the plane z = 4, that look at it from different places."""
    generator = torch.Generator().manual_seed(seed)
    eyes = torch.rand(*batch, 3, generator=generator, dtype=torch.float64) - 0.5
    targets = torch.rand(*batch, 3, generator=generator, dtype=torch.float64) + torch.tensor([-0.5, -0.5, 3.5])
    intrinsics = torch.tensor([[20.0, 0, WIDTH / 2], [0, 20, HEIGHT / 2], [0, 0, 1]], dtype=torch.float64)
    return look_at(eyes, targets, eyes.new_tensor([0, -1, 0]), intrinsics, HEIGHT, WIDTH).to(dtype=dtype)


def plane(dtype: torch.dtype) -> torch.Tensor:
    return torch.tensor([0.0, 0, 1], dtype=dtype)


@property_settings
@given(seeds, batch_shapes, dtypes)
def test_distance_and_depth_are_inverse(seed, batch, dtype):
    cameras = random_cameras(seed, *batch, height=6, width=8, dtype=dtype)
    depth = torch.rand(*batch, 1, 6, 8, generator=torch.Generator().manual_seed(seed)).to(dtype)
    distance = distance_from_depth(depth, cameras)
    assert_close(depth_from_distance(distance, cameras), depth)
    points = cameras.unproject(pixel_centers(6, 8, dtype=dtype).flatten(0, 1).expand(*batch, 48, 2), depth.flatten(-3))
    assert_close((points - cameras.centers[..., None, :]).norm(dim=-1), distance.flatten(-3))
    assert torch.equal(distance_from_depth(torch.zeros_like(depth), cameras), torch.zeros_like(depth))


@property_settings
@given(seeds, batch_shapes, dtypes)
def test_a_plane_agrees_with_itself_from_everywhere(seed, batch, dtype):
    a, b = facing_cameras(seed, *batch, dtype=dtype), facing_cameras(seed + 1, *batch, dtype=dtype)
    depth_a, depth_b = wall(a, plane(dtype), 4), wall(b, plane(dtype), 4)
    result = reproject_depth(depth_a, a, depth_b, b, tolerance=1e-3)
    points = a.unproject(
        pixel_centers(HEIGHT, WIDTH, dtype=dtype).flatten(0, 1).expand(*batch, -1, 2), depth_a.flatten(-3)
    )
    pixels, depth = b.project(points)
    assert_close(result.pixels.flatten(-3, -2), pixels, scale=32)
    assert_close(result.depth.flatten(-3), depth)
    # bilinear samples of inverse depth are exact on a plane, away from the outermost half pixel of b
    inner = ((pixels > 0.5) & (pixels < pixels.new_tensor([WIDTH, HEIGHT]) - 0.5)).all(-1).reshape(depth_a.shape)
    assert result.covisible[inner].all()
    assert_close(result.observed_depth[inner], result.depth[inner])
    outside = ((pixels < 0) | (pixels > pixels.new_tensor([WIDTH, HEIGHT]))).any(-1).reshape(depth_a.shape)
    assert not result.covisible[outside].any()
    assert inner.any()


@property_settings
@given(seeds, dtypes)
def test_a_camera_covers_all_its_own_known_depth(seed, dtype):
    camera = random_cameras(seed, 2, height=6, width=8, dtype=dtype)
    depth = 1 + torch.rand(2, 1, 6, 8, generator=torch.Generator().manual_seed(seed)).to(dtype)
    result = reproject_depth(depth, camera, depth, camera, tolerance=1e-2)
    assert result.covisible.all()
    assert_close(result.depth, depth)
    assert_close(result.pixels, pixel_centers(6, 8, dtype=dtype).expand(2, 6, 8, 2), scale=32)


@property_settings
@given(seeds)
def test_covisibility_is_invariant_to_the_world_and_its_unit(seed):
    cameras, similarity = facing_cameras(seed, 2), random_similarity(seed)
    depth = wall(cameras, plane(torch.float64), 4)
    depth = depth * (1 + 0.2 * torch.rand(depth.shape, generator=torch.Generator().manual_seed(seed)))
    moved, moved_depth = similarity.apply_cameras(cameras), depth * similarity.scale
    here = reproject_depth(depth[0], cameras[0], depth[1], cameras[1])
    there = reproject_depth(moved_depth[0], moved[0], moved_depth[1], moved[1])
    assert_close(there.depth, here.depth * similarity.scale, 10)
    assert_close(there.pixels, here.pixels, 100)
    assert (there.covisible == here.covisible).float().mean() > 0.99  # rounding may move a pixel across the bound


def test_batches_equal_loops():
    a, b = facing_cameras(0, 2, 3), facing_cameras(1, 2, 3)
    depth_a, depth_b = wall(a, plane(torch.float64), 4), wall(b, plane(torch.float64), 4.1)
    result = reproject_depth(depth_a, a, depth_b, b)
    one = reproject_depth(depth_a[1, 2], a[1, 2], depth_b[1, 2], b[1, 2])
    for name in ("pixels", "depth", "observed_depth"):
        assert_close(getattr(result, name)[1, 2], getattr(one, name), 10)
    assert torch.equal(result.covisible[1, 2], one.covisible)


@pytest.fixture
def pair() -> tuple[Cameras, Cameras]:
    """Two cameras side by side that look along z."""
    intrinsics = torch.tensor([[20.0, 0, WIDTH / 2], [0, 20, HEIGHT / 2], [0, 0, 1]])
    eyes = torch.tensor([[0.0, 0, 0], [0.5, 0, 0]])
    cameras = look_at(eyes, eyes + torch.tensor([0, 0, 1.0]), torch.tensor([0, -1.0, 0]), intrinsics, HEIGHT, WIDTH)
    return cameras[0], cameras[1]


def test_what_an_occluder_hides_is_not_covisible(pair):
    a, b = pair
    depth_a = torch.full((1, HEIGHT, WIDTH), 4.0)
    depth_b = depth_a.clone()
    depth_b[..., 8:12] = 2.0  # a box that only b sees in front of the wall
    result = reproject_depth(depth_a, a, depth_b, b)
    # the baseline of 0.5 at depth 4 is 2.5 pixels: column x of a falls on x - 2.5 of b
    columns = result.covisible[0].all(0)
    assert result.pixels[0, 10, 0].item() == pytest.approx(8.0)
    assert columns.tolist() == [False] * 2 + [True] * 8 + [False] * 5 + [True] * 9
    # b's box is nearer than a's wall, and a sees through it
    assert (result.observed_depth[0][:, 12:14] < result.depth[0][:, 12:14]).all()


def test_unknown_depth_on_either_side_is_not_covisible(pair):
    a, b = pair
    depth = torch.full((1, HEIGHT, WIDTH), 4.0)
    holes = depth.clone()
    holes[:, 5, 10] = 0
    result = reproject_depth(holes, a, depth, b)
    assert not result.covisible[0, 5, 10]
    assert result.pixels[5, 10].tolist() == [-1, -1]
    assert result.depth[0, 5, 10] == 0
    assert (~result.covisible[0, :, 3:]).sum() == 1
    # column 12.5 and 13.5 of a fall on 10.0 and 11.0 of b, between a known and the unknown column 10
    result = reproject_depth(depth, a, holes, b)
    assert (~result.covisible[0, :, 3:]).nonzero().tolist() == [[5, 9], [5, 10]]
    assert (result.observed_depth[0, 5, 12:14] == 0).all()


def test_points_behind_the_other_camera_are_not_covisible(pair):
    a, _ = pair
    behind = look_at(
        torch.tensor([0.0, 0, 9]), torch.tensor([0.0, 0, 10]), torch.tensor([0, -1.0, 0]), a.intrinsics, 18, 24
    )
    depth = torch.full((1, HEIGHT, WIDTH), 4.0)
    result = reproject_depth(depth, a, depth, behind, tolerance=10.0)
    assert not result.covisible.any()
    assert (result.depth == 0).all()
    assert (result.pixels == -1).all()


@property_settings
@given(seeds, dtypes)
def test_warped_colours_are_those_of_the_surface(seed, dtype):
    """A wall whose colour is its own position has the same colours from everywhere."""
    a, b = facing_cameras(seed, dtype=dtype), facing_cameras(seed + 1, dtype=dtype)
    depths = [wall(camera, plane(dtype), 4) for camera in (a, b)]
    grid = pixel_centers(HEIGHT, WIDTH, dtype=dtype).flatten(0, 1)
    images = [
        camera.unproject(grid, depth.flatten()).mT.reshape(3, HEIGHT, WIDTH)
        for camera, depth in zip((a, b), depths, strict=True)
    ]
    result = reproject_depth(depths[0], a, depths[1], b)
    warped = warp_images(images[1], result.pixels)
    inner = ((result.pixels > 1) & (result.pixels < result.pixels.new_tensor([WIDTH, HEIGHT]) - 1)).all(-1)
    # colour is linear on the wall, not in the image: half a pixel of bilinear sampling is off by a little
    assert (warped - images[0])[:, inner].abs().max() < 0.02
    outside = ((result.pixels < 0) | (result.pixels > result.pixels.new_tensor([WIDTH, HEIGHT]))).any(-1)
    assert (warped[:, outside] == 0).all()


@property_settings
@given(seeds, batch_shapes, dtypes)
def test_warping_by_the_pixel_grid_changes_nothing(seed, batch, dtype):
    images = torch.rand(*batch, 2, 6, 8, generator=torch.Generator().manual_seed(seed)).to(dtype)
    assert_close(warp_images(images, pixel_centers(6, 8, dtype=dtype).expand(*batch, 6, 8, 2)), images)
