"""Gaussians on NVIDIA GPUs through the package gsplat (Ye et al., JMLR 2025)."""

from functools import cache
from importlib.util import find_spec

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...cameras import Cameras
from ...gaussians import Gaussians
from .reference import Splats, invert, splats
from .settings import MIN_ALPHA, TILE, RasterSettings


def rasterize(
    gaussians: Gaussians,
    cameras: Cameras,
    colors: Float[Tensor, "gaussians 3"] | None,
    settings: RasterSettings,
) -> Float[Tensor, "views 5 height width"]:
    """Red, green and blue in front of black, alpha and accumulated depth of V views of one set of Gaussians.

    Values and gradients are those of the reference in float32. gsplat's own projection serves where it can; it knows
    no skew and gives intrinsics no gradient, so that cameras with either are projected by the reference's code.

    Raises:
        ImportError: if gsplat is not installed.
        RuntimeError: if there is no CUDA device, or gsplat's kernels do not run on it.
        ValueError: for tensors that are not on a CUDA device, and for settings that gsplat does not know.
    """
    problem = obstacle(gaussians.device, settings)
    if problem is not None:
        raise problem
    gaussians, cameras = gaussians.to(dtype=torch.float32), cameras.to(dtype=torch.float32)
    colors = None if colors is None else colors.float()
    learned = torch.is_grad_enabled() and cameras.intrinsics.requires_grad
    if learned or cameras.intrinsics[..., 0, 1].any():
        size = cameras.height, cameras.width
        return torch.stack([_blend(splats(gaussians, camera, colors, settings), *size) for camera in cameras])
    return _rasterize(gaussians, cameras, colors, settings)


def obstacle(device: torch.device, settings: RasterSettings) -> Exception | None:
    """What keeps gsplat from rendering tensors of a device with some settings, as the error to raise; None if nothing.

    The first question about a device renders one Gaussian there; gsplat may compile its kernels then, for minutes.
    """
    if find_spec("gsplat") is None:
        return ImportError(
            'gsplat is not installed; run pip install "anyviews[gsplat]", or pass backend="cpu", which needs no GPU'
        )
    if not torch.cuda.is_available():
        return RuntimeError('PyTorch finds no CUDA device, which gsplat needs; pass backend="cpu"')
    if device.type != "cuda":
        return ValueError(
            f"the Gaussians are on {device} and gsplat renders on CUDA devices; move them and the cameras by "
            '.to("cuda"), or pass backend="cpu"'
        )
    if settings.extent != "threshold":
        return ValueError(
            f'extent is {settings.extent!r} and gsplat knows "threshold" alone; pass that, or backend="cpu"'
        )
    bound = installed_max_alpha(device)
    if isinstance(bound, Exception):
        return RuntimeError(
            f"gsplat is installed but does not run on {device} ({type(bound).__name__}: {bound}); it needs the CUDA "
            'toolkit (nvcc) of PyTorch\'s CUDA version, or pass backend="cpu"'
        )
    if abs(bound - settings.max_alpha) > 1e-5:
        return ValueError(
            f"max_alpha is {settings.max_alpha} and the installed gsplat is compiled for {bound:.4g}; pass that, or "
            'backend="cpu"'
        )
    return None


@cache
def installed_max_alpha(device: torch.device) -> float | Exception:
    """The upper bound of an opacity at a pixel, which gsplat is compiled with, or what rendering fails with.

    It is 0.999 in version 1.5.3 and 0.99 in later ones, but no function tells: an opaque Gaussian shows it.
    """
    opaque = Gaussians.from_colors(
        torch.tensor([[0.0, 0.0, 1.0]]), torch.eye(4)[:1], torch.ones(1, 3), torch.ones(1), torch.ones(1, 3)
    )
    intrinsics = torch.tensor([[[1.0, 0.0, 0.5], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]]])
    camera = Cameras.create(intrinsics, torch.eye(4)[None], height=1, width=1)
    try:
        with torch.no_grad():
            return _rasterize(opaque.to(device), camera.to(device), None, RasterSettings())[0, 3].item()
    except Exception as error:  # compilers and drivers fail in their own ways
        return error


def _rasterize(
    gaussians: Gaussians, cameras: Cameras, colors: Float[Tensor, "gaussians 3"] | None, settings: RasterSettings
) -> Float[Tensor, "views 5 height width"]:
    from gsplat import rasterization

    blended, alphas, _ = rasterization(
        means=gaussians.means,
        quats=gaussians.rotations,
        scales=gaussians.scales,
        opacities=gaussians.opacities,
        colors=gaussians.spherical_harmonics if colors is None else colors,
        sh_degree=gaussians.degree if colors is None else None,
        viewmats=cameras.world_to_camera,
        Ks=cameras.intrinsics,
        width=cameras.width,
        height=cameras.height,
        near_plane=_just_above(settings.near),
        far_plane=settings.far,
        eps2d=settings.blur,
        rasterize_mode="antialiased" if settings.antialiased else "classic",
        render_mode="RGB+D",  # the sum of z-depth times weight
        tile_size=TILE,
        packed=False,
    )
    return torch.cat([blended[..., :3], alphas, blended[..., 3:]], dim=-1).permute(0, 3, 1, 2)


def _just_above(near: float) -> float:
    """The next number of gsplat's type: it keeps Gaussians at the near plane."""
    near = torch.tensor(near)
    return near.nextafter(torch.full_like(near, torch.inf)).item()


def _blend(seen: Splats, height: int, width: int) -> Float[Tensor, "5 height width"]:
    """Blend Gaussians that are projected already, through gsplat's binning and blending kernels."""
    from gsplat import isect_offset_encode, isect_tiles, rasterize_to_pixels

    if len(seen.means) == 0:
        return seen.channels.sum().expand(5, height, width)
    tiles = -(-width // TILE), -(-height // TILE)
    means, depths = seen.means[None], seen.channels[None, :, 4]
    _, pairs, order = isect_tiles(means.detach(), _radii(seen)[None], depths.detach(), TILE, *tiles)
    precision = invert(seen.covariances)
    blended, _ = rasterize_to_pixels(
        means,
        torch.stack([precision[:, 0, 0], precision[:, 0, 1], precision[:, 1, 1]], dim=-1)[None],
        seen.channels[None],
        seen.opacities[None],
        width,
        height,
        TILE,
        isect_offset_encode(pairs, 1, *tiles),
        order,
    )
    return blended[0].permute(2, 0, 1)


@torch.no_grad()
def _radii(seen: Splats) -> Int[Tensor, "gaussians 2"]:
    """Half the sides of the box, in whole pixels, around where a Gaussian's opacity reaches the threshold."""
    deviations = torch.stack([seen.covariances[:, 0, 0], seen.covariances[:, 1, 1]], dim=-1).sqrt()
    reach = (2 * (seen.opacities / MIN_ALPHA).log().clamp(min=0)).sqrt()
    return (reach[:, None] * deviations).ceil().clamp(max=1 << 24).int()
