"""The gsplat backend: gsplat's own Python and PyTorch code run on the CPU, and its kernels where there is a GPU."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from gaussian_scenes import orbit_cameras, random_gaussians
from gsplat.cuda import _torch_impl as in_torch
from gsplat_on_cpu import Kernels
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strategies import seeds

from anyviews.cameras import Cameras
from anyviews.gaussians import FIELDS, Gaussians
from anyviews.geometry.spherical_harmonics import harmonic_basis
from anyviews.rendering.gaussians import gsplat_backend, reference, render_gaussians
from anyviews.rendering.gaussians.settings import RasterSettings


CPU = torch.device("cpu")
few_examples = settings(
    max_examples=6,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture
def kernels(monkeypatch) -> Kernels:
    """gsplat's kernels as PyTorch code, and nothing that asks for a GPU."""
    gsplat_backend.installed_max_alpha.cache_clear()
    monkeypatch.setattr(gsplat_backend, "obstacle", lambda device, settings: None)
    stand_ins = Kernels()
    stand_ins.install(monkeypatch)
    yield stand_ins
    gsplat_backend.installed_max_alpha.cache_clear()


def leaves_of(gaussians: Gaussians, cameras: Cameras, intrinsics: bool) -> dict[str, torch.Tensor]:
    """Everything that gradients are wanted for."""
    leaves = {name: getattr(gaussians, name) for name in FIELDS} | {"camera_to_world": cameras.camera_to_world}
    if intrinsics:
        leaves["intrinsics"] = cameras.intrinsics
    for values in leaves.values():
        values.requires_grad_()
    return leaves


def assert_same_image_and_gradients(
    gaussians: Gaussians,
    cameras: Cameras,
    chosen: RasterSettings,
    intrinsics: bool,
    colors: torch.Tensor | None = None,
) -> None:
    """The backend and the reference agree in all five channels, and in all gradients of a random loss."""
    leaves = leaves_of(gaussians, cameras, intrinsics)
    found = gsplat_backend.rasterize(gaussians, cameras, colors, chosen)
    expected = reference.rasterize(gaussians, cameras, colors, chosen)
    # a pair of a Gaussian and a pixel on the threshold of 1/255 may be rounded to either side
    assert (found - expected).abs().quantile(0.99) < 1e-5 and (found - expected).abs().max() < 0.02
    weight = torch.randn_like(found)
    unused = {"spherical_harmonics"} if colors is not None else set()
    names = [name for name in leaves if name not in unused]
    gradients = (
        torch.autograd.grad((weight * image).sum(), [leaves[name] for name in names]) for image in (found, expected)
    )
    for name, value, judge in zip(names, *gradients, strict=True):
        error = (value - judge).norm() / judge.norm()
        assert error < 2e-3, f"the gradients of {name} differ by {error:.1e}"


@few_examples
@given(seeds, st.integers(0, 3), st.booleans(), st.booleans())
def test_image_and_gradients_are_those_of_the_reference(kernels, seed, degree, antialiased, intrinsics):
    gaussians, cameras = random_gaussians(seed, 25, degree), orbit_cameras(2, 18, 33)
    chosen = RasterSettings(antialiased=antialiased, near=2.2, far=3.0, blur=0.4)
    assert_same_image_and_gradients(gaussians, cameras, chosen, intrinsics)


@few_examples
@given(seeds, st.booleans())
def test_gaussians_beside_the_image_are_linearised_alike(kernels, seed, intrinsics):
    # from within the cloud, most means are outside of the image, where the linearisation is clamped
    gaussians = random_gaussians(seed, 25, 1, scale=0.3)
    cameras = orbit_cameras(2, 18, 33).scaled(0.3)
    pixels, depth = cameras.project(gaussians.means.expand(2, -1, 3))
    assert (((pixels[..., 0] - 16.5).abs() > 1.4 * 16.5) & (depth > 0.05)).any()
    assert_same_image_and_gradients(gaussians, cameras, RasterSettings(near=0.05), intrinsics)


def test_skew_is_met(kernels):
    gaussians, cameras = random_gaussians(1, 25, 1), orbit_cameras(2, 18, 33, skew=4.0)
    straight = orbit_cameras(2, 18, 33)
    assert_same_image_and_gradients(gaussians, cameras, RasterSettings(), intrinsics=False)
    assert kernels.calls == []
    moved = gsplat_backend.rasterize(gaussians, cameras, None, RasterSettings())
    assert (moved - gsplat_backend.rasterize(gaussians, straight, None, RasterSettings())).abs().max() > 0.05


