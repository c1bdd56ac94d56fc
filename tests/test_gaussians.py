"""Gaussians: their values, sets and subsets, similarity transforms, and what is refused."""

import time
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from rendering.gaussians.gaussian_scenes import random_gaussians
from scipy.spatial.transform import Rotation
from strategies import assert_close, dtypes, property_settings, random_similarity, seeds, unchecked_shapes

from anyviews.gaussians import FIELDS, Gaussians
from anyviews.geometry.similarity import Similarity
from anyviews.geometry.spherical_harmonics import harmonic_basis


def stacked(*sets: Gaussians) -> Gaussians:
    return Gaussians(**{name: torch.stack([getattr(one, name) for one in sets]) for name in FIELDS})


def assert_equal(actual: Gaussians, expected: Gaussians) -> None:
    for name in FIELDS:
        torch.testing.assert_close(getattr(actual, name), getattr(expected, name), atol=0, rtol=0, msg=name)


def seen(gaussians: Gaussians, directions: torch.Tensor) -> torch.Tensor:
    """Colours [N, D, 3] of N Gaussians in D directions [D, 3]."""
    return harmonic_basis(directions, gaussians.degree) @ gaussians.spherical_harmonics + 0.5


@pytest.mark.parametrize("degree", range(4))
def test_properties(degree):
    gaussians = random_gaussians(0, 7, degree, torch.float64)
    assert (len(gaussians), gaussians.degree, gaussians.batch_shape) == (7, degree, ())
    assert (gaussians.dtype, gaussians.device) == (torch.float64, torch.device("cpu"))
    assert gaussians.validate() is gaussians
    directions = torch.nn.functional.normalize(torch.randn(200_000, 3, dtype=torch.float64), dim=-1)
    torch.testing.assert_close(seen(gaussians, directions).mean(1), gaussians.colors, atol=3e-3, rtol=0)


def test_colors_are_the_same_from_every_side():
    plain, colors = random_gaussians(0, 7), torch.rand(7, 3)
    gaussians = Gaussians.from_colors(plain.means, plain.rotations, plain.scales, plain.opacities, colors)
    assert gaussians.degree == 0
    torch.testing.assert_close(gaussians.colors, colors)
    directions = torch.nn.functional.normalize(torch.randn(5, 3), dim=-1)
    torch.testing.assert_close(seen(gaussians.with_degree(3), directions), colors[:, None].expand(7, 5, 3))


