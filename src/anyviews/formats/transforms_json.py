"""transforms.json of nerfstudio and instant-ngp.

Format: https://docs.nerf.studio/quickstart/data_conventions.html. Poses are camera-to-world with OpenGL camera axes.

`applied_transform` (3x4) and `applied_scale` say how the tool that wrote the file moved the world that the cameras
came from (usually a COLMAP model): file = applied_scale * applied_transform(original). They are undone on reading, so
the cameras agree with the original world, as do the depth maps, which the format keeps in its unit.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..cameras import Cameras, invert_rigid, rigid
from ..views import Views
from .colmap import require_pinhole
from .depth_png import LARGEST_VALUE, choose_depth_scale, write_depth_png
from .files import new_folder
from .image_folder import png_names, write_png
from .json_files import frame_matrix, frame_number, frame_text, json_frames, read_json, write_json
from .photos import PHOTO_SUFFIXES, Photo, load_photos, read_size, warn_about_unposed


FILE_NAME = "transforms.json"

# The camera models that k1, k2, p1 and p2 describe; instant-ngp names none.
ACCEPTED_MODELS = ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL")

# nerfstudio's default: depth is stored in thousandths of the unit. The key is ours; nerfstudio takes another value as
# the option --depth-unit-scale-factor.
DEPTH_UNIT = 1e-3
DEPTH_UNIT_KEY = "depth_unit_scale_factor"


def read_transforms_json(
    path: Path | str, size: tuple[int, int] | None = None, select: Sequence[int] | None = None
) -> Views:
    """Read a folder with `transforms.json`; radial-tangential distortion is undone.

    Args:
        path: the folder, or a JSON file in it (for example transforms_train.json).
        size: (height, width) to fit every photo to; needed when their sizes differ.
        select: indices of the frames to load; None loads all.

    Raises:
        FileNotFoundError: if the JSON or a file it names is missing.
        ValueError: if a key is missing, a value cannot be used or the camera model is not a perspective one; the
            message names the frame.
    """
    path = Path(path)
    path = path / FILE_NAME if path.is_dir() else path
    content = read_json(path)
    undo = undo_applied(content, path)
    photos = []
    for index, frame in enumerate(json_frames(content, path)):
        name = frame_text(frame, "file_path", f"{path}: frame {index}")
        # what a frame says itself goes before what the file says for all
        photos.append(frame_photo(path, {**content, **frame}, f"{path}: frame {index} ({name})", undo))
    views = load_photos(photos, size, select)
    warn_about_unposed(photos)
    return views


def write_transforms_json(views: Views, folder: Path | str, overwrite: bool = False) -> None:
    """Write views with cameras as `transforms.json`, `images/`, and `masks/` and `depth/` where known.

    Args:
        views: with cameras; photos are written as PNG under their names.
        folder: where to; it appears when all is written.
        overwrite: whether an existing folder with content may be replaced.

    Raises:
        ValueError: if the views have no cameras or a camera has skew.
    """
    cameras = require_pinhole(views)
    poses = cameras.to_opengl().tolist()
    content: dict[str, Any] = {"camera_model": "OPENCV", "w": views.width, "h": views.height}
    depth_scale = 0.0
    if views.depths is not None:
        depth_scale = choose_depth_scale(views.depths)
        largest = LARGEST_VALUE / depth_scale
        # nerfstudio's own unit wherever it keeps most of the 16 bits
        if 0.1 * LARGEST_VALUE * DEPTH_UNIT <= largest <= LARGEST_VALUE * DEPTH_UNIT:
            depth_scale = 1 / DEPTH_UNIT
        content[DEPTH_UNIT_KEY] = 1 / depth_scale
    content["frames"] = []
    with new_folder(folder, overwrite) as temporary:
        for index, name in enumerate(png_names(views.names)):
            intrinsics = cameras.intrinsics[index]
            frame = {
                "file_path": f"images/{name}",
                "fl_x": intrinsics[0, 0].item(),
                "fl_y": intrinsics[1, 1].item(),
                "cx": intrinsics[0, 2].item(),
                "cy": intrinsics[1, 2].item(),
                "transform_matrix": poses[index],
            }
            write_png(views.images[index], temporary / frame["file_path"])
            if views.masks is not None:
                frame["mask_path"] = f"masks/{name}"
                write_png(views.masks[index], temporary / frame["mask_path"])
            if views.depths is not None:
                frame["depth_file_path"] = f"depth/{name}"
                write_depth_png(views.depths[index], temporary / frame["depth_file_path"], depth_scale)
            content["frames"].append(frame)
        write_json(content, temporary / FILE_NAME)


def undo_applied(content: dict[str, Any], path: Path) -> tuple[Tensor, float]:
    """The inverse of applied_transform [4, 4], and applied_scale."""
    scale = frame_number({"applied_scale": 1.0, **content}, "applied_scale", str(path), positive=True)
    if "applied_transform" not in content:
        return torch.eye(4, dtype=torch.float64), scale
    applied = frame_matrix(content, "applied_transform", str(path), 3, 4)
    moved = Cameras.create(torch.eye(3, dtype=torch.float64), rigid(applied[:, :3], applied[:, 3]), 1, 1)
    moved.validate(f"{path}: applied_transform")
    return invert_rigid(moved.camera_to_world), scale


def frame_photo(path: Path, values: dict[str, Any], label: str, undo: tuple[Tensor, float]) -> Photo:
    _check_model(values, label)
    name = values["file_path"]
    file = _find_file(path.parent, name, label)
    if "w" in values and "h" in values:
        height, width = (int(frame_number(values, key, label, positive=True)) for key in ("h", "w"))
    else:
        height, width = read_size(file)
    camera_to_file_world = frame_matrix(values, "transform_matrix", label, 4, 4)
    camera_to_file_world[:3, 3] /= undo[1]
    intrinsics = _intrinsics(values, label, height, width)
    camera = Cameras.from_opengl(intrinsics, undo[0] @ camera_to_file_world, torch.tensor([height, width]))
    return Photo(
        file,
        file.relative_to(path.parent).as_posix() if file.is_relative_to(path.parent) else name,
        camera.intrinsics,
        camera.camera_to_world,
        (height, width),
        tuple(frame_number({key: 0.0, **values}, key, label) for key in ("k1", "k2", "p1", "p2")),
        mask=path.parent / frame_text(values, "mask_path", label) if "mask_path" in values else None,
        depth=path.parent / frame_text(values, "depth_file_path", label) if "depth_file_path" in values else None,
        depth_scale=1 / frame_number({DEPTH_UNIT_KEY: DEPTH_UNIT, **values}, DEPTH_UNIT_KEY, label, positive=True),
    )


def _check_model(values: dict[str, Any], label: str) -> None:
    model = values.get("camera_model", "OPENCV")
    if values.get("is_fisheye"):
        model = "OPENCV_FISHEYE (is_fisheye)"
    higher = {key: values[key] for key in ("k3", "k4") if values.get(key)}
    if model not in ACCEPTED_MODELS or higher:
        found = f"camera_model {model}" if model not in ACCEPTED_MODELS else f"distortion {higher}"
        raise ValueError(
            f"{label} has {found}; accepted are the models {', '.join(ACCEPTED_MODELS)} with k1, k2, p1, p2. "
            "Undistort the photos first, for example with `colmap image_undistorter`"
        )


def _intrinsics(values: dict[str, Any], label: str, height: int, width: int) -> Tensor:
    def focal(length: str, angle: str, size: int) -> float | None:
        if length in values:
            return frame_number(values, length, label)
        if angle in values:
            return 0.5 * size / math.tan(0.5 * frame_number(values, angle, label, positive=True))
        return None

    fx, fy = focal("fl_x", "camera_angle_x", width), focal("fl_y", "camera_angle_y", height)
    if fx is None and fy is None:
        raise ValueError(f"{label} has no focal length; accepted are fl_x (and fl_y) or camera_angle_x")
    fx, fy = fy if fx is None else fx, fx if fy is None else fy
    cx = frame_number({"cx": width / 2, **values}, "cx", label)
    cy = frame_number({"cy": height / 2, **values}, "cy", label)
    return torch.tensor([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype=torch.float64)


def _find_file(folder: Path, name: str, label: str) -> Path:
    candidates = [folder / f"{name}{suffix}" for suffix in ("", *PHOTO_SUFFIXES)]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise FileNotFoundError(
        f"{label}: no such file {candidates[0]}, also not with {', '.join(PHOTO_SUFFIXES)}; put it there or remove "
        "the frame"
    )
