"""render_gaussians: batches, backgrounds, devices and dtypes, the choice of a backend, and what it refuses."""

import warnings
from dataclasses import replace

import pytest
import torch
from gaussian_scenes import orbit_cameras, random_gaussians
from strategies import unchecked_shapes

from anyviews.cameras import Cameras
from anyviews.gaussians import FIELDS, Gaussians
from anyviews.rendering.gaussians import BACKENDS, GaussianRender, gsplat_backend, reference, render, render_gaussians
from anyviews.rendering.gaussians.settings import RasterSettings


def rendered(gaussians: Gaussians, cameras: Cameras, **options) -> GaussianRender:
    return render_gaussians(gaussians, cameras, "reference", **options)


def batch_of(shape: tuple[int, ...]) -> tuple[Gaussians, Cameras]:
    """Sets of Gaussians of a batch shape, with three cameras for each."""
    count = int(torch.tensor(shape).prod())
    sets = [random_gaussians(seed, 7, 1) for seed in range(count)]
    gaussians = Gaussians(
        **{name: torch.stack([getattr(one, name) for one in sets]).unflatten(0, shape) for name in FIELDS}
    )
    return gaussians, orbit_cameras(3 * count, 6, 8).reshape(*shape, 3)


def turned_away(cameras: Cameras) -> Cameras:
    """The same cameras, looking in the other direction."""
    back = torch.diag(torch.tensor([-1.0, 1.0, -1.0, 1.0], dtype=cameras.dtype))
    return replace(cameras, camera_to_world=cameras.camera_to_world @ back)


@pytest.mark.parametrize("shape", [(1,), (2,), (2, 3)])
def test_batches_are_rendered_as_their_sets_are(shape):
    gaussians, cameras = batch_of(shape)
    colors = torch.rand(*shape, 7, 3)
    background = torch.rand(*shape, 3, 3)
    together = rendered(gaussians, cameras, colors=colors, background=background)
    assert together.images.shape == (*shape, 3, 3, 6, 8)
    assert together.alphas.shape == together.accumulated_depths.shape == together.depths.shape == (*shape, 3, 1, 6, 8)
    for index in torch.cartesian_prod(*(torch.arange(size) for size in shape)).reshape(-1, len(shape)).tolist():
        index = tuple(index)
        alone = rendered(gaussians[index], cameras[index], colors=colors[index], background=background[index])
        torch.testing.assert_close(together.images[index], alone.images)
        torch.testing.assert_close(together.depths[index], alone.depths)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_of_the_gaussians_is_that_of_the_images(dtype):
    gaussians, cameras = random_gaussians(0, 5, dtype=dtype), orbit_cameras(2, 6, 8, dtype=dtype)
    # what is easily of another dtype or device follows
    view = rendered(gaussians, cameras, background=torch.ones(3).double(), colors=torch.rand(5, 3).double())
    assert view.images.dtype == view.alphas.dtype == view.depths.dtype == dtype


@pytest.mark.parametrize("shape", [(3,), (1, 3), (3, 3), (1, 1, 3), (2, 1, 3), (1, 3, 3), (2, 3, 3)])
def test_backgrounds_broadcast(shape):
    gaussians, cameras = batch_of((2,))
    background = torch.rand(shape)
    view = rendered(gaussians, cameras, background=background)
    black = rendered(gaussians, cameras)
    expected = black.images + (1 - black.alphas) * background.expand(2, 3, 3)[..., None, None]
    torch.testing.assert_close(view.images, expected)
    torch.testing.assert_close(view.alphas, black.alphas)


@pytest.mark.parametrize("shape", [(), (1,), (4,), (2, 3), (3, 2, 3), (1, 2, 3, 3), (3, 1)])
def test_other_backgrounds_are_refused(shape):
    gaussians, cameras = batch_of((2,))
    with pytest.raises(ValueError, match=r"background has shape .*accepted are \(3,\)"), unchecked_shapes():
        rendered(gaussians, cameras, background=torch.rand(shape))


def test_colors_replace_harmonics_and_are_not_clamped():
    gaussians, cameras = random_gaussians(0, 7, 2), orbit_cameras(2, 6, 8)
    colors = 4 * torch.rand(7, 3) - 2
    view = rendered(gaussians, cameras, colors=colors)
    positive, negative = (rendered(gaussians, cameras, colors=(sign * colors).clamp(min=0)) for sign in (1, -1))
    torch.testing.assert_close(view.images, positive.images - negative.images)
    assert view.images.min() < -0.1
    dark = replace(gaussians, spherical_harmonics=gaussians.spherical_harmonics - 10)
    assert (rendered(dark, cameras).images == 0).all()


