"""ScanNet++: the DSLR images, undistorted.

Source: https://github.com/scannetpp/scannetpp (dslr/undistort.py, common/render.py, common/scene_release.py) and
https://kaldir.vc.in.tum.de/scannetpp/documentation. A scene's `dslr` folder has the pinhole cameras in
`nerfstudio/transforms_undistorted.json` (OpenGL camera axes, metres), the images in `resized_undistorted_images` or
`undistorted_images`, and, if the toolkit rendered it from the mesh, depth in `render_depth/<image>.png` (16 bits,
millimetres). That is depth through the fisheye lens of `nerfstudio/transforms.json`; it is undistorted here.
`undistorted_depths` holds depth for the pinhole camera.

The list `test_frames` of the JSON names the frames of the novel-view benchmark; the toolkit's script repeats them in
`frames`. Frames with `is_bad` are blurred. Masks hide what was made anonymous: they are no masks of an object, and are
not read. nerfstudio's converter turned the world, which is undone: poses agree with the scene's meshes, z up.
"""

from functools import partial
from pathlib import Path
from typing import Any

import torch

from ...cameras import Cameras
from ...formats.json_files import frame_number, json_frames, read_json
from ...formats.photos import Photo, load_photos
from ...views import Views
from .adaptor import Adaptor, Frame, Reading
from .files import read_depth, subfolders
from .maps import Projection, fisheye, pinhole, with_depth
from .scannet import MILLIMETRE
from .transforms import transforms_frames


IMAGE_FOLDERS = ("resized_undistorted_images", "undistorted_images")
UNDISTORTED_DEPTHS = ("undistorted_depths", "resized_undistorted_depths")
DISTORTED_DEPTHS = "render_depth"

# From nerfstudio's world to that of COLMAP and the meshes: the converter exchanged x and y and turned z round.
MESH_FROM_NERFSTUDIO = ((0.0, 1.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0), (0.0, 0.0, -1.0, 0.0), (0.0, 0.0, 0.0, 1.0))


class ScanNetPlusPlusAdaptor(Adaptor):
    """Scenes in the folder itself or in `data`; `splits/nvs_sem_<split>.txt` names those of the split, where it is.

    Args:
        folder: the dataset.
        reading: what to take of it.
        test_frames: whether to take the frames of the novel-view benchmark, or all others.
    """

    name = "scannetpp"
    licence = "other"
    scale = "metric"
    layout = "<scene>/dslr/nerfstudio/transforms_undistorted.json, in it or in data"

    def __init__(self, folder: Path | str, reading: Reading | None = None, test_frames: bool = False):
        super().__init__(folder, reading)
        self.test_frames = test_frames

    def scenes(self) -> list[str]:
        split = self.reading.split
        scenes = [name for name in subfolders(self._root()) if (self._root() / name / "dslr").is_dir()]
        listed = self.folder / "splits" / f"nvs_sem_{split}.txt"
        if listed.is_file():
            names = set(listed.read_text(encoding="utf-8").split())
            return [scene for scene in scenes if scene in names]
        return scenes if split == "train" else []

    def frames(self, scene: str) -> list[Frame]:
        folder = self._root() / scene / "dslr"
        path = folder / "nerfstudio" / "transforms_undistorted.json"
        if not path.is_file():
            raise FileNotFoundError(
                f"{path} does not exist; write it with the dataset's toolkit, python -m dslr.undistort"
            )
        images = next((folder / name for name in IMAGE_FOLDERS if (folder / name).is_dir()), None)
        if images is None:
            raise FileNotFoundError(f"{folder} has none of {', '.join(IMAGE_FOLDERS)}; undistort the images")
        content = read_json(path)
        benchmark = content.get("test_frames", [])
        test_names = {frame.get("file_path") for frame in benchmark}
        # a frame of the benchmark may stand in both lists
        by_name = {frame.get("file_path"): frame for frame in json_frames(content, path) + benchmark}
        chosen = {name: frame for name, frame in by_name.items() if (name in test_names) == self.test_frames}
        good = [_without_mask(frame) for frame in chosen.values() if not frame.get("is_bad")]
        if not good:
            raise ValueError(f"{path} has no {'test ' if self.test_frames else ''}frames that are not marked as bad")

        def report(name: str, error: Exception) -> None:
            self.add_problem(scene, name, error)

        depth, projection = _depth(folder, content)
        load = partial(_load, depth, projection)
        return transforms_frames({**content, "frames": good}, images / path.name, report, load=load)

    def _root(self) -> Path:
        return self.folder / "data" if (self.folder / "data").is_dir() else self.folder


def _without_mask(frame: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in frame.items() if key != "mask_path"}


def _depth(folder: Path, content: dict[str, Any]) -> tuple[Path | None, Projection | None]:
    """The folder of depth, and the camera that it was rendered for; None where there is none."""
    for name in UNDISTORTED_DEPTHS:
        if (folder / name).is_dir():
            return folder / name, pinhole(_intrinsics(content, str(folder / name)))
    if not (folder / DISTORTED_DEPTHS).is_dir():
        return None, None
    path = folder / "nerfstudio" / "transforms.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; it holds the lens that {DISTORTED_DEPTHS} was rendered for")
    lens = read_json(path)
    coefficients = tuple(frame_number(lens, key, str(path)) for key in ("k1", "k2", "k3", "k4"))
    return folder / DISTORTED_DEPTHS, fisheye(_intrinsics(lens, str(path)), coefficients)


def _intrinsics(content: dict[str, Any], label: str) -> torch.Tensor:
    fx, fy, cx, cy = (frame_number(content, key, label) for key in ("fl_x", "fl_y", "cx", "cy"))
    return torch.tensor([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype=torch.float64)


def _load(depth: Path | None, projection: Projection | None, photo: Photo, size: tuple[int, int] | None) -> Views:
    turn = torch.tensor(MESH_FROM_NERFSTUDIO, dtype=torch.float64)
    pose = Cameras.create(photo.intrinsics, turn @ photo.camera_to_world, *photo.size).camera_to_world
    views = load_photos([Photo(photo.path, photo.name, photo.intrinsics, pose, photo.size)], size)
    if depth is None:
        return views
    return with_depth(views, read_depth(depth / f"{photo.path.stem}.png", MILLIMETRE), projection)
