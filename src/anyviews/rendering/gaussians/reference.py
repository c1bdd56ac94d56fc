"""The judge of the other backends: every Gaussian at every pixel, in float64, by plain autograd."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from ...cameras import Cameras
from ...gaussians import Gaussians
from ...geometry.rays import pixel_centers
from ...geometry.spherical_harmonics import harmonic_basis
from .settings import LINEARISATION_MARGIN, MIN_ALPHA, MIN_TRANSMITTANCE, TILE, RasterSettings


# Pairs of a Gaussian and a pixel that are held at once.
PAIRS_PER_PASS = 1 << 22


@dataclass(frozen=True)
class Splats:
    """Gaussians as one camera sees them, front to back.

    Args:
        means: [N, 2] in pixels.
        covariances: [N, 2, 2] in pixels squared.
        opacities: [N].
        channels: [N, 5], what is blended: red, green, blue, 1 (which becomes alpha) and z-depth.
    """

    means: Float[Tensor, "gaussians 2"]
    covariances: Float[Tensor, "gaussians 2 2"]
    opacities: Float[Tensor, "gaussians"]
    channels: Float[Tensor, "gaussians 5"]


def rasterize(
    gaussians: Gaussians,
    cameras: Cameras,
    colors: Float[Tensor, "gaussians 3"] | None,
    settings: RasterSettings,
) -> Float[Tensor, "views 5 height width"]:
    """Red, green and blue in front of black, alpha and accumulated depth of V views of one set of Gaussians."""
    gaussians, cameras = gaussians.to(dtype=torch.float64), cameras.to(dtype=torch.float64)
    colors = None if colors is None else colors.double()
    return torch.stack([_view(splats(gaussians, camera, colors, settings), camera, settings) for camera in cameras])


def _view(seen: Splats, camera: Cameras, settings: RasterSettings) -> Float[Tensor, "5 height width"]:
    height, width = camera.height, camera.width
    pixels = pixel_centers(height, width, seen.means.device, torch.float64).flatten(0, 1)  # [P, 2]
    precision = invert(seen.covariances)

    def blended(part: Float[Tensor, "pixels 2"]) -> Float[Tensor, "pixels 5"]:
        distance = falloff(seen.means, precision, part)
        if settings.extent == "tiles":
            distance = torch.where(in_tiles(seen.means, seen.covariances, part), distance, torch.inf)
        return composite(distance, seen.opacities, seen.channels, settings)

    parts = [blended(part) for part in pixels.split(max(1, PAIRS_PER_PASS // max(1, len(precision))))]
    return torch.cat(parts).T.unflatten(-1, (height, width))


def splats(
    gaussians: Gaussians, camera: Cameras, colors: Float[Tensor, "gaussians 3"] | None, settings: RasterSettings
) -> Splats:
    """The Gaussians between near and far, projected and coloured, in the order of their depth."""
    depth = ((gaussians.means - camera.centers) @ camera.rotation)[:, 2]
    order = depth.argsort(stable=True)
    order = order[((depth > settings.near) & (depth <= settings.far))[order]]
    gaussians = gaussians.select(order)
    colors = seen_colors(gaussians, camera) if colors is None else colors[order]
    channels = torch.cat([colors, torch.ones_like(colors[:, :1]), depth[order, None]], dim=-1)
    return Splats(*project(gaussians, camera, settings), channels)


def seen_colors(gaussians: Gaussians, camera: Cameras) -> Float[Tensor, "gaussians 3"]:
    """Colours seen from one camera, not below 0."""
    directions = F.normalize(gaussians.means - camera.centers, dim=-1)
    basis = harmonic_basis(directions, gaussians.degree)
    return ((basis[..., None] * gaussians.spherical_harmonics).sum(-2) + 0.5).clamp(min=0)


def project(
    gaussians: Gaussians, camera: Cameras, settings: RasterSettings
) -> tuple[Float[Tensor, "gaussians 2"], Float[Tensor, "gaussians 2 2"], Float[Tensor, "gaussians"]]:
    """Means and covariances in pixels, and opacities, of Gaussians in one camera (Zwicker et al., EWA splatting)."""
    in_camera = (gaussians.means - camera.centers) @ camera.rotation
    z = in_camera[:, 2]
    (focal_x, skew, center_x), (_, focal_y, center_y), _ = camera.intrinsics.unbind(-2)
    slope = in_camera[:, :2] / z[:, None]
    means = torch.stack(
        [focal_x * slope[:, 0] + skew * slope[:, 1] + center_x, focal_y * slope[:, 1] + center_y], dim=-1
    )

    # far outside the image the linearised projection would blow up
    size = camera.image_sizes.flip(-1)
    focal, center = torch.stack([focal_x, focal_y]), torch.stack([center_x, center_y])
    margin = LINEARISATION_MARGIN * size / (2 * focal)
    slope = torch.minimum(torch.maximum(slope, -center / focal - margin), (size - center) / focal + margin)
    zero = torch.zeros_like(z)
    jacobian = torch.stack(
        [
            torch.stack([focal_x / z, skew / z, -(focal_x * slope[:, 0] + skew * slope[:, 1]) / z], dim=-1),
            torch.stack([zero, focal_y / z, -focal_y * slope[:, 1] / z], dim=-1),
        ],
        dim=-2,
    )
    to_image = jacobian @ camera.rotation.mT
    identity = torch.eye(2, dtype=z.dtype, device=z.device)
    sharp = to_image @ gaussians.covariances() @ to_image.mT
    covariances = sharp + settings.blur * identity
    # without blur, a flat Gaussian seen from its edge has no area: it covers no pixel
    solid = determinant(covariances) > 0
    covariances = torch.where(solid[:, None, None], covariances, identity)
    opacities = torch.where(solid, gaussians.opacities, 0)
    if settings.antialiased:
        ratio = determinant(sharp) / determinant(covariances)
        # the square root has no slope at 0, where a Gaussian is seen from its edge
        opacities = opacities * ratio.clamp(min=1e-12).sqrt()
    return means, covariances, opacities


def determinant(matrices: Float[Tensor, "gaussians 2 2"]) -> Float[Tensor, "gaussians"]:
    """Determinants, several times as fast as torch.linalg.det, most of all on a GPU."""
    return matrices[:, 0, 0] * matrices[:, 1, 1] - matrices[:, 0, 1] * matrices[:, 1, 0]


def invert(matrices: Float[Tensor, "gaussians 2 2"]) -> Float[Tensor, "gaussians 2 2"]:
    """Inverses by Cramer's rule."""
    (a, b), (c, d) = (row.unbind(-1) for row in matrices.unbind(-2))
    adjugate = torch.stack([torch.stack([d, -b], dim=-1), torch.stack([-c, a], dim=-1)], dim=-2)
    return adjugate / determinant(matrices)[:, None, None]


