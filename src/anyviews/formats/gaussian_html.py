"""3D Gaussians as one HTML page that opens offline: the Gaussians and our own WebGL2 viewer in a single file.

A Gaussian takes 32 bytes plus 3 per harmonic above degree 0, in base64, in the layout that the viewer's shader reads.
"""

import base64
import json
import re
import warnings
from dataclasses import replace
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ..cameras import Cameras
from ..gaussians import Gaussians
from ..geometry.paths import up_direction
from .files import new_file


# The renderers do not draw Gaussians that are fainter everywhere.
MIN_OPACITY = 1 / 255

# Parts of the viewer, in the order in which they need each other.
SCRIPTS = ("shaders", "sorter", "renderer", "viewer", "controls")

# One Gaussian: log_scale and opacity in 1/65535 of their range, rotation as modified Rodrigues parameters in 1/32767.
RECORD = np.dtype(
    [("mean", "<f4", 3), ("log_scale", "<u2", 3), ("opacity", "<u2"), ("rotation", "<i2", 3), ("color", "<f2", 3)]
)

# Share of the Gaussians that the first view frames where no cameras are given; the rest is often far away.
FRAMED = 0.95


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
    if max_gaussians < 1:
        raise ValueError(f"max_gaussians is {max_gaussians}; accepted is 1 or more")
    gaussians = gaussians.detach().to("cpu").validate().prune(MIN_OPACITY)
    cameras = _checked(cameras)
    given = len(gaussians)
    if given > max_gaussians:
        gaussians = _most_visible(gaussians, max_gaussians)
        warnings.warn(
            f"{path} shows the {max_gaussians:,} most visible of {given:,} Gaussians; give max_gaussians={given} to "
            "keep all (large pages are slow to open)",
            stacklevel=2,
        )
    # numbers near 0 keep their precision in 32 bits, wherever the scene lies in its world
    means = gaussians.means.double()
    center = means.median(0).values
    gaussians = replace(gaussians, means=means - center).to(dtype=torch.float32).validate()
    records, log_scales = _records(gaussians)
    harmonics, limits = _harmonics(gaussians)
    scene = {
        "given": given,
        "degree": gaussians.degree,
        "logScales": log_scales,
        "harmonicLimits": limits,
        "radius": _radius(gaussians),
        "up": _up(cameras),
        "cameras": [] if cameras is None else [_lens_and_pose(camera, center) for camera in cameras],
    }
    page = _page(
        title=escape(title),
        # the text of a script element ends at the first "</"
        scene=json.dumps(scene).replace("<", "\\u003c"),
        records=base64.b64encode(records.tobytes()).decode(),
        coefficients=base64.b64encode(harmonics.tobytes()).decode(),
    )
    with new_file(path, overwrite) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _checked(cameras: Cameras | None) -> Cameras | None:
    """The cameras in double precision on the CPU, or None where there is none."""
    if cameras is None:
        return None
    if len(cameras.batch_shape) != 1:
        raise ValueError(f"cameras have batch shape {cameras.batch_shape}; accepted is [V], as cameras.reshape(-1)")
    if len(cameras) == 0:
        return None
    cameras = cameras.to("cpu", torch.float64).validate()
    return Cameras(cameras.intrinsics.detach(), cameras.camera_to_world.detach(), cameras.image_sizes)


def _most_visible(gaussians: Gaussians, count: int) -> Gaussians:
    """So many Gaussians of the largest opacity times surface of the ellipsoid's box, in their order."""
    x, y, z = gaussians.scales.double().unbind(-1)
    importance = gaussians.opacities * (x * y + y * z + z * x)
    return gaussians.select(importance.topk(count).indices.sort().values)


def _records(gaussians: Gaussians) -> tuple[np.ndarray, list[float]]:
    """The Gaussians as RECORDs, and the lowest and the highest logarithm of a scale."""
    logarithms = gaussians.log_scales.double()
    low, high = float(logarithms.min()), float(logarithms.max())
    # a quaternion and its negative are the same rotation: with w >= 0 the parameters stay within [-1, 1]
    quaternions = F.normalize(gaussians.rotations.double(), dim=-1)
    quaternions = torch.where(quaternions[:, :1] < 0, -quaternions, quaternions)
    records = np.empty(len(gaussians), RECORD)
    records["mean"] = gaussians.means.numpy()
    records["log_scale"] = ((logarithms - low) / max(high - low, 1e-9) * 65535).round().numpy()
    records["opacity"] = (gaussians.opacities.double() * 65535).round().numpy()
    records["rotation"] = (quaternions[:, 1:] / (1 + quaternions[:, :1]) * 32767).round().numpy()
    records["color"] = gaussians.colors.clamp(-65504, 65504).numpy()
    return records, [low, max(high, low + 1e-9)]


def _harmonics(gaussians: Gaussians) -> tuple[np.ndarray, list[float]]:
    """Harmonics above degree 0 as bytes [N, K - 1, 3], and the largest magnitude of each degree.

    The bytes are finer near 0, where most harmonics of a photographed scene are: v = limit * s * abs(s) with
    s = (byte - 128) / 127.
    """
    packed = torch.empty(len(gaussians), gaussians.spherical_harmonics.shape[1] - 1, 3, dtype=torch.uint8)
    limits = []
    for degree in range(1, gaussians.degree + 1):
        band = gaussians.spherical_harmonics[:, degree**2 : (degree + 1) ** 2]
        limit = max(float(band.abs().max()), 1e-9)
        magnitude = (band.abs() / limit).sqrt()
        packed[:, degree**2 - 1 : (degree + 1) ** 2 - 1] = (magnitude * band.sign() * 127 + 128).round()
        limits.append(limit)
    return packed.numpy(), limits


def _radius(gaussians: Gaussians) -> float:
    """How far the scene reaches from the origin, a few faraway Gaussians left out."""
    reach = gaussians.means.norm(dim=-1) + gaussians.scales.amax(-1)
    radius = float(np.quantile(reach.numpy(), FRAMED))
    return radius if radius > 0 else 1.0


def _up(cameras: Cameras | None) -> list[float] | None:
    """The world direction that points up according to the cameras."""
    if cameras is None:
        return None
    try:
        return up_direction(cameras).tolist()
    except ValueError:
        # cameras that agree on no up: what is up for the one that the page starts with
        return (-cameras.rotation[0, :, 1]).tolist()


def _lens_and_pose(camera: Cameras, center: Float[Tensor, "3"]) -> dict[str, Any]:
    """A camera for the page, whose world has its origin at `center`."""
    (focal_x, skew, center_x), (_, focal_y, center_y), _ = camera.intrinsics.tolist()
    return {
        "size": [camera.width, camera.height],
        "focal": [focal_x, focal_y],
        "skew": skew,
        "principal": [center_x, center_y],
        "rotation": camera.rotation.flatten().tolist(),
        "center": (camera.centers - center).tolist(),
    }


def _page(**parts: str) -> str:
    """The page with its scripts, and `{{name}}` replaced by the parts of that name."""
    folder = files(__package__) / "viewer"
    parts["scripts"] = "\n".join((folder / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS)
    template = (folder / "page.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], template)
