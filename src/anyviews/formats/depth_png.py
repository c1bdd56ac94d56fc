"""Depth maps as 16-bit PNG: stored value = z-depth * depth_scale, 0 = unknown, the scale in a JSON beside them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from ..scene import Scene
from .files import new_folder
from .image_folder import png_names
from .json_files import frame_number, frame_text, json_frames, read_json, write_json
from .photos import read_pixels


LARGEST_VALUE = 65535


def choose_depth_scale(depths: Float[Tensor, "views 1 height width"]) -> float:
    """The largest depth_scale with which all depths fit into 16 bits (1 where no depth is known)."""
    largest = float(depths.max())
    return LARGEST_VALUE / largest if largest > 0 else 1.0


def write_depth_png(depth: Float[Tensor, "1 height width"], path: Path, depth_scale: float) -> None:
    """Write one z-depth map [1, H, W] as 16-bit PNG.

    Raises:
        ValueError: if a depth is negative, not finite, or does not fit at this scale.
    """
    if not depth.isfinite().all() or depth.min() < 0:
        raise ValueError(f"{path.name}: depth must be finite and not negative (0 where unknown)")
    values = depth[0].double() * depth_scale
    if values.max() > LARGEST_VALUE + 0.5:
        raise ValueError(
            f"{path.name}: depth {float(depth.max()):g} times depth_scale {depth_scale:g} exceeds 16 bits"
        )
    # a known depth must not round to 0, which says unknown
    values = torch.where(depth[0] > 0, values.round().clamp(1, LARGEST_VALUE), 0.0)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values.cpu().numpy().astype(np.uint16)).save(path)


def read_depth_png(path: Path | str, depth_scale: float) -> Float[Tensor, "1 height width"]:
    """Read one 16-bit PNG as z-depth [1, H, W] in world units, 0 where unknown."""
    values = read_pixels(Path(path))
    if values.ndim != 2:
        raise ValueError(f"{path} has colour; a 16-bit PNG with one channel is accepted")
    return torch.from_numpy(values.astype(np.float32) / depth_scale)[None].float()


def write_depth_folder(scene: Scene, folder: Path | str, overwrite: bool = False) -> None:
    """Write the depth maps of a scene as 16-bit PNG files and `depth.json` with `depth_scale`.

    Args:
        scene: with depths.
        folder: where to; it appears when all maps are written.
        overwrite: whether an existing folder with content may be replaced.

    Raises:
        ValueError: if the scene has no depth, or a depth is negative or not finite.
    """
    if scene.depths is None:
        raise ValueError("the scene has no depth; nothing to write")
    depth_scale = choose_depth_scale(scene.depths)
    files = png_names(scene.names)
    with new_folder(folder, overwrite) as temporary:
        for depth, file in zip(scene.depths, files, strict=True):
            write_depth_png(depth, temporary / file, depth_scale)
        frames = [{"name": name, "depth": file} for name, file in zip(scene.names, files, strict=True)]
        kind = "z-depth in world units = value / depth_scale; 0 = unknown"
        content = {"depth_scale": depth_scale, "depth_kind": kind, "scale": scene.scale, "frames": frames}
        write_json(content, temporary / "depth.json")


def read_depth_folder(folder: Path | str) -> tuple[Float[Tensor, "views 1 height width"], Sequence[str]]:
    """Read what `write_depth_folder` wrote: depths [V, 1, H, W] in world units, and their names."""
    path = Path(folder) / "depth.json"
    content = read_json(path)
    frames, scale = json_frames(content, path), frame_number(content, "depth_scale", str(path), positive=True)
    depths = [read_depth_png(Path(folder) / frame_text(frame, "depth", str(path)), scale) for frame in frames]
    return torch.stack(depths), tuple(frame_text(frame, "name", str(path)) for frame in frames)