def falloff(
    means: Float[Tensor, "gaussians 2"], precision: Float[Tensor, "gaussians 2 2"], pixels: Float[Tensor, "pixels 2"]
) -> Float[Tensor, "pixels gaussians"]:
    """Half the squared Mahalanobis distance from each Gaussian to each pixel."""
    x, y = (pixels[:, None] - means).unbind(-1)
    return 0.5 * (precision[:, 0, 0] * x * x + precision[:, 1, 1] * y * y) + precision[:, 0, 1] * x * y


@torch.no_grad()
def in_tiles(
    means: Float[Tensor, "gaussians 2"], covariances: Float[Tensor, "gaussians 2 2"], pixels: Float[Tensor, "pixels 2"]
) -> Bool[Tensor, "pixels gaussians"]:
    """Whether a pixel's tile touches the square of three standard deviations around a Gaussian (Kerbl et al.)."""
    radius = three_deviations(covariances)[:, None]
    corner = means - 0.5  # the original counts pixels from the centre of the first one
    first = ((corner - radius) / TILE).trunc()
    last = ((corner + radius + TILE - 1) / TILE).trunc()
    tile = (pixels / TILE).floor()[:, None]
    return ((tile >= first) & (tile < last)).all(-1)


def three_deviations(covariances: Float[Tensor, "gaussians 2 2"]) -> Float[Tensor, "gaussians"]:
    """Three largest standard deviations in whole pixels, a little more for round Gaussians (Kerbl et al.)."""
    middle = 0.5 * (covariances[:, 0, 0] + covariances[:, 1, 1])
    spread = (middle.square() - determinant(covariances)).clamp(min=0.1).sqrt()
    return (3 * (middle + spread).sqrt()).ceil()


def composite(
    falloff: Float[Tensor, "pixels gaussians"],
    opacities: Float[Tensor, "gaussians"],
    channels: Float[Tensor, "gaussians channels"],
    settings: RasterSettings,
) -> Float[Tensor, "pixels channels"]:
    """Channels of Gaussians, ordered front to back, blended at pixels."""
    alpha = (opacities * torch.exp(-falloff)).clamp(max=settings.max_alpha)
    alpha = torch.where(alpha < MIN_ALPHA, 0, alpha)
    behind = torch.cumprod(1 - alpha, dim=1)
    finished = behind <= MIN_TRANSMITTANCE
    before = torch.cat([torch.ones_like(behind[:, :1]), behind[:, :-1]], dim=1)
    return torch.where(finished, 0, before * alpha) @ channels
