"""COLMAP reconstructions, text and binary.

Layout and record formats: https://colmap.github.io/format.html and https://colmap.github.io/cameras.html. COLMAP's
pixel centres are at .5, its axes OpenCV's and its poses world-to-camera. Masks follow COLMAP's own convention: the
mask of `images/a.jpg` is `masks/a.jpg.png`. COLMAP has no place for depth, which is therefore not written.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from ..cameras import Cameras, invert_rigid, rigid
from ..scene import PointCloud
from ..views import Views
from .files import new_folder
from .image_folder import png_names, to_uint8, write_png
from .photos import Photo, load_photos, warn_about_unposed


MODEL_FOLDERS = ("", "sparse", "sparse/0")

# Skew that shifts the image's bottom against its top by less than this, in pixels, is rounding and is dropped.
LARGEST_SHEAR = 1e-3

# Model ids of the binary format, and for the accepted ones where their parameters go.
MODEL_NAMES = {
    0: "SIMPLE_PINHOLE",
    1: "PINHOLE",
    2: "SIMPLE_RADIAL",
    3: "RADIAL",
    4: "OPENCV",
    5: "OPENCV_FISHEYE",
    6: "FULL_OPENCV",
    7: "FOV",
    8: "SIMPLE_RADIAL_FISHEYE",
    9: "RADIAL_FISHEYE",
    10: "THIN_PRISM_FISHEYE",
    11: "RAD_TAN_THIN_PRISM_FISHEYE",
}
MODEL_PARAMETERS = {
    "SIMPLE_PINHOLE": ("f", "cx", "cy"),
    "PINHOLE": ("fx", "fy", "cx", "cy"),
    "SIMPLE_RADIAL": ("f", "cx", "cy", "k1"),
    "RADIAL": ("f", "cx", "cy", "k1", "k2"),
    "OPENCV": ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2"),
}


@dataclass(frozen=True)
class ColmapCamera:
    """A camera of the model: its size and named parameters, in pixels."""

    height: int
    width: int
    parameters: dict[str, float]

    @property
    def intrinsics(self) -> Tensor:
        p = self.parameters
        fx, fy = (p["f"], p["f"]) if "f" in p else (p["fx"], p["fy"])
        return torch.tensor([[fx, 0, p["cx"]], [0, fy, p["cy"]], [0, 0, 1]], dtype=torch.float64)

    @property
    def distortion(self) -> tuple[float, float, float, float]:
        k1, k2, p1, p2 = (self.parameters.get(name, 0.0) for name in ("k1", "k2", "p1", "p2"))
        return k1, k2, p1, p2


@dataclass(frozen=True)
class ColmapImage:
    """A posed image of the model: world-to-camera quaternion (w, x, y, z) and translation."""

    name: str
    camera_id: int
    quaternion: tuple[float, ...]
    translation: tuple[float, ...]

    @property
    def camera_to_world(self) -> Tensor:
        w, x, y, z = self.quaternion
        if not np.isfinite(self.quaternion).all() or not any(self.quaternion):
            raise ValueError(f"{self.name}: the rotation quaternion is {self.quaternion}; accepted is a rotation")
        rotation = torch.from_numpy(Rotation.from_quat([x, y, z, w]).as_matrix())
        return invert_rigid(rigid(rotation, torch.tensor(self.translation, dtype=torch.float64)))


def find_colmap(folder: Path | str) -> Path | None:
    """The folder with cameras and images .bin or .txt: `folder`, `folder/sparse` or `folder/sparse/0`, else None."""
    for below in MODEL_FOLDERS:
        for suffix in (".bin", ".txt"):
            model = Path(folder) / below
            if all((model / f"{stem}{suffix}").is_file() for stem in ("cameras", "images")):
                return model
    return None


def read_colmap(
    folder: Path | str,
    size: tuple[int, int] | None = None,
    select: Sequence[int] | None = None,
    images: Path | str | None = None,
) -> Views:
    """Read the posed photos of a COLMAP reconstruction, sorted by their names in the model.

    SIMPLE_PINHOLE and PINHOLE are read as they are, SIMPLE_RADIAL, RADIAL and OPENCV are undistorted on reading.

    Args:
        folder: holds the model itself, in `sparse` or in `sparse/0`.
        size: (height, width) to fit every photo to; needed when their sizes differ.
        select: indices of the photos to load; None loads all.
        images: the folder of the photos; by default `images` in `folder` or beside the model, else `folder`.

    Raises:
        FileNotFoundError: if there is no model or a photo is missing.
        ValueError: if a camera model, a camera or a photo cannot be used; the message names it.
    """
    photos = colmap_photos(folder, images)
    views = load_photos(photos, size, select)
    warn_about_unposed(photos)
    return views


def colmap_photos(folder: Path | str, images: Path | str | None = None) -> list[Photo]:
    """The posed photos of a reconstruction, sorted by their names in the model; the arguments are of `read_colmap`."""
    model = _require_model(folder)
    cameras, posed = read_model(model)
    if not posed:
        raise ValueError(f"{model} has no posed images; give a reconstruction with at least one")
    images_folder = Path(images) if images is not None else default_images_folder(Path(folder), model)
    photos = []
    for image in sorted(posed, key=lambda image: image.name):
        if image.camera_id not in cameras:
            raise ValueError(f"{model}: image {image.name} has camera {image.camera_id}; found {sorted(cameras)[:12]}")
        camera = cameras[image.camera_id]
        mask = images_folder.parent / "masks" / f"{image.name}.png"
        photos.append(
            Photo(
                images_folder / image.name,
                image.name,
                camera.intrinsics,
                image.camera_to_world,
                (camera.height, camera.width),
                camera.distortion,
                mask=mask if mask.is_file() else None,
            )
        )
    return photos


def read_colmap_points(folder: Path | str) -> PointCloud | None:
    """The coloured points of a COLMAP reconstruction, or None where it has none."""
    model = _require_model(folder)
    suffix = _suffix(model)
    path = model / f"points3D{suffix}"
    if not path.is_file():
        return None
    rows = list(_binary_points(path) if suffix == ".bin" else _text_points(path))
    if not rows:
        return None
    table = torch.tensor(rows, dtype=torch.float64)
    return PointCloud(table[:, :3].float(), table[:, 3:].float() / 255)


def write_colmap(
    views: Views,
    folder: Path | str,
    points: PointCloud | None = None,
    binary: bool = True,
    overwrite: bool = False,
) -> None:
    """Write views as a COLMAP reconstruction: `images/`, `masks/` where known, and `sparse/0/`.

    Args:
        views: with cameras; photos are written as PNG under their names.
        folder: where to; it appears when all is written.
        points: coloured points of the same world, or None.
        binary: .bin files; otherwise .txt.
        overwrite: whether an existing folder with content may be replaced.

    Raises:
        ValueError: if the views have no cameras or a camera has skew, which COLMAP cannot express.
    """
    cameras = require_pinhole(views)
    names = png_names(views.names)
    table = torch.stack([*(cameras.intrinsics[:, i, j] for i, j in ((0, 0), (1, 1), (0, 2), (1, 2)))], dim=-1)
    distinct, camera_index = torch.unique(table, dim=0, return_inverse=True)  # one size, so intrinsics tell cameras
    camera_rows = [(i + 1, views.width, views.height, row) for i, row in enumerate(distinct.tolist())]
    world_to_camera = cameras.world_to_camera
    quaternions = np.roll(Rotation.from_matrix(world_to_camera[:, :3, :3].numpy()).as_quat(), 1, axis=-1)
    poses = np.concatenate([quaternions, world_to_camera[:, :3, 3].numpy()], axis=-1).tolist()
    image_rows = [(i + 1, pose, int(camera_index[i]) + 1, names[i]) for i, pose in enumerate(poses)]
    positions, colors = [], []
    if points is not None:
        positions = points.positions.double().tolist()
        shades = torch.full_like(points.positions, 0.5) if points.colors is None else points.colors
        colors = to_uint8(shades).tolist()
    with new_folder(folder, overwrite) as temporary:
        model = temporary / "sparse" / "0"
        model.mkdir(parents=True)
        write = _write_binary if binary else _write_text
        write(model, camera_rows, image_rows, list(zip(positions, colors, strict=True)))
        for index, name in enumerate(names):
            write_png(views.images[index], temporary / "images" / name)
            if views.masks is not None:
                write_png(views.masks[index], temporary / "masks" / f"{name}.png")


def require_pinhole(views: Views) -> Cameras:
    """The cameras of views on the CPU in double precision, for formats that know fx, fy, cx and cy only."""
    if views.cameras is None:
        raise ValueError("these views have no cameras; posed photos are needed to write cameras")
    cameras = views.validate().cameras.to("cpu", torch.float64)
    shears = cameras.intrinsics[:, 0, 1] / cameras.intrinsics[:, 1, 1] * views.height
    for name, skew, shear in zip(views.names, cameras.intrinsics[:, 0, 1].tolist(), shears.tolist(), strict=True):
        if abs(shear) > LARGEST_SHEAR:
            raise ValueError(f"{name}: the camera has skew {skew:g}; this format accepts fx, fy, cx, cy without skew")
    return cameras


def _require_model(folder: Path | str) -> Path:
    model = find_colmap(folder)
    if model is None:
        raise FileNotFoundError(
            f"no COLMAP model in {folder}: looked for cameras and images (.bin or .txt) in it, sparse and sparse/0"
        )
    return model


def default_images_folder(folder: Path, model: Path) -> Path:
    for candidate in (folder, model, model.parent, model.parent.parent):
        if (candidate / "images").is_dir():
            return candidate / "images"
    return folder


def _suffix(model: Path) -> str:
    return ".bin" if (model / "cameras.bin").is_file() and (model / "images.bin").is_file() else ".txt"


def read_model(model: Path) -> tuple[dict[int, ColmapCamera], list[ColmapImage]]:
    if _suffix(model) == ".bin":
        return dict(_binary_cameras(model / "cameras.bin")), list(_binary_images(model / "images.bin"))
    return dict(_text_cameras(model / "cameras.txt")), list(_text_images(model / "images.txt"))


def _camera(camera_id: int, model: str, width: int, height: int, values: Sequence[float]) -> ColmapCamera:
    names = _accepted_parameters(camera_id, model)
    if len(values) != len(names):
        raise ValueError(f"camera {camera_id} ({model}) has {len(values)} parameters; accepted are {' '.join(names)}")
    return ColmapCamera(height, width, dict(zip(names, values, strict=True)))


def _accepted_parameters(camera_id: int, model: str) -> tuple[str, ...]:
    if model not in MODEL_PARAMETERS:
        raise ValueError(
            f"camera {camera_id} has the COLMAP model {model}; accepted are {', '.join(MODEL_PARAMETERS)}. Undistort "
            "with `colmap image_undistorter --image_path images --input_path sparse/0 --output_path undistorted`"
        )
    return MODEL_PARAMETERS[model]


def _text_lines(path: Path) -> Iterator[tuple[int, str]]:
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if not line.startswith("#"):
                yield number, line.rstrip("\n")


def _text_cameras(path: Path) -> Iterator[tuple[int, ColmapCamera]]:
    for number, line in _text_lines(path):
        if not line.strip():
            continue
        try:
            identifier, model, width, height, *values = line.split()
            row = int(identifier), model, int(width), int(height), [float(value) for value in values]
        except ValueError as error:
            raise ValueError(
                f"{path}, line {number}: CAMERA_ID MODEL WIDTH HEIGHT PARAMS is accepted: {error}"
            ) from error
        yield row[0], _camera(*row)


def _text_images(path: Path) -> Iterator[ColmapImage]:
    is_pose = True  # every second line lists the image's points, and may be empty
    for number, line in _text_lines(path):
        if is_pose:
            if not line.strip():
                continue
            try:
                _, *numbers, camera_id, name = line.split(maxsplit=9)
                pose = tuple(float(value) for value in numbers)
                if len(pose) != 7:
                    raise ValueError(f"{len(line.split())} fields")
                yield ColmapImage(name.strip(), int(camera_id), pose[:4], pose[4:])
            except ValueError as error:
                wanted = "IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME"
                raise ValueError(f"{path}, line {number}: {wanted} is accepted: {error}") from error
        is_pose = not is_pose


def _text_points(path: Path) -> Iterator[tuple[float, ...]]:
    for number, line in _text_lines(path):
        if not line.strip():
            continue
        values = line.split(maxsplit=7)[1:7]
        try:
            x, y, z, red, green, blue = (float(value) for value in values)
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: POINT3D_ID X Y Z R G B is accepted: {error}") from error
        yield x, y, z, red, green, blue


def _unpack(file: BinaryIO, layout: str) -> tuple:
    size = struct.calcsize(f"<{layout}")
    content = file.read(size)
    if len(content) != size:
        raise ValueError(f"{file.name} is truncated at byte {file.tell()}; write or copy it again")
    return struct.unpack(f"<{layout}", content)


def _binary_cameras(path: Path) -> Iterator[tuple[int, ColmapCamera]]:
    with path.open("rb") as file:
        for _ in range(_unpack(file, "Q")[0]):
            camera_id, model_id, width, height = _unpack(file, "iiQQ")
            model = MODEL_NAMES.get(model_id, f"with id {model_id}")
            values = _unpack(file, f"{len(_accepted_parameters(camera_id, model))}d")
            yield camera_id, _camera(camera_id, model, width, height, values)


def _binary_images(path: Path) -> Iterator[ColmapImage]:
    with path.open("rb") as file:
        for _ in range(_unpack(file, "Q")[0]):
            _, *pose, camera_id = _unpack(file, "i7di")
            name = bytearray()
            while (character := _unpack(file, "c")[0]) != b"\0":
                name += character
            file.seek(24 * _unpack(file, "Q")[0], 1)  # x, y and the point's id, per observation
            yield ColmapImage(name.decode("utf-8"), camera_id, tuple(pose[:4]), tuple(pose[4:]))


def _binary_points(path: Path) -> Iterator[tuple[float, ...]]:
    with path.open("rb") as file:
        for _ in range(_unpack(file, "Q")[0]):
            _, x, y, z, red, green, blue, _, observations = _unpack(file, "Q3d3BdQ")
            file.seek(8 * observations, 1)
            yield x, y, z, red, green, blue


def _write_text(model: Path, cameras: list, images: list, points: list) -> None:
    with (model / "cameras.txt").open("w", encoding="utf-8") as file:
        file.write("# CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[]\n")
        for camera_id, width, height, values in cameras:
            file.write(f"{camera_id} PINHOLE {width} {height} {' '.join(map(repr, values))}\n")
    with (model / "images.txt").open("w", encoding="utf-8") as file:
        file.write("# IMAGE_ID, QW, QX, QY, QZ, TX, TY, TZ, CAMERA_ID, NAME\n# POINTS2D[] as (X, Y, POINT3D_ID)\n")
        for image_id, pose, camera_id, name in images:
            file.write(f"{image_id} {' '.join(map(repr, pose))} {camera_id} {name}\n\n")
    with (model / "points3D.txt").open("w", encoding="utf-8") as file:
        file.write("# POINT3D_ID, X, Y, Z, R, G, B, ERROR, TRACK[] as (IMAGE_ID, POINT2D_IDX)\n")
        for point_id, (position, color) in enumerate(points, start=1):
            file.write(f"{point_id} {' '.join(map(repr, position))} {' '.join(map(str, color))} 0\n")


def _write_binary(model: Path, cameras: list, images: list, points: list) -> None:
    with (model / "cameras.bin").open("wb") as file:
        file.write(struct.pack("<Q", len(cameras)))
        for camera_id, width, height, values in cameras:
            file.write(struct.pack("<iiQQ4d", camera_id, 1, width, height, *values))
    with (model / "images.bin").open("wb") as file:
        file.write(struct.pack("<Q", len(images)))
        for image_id, pose, camera_id, name in images:
            file.write(struct.pack("<i7di", image_id, *pose, camera_id) + name.encode() + b"\0" + bytes(8))
    with (model / "points3D.bin").open("wb") as file:
        file.write(struct.pack("<Q", len(points)))
        for point_id, (position, color) in enumerate(points, start=1):
            file.write(struct.pack("<Q3d3BdQ", point_id, *position, *color, 0.0, 0))
