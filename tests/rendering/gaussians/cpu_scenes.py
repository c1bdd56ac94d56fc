"""Wilder scenes than `gaussian_scenes`, and the comparison of the CPU renderer with the reference."""

import math

import torch
from torch import Tensor

from anyviews.cameras import Cameras
from anyviews.gaussians import FIELDS, Gaussians
from anyviews.geometry.spherical_harmonics import harmonic_basis
from anyviews.rendering.gaussians import reference
from anyviews.rendering.gaussians.cpu import rasterize
from anyviews.rendering.gaussians.settings import LINEARISATION_MARGIN, MIN_ALPHA, MIN_TRANSMITTANCE, RasterSettings


CAMERA_FIELDS = ("intrinsics", "camera_to_world")


def wild_gaussians(seed: int, count: int, degree: int = 0) -> Gaussians:
    """Thin, flat, large and small Gaussians all around the origin, some of them darker than black from some side."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    return Gaussians(
        normal(count, 3),
        normal(count, 4),
        torch.exp(normal(count, 3) - 2.5),
        torch.sigmoid(2 * normal(count) + 1),
        0.5 * normal(count, (degree + 1) ** 2, 3),
    )


def judged(
    gaussians: Gaussians, cameras: Cameras, settings: RasterSettings, colors: Tensor | None = None, render=rasterize
) -> tuple[Tensor, dict[str, Tensor]]:
    """What is rendered, and the gradients of a fixed random loss of all five channels by everything."""
    leaves = {name: getattr(gaussians, name).detach().requires_grad_() for name in FIELDS}
    leaves |= {name: getattr(cameras, name).detach().requires_grad_() for name in CAMERA_FIELDS}
    moving = Gaussians(*(leaves[name] for name in FIELDS))
    seen = Cameras(*(leaves[name] for name in CAMERA_FIELDS), cameras.image_sizes)
    if colors is not None:
        leaves["colors"] = colors.detach().requires_grad_()
        del leaves["spherical_harmonics"]
    out = render(moving, seen, leaves.get("colors"), settings)
    slopes = torch.randn(out.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    gradients = torch.autograd.grad((out * slopes).sum(), list(leaves.values()))
    return out.detach(), dict(zip(leaves, gradients, strict=True))


def assert_as_reference(
    gaussians: Gaussians, cameras: Cameras, settings: RasterSettings, colors: Tensor | None = None, bound: float = 1e-4
) -> None:
    """The renderer and the reference agree in norm, in all channels and in every gradient."""
    found, gradients = judged(gaussians, cameras, settings, colors)
    expected, judge = judged(gaussians, cameras, settings, colors, reference.rasterize)
    assert found.dtype == torch.float32 and found.isfinite().all()
    for channels in ([0, 1, 2], [3], [4]):
        assert _error(found[:, channels], expected[:, channels]) < bound
    for name, values in gradients.items():
        assert values.isfinite().all()
        assert _error(values, judge[name]) < bound, f"gradients of {name}: {_error(values, judge[name]):.1e}"


def _error(found: Tensor, expected: Tensor) -> float:
    """Relative error in norm; absolute where nothing is expected."""
    norm = expected.double().norm()
    return ((found - expected).double().norm() / torch.where(norm > 0, norm, 1)).item()


@torch.no_grad()
def is_decided(gaussians: Gaussians, cameras: Cameras, settings: RasterSettings, harmonic: bool = True) -> bool:
    """Whether rounding to float32 decides nothing in a scene.

    A pixel jumps by up to 1/255 where a Gaussian's opacity passes the threshold, gradients jump where a clamp begins,
    and both where two Gaussians change places: there, two correct renderers may differ.
    """
    gaussians, cameras = gaussians.to(dtype=torch.float64), cameras.to(dtype=torch.float64)
    return all(_is_decided_in(gaussians, camera, settings, harmonic) for camera in cameras)


def _is_decided_in(gaussians: Gaussians, camera: Cameras, settings: RasterSettings, harmonic: bool) -> bool:
    depth = ((gaussians.means - camera.centers) @ camera.rotation)[:, 2]
    if any(_near(depth, edge, 1e-6) for edge in (settings.near, settings.far)):
        return False
    gaussians = gaussians.select(depth.argsort()).select(
        (depth.sort().values > settings.near) & (depth.sort().values <= settings.far)
    )
    if len(gaussians) == 0:
        return True
    in_camera = (gaussians.means - camera.centers) @ camera.rotation
    if _near(in_camera[1:, 2], in_camera[:-1, 2], 1e-6):
        return False
    # clamps of the slope and of the colours
    size, focal = camera.image_sizes.flip(-1), camera.intrinsics.diagonal()[:2]
    slope, middle = in_camera[:, :2] / in_camera[:, 2:], camera.intrinsics[:2, 2]
    margin = LINEARISATION_MARGIN * size / (2 * focal)
    if any(_near(slope, edge, 1e-6) for edge in (-middle / focal - margin, (size - middle) / focal + margin)):
        return False
    directions = torch.nn.functional.normalize(gaussians.means - camera.centers, dim=-1)
    basis = harmonic_basis(directions, gaussians.degree)
    raw = (basis[..., None] * gaussians.spherical_harmonics).sum(-2) + 0.5
    if harmonic and (raw.abs() < 1e-6).any():
        return False
    means, covariances, opacities = reference.project(gaussians, camera, settings)
    if settings.extent == "tiles" and not _has_decided_boxes(means, covariances):
        return False
    pixels = reference.pixel_centers(camera.height, camera.width, dtype=torch.float64).flatten(0, 1)
    alpha = opacities * torch.exp(-reference.falloff(means, torch.linalg.inv(covariances), pixels))
    if _near(alpha, MIN_ALPHA, 3e-5) or _near(alpha, settings.max_alpha, 3e-5):
        return False
    alpha = torch.where(alpha < MIN_ALPHA, 0, alpha.clamp(max=settings.max_alpha))
    return not _near(torch.cumprod(1 - alpha, dim=1), MIN_TRANSMITTANCE, 1e-3)


def _has_decided_boxes(means: Tensor, covariances: Tensor) -> bool:
    """Whether no border of a box lies on a border between tiles; the rounded radius is whole, and so is the border."""
    middle = 0.5 * (covariances[:, 0, 0] + covariances[:, 1, 1])
    spread = (middle.square() - torch.linalg.det(covariances)).clamp(min=0.1).sqrt()
    radius = 3 * (middle + spread).sqrt()
    if _near(radius, radius.round(), 1e-6):
        return False
    corners = torch.cat([means - 0.5 - radius.ceil()[:, None], means - 0.5 + radius.ceil()[:, None]])
    return not (corners - corners.round()).abs().lt(1e-5).any()


def _near(values: Tensor, edge: Tensor | float, share: float) -> bool:
    edge = torch.as_tensor(edge, dtype=torch.float64)
    return bool(((values - edge).abs() <= share * edge.abs().clamp(min=1e-3)).any())


def facing_camera(height: int = 24, width: int = 32, distance: float = 2.0) -> Cameras:
    """One camera on the negative z axis that looks at the origin."""
    focal = 0.5 * max(height, width) / math.tan(math.radians(25))
    intrinsics = torch.tensor([[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]])
    pose = torch.eye(4)
    pose[2, 3] = -distance
    return Cameras.create(intrinsics[None], pose[None], height, width)