def test_raw_values_come_back():
    logs, logits = torch.randn(7, 3) - 3, 4 * torch.randn(7)
    plain = random_gaussians(0, 7, 1)
    gaussians = Gaussians.from_raw(plain.means, plain.rotations, logs, logits, plain.spherical_harmonics).validate()
    torch.testing.assert_close(gaussians.scales, logs.exp())
    torch.testing.assert_close(gaussians.opacities, 1 / (1 + torch.exp(-logits)))
    torch.testing.assert_close(gaussians.log_scales, logs)
    torch.testing.assert_close(gaussians.opacity_logits, logits, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_raw_values_of_flat_and_opaque_gaussians_are_finite(dtype):
    gaussians = random_gaussians(0, 2, dtype=dtype)
    gaussians = replace(gaussians, scales=gaussians.scales * 0, opacities=torch.tensor([0.0, 1.0], dtype=dtype))
    assert gaussians.log_scales.isfinite().all() and gaussians.opacity_logits.isfinite().all()
    back = Gaussians.from_raw(
        gaussians.means,
        gaussians.rotations,
        gaussians.log_scales,
        gaussians.opacity_logits,
        gaussians.spherical_harmonics,
    ).validate()
    assert back.scales.max() < 1e-30
    torch.testing.assert_close(back.opacities, gaussians.opacities, atol=2e-6, rtol=0)


def test_covariances_are_those_of_scipys_rotations():
    gaussians = random_gaussians(0, 7, dtype=torch.float64)
    axes = torch.from_numpy(Rotation.from_quat(gaussians.rotations.numpy(), scalar_first=True).as_matrix())
    expected = axes @ torch.diag_embed(gaussians.scales**2) @ axes.mT
    torch.testing.assert_close(gaussians.covariances(), expected)
    # the normal is the direction of least variance
    least = torch.linalg.eigh(expected).eigenvectors[..., 0]
    torch.testing.assert_close((gaussians.normals() * least).sum(-1).abs(), torch.ones(7, dtype=torch.float64))


def test_sets_merge_and_lower_degrees_are_filled_up():
    first, second = random_gaussians(0, 3, 0), random_gaussians(1, 4, 2)
    merged = Gaussians.cat([first, second])
    assert (len(merged), merged.degree) == (7, 2)
    assert_equal(merged.select(torch.arange(3)).with_degree(0), first)
    assert not merged.spherical_harmonics[:3, 1:].any()
    assert_equal(merged.select(torch.arange(7) >= 3), second)
    assert_equal(Gaussians.cat([first]), first)
    batches = Gaussians.cat([stacked(first, first), stacked(first, first)])
    assert batches.batch_shape == (2,) and len(batches) == 6
    assert_equal(batches[1], Gaussians.cat([first, first]))


def test_sets_that_do_not_merge():
    gaussians = random_gaussians(0, 3)
    with pytest.raises(ValueError, match="give at least one set"):
        Gaussians.cat([])
    for other in (gaussians.to(dtype=torch.float64), stacked(gaussians), gaussians.to("meta")):
        with pytest.raises(ValueError, match=r"must agree in batch shape, dtype and device; found .*float32"):
            Gaussians.cat([gaussians, other])


def test_batches_are_indexed():
    sets = [random_gaussians(seed, 5, 1) for seed in range(6)]
    batch = stacked(stacked(*sets[:3]), stacked(*sets[3:]))
    assert batch.batch_shape == (2, 3) and len(batch) == 5
    assert_equal(batch[1, 2], sets[5])
    assert_equal(batch[1][0], sets[3])
    assert batch[:, :2].batch_shape == (2, 2) and batch[None].batch_shape == (1, 2, 3)
    assert_equal(batch.unbind()[0].unbind()[1], sets[1])
    with pytest.raises(IndexError, match=r"use select\(...\) to pick Gaussians"):
        sets[0][0]


def test_moves_and_histories():
    gaussians = random_gaussians(0, 3, 1)
    assert gaussians.to(dtype=torch.float64).dtype == torch.float64
    assert gaussians.to("meta").device.type == "meta"
    gaussians.means.requires_grad_()
    assert gaussians.to("cpu").means.requires_grad and not gaussians.detach().means.requires_grad


def test_degrees_change():
    gaussians = random_gaussians(0, 4, 2)
    assert_equal(gaussians.with_degree(3).with_degree(2), gaussians)
    assert torch.equal(gaussians.with_degree(1).spherical_harmonics, gaussians.spherical_harmonics[:, :4])
    assert stacked(gaussians, gaussians).with_degree(3).spherical_harmonics.shape == (2, 4, 16, 3)
    for degree in (-1, 4):
        with pytest.raises(ValueError, match=f"degree {degree} is not known; accepted are 0 to 3"):
            gaussians.with_degree(degree)


def test_boxes_cut_out_gaussians():
    gaussians = random_gaussians(0, 50, 1)
    low, high = torch.tensor([-0.2, -9.0, -9.0]), torch.tensor([9.0, 0.3, 9.0])
    inside = (gaussians.means[:, 0] >= -0.2) & (gaussians.means[:, 1] <= 0.3)
    assert 0 < inside.sum() < 50
    assert_equal(gaussians.crop(low, high), gaussians.select(inside))
    with pytest.raises(ValueError, match=r"no Gaussian lies between \[5.0, .*; their means span \[-0"):
        gaussians.crop(torch.full((3,), 5.0), torch.full((3,), 6.0))
    with pytest.raises(ValueError, match=r"no Gaussian lies between .*; there are none"):
        gaussians.select(torch.arange(0)).crop(low, high)
    with pytest.raises(ValueError, match="none of 0 Gaussians"):
        gaussians.select(torch.arange(0)).prune()


def test_faint_gaussians_are_pruned():
    gaussians = replace(random_gaussians(0, 10), opacities=torch.tensor([5, 1, 9, 3, 7, 2, 8, 0, 6, 4.0]) / 10)
    assert_equal(gaussians.prune(), gaussians)
    assert gaussians.prune(min_opacity=0.5).opacities.tolist() == pytest.approx([0.5, 0.9, 0.7, 0.8, 0.6])
    assert gaussians.prune(percentile=30).opacities.tolist() == pytest.approx([0.5, 0.9, 0.3, 0.7, 0.8, 0.6, 0.4])
    assert gaussians.prune(0.45, 30).opacities.tolist() == pytest.approx([0.5, 0.9, 0.7, 0.8, 0.6])
    alike = replace(gaussians, opacities=torch.full((10,), 0.5))
    assert_equal(alike.prune(percentile=20), alike.select(torch.arange(2, 10)))
    with pytest.raises(ValueError, match=r"none of 10 Gaussians has an opacity of 0.95 or more; the largest is 0.9"):
        gaussians.prune(min_opacity=0.95)
    for percentile in (-1, 100):
        with pytest.raises(ValueError, match=f"percentile is {percentile}; accepted are 0"):
            gaussians.prune(percentile=percentile)


def test_subsets_are_taken_of_one_set():
    batch = stacked(random_gaussians(0, 3), random_gaussians(1, 3))
    for action in (
        lambda: batch.select(torch.tensor([0])),
        lambda: batch.prune(),
        lambda: batch.crop(torch.full((3,), -9.0), torch.full((3,), 9.0)),
        lambda: batch.crop(torch.full((3,), 8.0), torch.full((3,), 9.0)),
    ):
        with pytest.raises(
            ValueError, match=r"takes one set of Gaussians but the batch shape is \(2,\); index it first"
        ):
            action()


@property_settings
@given(seeds, dtypes)
def test_similarities_map_shape_and_color(seed, dtype):
    gaussians, similarity = random_gaussians(seed, 5, 3, dtype), random_similarity(seed, dtype=dtype)
    mapped = gaussians.transform(similarity)
    assert_close(mapped.means, similarity.apply(gaussians.means), scale=10)
    turn = similarity.rotation
    assert_close(mapped.covariances(), similarity.scale**2 * turn @ gaussians.covariances() @ turn.mT)
    directions = torch.nn.functional.normalize(torch.randn(6, 3, dtype=dtype), dim=-1)
    assert_close(seen(mapped, directions @ turn.mT), seen(gaussians, directions))
    assert_close((mapped.normals() * (gaussians.normals() @ turn.mT)).sum(-1).abs(), torch.ones(5, dtype=dtype))
    back = mapped.transform(similarity.inverse())
    for name in ("means", "scales", "spherical_harmonics"):
        assert_close(getattr(back, name), getattr(gaussians, name), scale=10)
    assert_close(back.covariances(), gaussians.covariances())
    assert torch.equal(mapped.opacities, gaussians.opacities)


def test_batches_are_mapped_each_by_its_own():
    sets = [random_gaussians(seed, 5, 2, torch.float64) for seed in range(2)]
    similarity = random_similarity(0, 2)
    together = stacked(*sets).transform(similarity)
    for index, one in enumerate(sets):
        own = Similarity(similarity.scale[index], similarity.rotation[index], similarity.translation[index])
        for name in FIELDS:
            torch.testing.assert_close(getattr(together, name)[index], getattr(one.transform(own), name))


@pytest.mark.parametrize(
    "changes",
    [
        {"means": torch.zeros(3, 3)},
        {"rotations": torch.zeros(4, 3)},
        {"scales": torch.zeros(4, 1)},
        {"opacities": torch.zeros(4, 1)},
        {"opacities": torch.zeros(())},
        {"spherical_harmonics": torch.zeros(4, 3)},
        {"spherical_harmonics": torch.zeros(4, 2, 3)},
        {"spherical_harmonics": torch.zeros(4, 25, 3)},
        {"spherical_harmonics": torch.zeros(4, 3, 4)},
    ],
)
def test_shapes_that_do_not_fit_are_refused(changes):
    with pytest.raises(ValueError, match=r"shapes of Gaussians do not fit together.*accepted are"), unchecked_shapes():
        replace(random_gaussians(0, 4), **changes)


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_numbers_must_be_finite(name, value):
    gaussians = stacked(random_gaussians(0, 4, 1), random_gaussians(1, 4, 1))
    values = getattr(gaussians, name).clone()
    values[1, 2] = value
    with pytest.raises(
        ValueError, match=rf"{name} of the Gaussians hold NaN or infinity: 1 of 8, the first at \[1, 2\]"
    ):
        replace(gaussians, **{name: values}).validate()


@pytest.mark.parametrize(
    "name, value, message",
    [
        ("scales", torch.tensor([0.1, -1e-9, 0.1]), r"a negative standard deviation \(log-scales\? use from_raw\)"),
        ("rotations", torch.zeros(4), "a quaternion of length zero"),
        ("rotations", torch.full((4,), -1e-7), "a quaternion of length zero"),
        ("opacities", torch.tensor(1.001), r"a value outside \[0, 1\] \(logits\? use from_raw\)"),
        ("opacities", torch.tensor(-1e-6), r"a value outside \[0, 1\] .*"),
    ],
)
def test_values_must_mean_something(name, value, message):
    gaussians = random_gaussians(0, 4)
    values = getattr(gaussians, name).clone()
    values[1] = value
    with pytest.raises(ValueError, match=rf"{name} of the Gaussians hold {message}: 1 of 4, the first at \[1\]"):
        replace(gaussians, **{name: values}).validate()


def test_borderline_values_are_accepted():
    gaussians = random_gaussians(0, 4)
    edge = replace(gaussians, scales=gaussians.scales * 0, opacities=torch.tensor([0.0, 1.0, 0.0, 1.0]))
    assert replace(edge, rotations=gaussians.rotations * 1e-4).validate() is not None
    assert replace(edge, rotations=gaussians.rotations * 1e4).validate() is not None
    assert gaussians.to(dtype=torch.float16).validate().dtype == torch.float16


def test_empty_and_mixed_sets_are_refused():
    gaussians = random_gaussians(0, 4)
    for empty in (random_gaussians(0, 0), stacked(gaussians)[:0]):
        with pytest.raises(ValueError, match="set of Gaussians is empty; give at least one"):
            empty.validate()
    with pytest.raises(
        ValueError, match=r"one floating-point dtype on one device; found .*'scales': 'torch.float64 on"
    ):
        replace(gaussians, scales=gaussians.scales.double()).validate()
    with pytest.raises(ValueError, match="one floating-point dtype"), unchecked_shapes():
        Gaussians(**{name: getattr(gaussians, name).long() for name in FIELDS}).validate()


def test_validation_costs_nothing_beside_rendering():
    gaussians = random_gaussians(0, 65_536, 3)
    seconds = []
    for _ in range(10):
        start = time.process_time()
        gaussians.validate()
        seconds.append(time.process_time() - start)
    assert min(seconds) < 5e-3  # measured: 0.8 ms on one thread, mostly reading 12 MB of harmonics
