"""Camera paths."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import assert_close, batch_shapes, dtypes, property_settings, random_cameras, random_similarity, seeds

from anyviews.cameras import Cameras
from anyviews.geometry.paths import focus_point, interpolate, look_at, mean_camera, orbit, spiral, up_direction
from anyviews.geometry.similarity import Similarity


UP = torch.tensor([0.0, 0, 1], dtype=torch.float64)
INTRINSICS = torch.tensor([[30.0, 0, 16], [0, 30, 12], [0, 0, 1]], dtype=torch.float64)
FOCUS = torch.tensor([1.0, 2, 3], dtype=torch.float64)


def ring(count: int, arc: float = 2 * math.pi, height: float = 1.5, radius: float = 2.0) -> Cameras:
    """Cameras level around FOCUS, looking at it from above."""
    angle = torch.arange(count, dtype=torch.float64) * arc / count
    eyes = FOCUS + torch.stack([radius * angle.cos(), radius * angle.sin(), torch.full_like(angle, height)], dim=-1)
    return look_at(eyes, FOCUS, UP, INTRINSICS, 24, 32)


def forward_facing(count: int, seed: int = 0) -> Cameras:
    """Cameras near the origin, all looking exactly along y."""
    eyes = torch.rand(count, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) - 0.5
    return look_at(eyes, eyes + torch.tensor([0.0, 1, 0], dtype=torch.float64), UP, INTRINSICS, 24, 32)


def assert_looks_at(cameras: Cameras, point: torch.Tensor, scale: float = 32):
    pixels, depth = cameras.project(point.expand(len(cameras), 1, 3))
    assert_close(pixels, cameras.intrinsics[:, None, :2, 2], scale)
    assert (depth > 0).all()


@property_settings
@given(seeds, batch_shapes, dtypes)
def test_look_at_sees_the_target_in_the_middle_and_up_above_it(seed, batch, dtype):
    points = torch.randn(2, *batch, 3, generator=torch.Generator().manual_seed(seed)).to(dtype)
    cameras = look_at(points[0], points[1], UP.to(dtype), INTRINSICS.to(dtype), 24, 32).validate()
    assert cameras.batch_shape == batch
    pixels, depth = cameras.project(torch.stack([points[1], points[1] + 0.01 * UP.to(dtype)], dim=-2))
    assert_close(pixels[..., 0, :], torch.tensor([16.0, 12], dtype=dtype).expand(*batch, 2), 32)
    assert_close(depth[..., 0], (points[1] - points[0]).norm(dim=-1))
    assert_close(pixels[..., 1, 0], torch.full(batch, 16.0, dtype=dtype), 32)
    assert (pixels[..., 1, 1] < 12).all()


@pytest.mark.parametrize("target", [[0.0, 0, 0], [0.0, 0, 5], [0.0, 0, -5]])
def test_look_at_refuses_what_has_no_direction(target):
    targets = torch.tensor([[1.0, 1, 1], target], dtype=torch.float64)
    with pytest.raises(ValueError, match=r"camera \[1\] .* is at its target or looks along up"):
        look_at(torch.zeros(2, 3, dtype=torch.float64), targets, UP, INTRINSICS, 24, 32)


@property_settings
@given(seeds, st.integers(2, 6))
def test_focus_is_where_the_axes_meet(seed, count):
    eyes = torch.randn(count, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 3
    cameras = look_at(eyes, FOCUS, UP, INTRINSICS, 24, 32)
    assert_close(focus_point(cameras), FOCUS, 100)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    assert_close(focus_point(cameras[order]), FOCUS, 100)


def test_focus_of_a_single_camera_lies_1_ahead():
    camera = random_cameras(0, 1)
    assert_close(focus_point(camera), camera.centers[0] + camera.rotation[0, :, 2])


def test_focus_of_parallel_and_diverging_cameras_lies_ahead_by_their_spread():
    cameras = forward_facing(5)
    spread = (cameras.centers - cameras.centers.mean(0)).square().sum(-1).mean().sqrt()
    ahead = torch.tensor([0.0, 4, 0], dtype=torch.float64) * spread
    assert_close(focus_point(cameras), cameras.centers.mean(0) + ahead)
    eyes = torch.tensor([[-1.0, 0, 0], [1, 0, 0]], dtype=torch.float64)
    diverging = look_at(eyes, eyes * 1.2 + torch.tensor([0.0, 1, 0]), UP, INTRINSICS, 24, 32)
    assert_close(focus_point(diverging), torch.tensor([0.0, 4, 0], dtype=torch.float64))


def test_cameras_that_look_away_from_each_other_have_no_focus():
    inward = ring(8, height=0.0)
    outward = look_at(inward.centers, 2 * inward.centers - FOCUS, UP, INTRINSICS, 24, 32)
    with pytest.raises(ValueError, match=r"8 cameras look away from each other.*give focus, or use interpolate"):
        orbit(outward, 4)
    assert_looks_at(orbit(outward, 4, focus=FOCUS), FOCUS)
    with pytest.raises(ValueError, match="spiral needs cameras that face the same way"):
        spiral(inward, 4)


@pytest.mark.parametrize("cameras", [ring(6), ring(4, arc=1.5, height=3.0), ring(2, arc=2.0), forward_facing(4)])
def test_up_of_level_cameras_is_the_vertical(cameras):
    assert_close(up_direction(cameras), UP)


def test_up_of_rolled_cameras_is_their_mean():
    camera = random_cameras(0, 1)
    assert_close(up_direction(camera), -camera.rotation[0, :, 1])
    upside_down = look_at(camera.centers, FOCUS, camera.rotation[0, :, 1], INTRINSICS, 24, 32)
    cancelling = Cameras.cat(
        [upside_down, look_at(camera.centers, FOCUS, -camera.rotation[0, :, 1], INTRINSICS, 24, 32)]
    )
    with pytest.raises(ValueError, match="up axes of the 2 cameras cancel"):
        orbit(cancelling, 4)


@pytest.mark.parametrize("arc", [2 * math.pi, 1.5])
def test_orbit_passes_through_cameras_on_a_ring(arc):
    cameras = ring(6, arc)
    path = orbit(cameras, 12 if arc > 6 else 5).validate()
    assert_looks_at(path, FOCUS)
    assert_close(path[:1].camera_to_world, cameras[:1].camera_to_world)
    if arc > 6:
        assert_close(path[::2].camera_to_world, cameras.camera_to_world)
    offsets = path.centers - FOCUS
    assert_close(offsets[:, 2], torch.full_like(offsets[:, 2], 1.5))
    assert_close(offsets[:, :2].norm(dim=-1), torch.full_like(offsets[:, 0], 2.0))
    assert_close(path.intrinsics, INTRINSICS.expand(len(path), 3, 3))


PATHS = {
    "orbit": lambda cameras: orbit(cameras, 5),
    "spiral": lambda cameras: spiral(cameras, 5),
    "interpolate": lambda cameras: interpolate(cameras, 5),
}
CAMERAS = {
    "one": forward_facing(1),
    "two": ring(2, arc=1.0),
    "collinear": look_at(
        torch.linspace(-1, 1, 4, dtype=torch.float64)[:, None] * torch.tensor([1.0, 0, 0]),
        FOCUS,
        UP,
        INTRINSICS,
        24,
        32,
    ),
    "parallel": forward_facing(5),
    "arc": ring(5, arc=1.5),
    "one place": look_at(torch.zeros(3, 3, dtype=torch.float64), FOCUS + 0.2 * torch.eye(3), UP, INTRINSICS, 24, 32),
}


@pytest.mark.parametrize(
    ("path", "cameras"), [(p, c) for p in PATHS for c in CAMERAS if (p, c) != ("interpolate", "one")]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_paths_are_valid_and_move_for_every_arrangement_of_cameras(path, cameras, dtype):
    result = PATHS[path](CAMERAS[cameras].to(dtype=dtype)).validate()
    assert result.batch_shape == (5,)
    assert result.dtype == dtype
    assert (result.height, result.width) == (24, 32)
    moves = result.camera_to_world.diff(dim=0).flatten(1).norm(dim=-1)
    assert (moves > 1e-3).sum() >= 3  # a spiral of cameras on a line turns back at its ends


@pytest.mark.parametrize("path", PATHS)
@property_settings
@given(seeds, st.sampled_from(["two", "collinear", "arc", "parallel"]))
def test_paths_move_with_the_world(path, seed, cameras):
    """The similarity's scale scales the path, because no length but the cameras' own enters it."""
    cameras, similarity = CAMERAS[cameras], random_similarity(seed)
    expected = similarity.apply_cameras(PATHS[path](cameras))
    assert_close(PATHS[path](similarity.apply_cameras(cameras)).camera_to_world, expected.camera_to_world, 1000)


@pytest.mark.parametrize("path", [orbit, spiral])
def test_the_path_of_a_single_camera_is_small_and_closed(path):
    camera = forward_facing(1)
    focus = focus_point(camera)
    result = path(camera, 40)
    assert_looks_at(result, focus)
    offsets = result.centers - camera.centers
    assert_close(offsets.norm(dim=-1), torch.full((40,), 0.1, dtype=torch.float64))
    steps = (result.centers - result.centers.roll(1, 0)).norm(dim=-1)
    assert_close(steps, steps[:1].expand(40))


def test_spiral_stays_around_the_mean_camera_and_closes():
    cameras = forward_facing(9)
    path = spiral(cameras, 60)
    mean = mean_camera(cameras)
    assert_looks_at(path, focus_point(cameras))
    offsets = (path.centers - mean.centers) @ mean.rotation
    reach = ((cameras.centers - mean.centers) @ mean.rotation).abs().amax(0)
    assert (offsets.abs() <= reach + 1e-9).all()
    assert (offsets.abs().amax(0) > 0.5 * reach).all()
    steps = (path.centers - path.centers.roll(1, 0)).norm(dim=-1)
    assert steps[0] < 1.5 * steps[1:].max()


@property_settings
@given(seeds, st.integers(2, 5), st.integers(1, 4), dtypes)
def test_interpolation_goes_through_its_keyframes(seed, count, between, dtype):
    cameras = random_cameras(seed, count, dtype=dtype)
    path = interpolate(cameras, (count - 1) * between + 1).validate()
    assert_close(path[::between].camera_to_world, cameras.camera_to_world)
    assert_close(path[::between].intrinsics, cameras.intrinsics, 32)


@property_settings
@given(seeds, st.integers(2, 4))
def test_interpolation_reverses_with_its_keyframes(seed, count):
    cameras = random_cameras(seed, count)
    forth, back = interpolate(cameras, 9), interpolate(cameras[list(range(count))[::-1]], 9)
    assert_close(back.camera_to_world.flip(0), forth.camera_to_world, 10)
    assert_close(back.intrinsics.flip(0), forth.intrinsics, 32)


def test_interpolation_between_two_cameras_is_straight_and_even():
    cameras = random_cameras(3, 2)
    path = interpolate(cameras, 5)
    assert_close(path.centers, torch.lerp(*cameras.centers[:, None], torch.linspace(0, 1, 5).double()[:, None]))
    turns = path.rotation[1:] @ path.rotation[:-1].mT
    assert_close(turns, turns[:1].expand_as(turns))


def test_interpolation_of_straight_even_keyframes_stays_straight():
    cameras = CAMERAS["collinear"]
    assert_close(interpolate(cameras, 10).centers[:, 0], torch.linspace(-1, 1, 10, dtype=torch.float64))


def test_mean_camera_has_the_mean_size_and_scaled_intrinsics():
    cameras = random_cameras(0, 1)
    mean = mean_camera(Cameras.cat([cameras, cameras.resize(48, 64)]))
    assert mean.batch_shape == ()
    assert (mean.height, mean.width) == (36, 48)
    assert_close(mean.intrinsics, cameras.resize(36, 48).intrinsics[0])
    assert_close(mean.camera_to_world, cameras.camera_to_world[0])
    assert interpolate(Cameras.cat([cameras, cameras.resize(48, 64)]), 3).height == 36


@property_settings
@given(seeds)
def test_mean_camera_moves_with_the_world_and_ignores_order(seed):
    cameras = ring(5, arc=1.5)
    similarity: Similarity = random_similarity(seed)
    mean = mean_camera(cameras)
    moved = mean_camera(similarity.apply_cameras(cameras))
    assert_close(moved.camera_to_world, similarity.apply_cameras(mean.reshape(1))[0].camera_to_world, 10)
    assert_close(mean_camera(cameras[[3, 0, 4, 1, 2]]).camera_to_world, mean.camera_to_world)


def test_paths_refuse_what_they_cannot_follow():
    with pytest.raises(ValueError, match="interpolate moves between cameras and got 1"):
        interpolate(forward_facing(1), 4)
    with pytest.raises(ValueError, match=r"batch shape \(2, 3\); a path needs \[V\]"):
        orbit(random_cameras(0, 2, 3), 4)
    with pytest.raises(ValueError, match="at least 1 camera"):
        spiral(random_cameras(0, 2)[:0], 4)
    for path in (orbit, spiral, interpolate):
        with pytest.raises(ValueError, match="path of 0 frames"):
            path(ring(3, arc=1.0), 0)
    eyes = FOCUS + torch.tensor([[0.0, 0, 2], [0, 0, 3]], dtype=torch.float64)
    straight_above = look_at(eyes, FOCUS, torch.tensor([1.0, 0, 0], dtype=torch.float64), INTRINSICS, 24, 32)
    with pytest.raises(ValueError, match="looks along up"):
        orbit(straight_above, 4, focus=FOCUS, up=UP)
