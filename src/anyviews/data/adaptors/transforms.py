"""Frames of transforms.json, the form that nerfstudio, NeRF's Blender scenes and several datasets share."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ...formats.json_files import frame_text, json_frames
from ...formats.photos import Photo, load_photos
from ...formats.transforms_json import frame_photo, undo_applied
from ...views import Views
from .adaptor import READING_ERRORS, Frame
from .files import read_depth
from .maps import pinhole, with_depth


def transforms_frames(
    content: dict[str, Any],
    path: Path,
    report: Callable[[str, Exception], None],
    keep: Callable[[str], bool] = lambda name: True,
    load: Callable[[Photo, tuple[int, int] | None], Views] | None = None,
) -> list[Frame]:
    """The frames of a transforms.json.

    Args:
        content: the file's content.
        path: where the file is; the photos are named relative to its folder.
        report: called with the name of a frame that cannot be read (its photo is missing, ...) and the reason.
        keep: whether a frame of this name is wanted.
        load: how a photo is loaded, if not as nerfstudio does it.

    Raises:
        ValueError: if there are no frames.
    """
    undo = undo_applied(content, path)
    frames = []
    for index, values in enumerate(json_frames(content, path)):
        name = f"frame {index}"
        try:
            name = frame_text(values, "file_path", f"{path}: {name}")
            if not keep(name):
                continue
            photo = frame_photo(path, {**content, **values}, f"{path}: {name}", undo)
        except READING_ERRORS as error:
            report(name, error)
            continue
        frames.append(Frame(name, _loader(photo, load or load_with_depth)))
    return frames


def load_with_depth(photo: Photo, size: tuple[int, int] | None) -> Views:
    """A photo with its mask and its depth, which may have fewer pixels than the photo."""
    if photo.depth is None or (any(photo.distortion) and photo.depth.suffix == ".png"):
        return load_photos([photo], size)
    depth = read_depth(photo.depth, 1 / photo.depth_scale)
    if any(photo.distortion):
        raise ValueError(f"{photo.depth} belongs to a photo with distortion; only .png is undistorted with its photo")
    scale = torch.tensor([depth.shape[-1] / photo.size[1], depth.shape[-2] / photo.size[0], 1], dtype=torch.float64)
    views = load_photos([replace(photo, depth=None)], size)
    return with_depth(views, depth, pinhole(scale[:, None] * photo.intrinsics))


def _loader(
    photo: Photo, load: Callable[[Photo, tuple[int, int] | None], Views]
) -> Callable[[tuple[int, int] | None], Views]:
    return lambda size: load(photo, size)
