"""Google Scanned Objects, as rendered for the training of IBRNet.

Source: ibrnet/data_loaders/google_scanned_objects.py of https://github.com/googleinterns/IBRNet (Apache-2.0). An
object is a folder with `rgb/<n>.png`, `pose/<n>.txt` (4x4 camera-to-world, OpenCV axes) and `intrinsics/<n>.txt` (the
16 numbers of a 4x4, in pixels); about 250 views of an object of about unit size.
"""

from functools import partial
from pathlib import Path

from ...formats.photos import Photo, load_photos, read_size
from ...views import Views
from .adaptor import Adaptor, Frame
from .files import numbered, read_matrix, subfolders


class ScannedObjectsAdaptor(Adaptor):
    """Folders of objects with rgb, pose and intrinsics."""

    name = "google-scanned-objects"
    licence = "cc-by-4.0"
    layout = "<object>/rgb, <object>/pose and <object>/intrinsics"

    def scenes(self) -> list[str]:
        if self.reading.split != "train":
            return []
        return [name for name in subfolders(self.folder) if (self.folder / name / "pose").is_dir()]

    def frames(self, scene: str) -> list[Frame]:
        folder = self.folder / scene
        return [Frame(path.name, partial(_load, folder, path)) for path in numbered(folder / "rgb").values()]


def _load(folder: Path, path: Path, size: tuple[int, int] | None) -> Views:
    intrinsics = read_matrix(folder / "intrinsics" / f"{path.stem}.txt", 4, 4)[:3, :3]
    pose = read_matrix(folder / "pose" / f"{path.stem}.txt", 4, 4)
    return load_photos([Photo(path, path.name, intrinsics, pose, read_size(path))], size)
