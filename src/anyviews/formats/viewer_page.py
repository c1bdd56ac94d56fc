"""The page of our own WebGL2 viewer: one HTML file that opens offline, with everything that it shows inside.

What it shows is a description in JSON and named blocks of bytes in base64: the numbers of each part in the layout that
the viewer's shaders read, and pictures.
"""

import base64
import io
import json
import re
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from ..cameras import Cameras
from ..geometry.paths import up_direction
from .files import new_file
from .image_folder import to_uint8


# Parts of the viewer, in the order in which they need each other.
SCRIPTS = (
    "graphics", "shaders", "sorter", "gaussians", "points", "mesh", "frusta", "viewer", "controls",
)  # fmt: skip

# Share of the scene that the first view frames where no cameras are given; the rest is often far away.
FRAMED = 0.95


class Blocks:
    """Blocks of bytes of one page; each is referred to by the name that `add` returns."""

    def __init__(self):
        self._elements: list[str] = []

    def add(self, content: bytes | np.ndarray) -> str:
        """Keep bytes, or the little-endian numbers of an array."""
        name = f"block{len(self._elements)}"
        text = base64.b64encode(content if isinstance(content, bytes) else content.tobytes()).decode()
        self._elements.append(f'<script id="{name}" type="application/octet-stream">{text}</script>')
        return name

    def add_picture(self, image: Float[Tensor, "3 height width"], kind: str = "PNG") -> str:
        """Keep a picture in [0, 1], as "PNG" without loss or as "JPEG"."""
        pixels = to_uint8(image.detach().movedim(0, -1).cpu())
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, kind, **({"quality": 90} if kind == "JPEG" else {}))
        return self.add(buffer.getvalue())

    def html(self) -> str:
        return "\n".join(self._elements)


def viewer_page(title: str, description: dict[str, Any], blocks: Blocks) -> str:
    """The HTML of a page that shows a scene.

    Args:
        title: of the page.
        description: "steps" (for each the parts by kind: see `viewer_parts`), "stepNames", "cameras" (see
            `described_cameras`), "up", "radius", "frusta" (or None), "notices" (sentences for people), "lit" (whether
            meshes are, at first) and "confident" (whether points are in the order of their confidence).
        blocks: what the description refers to.
    """
    return _page(
        title=escape(title),
        # the text of a script element ends at the first "</"
        scene=json.dumps(description).replace("<", "\\u003c"),
        blocks=blocks.html(),
    )


def write_page(page: str, path: Path | str, overwrite: bool = False) -> None:
    """Write the HTML of a page.

    Raises:
        ValueError: if the file exists and may not be replaced.
    """
    with new_file(path, overwrite) as temporary:
        temporary.write_text(page, encoding="utf-8")


def checked_cameras(cameras: Cameras | None) -> Cameras | None:
    """The cameras in double precision on the CPU, or None where there is none.

    Raises:
        ValueError: if they hold unusable values.
    """
    if cameras is None:
        return None
    if len(cameras.batch_shape) != 1:
        raise ValueError(f"cameras have batch shape {cameras.batch_shape}; accepted is [V], as cameras.reshape(-1)")
    if len(cameras) == 0:
        return None
    cameras = cameras.to("cpu", torch.float64).validate()
    return Cameras(cameras.intrinsics.detach(), cameras.camera_to_world.detach(), cameras.image_sizes)


def described_cameras(
    cameras: Cameras | None, center: Float[Tensor, "3"], names: tuple[str, ...] | None = None
) -> dict[str, Any]:
    """ "cameras" and "up" of a description.

    Args:
        cameras: checked, or None.
        center: what the page's world has its origin at.
        names: of the cameras, or None for numbers.
    """
    if cameras is None:
        return {"cameras": [], "up": None}
    names = names or tuple(f"camera {i}" for i in range(len(cameras)))
    described = [{"name": name, **_lens_and_pose(camera, center)} for name, camera in zip(names, cameras, strict=True)]
    return {"cameras": described, "up": _up(cameras)}


def _lens_and_pose(camera: Cameras, center: Float[Tensor, "3"]) -> dict[str, Any]:
    """A camera for the page."""
    (focal_x, skew, center_x), (_, focal_y, center_y), _ = camera.intrinsics.tolist()
    return {
        "size": [camera.width, camera.height],
        "focal": [focal_x, focal_y],
        "skew": skew,
        "principal": [center_x, center_y],
        "rotation": camera.rotation.flatten().tolist(),
        "center": (camera.centers - center).tolist(),
    }


def _up(cameras: Cameras) -> list[float]:
    """The world direction that points up according to the cameras."""
    try:
        return up_direction(cameras).tolist()
    except ValueError:
        # cameras that agree on no up: what is up for the one that the page starts with
        return (-cameras.rotation[0, :, 1]).tolist()


def framing_radius(reach: Float[Tensor, "things"]) -> float:
    """How far a scene reaches from its centre, a few faraway things left out."""
    radius = float(np.quantile(reach.numpy(), FRAMED))
    return radius if radius > 0 else 1.0


def _page(**parts: str) -> str:
    """The page with its scripts, and `{{name}}` replaced by the parts of that name."""
    folder = files(__package__) / "viewer"
    parts["scripts"] = "\n".join((folder / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS)
    template = (folder / "page.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], template)