@pytest.mark.parametrize("skew", [0.0, 2.0])
def test_colors_are_taken_as_they_are(kernels, skew):
    gaussians, cameras = random_gaussians(2, 25, 3), orbit_cameras(2, 18, 33, skew=skew)
    colors = 4 * torch.rand(25, 3) - 2
    assert_same_image_and_gradients(gaussians, cameras, RasterSettings(), intrinsics=False, colors=colors)


@pytest.mark.parametrize("skew", [0.0, 2.0])
def test_nothing_in_front_of_the_cameras(kernels, skew):
    gaussians, cameras = random_gaussians(2, 5), orbit_cameras(2, skew=skew)
    gaussians.means.requires_grad_()
    image = gsplat_backend.rasterize(gaussians, cameras, None, RasterSettings(near=50.0))
    image.sum().backward()
    assert image.shape == (2, 5, 24, 32) and not image.any() and not gaussians.means.grad.any()


def test_arguments_of_gsplat(kernels):
    gaussians, cameras = random_gaussians(0, 5, 2, torch.float64), orbit_cameras(2, dtype=torch.float64)
    chosen = RasterSettings(near=0.5, far=9.0, antialiased=True, blur=0.1)
    gsplat_backend.rasterize(gaussians, cameras, None, chosen)
    gsplat_backend.rasterize(gaussians, cameras, torch.rand(5, 3), RasterSettings())
    first, second = kernels.calls
    torch.testing.assert_close(first["viewmats"], cameras.world_to_camera.float())
    torch.testing.assert_close(first["Ks"], cameras.intrinsics.float())
    assert all(first[name].dtype == torch.float32 for name in ("means", "quats", "scales", "opacities", "colors"))
    assert (first["width"], first["height"]) == (32, 24)
    assert 0.5 < first["near_plane"] < 0.5000001 and first["far_plane"] == 9.0
    assert (first["eps2d"], first["rasterize_mode"], first["sh_degree"]) == (0.1, "antialiased", 2)
    assert (second["eps2d"], second["rasterize_mode"], second["sh_degree"]) == (0.3, "classic", None)
    assert first["render_mode"] == second["render_mode"] == "RGB+D"


def test_frozen_intrinsics_need_no_projection_of_ours(kernels):
    gaussians, cameras = random_gaussians(0, 5), orbit_cameras(2)
    cameras.intrinsics.requires_grad_()
    gsplat_backend.rasterize(gaussians, cameras, None, RasterSettings())
    assert len(kernels.calls) == 0
    with torch.no_grad():
        gsplat_backend.rasterize(gaussians, cameras, None, RasterSettings())
    assert len(kernels.calls) == 1


@pytest.mark.parametrize("bound", [0.999, 0.99])
def test_the_compiled_bound_on_opacity_is_found(kernels, bound):
    kernels.max_alpha = bound
    assert gsplat_backend.installed_max_alpha(CPU) == pytest.approx(bound)
    gsplat_backend.installed_max_alpha(CPU)
    assert len(kernels.calls) == 1


# What gsplat's definition is, without the detour through its Python.


@few_examples
@given(seeds, st.booleans())
def test_projection_of_gsplat(seed, antialiased):
    gaussians = random_gaussians(seed, 40, dtype=torch.float64, scale=0.3)
    cameras = orbit_cameras(3, dtype=torch.float64).scaled(0.3)
    chosen = RasterSettings(antialiased=antialiased, blur=0.2)
    covariances, _ = in_torch._quat_scale_to_covar_preci(gaussians.rotations, gaussians.scales)
    torch.testing.assert_close(covariances, gaussians.covariances())
    _, means, depths, conics, compensations = in_torch._fully_fused_projection(
        gaussians.means, covariances, cameras.world_to_camera, cameras.intrinsics, 32, 24, 0.2, 0.01, 1e10, antialiased
    )
    outside = 0
    for view, camera in enumerate(cameras):
        front = depths[view] > 0.01
        outside += (((means[view] - 16).abs() > 1.3 * 16).any(-1) & front).sum()
        found = reference.project(gaussians.select(front), camera, chosen)
        torch.testing.assert_close(found[0], means[view, front])
        precision = reference.invert(found[1])
        upper = torch.stack([precision[:, 0, 0], precision[:, 0, 1], precision[:, 1, 1]], dim=-1)
        torch.testing.assert_close(upper, conics[view, front])
        factor = compensations[view, front] if antialiased else 1.0
        torch.testing.assert_close(found[2], gaussians.opacities[front] * factor)
    assert outside > 0, "some must be where the linearisation is clamped"


