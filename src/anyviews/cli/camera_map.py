"""Cameras seen from above, as a small SVG drawing."""

import math
from xml.sax.saxutils import quoteattr

import torch
from jaxtyping import Float
from torch import Tensor

from ..cameras import Cameras
from ..geometry.paths import up_direction


WIDTH, HEIGHT, MARGIN = 640, 480, 48
# Length of a drawn frustum, as a fraction of the extent of all camera centres.
FRUSTUM_LENGTH = 0.09


def camera_map(context: Cameras, targets: Cameras) -> str:
    """Draw cameras from above.

    Args:
        context: cameras of batch shape [V], drawn as filled frusta.
        targets: cameras of batch shape [T], drawn as outlined frusta, joined in their order.
    """
    right, ahead = _ground_plane(context)
    centers = torch.cat([context.centers, targets.centers])
    flat = torch.stack([centers @ right, centers @ ahead], dim=-1)
    extent = float((flat.amax(0) - flat.amin(0)).max())
    length = FRUSTUM_LENGTH * extent if extent > 0 else 1.0
    outlines = {name: _outlines(cameras, length, right, ahead) for name, cameras in
                (("context", context), ("target", targets))}  # fmt: skip
    points = torch.cat([outline.flatten(0, 1) for outline in outlines.values()])
    low, high = points.amin(0), points.amax(0)
    size = torch.tensor([WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN], dtype=points.dtype)
    zoom = float((size / (high - low).clamp(min=1e-9)).min())
    middle = (low + high) / 2

    def to_page(values: Tensor) -> list[list[float]]:
        shift = (values - middle) * zoom * torch.tensor([1.0, -1.0], dtype=values.dtype)
        return (shift + torch.tensor([WIDTH / 2, HEIGHT / 2], dtype=values.dtype)).tolist()

    drawn = []
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in to_page(outlines["target"][:, 0]))
    drawn.append(f'<polyline points={quoteattr(path)} fill="none" stroke="var(--target)" stroke-opacity=".45"/>')
    for name, opacity in (("context", 0.3), ("target", 0.0)):
        for outline in outlines[name]:
            corners = " ".join(f"{x:.1f},{y:.1f}" for x, y in to_page(outline))
            drawn.append(
                f'<polygon points="{corners}" fill="var(--{name})" fill-opacity="{opacity}" stroke="var(--{name})" '
                'stroke-width="1.5" stroke-linejoin="round"/>'
            )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="cameras from above">{"".join(drawn)}{_scale_bar(zoom)}{_axes(right, ahead)}</svg>'
    )


def _ground_plane(cameras: Cameras) -> tuple[Float[Tensor, "3"], Float[Tensor, "3"]]:
    """World directions that point right and up on the page; on average the cameras look up the page."""
    try:
        up = up_direction(cameras)
    except ValueError:
        # cameras that agree on no up, as straight down from a drone: look along the direction in which they vary least
        offsets = cameras.centers - cameras.centers.mean(0)
        up = torch.linalg.eigh(offsets.mT @ offsets)[1][:, 0]
    axis = cameras.rotation[..., 2].mean(0)
    ahead = axis - (axis @ up) * up
    if ahead.norm() < 0.1:
        # no common heading: the world axis that is flattest
        world = torch.eye(3).to(up)[up.abs().argmin()]
        ahead = world - (world @ up) * up
    ahead = ahead / ahead.norm()
    return torch.linalg.cross(ahead, up), ahead


def _outlines(
    cameras: Cameras, length: float, right: Float[Tensor, "3"], ahead: Float[Tensor, "3"]
) -> Float[Tensor, "cameras 3 2"]:
    """Triangles of the cameras on the page: the centre, and the left and right end of the image's middle row."""
    sizes = cameras.image_sizes.to(cameras.dtype)
    middle = sizes[:, 0] / 2
    pixels = torch.stack(
        [torch.stack([torch.zeros_like(middle), middle], -1), torch.stack([sizes[:, 1], middle], -1)], dim=1
    )
    ends = cameras.unproject(pixels, torch.full_like(pixels[..., 0], length))
    corners = torch.cat([cameras.centers[:, None], ends], dim=1)  # [V, 3, 3]
    return torch.stack([corners @ right, corners @ ahead], dim=-1)


def _scale_bar(zoom: float) -> str:
    """A bar of a round length in world units."""
    longest = WIDTH / 4 / zoom
    power = 10.0 ** math.floor(math.log10(longest))
    length = max(step * power for step in (1, 2, 5) if step * power <= longest)
    end, y = MARGIN / 2 + length * zoom, HEIGHT - MARGIN / 2
    return (
        f'<path d="M{MARGIN / 2} {y - 4}v8M{MARGIN / 2} {y}H{end:.1f}M{end:.1f} {y - 4}v8" stroke="var(--ink)" '
        f'fill="none"/><text x="{end + 8:.1f}" y="{y + 4}" font-size="13" fill="var(--ink)">{length:g}</text>'
    )


def _axes(right: Float[Tensor, "3"], ahead: Float[Tensor, "3"]) -> str:
    """The world's axes as arrows in the upper right corner; one that points at the viewer is a dot."""
    x0, y0, size = WIDTH - MARGIN, MARGIN, 28
    drawn = []
    for name, horizontal, vertical in zip("xyz", right.tolist(), ahead.tolist(), strict=True):
        x, y = x0 + horizontal * size, y0 - vertical * size
        drawn.append(f'<path d="M{x0} {y0}L{x:.1f} {y:.1f}" stroke="var(--quiet)"/>')
        if math.hypot(horizontal, vertical) > 0.3:
            drawn.append(
                f'<text x="{x0 + horizontal * (size + 10):.1f}" y="{y0 - vertical * (size + 10) + 4:.1f}" '
                f'font-size="12" text-anchor="middle" fill="var(--quiet)">{name}</text>'
            )
    return "".join(drawn)
