"""Similarity transforms and the alignment of points and cameras."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import (
    assert_close,
    batch_shapes,
    dtypes,
    property_settings,
    random_cameras,
    random_rotation,
    random_similarity,
    seeds,
)

from anyviews.cameras import Cameras, rigid
from anyviews.geometry.similarity import Similarity, align_cameras, align_points, nearest_rotation


def random_points(seed: int, *shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, 3, generator=generator, dtype=torch.float64).to(dtype)


def assert_same(actual: Similarity, expected: Similarity, scale: float = 10.0):
    assert_close(actual.scale, expected.scale, scale)
    assert_close(actual.rotation, expected.rotation, scale)
    assert_close(actual.translation, expected.translation, scale)


def with_centers(cameras: Cameras, centers: torch.Tensor) -> Cameras:
    return Cameras(cameras.intrinsics, rigid(cameras.rotation, centers), cameras.image_sizes)


@property_settings
@given(seeds, batch_shapes, dtypes)
def test_inverse_undoes_and_composition_applies_in_turn(seed, batch, dtype):
    first = random_similarity(seed, *batch, dtype=dtype)
    second = random_similarity(seed + 1, *batch, dtype=dtype)
    points = random_points(seed, *batch, 5, dtype=dtype)
    assert_close(first.inverse().apply(first.apply(points)), points, scale=10)
    assert_close((second @ first).apply(points), second.apply(first.apply(points)), scale=100)
    assert_same(first.inverse().inverse(), first)
    assert_close((second @ first).inverse().apply(points), (first.inverse() @ second.inverse()).apply(points), 100)


@property_settings
@given(seeds, dtypes)
def test_cameras_compose_like_points(seed, dtype):
    first, second = random_similarity(seed, 2, dtype=dtype), random_similarity(seed + 1, 2, dtype=dtype)
    cameras = random_cameras(seed, 2, 4, dtype=dtype)
    composed = (second @ first).apply_cameras(cameras)
    assert_close(composed.camera_to_world, second.apply_cameras(first.apply_cameras(cameras)).camera_to_world, 100)
    assert_close(composed.centers, (second @ first).apply(cameras.centers), 100)
    composed.validate()


@property_settings
@given(seeds, batch_shapes, dtypes)
def test_alignment_recovers_a_known_similarity(seed, batch, dtype):
    similarity, source = random_similarity(seed, *batch, dtype=dtype), random_points(seed, *batch, 12, dtype=dtype)
    assert_same(align_points(source, similarity.apply(source)), similarity)


@property_settings
@given(seeds)
def test_alignment_of_a_plane_is_never_a_mirror(seed):
    similarity, source = random_similarity(seed), random_points(seed, 8) * torch.tensor([1, 1, 0])
    assert_same(align_points(source, similarity.apply(source)), similarity)
    mirrored = random_points(seed, 8) * torch.tensor([-1.0, 1, 1])
    assert torch.linalg.det(align_points(random_points(seed, 8), mirrored).rotation) == pytest.approx(1)


@property_settings
@given(seeds)
def test_alignment_is_a_least_squares_minimum(seed):
    """No small change of the result makes the weighted error of noisy points smaller."""
    generator = torch.Generator().manual_seed(seed)
    source = random_points(seed, 10)
    target = random_similarity(seed).apply(source) + 0.2 * random_points(seed + 1, 10)
    weights = torch.rand(10, generator=generator, dtype=torch.float64)
    best = align_points(source, target, weights)

    def error(similarity: Similarity) -> torch.Tensor:
        return (weights * (similarity.apply(source) - target).square().sum(-1)).sum()

    for step in (1e-3, -1e-3):
        for axis in range(3):
            turn = torch.eye(3, dtype=torch.float64)
            i, j = (axis + 1) % 3, (axis + 2) % 3
            turn[[i, j], [i, j]] = math.cos(step)
            turn[i, j], turn[j, i] = -math.sin(step), math.sin(step)
            assert error(Similarity(best.scale, best.rotation @ turn, best.translation)) >= error(best)
            shift = torch.zeros(3, dtype=torch.float64).index_fill(0, torch.tensor(axis), step)
            assert error(Similarity(best.scale, best.rotation, best.translation + shift)) >= error(best)
        assert error(Similarity(best.scale * (1 + step), best.rotation, best.translation)) >= error(best)


@property_settings
@given(seeds)
def test_weights_leave_points_out_and_count_them_again(seed):
    source, target = random_points(seed, 7), random_points(seed + 1, 7)
    weights = torch.tensor([1, 2, 0, 1, 0, 1, 1], dtype=torch.float64)
    repeated = [0, 1, 1, 3, 5, 6]
    assert_same(align_points(source, target, weights), align_points(source[repeated], target[repeated]))
    assert_same(align_points(source, target, weights * 7), align_points(source, target, weights))


@property_settings
@given(seeds)
def test_alignment_commutes_with_permutation_and_batching(seed):
    source, target = random_points(seed, 2, 7), random_points(seed + 1, 2, 7)
    batched = align_points(source, target)
    order = torch.randperm(7, generator=torch.Generator().manual_seed(seed))
    assert_same(align_points(source[:, order], target[:, order]), batched)
    for i in range(2):
        one = align_points(source[i], target[i])
        assert_same(Similarity(batched.scale[i], batched.rotation[i], batched.translation[i]), one)


def test_gradients_flow_through_alignment():
    source = random_points(0, 6).requires_grad_()
    target = random_points(1, 6)
    assert torch.autograd.gradcheck(lambda s: align_points(s, target).apply(s), (source,))


LINE = torch.linspace(0, 1, 6, dtype=torch.float64)[:, None] * torch.tensor([1.0, 2, 3]) + 5
DEGENERATE = {
    "source points lie on one line, which": (random_points(0, 2), random_points(1, 2), None),
    "source points lie on one line": (LINE, random_points(1, 6), None),
    "target points lie on one line": (random_points(1, 6), LINE, None),
    "source points coincide": (LINE[:1].expand(6, 3) / 3, random_points(1, 6), None),
    "target holds NaN or infinity": (random_points(0, 6), random_points(1, 6) * torch.nan, None),
    "source points lie on one line, ": (
        random_points(0, 6),
        random_points(1, 6),
        torch.tensor([1, 1, 0, 0, 0, 0], dtype=torch.float64),
    ),
    "weights must be non-negative": (random_points(0, 6), random_points(1, 6), torch.zeros(6, dtype=torch.float64)),
}


@pytest.mark.parametrize("message", DEGENERATE)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_degenerate_points_are_refused_by_name(message, dtype):
    source, target, weights = DEGENERATE[message]
    weights = None if weights is None else weights.to(dtype)
    with pytest.raises(ValueError, match=message):
        align_points(source.to(dtype), target.to(dtype), weights)


@property_settings
@given(seeds, batch_shapes, st.sampled_from([2, 3, 6]), dtypes)
def test_camera_alignment_recovers_a_known_similarity(seed, batch, count, dtype):
    similarity, source = random_similarity(seed, *batch, dtype=dtype), random_cameras(seed, *batch, count, dtype=dtype)
    found = align_cameras(source, similarity.apply_cameras(source))
    assert_same(found, similarity, scale=100)


@property_settings
@given(seeds)
def test_collinear_cameras_are_aligned_by_their_rotations_too(seed):
    cameras = random_cameras(seed, 5)
    line = torch.linspace(-1, 1, 5, dtype=torch.float64)[:, None] * cameras.centers[0] + cameras.centers[1]
    cameras, similarity = with_centers(cameras, line), random_similarity(seed)
    target = similarity.apply_cameras(cameras)
    assert_same(align_cameras(cameras, target), similarity)
    # noise across the line, in both, does not roll the result
    noise = 1e-4 * random_points(seed, 2, 5) * (line[-1] - line[0]).norm()
    noisy = align_cameras(
        with_centers(cameras, line + noise[0]), with_centers(target, target.centers + similarity.scale * noise[1])
    )
    assert (noisy.rotation - similarity.rotation).abs().max() < 1e-3


@property_settings
@given(seeds)
def test_camera_alignment_by_centers_ignores_the_rotations(seed):
    source, similarity = random_cameras(seed, 6), random_similarity(seed)
    target = similarity.apply_cameras(source)
    turned = rigid(random_rotation(torch.Generator().manual_seed(seed), 6), target.centers)
    found = align_cameras(source, Cameras(target.intrinsics, turned, target.image_sizes))
    assert_same(found, align_points(source.centers, target.centers))
    assert_same(found, similarity)


@property_settings
@given(seeds, st.sampled_from([1, 4]))
def test_cameras_at_one_place_are_aligned_by_their_rotations_at_scale_1(seed, count):
    cameras = random_cameras(seed, count)
    cameras = with_centers(cameras, cameras.centers[:1].expand(count, 3))
    similarity = random_similarity(seed)
    target = similarity.apply_cameras(cameras)
    found = align_cameras(cameras, target)
    assert found.scale == 1
    assert_close(found.rotation, similarity.rotation, 10)
    assert_close(found.apply_cameras(cameras).camera_to_world, target.camera_to_world, 100)


def test_a_batch_may_mix_degenerate_and_ordinary_cameras():
    cameras = random_cameras(0, 2, 4)
    centers = cameras.centers.clone()
    centers[1] = centers[1, :1]
    cameras, similarity = with_centers(cameras, centers), random_similarity(0, 2)
    found = align_cameras(cameras, similarity.apply_cameras(cameras))
    assert_close(found.rotation, similarity.rotation, 10)
    assert found.scale[0].item() == pytest.approx(similarity.scale[0].item())
    assert found.scale[1] == 1


def test_cameras_that_do_not_correspond_are_refused():
    cameras = random_cameras(0, 3)
    with pytest.raises(ValueError, match=r"batch shapes \(3,\) and \(2,\); give the same number"):
        align_cameras(cameras, cameras[:2])
    with pytest.raises(ValueError, match="at least one"):
        align_cameras(cameras[:0], cameras[:0])
    with pytest.raises(ValueError, match=r"cameras of batch shape \(3,\) do not fit .* \(2,\)"):
        random_similarity(0, 2).apply_cameras(cameras)


@property_settings
@given(seeds, batch_shapes)
def test_nearest_rotation_is_idempotent_and_proper(seed, batch):
    matrix = torch.randn(*batch, 3, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    rotation = nearest_rotation(matrix)
    assert_close(nearest_rotation(rotation), rotation)
    assert_close(torch.linalg.det(rotation), torch.ones(batch, dtype=torch.float64))
