"""3D Gaussians as one HTML page that opens offline: the Gaussians and our own WebGL2 viewer in a single file."""

import warnings
from dataclasses import replace
from pathlib import Path

import torch

from ..cameras import Cameras
from ..gaussians import Gaussians
from .viewer_page import Blocks, checked_cameras, described_cameras, framing_radius, viewer_page, write_page
from .viewer_parts import gaussian_part


# The renderers do not draw Gaussians that are fainter everywhere.
MIN_OPACITY = 1 / 255


def write_gaussian_html(
    gaussians: Gaussians,
    path: Path | str,
    cameras: Cameras | None = None,
    title: str = "3D Gaussians",
    overwrite: bool = False,
    max_gaussians: int = 1_000_000,
) -> None:
    """Write a page that shows 3D Gaussians in any browser with WebGL2, from disk and without a network.

    The page starts at the first camera and turns about the cameras' common up direction. Without cameras it starts in
    front of the Gaussians with +y up, as of glTF and LGM; a button takes -y (COLMAP), +z or -z instead. From a camera
    the page shows what `rendering.render_gaussians` renders, within about 8 bits, except that pixels do not end where
    they are nearly covered. The address can end in settings, as in `page.html#camera=0&ui=0`: `camera` (an index),
    `background` (black, gray or white), `size` (a factor of all scales), `harmonics` (0 shows mean colours), `up`
    (+y, -y, +z or -z, where no cameras are given) and `ui` (0 hides all controls).

    Args:
        gaussians: one set, without batch dimensions, on any device.
        path: the HTML file.
        cameras: of batch shape [V], of any image sizes, in the Gaussians' world; the page can jump to each.
        title: of the page.
        overwrite: whether an existing file may be replaced.
        max_gaussians: of larger sets those of the largest opacity times surface are kept, with a warning and a note
            on the page. Gaussians that are nowhere visible (opacity below 1/255) are always left out.

    Raises:
        ValueError: if the Gaussians or cameras hold unusable values, none is visible, or the file exists.
    """
    gaussians, notice = shown_gaussians(gaussians, max_gaussians, str(path))
    cameras = checked_cameras(cameras)
    # numbers near 0 keep their precision in 32 bits, wherever the scene lies in its world
    center = gaussians.means.double().median(0).values
    gaussians = centered(gaussians, center)
    blocks = Blocks()
    description = {
        "steps": [{"gaussians": gaussian_part(gaussians, blocks)}],
        "stepNames": [""],
        "radius": framing_radius(gaussians.means.norm(dim=-1) + gaussians.scales.amax(-1)),
        **described_cameras(cameras, center),
        "frusta": None,
        "notices": notice,
        "lit": False,
        "confident": False,
    }
    write_page(viewer_page(title, description, blocks), path, overwrite)


def shown_gaussians(gaussians: Gaussians, max_gaussians: int, name: str) -> tuple[Gaussians, list[str]]:
    """The Gaussians that a page shows, on the CPU, and a notice where some are left out.

    Args:
        gaussians: one set.
        max_gaussians: of larger sets those of the largest opacity times surface are kept, with a warning.
        name: of what shows them, for the warning.

    Raises:
        ValueError: if they hold unusable values, or none is visible.
    """
    if max_gaussians < 1:
        raise ValueError(f"max_gaussians is {max_gaussians}; accepted is 1 or more")
    gaussians = gaussians.detach().to("cpu").validate().prune(MIN_OPACITY)
    given = len(gaussians)
    if given <= max_gaussians:
        return gaussians, []
    warnings.warn(
        f"{name} shows the {max_gaussians:,} most visible of {given:,} Gaussians; give max_gaussians={given} "
        "(--max-gaussians) to keep all (large pages are slow to open)",
        stacklevel=3,
    )
    notice = f"These are the {max_gaussians:,} most visible of {given:,} Gaussians."
    return _most_visible(gaussians, max_gaussians), [notice]


def centered(gaussians: Gaussians, center: torch.Tensor) -> Gaussians:
    """The Gaussians about a point, in 32-bit numbers."""
    moved = replace(gaussians, means=gaussians.means.double() - center)
    return moved.to(dtype=torch.float32).validate()


def _most_visible(gaussians: Gaussians, count: int) -> Gaussians:
    """So many Gaussians of the largest opacity times surface of the ellipsoid's box, in their order."""
    x, y, z = gaussians.scales.double().unbind(-1)
    importance = gaussians.opacities * (x * y + y * z + z * x)
    return gaussians.select(importance.topk(count).indices.sort().values)