@few_examples
@given(seeds, st.integers(0, 3))
def test_harmonics_of_gsplat(seed, degree):
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(20, 3, generator=generator, dtype=torch.float64)
    coefficients = torch.randn(20, (degree + 1) ** 2, 3, generator=generator, dtype=torch.float64)
    expected = in_torch._spherical_harmonics(degree, directions, coefficients)
    basis = harmonic_basis(F.normalize(directions, dim=-1), degree)
    # gsplat's constants have about eight digits
    torch.testing.assert_close((basis[..., None] * coefficients).sum(-2), expected, atol=1e-6, rtol=1e-6)


# What the backend refuses.


def obstacle_on(device: str, **options) -> Exception | None:
    return gsplat_backend.obstacle(torch.device(device), RasterSettings(**options))


def test_gsplat_must_be_installed(monkeypatch):
    monkeypatch.setattr(gsplat_backend, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r'pip install "anyviews\[gsplat\]", or pass backend="cpu"'):
        render_gaussians(random_gaussians(0, 5), orbit_cameras(1), backend="gsplat")


def test_a_gpu_must_be_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RuntimeError, match='no CUDA device, which gsplat needs; pass backend="cpu"'):
        render_gaussians(random_gaussians(0, 5), orbit_cameras(1), backend="gsplat")


def test_tensors_must_be_on_the_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(
        ValueError, match=r'are on cpu and gsplat renders on CUDA devices; move them .* \.to\("cuda"\)'
    ):
        render_gaussians(random_gaussians(0, 5), orbit_cameras(1), backend="gsplat")


def test_settings_of_another_definition_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(gsplat_backend, "installed_max_alpha", lambda device: 0.9990000128746033)
    assert obstacle_on("cuda") is None
    problem = obstacle_on("cuda", extent="tiles")
    assert isinstance(problem, ValueError) and "extent is 'tiles' and gsplat knows \"threshold\" alone" in str(problem)
    problem = obstacle_on("cuda", max_alpha=0.99)
    assert isinstance(problem, ValueError)
    assert "max_alpha is 0.99 and the installed gsplat is compiled for 0.999" in str(problem)


def test_kernels_that_do_not_run_are_reported_once(monkeypatch):
    calls = []

    def broken(*arguments):
        calls.append(arguments)
        raise AttributeError("'NoneType' object has no attribute 'CameraModelType'")

    gsplat_backend.installed_max_alpha.cache_clear()
    monkeypatch.setattr(gsplat_backend, "_rasterize", broken)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(Gaussians, "to", lambda self, device=None, dtype=None: self)
    monkeypatch.setattr(Cameras, "to", lambda self, device=None, dtype=None: self)
    for _ in range(2):
        problem = obstacle_on("cuda")
        assert isinstance(problem, RuntimeError)
        assert "does not run on cuda (AttributeError: 'NoneType' object" in str(problem) and "nvcc" in str(problem)
    assert len(calls) == 1
    gsplat_backend.installed_max_alpha.cache_clear()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("skew", [0.0, 2.0])
@pytest.mark.parametrize("antialiased", [False, True])
@pytest.mark.parametrize("degree", [0, 3])
def test_kernels_agree_with_the_reference(degree, antialiased, skew):
    gaussians, cameras = random_gaussians(0, 200, degree).to("cuda"), orbit_cameras(3, 50, 70, skew=skew).to("cuda")
    bound = gsplat_backend.installed_max_alpha(torch.device("cuda"))
    assert isinstance(bound, float), bound
    chosen = RasterSettings(antialiased=antialiased, near=2.2, max_alpha=round(bound, 4))
    assert_same_image_and_gradients(gaussians, cameras, chosen, intrinsics=skew > 0)
    options = {"near": 2.2, "max_alpha": chosen.max_alpha, "antialiased": antialiased}
    with torch.no_grad():
        images = [render_gaussians(gaussians, cameras, name, **options).images for name in ("gsplat", "auto")]
    assert torch.equal(*images)
    plain = replace(gaussians, means=gaussians.means + 100)
    with pytest.warns(UserWarning, match="no Gaussian is seen"):
        assert not render_gaussians(plain, cameras, "gsplat", **options).alphas.any()
