"""cameras.json: a plain folder of photos with cameras, masks and depth.

`cameras.json` holds `frames`, a list; each frame has `file` (relative to the folder), `width`, `height`, `K` (3x3, in
pixels, pixel centres at .5), `c2w` (4x4, camera-to-world, OpenCV axes), and where known `mask` (8-bit image, white on
the object) and `depth` (16-bit PNG, z-depth = value / `depth_scale` of the top level, 0 = unknown).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..views import Views
from .depth_png import choose_depth_scale, write_depth_png
from .files import new_folder
from .image_folder import png_names, write_png
from .json_files import frame_matrix, frame_number, frame_text, json_frames, read_json, write_json
from .photos import Photo, load_photos, warn_about_unposed


FILE_NAME = "cameras.json"
CONVENTION = "c2w is camera-to-world, OpenCV axes (x right, y down, z forward); K in pixels with pixel centres at +0.5"


def read_cameras_json(
    path: Path | str, size: tuple[int, int] | None = None, select: Sequence[int] | None = None
) -> Views:
    """Read a folder with `cameras.json`.

    Args:
        path: the folder, or the JSON file in it.
        size: (height, width) to fit every photo to; needed when their sizes differ.
        select: indices of the frames to load; None loads all.

    Raises:
        FileNotFoundError: if the JSON or a file it names is missing.
        ValueError: if a key is missing or a value cannot be used; the message names the frame.
    """
    path = Path(path)
    path = path / FILE_NAME if path.is_dir() else path
    content = read_json(path)
    photos = [_photo(path, content, index, frame) for index, frame in enumerate(json_frames(content, path))]
    views = load_photos(photos, size, select)
    warn_about_unposed(photos)
    return views


def write_cameras_json(views: Views, folder: Path | str, overwrite: bool = False) -> None:
    """Write views with cameras as a folder with `cameras.json`, `images/`, and `masks/` and `depth/` where known.

    Args:
        views: with cameras; photos are written as PNG under their names.
        folder: where to; it appears when all is written.
        overwrite: whether an existing folder with content may be replaced.

    Raises:
        ValueError: if the views have no cameras.
    """
    if views.cameras is None:
        raise ValueError("these views have no cameras; posed photos are needed to write cameras")
    cameras = views.validate().cameras
    content: dict[str, Any] = {"convention": CONVENTION}
    if views.depths is not None:
        content["depth_scale"] = choose_depth_scale(views.depths)
    content["frames"] = []
    with new_folder(folder, overwrite) as temporary:
        for index, name in enumerate(png_names(views.names)):
            frame = {
                "file": f"images/{name}",
                "width": views.width,
                "height": views.height,
                "K": cameras.intrinsics[index].tolist(),
                "c2w": cameras.camera_to_world[index].tolist(),
            }
            write_png(views.images[index], temporary / frame["file"])
            if views.masks is not None:
                frame["mask"] = f"masks/{name}"
                write_png(views.masks[index], temporary / frame["mask"])
            if views.depths is not None:
                frame["depth"] = f"depth/{name}"
                write_depth_png(views.depths[index], temporary / frame["depth"], content["depth_scale"])
            content["frames"].append(frame)
        write_json(content, temporary / FILE_NAME)


def _photo(path: Path, content: dict[str, Any], index: int, frame: dict[str, Any]) -> Photo:
    name = frame_text(frame, "file", f"{path}: frame {index}")
    label = f"{path}: frame {index} ({name})"
    return Photo(
        path.parent / name,
        name,
        intrinsics=frame_matrix(frame, "K", label, 3, 3),
        camera_to_world=frame_matrix(frame, "c2w", label, 4, 4),
        size=(
            int(frame_number(frame, "height", label, positive=True)),
            int(frame_number(frame, "width", label, positive=True)),
        ),
        mask=path.parent / frame_text(frame, "mask", label) if "mask" in frame else None,
        depth=path.parent / frame_text(frame, "depth", label) if "depth" in frame else None,
        depth_scale=frame_number(content, "depth_scale", str(path), positive=True) if "depth" in frame else 1.0,
    )
