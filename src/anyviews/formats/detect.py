"""Photos with cameras: choosing the reader by what is in a folder, and the writer by name."""

from collections.abc import Sequence
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from ..scene import PointCloud, Scene
from ..views import Views
from . import cameras_json, transforms_json
from .cameras_json import read_cameras_json, write_cameras_json
from .colmap import MODEL_FOLDERS, find_colmap, read_colmap, read_colmap_points, write_colmap
from .image_folder import read_image_folder
from .json_files import json_frames, read_json
from .npz import read_npz
from .photos import PHOTO_SUFFIXES, is_photo
from .transforms_json import read_transforms_json, write_transforms_json


# Folders of photos with cameras, which every reader of other projects knows.
VIEW_FORMATS = ("colmap", "colmap-text", "transforms", "cameras-json")


def load_views(
    path: Path | str | Sequence[Path | str],
    size: tuple[int, int] | None = None,
    select: Sequence[int] | None = None,
) -> Views:
    """Load photos with whatever cameras, masks and depth come with them.

    A folder is read by the first of these that it has: `cameras.json`, `transforms.json`, a COLMAP model (in it, in
    `sparse` or `sparse/0`), photos (in it or in `images`; these have no cameras).

    Args:
        path: such a folder, one of its JSON files, a photo, a list of photos, or a scene's .npz file.
        size: (height, width) to fit every photo to; needed when their sizes differ.
        select: indices of the photos to load; None loads all.

    Raises:
        FileNotFoundError: if nothing of this kind is there; the message says what was looked for.
        ValueError: if something is there and cannot be used.
    """
    if not isinstance(path, (str, Path)):
        return read_image_folder(path, size, select)
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; give a folder of photos, a cameras file or a photo")
    if path.is_file():
        return _load_file(path, size, select)
    if (path / cameras_json.FILE_NAME).is_file():
        return read_cameras_json(path, size, select)
    if (path / transforms_json.FILE_NAME).is_file():
        return read_transforms_json(path, size, select)
    if find_colmap(path) is not None:
        return read_colmap(path, size, select)
    for folder in (path, path / "images"):
        if folder.is_dir() and any(is_photo(file) for file in folder.iterdir()):
            return read_image_folder(folder, size, select)
    raise _nothing_found(path)


def load_view_points(path: Path | str) -> PointCloud | None:
    """The points that come with a folder's photos (a COLMAP model's), or None."""
    return read_colmap_points(path) if Path(path).is_dir() and _is_colmap(Path(path)) else None


def save_views(
    views: Views, path: Path | str, format: str, points: PointCloud | None = None, overwrite: bool = False
) -> None:
    """Write photos with cameras as a folder.

    Args:
        views: with cameras; masks and depth are written where the format has a place for them.
        path: a new or empty folder.
        format: colmap, colmap-text, transforms or cameras-json.
        points: coloured points of the same world, which COLMAP has a place for, or None.
        overwrite: whether an existing folder with content may be replaced.

    Raises:
        ValueError: if the format is unknown or the views cannot be written in it.
    """
    if format not in VIEW_FORMATS:
        raise ValueError(
            f"format {format!r} does not hold photos with cameras; accepted are {', '.join(VIEW_FORMATS)}"
        )
    if format in ("colmap", "colmap-text"):
        write_colmap(views, path, points, binary=format == "colmap", overwrite=overwrite)
    elif format == "transforms":
        write_transforms_json(views, path, overwrite)
    else:
        write_cameras_json(views, path, overwrite)


def views_of_scene(scene: Scene, format: str = "views") -> Views:
    """A scene's images, cameras and depth as Views.

    Raises:
        ValueError: if the scene has no images.
    """
    return Views(images_of_scene(scene, format), scene.cameras, depths=scene.depths, names=scene.names)


def images_of_scene(scene: Scene, format: str) -> Float[Tensor, "views 3 height width"]:
    """A scene's images [V, 3, H, W].

    Raises:
        ValueError: if there are none.
    """
    if scene.images is None:
        raise ValueError(f"the scene has no images, which {format} holds; write npz, or ply for its points")
    return scene.images


def _is_colmap(path: Path) -> bool:
    files = (cameras_json.FILE_NAME, transforms_json.FILE_NAME)
    return not any((path / file).is_file() for file in files) and find_colmap(path) is not None


def _load_file(path: Path, size: tuple[int, int] | None, select: Sequence[int] | None) -> Views:
    if path.suffix.lower() == ".json":
        frames = json_frames(read_json(path), path)
        reader = read_cameras_json if "c2w" in frames[0] else read_transforms_json
        return reader(path, size, select)
    if path.suffix.lower() == ".npz":
        views = views_of_scene(read_npz(path))
        views = views if select is None else views[select]
        return views if size is None else views.fit(*size)
    if is_photo(path):
        return read_image_folder([path], size, select)
    raise ValueError(
        f"{path} is of no known kind; accepted are folders, cameras.json, transforms.json, .npz and photos "
        f"({', '.join(PHOTO_SUFFIXES)}); load_scene also reads .ply, .splat, .spz, .glb, .usdz and .obj"
    )


def _nothing_found(path: Path) -> FileNotFoundError:
    models = ", ".join(f"{folder}/cameras.bin (or .txt)".lstrip("/") for folder in MODEL_FOLDERS)
    message = (
        f"nothing to load in {path}: looked for {cameras_json.FILE_NAME}, {transforms_json.FILE_NAME}, a COLMAP model "
        f"({models}) and photos ({', '.join(PHOTO_SUFFIXES)}) in it and in images/"
    )
    others = sorted(path.glob("transforms*.json"))
    return FileNotFoundError(f"{message}; to read {others[0].name}, give that file" if others else message)
