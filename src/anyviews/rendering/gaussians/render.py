"""render_gaussians: images, alpha and depth of 3D Gaussians, differentiable in Gaussians and cameras."""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from ...cameras import Cameras
from ...gaussians import Gaussians
from .settings import Extent, RasterSettings


BACKENDS = ("auto", "cpu", "gsplat", "reference")


@dataclass(frozen=True)
class GaussianRender:
    """Rendered views.

    Args:
        images: [*batch, V, 3, H, W], sRGB; in [0, 1] where the Gaussians' colours and the background are.
        alphas: [*batch, V, 1, H, W] in [0, 1], 1 where nothing shines through.
        accumulated_depths: [*batch, V, 1, H, W], sum of z-depth times weight, in world units.
    """

    images: Float[Tensor, "*batch views 3 height width"]
    alphas: Float[Tensor, "*batch views 1 height width"]
    accumulated_depths: Float[Tensor, "*batch views 1 height width"]

    @property
    def depths(self) -> Float[Tensor, "*batch views 1 height width"]:
        """Expected z-depth: the accumulated depth over alpha, 0 (unknown) where alpha is 0."""
        covered = self.alphas > 0
        return torch.where(covered, self.accumulated_depths / torch.where(covered, self.alphas, 1), 0)


def render_gaussians(
    gaussians: Gaussians,
    cameras: Cameras,
    backend: str = "auto",
    background: Float[Tensor, "*#background 3"] | None = None,
    colors: Float[Tensor, "*batch gaussians 3"] | None = None,
    near: float = 0.01,
    far: float = 1e10,
    antialiased: bool = False,
    blur: float = 0.3,
    max_alpha: float = 0.999,
    extent: Extent = "threshold",
) -> GaussianRender:
    """Render views of 3D Gaussians (Kerbl et al., SIGGRAPH 2023).

    Every output is differentiable in all parameters of the Gaussians, in `colors` and `background`, and in the
    cameras' poses and intrinsics. A camera that sees nothing gives the background, with a warning.

    Args:
        gaussians: of batch shape [*batch].
        cameras: of batch shape [*batch, V], all of one image size.
        backend: "cpu" (compiled at first use), "gsplat" (CUDA and the package gsplat), "reference" (every Gaussian
            at every pixel in float64: slow), or "auto": gsplat where it can run, else cpu.
        background: [3] or broadcast to [*batch, V, 3], sRGB; None is black.
        colors: [*batch, N, 3] in place of the spherical harmonics, e.g. normals.
        near: Gaussians whose mean is not farther along the camera's axis are left out.
        far: those whose mean is farther are left out.
        antialiased: lower opacities for what `blur` adds to a Gaussian's area (Mip-Splatting).
        blur: variance in pixels squared added to every projected Gaussian.
        max_alpha: upper bound of a Gaussian's opacity at a pixel (0.99 in the original implementation).
        extent: "threshold" shows a Gaussian wherever its opacity reaches 1/255, as gsplat does; "tiles" only in the
            tiles of 16x16 pixels within three of its largest standard deviations, as the original implementation does.

    Raises:
        ValueError: for values that cannot be rendered, naming the first.
        ImportError: if the backend needs a package that is not installed.
        RuntimeError: if the backend needs a GPU and there is none.
    """
    check_inputs(gaussians, cameras)
    batch, views = gaussians.batch_shape, cameras.batch_shape[-1]
    colors = _checked_colors(colors, gaussians)
    background = _checked_background(background, gaussians, views)
    settings = RasterSettings(near, far, antialiased, blur, max_alpha, extent)
    rasterize = _rasterizer(backend, gaussians.device, settings)
    sets, count = _flat(gaussians), math.prod(batch)
    rigs = cameras.reshape(count, views)
    overrides = [None] * count if colors is None else colors.reshape(count, *colors.shape[-2:])
    rendered = [rasterize(one, rig, own, settings) for one, rig, own in zip(sets, rigs, overrides, strict=True)]
    channels = torch.stack(rendered).to(gaussians.dtype).reshape(*batch, *rendered[0].shape)
    images, alphas, depths = channels.split([3, 1, 1], dim=-3)
    _warn_of_empty_views(alphas)
    if background is not None:
        images = images + (1 - alphas) * background[..., None, None]
    return GaussianRender(images, alphas, depths)


