"""The reference renderer against closed forms, other projections, finite differences and the original rasteriser."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from gaussian_scenes import orbit_cameras, random_gaussians
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from strategies import random_similarity, seeds

from anyviews.cameras import Cameras
from anyviews.gaussians import FIELDS, Gaussians
from anyviews.rendering.gaussians import reference, render_gaussians
from anyviews.rendering.gaussians.settings import MIN_ALPHA, RasterSettings


# the reference material lies beside the repository
ORIGINAL = Path(__file__).resolve().parents[4] / "shared" / "golden" / "lgm" / "raster_a.safetensors"
few_examples = settings(max_examples=6, deadline=None, derandomize=True, database=None)

RED, GREEN = torch.tensor([1.0, 0.0, 0.0]).double(), torch.tensor([0.0, 1.0, 0.0]).double()


def ball(depth: float = 2.0, scale: float = 0.2, opacity: float = 0.6, color=RED) -> Gaussians:
    """One round Gaussian on the axis of `camera_ahead`."""
    quaternion = torch.tensor([[0.3, -0.4, 0.5, 0.6]]).double()  # a ball looks the same however it is turned
    mean = torch.tensor([[0.0, 0.0, depth]]).double()
    one = torch.ones(1).double()
    return Gaussians.from_colors(mean, quaternion, one[:, None].expand(1, 3) * scale, one * opacity, color[None])


def camera_ahead(size: int = 9, focal: float = 10.0) -> Cameras:
    """A camera at the origin whose axis meets the centre of the middle pixel."""
    intrinsics = torch.tensor([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1]]).double()
    return Cameras.create(intrinsics[None], torch.eye(4).double()[None], size, size)


def rendered(gaussians: Gaussians, cameras: Cameras, **options):
    return render_gaussians(gaussians, cameras, "reference", **options)


@pytest.mark.parametrize("antialiased", [False, True])
@pytest.mark.parametrize("blur", [0.0, 0.3, 2.0])
def test_one_gaussian_by_hand(blur, antialiased):
    view = rendered(ball(), camera_ahead(), blur=blur, antialiased=antialiased)
    variance = (10.0 * 0.2 / 2.0) ** 2 + blur
    opacity = 0.6 * ((variance - blur) / variance if antialiased else 1)
    offset = torch.arange(9).double() - 4
    alpha = opacity * torch.exp(-0.5 * (offset[:, None] ** 2 + offset**2) / variance)
    alpha = torch.where(alpha < MIN_ALPHA, 0, alpha)
    torch.testing.assert_close(view.alphas[0, 0], alpha)
    torch.testing.assert_close(view.images[0], torch.stack([alpha, 0 * alpha, 0 * alpha]))
    torch.testing.assert_close(view.accumulated_depths[0, 0], 2 * alpha)
    torch.testing.assert_close(view.depths[0, 0], 2 * (alpha > 0).double())
    assert (alpha == 0).any() and (alpha > 0).sum() > 4


def test_two_gaussians_blend_front_to_back_in_any_order():
    near, far = ball(2.0, opacity=0.5, color=RED), ball(3.0, opacity=0.8, color=GREEN)
    for order in ([near, far], [far, near]):
        view = rendered(Gaussians.cat(order), camera_ahead(), background=torch.tensor([0.0, 0.0, 1.0]).double())
        # at the middle pixel: half of the light is red, 0.8 of the rest green, and blue what is left
        torch.testing.assert_close(view.images[0, :, 4, 4], torch.tensor([0.5, 0.4, 0.1]).double())
        torch.testing.assert_close(view.alphas[0, 0, 4, 4], torch.tensor(0.9).double())
        torch.testing.assert_close(view.accumulated_depths[0, 0, 4, 4], torch.tensor(0.5 * 2 + 0.4 * 3).double())


def test_opaque_gaussians_hide_what_is_behind():
    stack = Gaussians.cat([ball(2.0 + i, opacity=1.0, color=color) for i, color in enumerate((RED, GREEN, GREEN))])
    for bound in (0.98, 0.99, 0.999):
        pixel = rendered(stack, camera_ahead(), max_alpha=bound).images[0, :, 4, 4]
        # the second one is blended only where that leaves more than 1e-4 of the light
        second = bound * (1 - bound) if (1 - bound) ** 2 > 1e-4 else 0
        torch.testing.assert_close(pixel, torch.tensor([bound, second, 0]).double())


def test_near_and_far_cut_by_depth():
    row = Gaussians.cat([ball(depth, opacity=0.5) for depth in (1.0, 2.0, 3.0)])
    alpha = [
        rendered(row, camera_ahead(), near=near, far=far).alphas[0, 0, 4, 4].item()
        for near, far in [(0.5, 9), (1.0, 9), (1.5, 2.5), (0.5, 2.0), (0.5, 1.5)]
    ]
    assert alpha == pytest.approx([0.875, 0.75, 0.5, 0.75, 0.5]), "a mean at near is out, at far in"


@few_examples
@given(seeds, st.sampled_from([0.0, 4.0]))
def test_the_projection_is_the_cameras_own_and_its_derivative(seed, skew):
    gaussians = random_gaussians(seed, 5, dtype=torch.float64)
    camera = orbit_cameras(3, skew=skew, dtype=torch.float64)[seed % 3]
    means, covariances, opacities = reference.project(gaussians, camera, RasterSettings(blur=0.0))
    torch.testing.assert_close(means, camera.project(gaussians.means)[0])
    torch.testing.assert_close(opacities, gaussians.opacities)
    for mean, covariance, projected in zip(gaussians.means, gaussians.covariances(), covariances, strict=True):
        jacobian = torch.func.jacrev(lambda point: camera.project(point[None])[0][0])(mean)
        torch.testing.assert_close(projected, jacobian @ covariance @ jacobian.T)


def test_tiles_of_the_original_cut_the_rim_off():
    # The mean is at 2.4 pixels, the standard deviation 4.95. Opacity reaches 1/255 at 3.3 of them, before pixel 19,
    # but three of them (rounded up: 15) end in the pixel after the first tile, which the original leaves out.
    gaussians, camera = ball(scale=0.984, opacity=0.999), camera_ahead(size=32)
    camera = replace(camera, intrinsics=torch.tensor([[[10, 0, 2.4], [0, 10, 2.4], [0, 0, 1]]]).double())
    everywhere, tiles = (rendered(gaussians, camera, extent=extent).alphas[0, 0] for extent in ("threshold", "tiles"))
    assert (everywhere[:3, 16:19] > 0).all() and not everywhere[:, 19:].any()
    assert not tiles[:, 16:].any() and not tiles[16:].any()
    torch.testing.assert_close(tiles[:16, :16], everywhere[:16, :16])
    moved = replace(camera, intrinsics=camera.intrinsics + torch.tensor([[0, 0, 0.2], [0, 0, 0], [0, 0, 0]]))
    assert rendered(gaussians, moved, extent="tiles").alphas[0, 0, 0, 16] > 0


@few_examples
@given(seeds, st.booleans(), st.sampled_from([0.0, 3.0]))
def test_gradients_are_those_of_finite_differences(seed, antialiased, skew):
    gaussians = random_gaussians(seed, 6, degree=2, dtype=torch.float64, scale=0.2)
    cameras = orbit_cameras(2, 6, 8, skew=skew, dtype=torch.float64)
    values = [getattr(gaussians, name) for name in FIELDS] + [cameras.intrinsics, cameras.camera_to_world]
    chosen = RasterSettings(antialiased=antialiased)
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(2, 5, 6, 8, generator=generator, dtype=torch.float64)

    def loss(*values: torch.Tensor) -> torch.Tensor:
        moved = Cameras(*values[5:], cameras.image_sizes)
        return (weight * reference.rasterize(Gaussians(*values[:5]), moved, None, chosen)).sum()

    for leaf in values:
        leaf.requires_grad_()
    gradients = torch.autograd.grad(loss(*values), values)
    for index, gradient in enumerate(gradients):
        step = 1e-6 * torch.randn(gradient.shape, generator=generator, dtype=torch.float64)
        ahead, behind = (
            loss(*values[:index], values[index] + sign * step, *values[index + 1 :]).item() for sign in (1, -1)
        )
        expected = (gradient * step).sum().item()
        assert ahead - behind == pytest.approx(2 * expected, rel=2e-5, abs=1e-11), (*FIELDS, "K", "pose")[index]


@few_examples
@given(seeds)
def test_a_mapped_world_looks_the_same(seed):
    gaussians, cameras = (make for make in (random_gaussians(seed, 20, 3, torch.float64), orbit_cameras(2, 12, 16)))
    cameras = cameras.to(dtype=torch.float64)
    similarity = random_similarity(seed)
    mapped = gaussians.transform(similarity), similarity.apply_cameras(cameras)
    scale = similarity.scale.item()
    before, after = rendered(gaussians, cameras), rendered(*mapped, near=0.01 * scale, far=1e10 * scale)
    torch.testing.assert_close(after.images, before.images)
    torch.testing.assert_close(after.alphas, before.alphas)
    torch.testing.assert_close(after.depths, before.depths * scale)


@pytest.mark.filterwarnings("ignore:no Gaussian is seen")
@pytest.mark.parametrize("kind", ["flat", "needle", "point"])
@pytest.mark.parametrize("blur", [0.0, 0.3])
@pytest.mark.parametrize("antialiased", [False, True])
def test_gaussians_without_volume_are_finite(kind, blur, antialiased):
    scales = {"flat": [0.2, 0.2, 0.0], "needle": [0.2, 0.0, 0.0], "point": [0.0, 0.0, 0.0]}[kind]
    gaussians = replace(random_gaussians(0, 6, 1), scales=torch.tensor(scales).expand(6, 3).clone())
    for name in FIELDS:
        getattr(gaussians, name).requires_grad_()
    view = rendered(gaussians, orbit_cameras(2, 12, 16), blur=blur, antialiased=antialiased, background=torch.ones(3))
    (view.images.square().sum() + view.depths.sum()).backward()
    assert view.images.isfinite().all()
    assert all(getattr(gaussians, name).grad.isfinite().all() for name in FIELDS)
    # the blur alone makes them visible, and antialiasing takes away what it added: only discs have an area
    seen = kind == "flat" or (blur > 0 and not antialiased)
    assert (view.alphas.amax() > 0.1) == seen


def test_a_flat_gaussian_from_its_edge_is_not_seen_without_blur():
    edge = replace(ball(), rotations=torch.tensor([[1.0, 0, 0, 0]]).double())
    edge = replace(edge, scales=torch.tensor([[0.0, 0.2, 0.2]]).double())
    with pytest.warns(UserWarning, match="no Gaussian is seen"):
        assert not rendered(edge, camera_ahead(), blur=0.0).alphas.any()
    assert rendered(edge, camera_ahead(), blur=0.3).alphas[0, 0, 4, 4] == pytest.approx(0.6)


def test_a_camera_inside_a_gaussian_sees_it_everywhere():
    around = ball(depth=0.05, scale=2.0, opacity=0.7)
    view = rendered(around, camera_ahead())
    torch.testing.assert_close(view.alphas, torch.full_like(view.alphas, 0.7), atol=0.01, rtol=0)
    with pytest.warns(UserWarning, match="no Gaussian is seen"):
        assert not rendered(ball(depth=0.0, scale=2.0), camera_ahead()).alphas.any()


def test_quaternions_may_have_any_length():
    gaussians, cameras = random_gaussians(0, 8, dtype=torch.float64), orbit_cameras(1, dtype=torch.float64)
    longer = replace(gaussians, rotations=gaussians.rotations * -7.5)
    torch.testing.assert_close(rendered(longer, cameras).images, rendered(gaussians, cameras).images)


def test_more_pairs_than_fit_are_rendered_in_parts(monkeypatch):
    gaussians, cameras = random_gaussians(0, 30, 1), orbit_cameras(2)
    whole = rendered(gaussians, cameras).images
    monkeypatch.setattr(reference, "PAIRS_PER_PASS", 1000)
    torch.testing.assert_close(rendered(gaussians, cameras).images, whole)


@pytest.fixture(scope="module")
def original() -> dict[str, torch.Tensor]:
    """Images of the original rasteriser, 2 sets of 2000 Gaussians seen by 3 cameras."""
    if not ORIGINAL.is_file():
        pytest.skip(f"needs {ORIGINAL}, values of the original rasteriser kept beside the checkout")
    return load_file(ORIGINAL)


def original_scene(original: dict[str, torch.Tensor], shrink: float = 1.0) -> tuple[Gaussians, Cameras]:
    focal = 32 / math.tan(math.radians(49.1) / 2)
    intrinsics = torch.tensor([[focal, 0, 32], [0, focal, 32], [0, 0, 1]]).expand(2, 3, 3, 3)
    poses = original["cam_view"].mT.expand(2, 3, 4, 4)
    cameras = Cameras.from_world_to_camera(intrinsics, poses, torch.tensor([64, 64]).expand(2, 3, 2))
    means, opacities, scales, rotations, colors = original["gaussians"].split([3, 1, 3, 4, 3], dim=-1)
    return Gaussians.from_colors(means, rotations, scales * shrink, opacities[..., 0], colors), cameras


def assert_mostly_equal(actual: torch.Tensor, expected: torch.Tensor) -> None:
    """Equal to 1e-4; a Gaussian that rounding puts on the other side of a threshold may change 0.1 % of the pixels."""
    different = ((actual - expected).abs() > 1e-4).double().mean().item()
    assert different <= 1e-3, f"{different:.2%} of the values differ"


@pytest.mark.parametrize("name, shrink", [("white", 1.0), ("bg_scale0.5", 0.5)])
def test_images_of_the_original_rasteriser(original, name, shrink):
    gaussians, cameras = original_scene(original, shrink)
    background = torch.ones(3) if name == "white" else original["bg"]
    view = rendered(gaussians, cameras, background=background, near=0.2, max_alpha=0.99, extent="tiles")
    assert_mostly_equal(view.images.clamp(0, 1), original[f"image_{name}"])
    assert_mostly_equal(view.alphas, original[f"alpha_{name}"])
    if shrink == 1:
        assert_mostly_equal(view.accumulated_depths[0, 1], original["b0v1.depth"])


def test_projection_of_the_original_rasteriser(original):
    gaussians, cameras = original_scene(original)
    kept = original["b0v1.radii"] > 0
    gaussians, camera = gaussians[0].select(kept).to(dtype=torch.float64), cameras[0, 1].to(dtype=torch.float64)
    means, covariances, opacities = reference.project(gaussians, camera, RasterSettings())
    # the original counts pixels from the centre of the first one
    torch.testing.assert_close(means.float() - 0.5, original["b0v1.means2D"][kept], atol=2e-4, rtol=0)
    precision = reference.invert(covariances)
    conic = torch.stack([precision[:, 0, 0], precision[:, 0, 1], precision[:, 1, 1], opacities], dim=-1).float()
    torch.testing.assert_close(conic, original["b0v1.conic_opacity"][kept], atol=1e-5, rtol=1e-3)
    same = reference.three_deviations(covariances) == original["b0v1.radii"][kept]
    assert same.float().mean() > 0.998, "rounding decides where three deviations are a whole number"
    depth = camera.project(gaussians.means)[1].float()
    torch.testing.assert_close(depth, original["b0v1.depth_per_gaussian"][kept])
