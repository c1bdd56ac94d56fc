"""ScanNet, exported from its .sens files.

Source: SensReader of https://github.com/ScanNet/ScanNet and its README. A scene has `color/<n>.jpg`, `depth/<n>.png`
(16 bits, millimetres, registered to colour), `pose/<n>.txt` (4x4 camera-to-world, OpenCV axes, metres; -inf where
tracking failed) and `intrinsic/intrinsic_{color,depth}.txt`. Colour has 1296x968 pixels and depth 640x480. The
principal point of depth is (319.5, 239.5): pixel centres are at whole numbers there, so half a pixel is added.
"""

from functools import partial
from pathlib import Path

import torch

from ...cameras import Cameras
from ...formats.photos import Photo, load_photos, read_size
from ...views import Views
from .adaptor import Adaptor, Frame
from .files import numbered, read_depth, read_matrix, subfolders
from .maps import pinhole, with_depth


# (height, width) that intrinsic_color.txt is for, also where the colour images were exported smaller.
NATIVE_SIZE = (968, 1296)

MILLIMETRE = 1e-3


class ScanNetAdaptor(Adaptor):
    """Scenes in the folder itself or in `scans`; `scannetv2_<split>.txt` names those of the split, where it is."""

    name = "scannet"
    licence = "other"
    scale = "metric"
    layout = "<scene>/color, <scene>/pose and <scene>/intrinsic, in it or in scans"

    def scenes(self) -> list[str]:
        split = self.reading.split
        scenes = [name for name in subfolders(self._root()) if (self._root() / name / "pose").is_dir()]
        listed = self.folder / f"scannetv2_{split}.txt"
        if listed.is_file():
            names = set(listed.read_text(encoding="utf-8").split())
            return [scene for scene in scenes if scene in names]
        return scenes if split == "train" else []

    def frames(self, scene: str) -> list[Frame]:
        folder = self._root() / scene
        colour, depth = (_intrinsics(folder / "intrinsic" / f"intrinsic_{kind}.txt") for kind in ("color", "depth"))
        return [
            Frame(path.name, partial(_load, folder, path, number, colour, depth))
            for number, path in numbered(folder / "color").items()
        ]

    def _root(self) -> Path:
        return self.folder / "scans" if (self.folder / "scans").is_dir() else self.folder


def _intrinsics(path: Path) -> torch.Tensor:
    """[3, 3] with pixel centres at .5, from a file of 4x4."""
    intrinsics = read_matrix(path, 4, 4)[:3, :3].clone()
    intrinsics[:2, 2] += 0.5
    return intrinsics


def _load(
    folder: Path,
    path: Path,
    number: int,
    colour: torch.Tensor,
    depth: torch.Tensor,
    size: tuple[int, int] | None,
) -> Views:
    pose = read_matrix(folder / "pose" / f"{path.stem}.txt", 4, 4)
    height, width = read_size(path)
    native = NATIVE_SIZE if 0.8 < 2 * colour[0, 2] / NATIVE_SIZE[1] < 1.2 else (height, width)
    camera = Cameras.create(colour, pose, *native).resize(height, width)
    views = load_photos([Photo(path, path.name, camera.intrinsics, pose, (height, width))], size)
    depths = numbered(folder / "depth", (".png",)) if not (folder / "depth" / f"{path.stem}.png").is_file() else None
    file = folder / "depth" / f"{path.stem}.png" if depths is None else depths.get(number)
    if file is None:
        raise FileNotFoundError(f"{folder / 'depth'} has no depth of the frame {path.name}")
    return with_depth(views, read_depth(file, MILLIMETRE), pinhole(depth))