def test_gradients_reach_every_input():
    gaussians, cameras = random_gaussians(0, 7, 1), orbit_cameras(2, 6, 8)
    background = torch.rand(3).requires_grad_()
    inputs = [getattr(gaussians, name) for name in FIELDS] + [cameras.intrinsics, cameras.camera_to_world]
    for values in inputs:
        values.requires_grad_()
    view = rendered(gaussians, cameras, background=background)
    (view.images.square().sum() + view.depths.sum()).backward()
    for values in (*inputs, background):
        assert values.grad.isfinite().all() and values.grad.any()
    colors = torch.rand(7, 3).requires_grad_()
    rendered(gaussians, cameras, colors=colors).images.sum().backward()
    assert colors.grad.all()


def test_depth_is_zero_where_nothing_is_seen():
    view = rendered(random_gaussians(0, 3), orbit_cameras(2))
    assert ((view.depths == 0) == (view.alphas == 0)).all() and (view.alphas == 0).any()
    covered = view.depths[view.alphas > 0]
    assert 1.5 < covered.min() and covered.max() < 3.5


def test_cameras_that_see_nothing_are_named():
    gaussians, cameras = random_gaussians(0, 5), orbit_cameras(3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rendered(gaussians, cameras)
    mixed = Cameras.cat([cameras[:1], turned_away(cameras[1:])])
    with pytest.warns(UserWarning, match=r"seen by 2 of the cameras \(1, 2\): their images are the background"):
        view = rendered(gaussians, mixed, background=torch.tensor([0.2, 0.4, 0.6]))
    assert torch.equal(view.images[1:], torch.tensor([0.2, 0.4, 0.6])[:, None, None].expand(2, 3, 24, 32))
    assert not view.depths[1:].any()
    with pytest.warns(UserWarning, match=r"1 of the cameras \(\[1, 0\]\)"):
        rendered(
            Gaussians(
                **{name: getattr(gaussians, name).expand(2, *getattr(gaussians, name).shape) for name in FIELDS}
            ),
            Cameras.stack([cameras[:1], turned_away(cameras[:1])]),
        )


def test_a_scene_that_nobody_sees_still_gives_gradients():
    gaussians, cameras = random_gaussians(0, 5), turned_away(orbit_cameras(2))
    gaussians.means.requires_grad_()
    with pytest.warns(UserWarning, match="no Gaussian is seen"):
        rendered(gaussians, cameras).images.sum().backward()
    assert torch.equal(gaussians.means.grad, torch.zeros(5, 3))


def changed(index: int, value: float, name: str) -> Gaussians:
    gaussians = random_gaussians(0, 5)
    values = getattr(gaussians, name).clone()
    values[index] = value
    return replace(gaussians, **{name: values})


@pytest.mark.parametrize(
    "gaussians, message",
    [
        (random_gaussians(0, 0), "set of Gaussians is empty"),
        (changed(2, torch.nan, "means"), r"means of the Gaussians hold NaN or infinity: 1 of 5, the first at \[2\]"),
        (changed(3, -0.1, "scales"), "a negative standard deviation"),
        (changed(0, 0.0, "rotations"), "a quaternion of length zero"),
        (changed(4, 1.5, "opacities"), r"a value outside \[0, 1\] \(logits\?"),
    ],
)
def test_unusable_gaussians_are_refused(gaussians, message):
    with pytest.raises(ValueError, match=message):
        rendered(gaussians, orbit_cameras(1))


def test_unusable_cameras_are_refused():
    gaussians, cameras = random_gaussians(0, 5), orbit_cameras(3)
    sizes = cameras.image_sizes.clone()
    sizes[1, 0] = 0
    with pytest.raises(ValueError, match=r"cameras\[1\]: image sizes must be positive"):
        rendered(gaussians, replace(cameras, image_sizes=sizes))
    sizes[1, 0] = 25
    with pytest.raises(ValueError, match="2 different image heights"):
        rendered(gaussians, replace(cameras, image_sizes=sizes))
    with pytest.raises(ValueError, match="camera_to_world holds NaN"):
        rendered(gaussians, replace(cameras, camera_to_world=cameras.camera_to_world * torch.nan))
    for unfit in (cameras[0], cameras[:0], cameras[None]):
        with pytest.raises(ValueError, match=r"do not fit Gaussians of batch shape \(\); give \('V',\)"):
            rendered(gaussians, unfit)


def test_what_does_not_fit_together_is_refused():
    gaussians, cameras = random_gaussians(0, 5), orbit_cameras(2)
    with pytest.raises(ValueError, match=r"cameras are torch.float64 on cpu and the Gaussians torch.float32 on cpu"):
        rendered(gaussians, cameras.to(dtype=torch.float64))
    half_moved = replace(cameras, intrinsics=cameras.intrinsics.double())
    with pytest.raises(ValueError, match=r"move the cameras by cameras.to\(gaussians.device, gaussians.dtype\)"):
        rendered(gaussians, half_moved)
    with pytest.raises(ValueError, match=r"cameras are torch\.float32 on meta"):
        rendered(gaussians, cameras.to(device="meta"))
    with pytest.raises(
        ValueError, match=r"one floating-point dtype on one device.*'opacities': 'torch\.float64 on cpu'"
    ):
        rendered(replace(gaussians, opacities=gaussians.opacities.double()), cameras)
    with pytest.raises(ValueError, match=r"colors have shape \(4, 3\); accepted is \(5, 3\)"), unchecked_shapes():
        rendered(gaussians, cameras, colors=torch.rand(4, 3))
    for name, shape in (("colors", (5, 3)), ("background", (3,))):
        with pytest.raises(ValueError, match=f"{name} holds? NaN or infinity"):
            rendered(gaussians, cameras, **{name: torch.full(shape, torch.inf)})


@pytest.mark.parametrize(
    "options, message",
    [
        ({"near": 0.0}, "accepted is 0 < near < far"),
        ({"near": 2.0, "far": 1.0}, "near is 2.0 and far 1.0"),
        ({"near": torch.nan}, "near is nan"),
        ({"blur": -1.0}, "blur is -1.0"),
        ({"max_alpha": 1.0}, "max_alpha is 1.0"),
        ({"extent": "whole"}, "extent is 'whole'; accepted are 'threshold' and 'tiles'"),
    ],
)
def test_unusable_settings_are_refused(options, message):
    with pytest.raises(ValueError, match=message), unchecked_shapes():
        rendered(random_gaussians(0, 5), orbit_cameras(1), **options)


def test_unknown_backends_are_refused():
    with pytest.raises(ValueError, match="backend is 'cuda'; accepted are " + ", ".join(BACKENDS)):
        render_gaussians(random_gaussians(0, 5), orbit_cameras(1), backend="cuda")


def test_auto_is_gsplat_on_a_gpu_where_it_runs(monkeypatch):
    gpu = torch.device("cuda")
    monkeypatch.setattr(gsplat_backend, "obstacle", lambda device, settings: None)
    assert render._rasterizer("auto", gpu, RasterSettings()) is gsplat_backend.rasterize
    assert render._rasterizer("gsplat", gpu, RasterSettings()) is gsplat_backend.rasterize
    monkeypatch.setattr(gsplat_backend, "obstacle", lambda device, settings: ImportError("gsplat is not installed"))
    with pytest.warns(UserWarning, match="are on cuda but rendered on the CPU, slowly: gsplat is not installed"):
        chosen = render._rasterizer("auto", gpu, RasterSettings())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asked_for = render._rasterizer("cpu", gpu, RasterSettings())
        assert render._rasterizer("gsplat", gpu, RasterSettings()) is gsplat_backend.rasterize
    assert chosen.func is asked_for.func is render._on_cpu
    on_cpu = render._rasterizer("cpu", torch.device("cpu"), RasterSettings())
    assert chosen.args == (on_cpu,)
    assert render._rasterizer("auto", torch.device("cpu"), RasterSettings()) is on_cpu


def test_what_is_rendered_on_the_cpu_for_another_device_keeps_gradients():
    gaussians, cameras = random_gaussians(0, 5), orbit_cameras(2, 6, 8)
    gaussians.means.requires_grad_()
    colors = torch.rand(5, 3).requires_grad_()
    moved = render._on_cpu(reference.rasterize, gaussians, cameras, colors, RasterSettings())
    straight = reference.rasterize(gaussians, cameras, colors, RasterSettings())
    assert torch.equal(moved, straight) and moved.device == gaussians.device
    for leaf in (gaussians.means, colors):
        gradients = [torch.autograd.grad(image.square().sum(), leaf, retain_graph=True) for image in (moved, straight)]
        assert torch.equal(*(gradient for (gradient,) in gradients))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_results_are_on_the_callers_device(backend):
    gaussians, cameras = random_gaussians(0, 20, 1).to("cuda"), orbit_cameras(2).to("cuda")
    gaussians.means.requires_grad_()
    view = render_gaussians(gaussians, cameras, backend, background=torch.ones(3))
    view.images.square().sum().backward()
    assert view.images.is_cuda and gaussians.means.grad.is_cuda and gaussians.means.grad.any()
    here = render_gaussians(gaussians.detach().to("cpu"), cameras.to("cpu"), backend, background=torch.ones(3))
    torch.testing.assert_close(view.images.detach().cpu(), here.images, atol=1e-5, rtol=1e-4)
