"""Renders of Objaverse in the layouts of Zero123 and LGM: transparent pictures with poses, in Blender's world (z up).

Zero123 (objaverse-rendering/scripts/blender_script.py of https://github.com/cvlab-columbia/zero123, MIT):
`<uid>/<n>.png` and `<uid>/<n>.npy`, the 3x4 world-to-camera matrix with Blender's camera axes (x right, y up, z
backward); lens of 35 mm on a sensor of 32 mm. LGM (core/provider_objaverse.py, MIT): `<uid>/rgb/<n>.png` and
`<uid>/pose/<n>.txt`, the 16 numbers of the 4x4 camera-to-world matrix with OpenCV axes; the same lens.
"""

import math
from functools import partial
from pathlib import Path

import torch

from ...cameras import Cameras
from ...formats.photos import Photo, load_photos, read_size
from ...views import Views
from .adaptor import Adaptor, Frame, Reading
from .files import numbered, read_json_value, read_matrix, square_pose, subfolders


# 49.1 degrees
LENS_PER_SENSOR = 35 / 32

# Objaverse's names of the licences of objects, and those of the Hub.
OBJECT_LICENCES = {
    "by": "cc-by-4.0",
    "by-sa": "cc-by-sa-4.0",
    "by-nc": "cc-by-nc-4.0",
    "by-nc-sa": "cc-by-nc-sa-4.0",
    "cc0": "cc0-1.0",
}


class ObjaverseAdaptor(Adaptor):
    """Folders of objects, or folders of such folders; the layout is seen from what is in the first.

    Args:
        folder: holds the objects.
        reading: what to take of it.
        fov: horizontal field of view in degrees, if the renders have another one than the layouts' 49.1.
        licences: a JSON file (or .json.gz) of the licence of each object by its uid, as "by", "by-nc", "cc0" or a Hub
            identifier; objects that are not in it count as "other".
    """

    name = "objaverse"
    # each object has its own, some of which forbid commercial use
    licence = "other"
    layout = "<uid>/000.png and <uid>/000.npy, or <uid>/rgb/000.png and <uid>/pose/000.txt"

    def __init__(
        self,
        folder: Path | str,
        reading: Reading | None = None,
        fov: float | None = None,
        licences: Path | str | None = None,
    ):
        super().__init__(folder, reading)
        self.focal = LENS_PER_SENSOR if fov is None else 0.5 / math.tan(math.radians(fov) / 2)
        self.licences = {} if licences is None else read_json_value(Path(licences))

    def scenes(self) -> list[str]:
        if self.reading.split != "train":
            return []
        names = subfolders(self.folder)
        nested = [f"{name}/{inner}" for name in names for inner in subfolders(self.folder / name)]
        return sorted(scene for scene in names + nested if self._is_object(self.folder / scene))

    def frames(self, scene: str) -> list[Frame]:
        folder = self.folder / scene
        if (folder / "pose").is_dir():
            pairs = [(path, folder / "pose" / f"{path.stem}.txt") for path in numbered(folder / "rgb").values()]
        else:
            pairs = [(path, path.with_suffix(".npy")) for path in numbered(folder).values()]
        return [Frame(path.name, partial(self._load, path, pose)) for path, pose in pairs]

    def licence_of(self, scene: str) -> str:
        stated = self.licences.get(scene.rsplit("/", 1)[-1])
        return OBJECT_LICENCES.get(stated, stated) if stated else super().licence_of(scene)

    @staticmethod
    def _is_object(folder: Path) -> bool:
        return ((folder / "pose").is_dir() and (folder / "rgb").is_dir()) or bool(numbered(folder, (".npy",)))

    def _load(self, path: Path, pose: Path, size: tuple[int, int] | None) -> Views:
        height, width = read_size(path)
        focal = self.focal * width
        intrinsics = torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]], dtype=torch.float64)
        matrix = square_pose(read_matrix(pose, 3, 4) if pose.suffix == ".npy" else read_matrix(pose, 4, 4))
        if pose.suffix == ".npy":
            backward = Cameras.from_world_to_camera(intrinsics, matrix, torch.tensor([height, width]))
            # what was read as OpenCV has Blender's axes
            matrix = backward.to_opengl()
        return load_photos([Photo(path, path.name, intrinsics, matrix, (height, width))], size)
