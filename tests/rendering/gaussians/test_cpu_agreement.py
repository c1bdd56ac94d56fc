"""The CPU renderer against the reference: images and all gradients."""

import math
from dataclasses import replace
from importlib import import_module

import pytest
import torch
from cpu_scenes import assert_as_reference, facing_camera, is_decided, judged, wild_gaussians
from gaussian_scenes import orbit_cameras, random_gaussians
from hypothesis import assume, given
from hypothesis import strategies as st
from safetensors.torch import load_file
from strategies import property_settings, seeds

from anyviews.cameras import Cameras
from anyviews.gaussians import Gaussians
from anyviews.rendering.gaussians import cpu, render_gaussians
from anyviews.rendering.gaussians.cpu import binning, passes, rasterize
from anyviews.rendering.gaussians.settings import RasterSettings


image_sizes = st.sampled_from([(1, 1), (16, 16), (17, 33), (40, 3), (2, 70), (30, 31)])
counts = st.sampled_from([1, 2, 30, 60])
raster_settings = st.builds(
    RasterSettings,
    near=st.sampled_from([0.01, 1.5]),
    far=st.sampled_from([1e10, 3.0]),
    antialiased=st.booleans(),
    blur=st.sampled_from([0.3, 0.05, 1.0]),
    max_alpha=st.sampled_from([0.999, 0.99, 0.6]),
    extent=st.sampled_from(["threshold", "tiles"]),
)


@property_settings
@given(seeds, counts, st.integers(0, 3), image_sizes, raster_settings, st.sampled_from([0.0, 4.0]))
def test_harmonics(seed, count, degree, size, settings, skew):
    gaussians, cameras = wild_gaussians(seed, count, degree), orbit_cameras(2, *size, skew=skew)
    assume(is_decided(gaussians, cameras, settings))
    assert_as_reference(gaussians, cameras, settings)


@property_settings
@given(seeds, counts, image_sizes, raster_settings)
def test_colors(seed, count, size, settings):
    gaussians, cameras = wild_gaussians(seed, count), orbit_cameras(3, *size)
    assume(is_decided(gaussians, cameras, settings, harmonic=False))
    colors = 3 * torch.rand(count, 3, generator=torch.Generator().manual_seed(seed)) - 1
    assert_as_reference(gaussians, cameras, settings, colors)


@property_settings
@given(seeds, st.integers(0, 3), raster_settings)
def test_cameras_inside_the_cloud(seed, degree, settings):
    # most means are outside of the image, where the linearisation is clamped, and many behind the camera
    gaussians, cameras = wild_gaussians(seed, 40, degree), orbit_cameras(2, 18, 33, skew=2.0).scaled(0.3)
    settings = replace(settings, near=0.05, far=1e10)
    assume(is_decided(gaussians, cameras, settings))
    assert_as_reference(gaussians, cameras, settings)


@pytest.mark.parametrize("extent", ["threshold", "tiles"])
def test_wide_image(extent):
    assert_as_reference(random_gaussians(3, 30, 1), orbit_cameras(1, 40, 1003), RasterSettings(extent=extent))


def test_thin_diagonal_gaussians_keep_their_accuracy():
    # a pixel wide and hundreds long, at 45 degrees: a quadratic in x and y would cancel to 2 % in float32
    turn = torch.tensor([math.cos(math.pi / 8), 0.0, 0.0, math.sin(math.pi / 8)])
    thin = random_gaussians(0, 4)
    thin = replace(thin, means=0.05 * thin.means, rotations=turn.expand(4, 4))
    thin = replace(thin, scales=torch.tensor([3.0, 1e-3, 1e-3]).expand(4, 3).contiguous())
    cameras = facing_camera(200, 200)
    assert is_decided(thin, cameras, RasterSettings())
    assert_as_reference(thin, cameras, RasterSettings(), bound=2e-5)


def one(mean=(0.0, 0.0, 0.0), scale=0.1, opacity=0.7, rotation=(1.0, 0.2, 0.3, 0.1)) -> Gaussians:
    """One Gaussian at a place that is no pixel's centre, and a small one behind it."""
    means = torch.tensor([mean, (0.013, 0.027, 0.4)])
    scales = torch.stack([torch.as_tensor(scale, dtype=torch.float32).expand(3), torch.tensor([0.05, 0.1, 0.2])])
    rotations = torch.tensor([rotation, (0.3, 0.1, 0.5, 0.2)])
    colors = torch.tensor([[0.9, 0.2, 0.1], [0.3, 0.6, 0.7]])
    return Gaussians.from_colors(means, rotations, scales, torch.tensor([opacity, 0.6]), colors)


@pytest.mark.parametrize("antialiased", [False, True])
@pytest.mark.parametrize(
    "gaussians",
    [
        one((0.0, 0.0, -2.5)),  # behind the camera
        one((0.01, 0.02, -1.9), 0.5),  # around the camera
        one((0.01, 0.02, 0.0), 300.0),
        one(scale=0.0),
        one(scale=(0.3, 0.0, 0.0)),
        one(scale=1e-30),
        one(opacity=0.0),
        one(opacity=1.0),
        one((1e6, -1e6, 1e6)),
        one((1e6, -1e6, 1e6), 1e6),
        one(rotation=(1e-4, 2e-5, 3e-5, 0.0)),
        one(rotation=(1e4, 2e5, 3e5, 0.0)),
    ],
    ids="behind around huge point line speck unseen opaque far far-and-huge short long".split(),
)
def test_degenerate_gaussians(gaussians, antialiased):
    settings = RasterSettings(antialiased=antialiased)
    assert_as_reference(gaussians, facing_camera(), settings)