def check_inputs(gaussians: Gaussians, cameras: Cameras) -> None:
    """Raise ValueError that says what cannot be rendered, or what does not fit together."""
    gaussians.validate()
    if not cameras.batch_shape or cameras.batch_shape[:-1] != gaussians.batch_shape or cameras.batch_shape[-1] == 0:
        raise ValueError(
            f"cameras of batch shape {cameras.batch_shape} do not fit Gaussians of batch shape "
            f"{gaussians.batch_shape}; give {(*gaussians.batch_shape, 'V')}, V cameras (at least one) for each set"
        )
    wanted = gaussians.dtype, gaussians.device
    found = [(values.dtype, values.device) for values in (cameras.intrinsics, cameras.camera_to_world)]
    if found != [wanted, wanted] or cameras.image_sizes.device != gaussians.device:
        raise ValueError(
            f"the cameras are {cameras.dtype} on {cameras.device} and the Gaussians {gaussians.dtype} on "
            f"{gaussians.device}; move the cameras by cameras.to(gaussians.device, gaussians.dtype)"
        )
    cameras.validate()
    _ = cameras.height, cameras.width  # raises where they differ


def _rasterizer(backend: str, device: torch.device, settings: RasterSettings) -> Callable[..., Tensor]:
    """The function that rasterises one set of Gaussians; its module is imported only when it is chosen."""
    if backend not in BACKENDS:
        raise ValueError(f"backend is {backend!r}; accepted are {', '.join(BACKENDS)}")
    if backend == "reference":
        from .reference import rasterize
    elif backend == "gsplat" or (backend == "auto" and device.type == "cuda" and _gsplat_runs(device, settings)):
        from .gsplat_backend import rasterize
    else:
        from .cpu import rasterize

        if device.type != "cpu":
            return partial(_on_cpu, rasterize)
    return rasterize


def _gsplat_runs(device: torch.device, settings: RasterSettings) -> bool:
    from .gsplat_backend import obstacle

    problem = obstacle(device, settings)
    if problem is not None:
        warnings.warn(f"the Gaussians are on {device} but rendered on the CPU, slowly: {problem}", stacklevel=4)
    return problem is None


def _on_cpu(
    rasterize: Callable[..., Tensor],
    gaussians: Gaussians,
    cameras: Cameras,
    colors: Float[Tensor, "gaussians 3"] | None,
    settings: RasterSettings,
) -> Float[Tensor, "views 5 height width"]:
    """Rasterise on the CPU what is on another device; gradients find their way back through the copies."""
    colors = None if colors is None else colors.to("cpu")
    return rasterize(gaussians.to("cpu"), cameras.to("cpu"), colors, settings).to(gaussians.device)


def _flat(gaussians: Gaussians) -> list[Gaussians]:
    """The sets of a batch, one after the other."""
    if not gaussians.batch_shape:
        return [gaussians]
    return [one for part in gaussians.unbind() for one in _flat(part)]


def _checked_colors(colors: Tensor | None, gaussians: Gaussians) -> Tensor | None:
    if colors is None:
        return None
    if colors.shape != gaussians.means.shape:
        raise ValueError(f"colors have shape {tuple(colors.shape)}; accepted is {tuple(gaussians.means.shape)}")
    if not colors.isfinite().all():
        raise ValueError("colors hold NaN or infinity; accepted are finite numbers")
    return colors.to(gaussians.means)


def _checked_background(background: Tensor | None, gaussians: Gaussians, views: int) -> Tensor | None:
    if background is None:
        return None
    wanted = (*gaussians.batch_shape, views, 3)
    fits = background.ndim <= len(wanted) and background.shape[-1:] == (3,)
    if not fits or any(
        size not in (1, want) for size, want in zip(background.shape[::-1], wanted[::-1], strict=False)
    ):
        raise ValueError(
            f"background has shape {tuple(background.shape)}; accepted are (3,) and what broadcasts to {wanted}, one "
            "color for each camera"
        )
    if not background.isfinite().all():
        raise ValueError("background holds NaN or infinity; accepted are finite numbers")
    return background.to(gaussians.means)


def _warn_of_empty_views(alphas: Float[Tensor, "*batch views 1 height width"]) -> None:
    empty = (alphas.detach().amax((-3, -2, -1)) == 0).nonzero().tolist()
    if empty:
        shown = ", ".join(str(index[0] if len(index) == 1 else index) for index in empty[:8])
        warnings.warn(
            f"no Gaussian is seen by {len(empty)} of the cameras ({shown}): their images are the background. Are the "
            "poses camera-to-world with OpenCV axes, in the Gaussians' world, and near / far in its units?",
            stacklevel=3,
        )