def test_points_without_blur_are_not_seen():
    # without an area there is no inverse of the covariance, and the reference has none either
    gaussians = one(scale=0.0)
    image, gradients = judged(gaussians, facing_camera(), RasterSettings(blur=0.0))
    alone = gaussians.select(torch.tensor([1]))
    assert torch.equal(image, rasterize(alone, facing_camera(), None, RasterSettings(blur=0.0)))
    assert all(values.isfinite().all() for values in gradients.values())
    specks = replace(gaussians, scales=torch.full((2, 3), 1e-30))
    image, gradients = judged(specks, facing_camera(), RasterSettings(blur=0.0))
    assert image.isfinite().all() and all(values.isfinite().all() for values in gradients.values())


def test_nothing_in_sight():
    gaussians, cameras = random_gaussians(0, 5, 2), orbit_cameras(2)
    image, gradients = judged(gaussians, cameras, RasterSettings(near=50.0))
    assert not image.any() and not any(values.any() for values in gradients.values())


def test_lists_and_projections_may_be_made_piece_by_piece(monkeypatch):
    gaussians, cameras = random_gaussians(5, 200, 1), orbit_cameras(3, 70, 90)
    expected, judge = judged(gaussians, cameras, RasterSettings())
    made = []
    plan = binning.plan_windows
    monkeypatch.setattr(passes, "plan_windows", lambda counts: made.append(plan(counts, 300)) or made[-1])
    monkeypatch.setattr(import_module(f"{cpu.__name__}.rasterize"), "KEPT_BYTES", 1)
    found, gradients = judged(gaussians, cameras, RasterSettings())
    # placed again for the gradients; in rows of tiles, and in pieces of rows
    assert len(made) == 6 and all(len(windows) > 3 for windows in made)
    assert any(right - left < 6 for windows in made for left, right, _, _ in windows)
    assert torch.equal(found, expected)
    for name, values in gradients.items():
        torch.testing.assert_close(values, judge[name], rtol=1e-4, atol=1e-5 * judge[name].abs().max().item())


def test_more_gaussians_than_a_tile_can_number(monkeypatch):
    monkeypatch.setattr(passes, "MOST_IN_TILE", 99)
    with pytest.raises(ValueError, match="touched by 100 Gaussians; accepted are 99"):
        rasterize(random_gaussians(5, 100), orbit_cameras(1, 8, 8), None, RasterSettings(blur=50.0))


def test_windows_cover_every_tile_once_within_their_bound():
    counts = torch.randint(0, 50, (9, 7), generator=torch.Generator().manual_seed(0)).numpy()
    counts[4] *= 10
    covered = counts * 0
    for left, right, top, bottom in binning.plan_windows(counts, 400):
        covered[top:bottom, left:right] += 1
        assert counts[top:bottom, left:right].sum() <= 400 or (right - left, bottom - top) == (1, 1)
    assert (covered == 1).all()


def test_gradients_of_some_inputs_only():
    gaussians, cameras = random_gaussians(2, 30, 2), orbit_cameras(2)
    _, judge = judged(gaussians, cameras, RasterSettings())
    slopes = torch.randn(2, 5, 24, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for name in ("means", "spherical_harmonics"):
        leaf = getattr(gaussians, name).clone().requires_grad_()
        out = rasterize(replace(gaussians, **{name: leaf}), cameras, None, RasterSettings())
        (found,) = torch.autograd.grad((out * slopes).sum(), leaf)
        assert torch.equal(found, judge[name])


def test_float64_keeps_its_type_through_render_gaussians():
    gaussians, cameras = random_gaussians(2, 30, 1, torch.float64), orbit_cameras(2, dtype=torch.float64)
    gaussians.means.requires_grad_()
    found = render_gaussians(gaussians, cameras, "cpu")
    expected = render_gaussians(gaussians, cameras, "reference")
    assert found.images.dtype == torch.float64
    torch.testing.assert_close(found.images, expected.images, atol=1e-4, rtol=0)
    found.depths.sum().backward()
    assert gaussians.means.grad.dtype == torch.float64


def test_second_derivatives_are_refused():
    gaussians = random_gaussians(0, 5)
    gaussians.means.requires_grad_()
    out = rasterize(gaussians, orbit_cameras(1), None, RasterSettings())
    (first,) = torch.autograd.grad(out.square().sum(), gaussians.means, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


def test_values_of_the_original_rasteriser(repository):
    file = repository.parent / "shared" / "golden" / "lgm" / "raster_a.safetensors"
    if not file.is_file():
        pytest.skip(f"needs the recorded images in {file}")
    given = load_file(file)
    focal = 32 / math.tan(math.radians(49.1) / 2)
    intrinsics = torch.tensor([[focal, 0.0, 32.0], [0.0, focal, 32.0], [0.0, 0.0, 1.0]]).expand(3, 3, 3)
    cameras = Cameras.from_world_to_camera(intrinsics, given["cam_view"].mT, torch.tensor([64, 64]).expand(3, 2))
    means, opacities, scales, rotations, colors = given["gaussians"].split([3, 1, 3, 4, 3], dim=-1)
    gaussians = Gaussians.from_colors(means, rotations, scales, opacities[..., 0], colors)
    for name, factor, background in (("white", 1.0, torch.ones(3)), ("bg_scale0.5", 0.5, given["bg"])):
        render = render_gaussians(
            replace(gaussians, scales=factor * gaussians.scales),
            Cameras.stack([cameras, cameras]),
            "cpu",
            background=background,
            near=0.2,
            max_alpha=0.99,
            extent="tiles",
        )
        # pairs on a threshold may be rounded to either side
        for found, kind in ((render.images.clamp(0, 1), "image"), (render.alphas, "alpha")):
            error = (found - given[f"{kind}_{name}"]).abs()
            assert (error > 1e-4).float().mean() < 1e-3
