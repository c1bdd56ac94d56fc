"""Scenes of nerfstudio and instant-ngp (transforms.json), and of NeRF's Blender renders (transforms_train.json, ...).

Source: https://docs.nerf.studio/quickstart/data_conventions.html; the README in NeRF's nerf_synthetic data. Blender's
frames are named without a suffix and are transparent around the object: the background becomes white and the alpha
the mask. The depth and normal pictures beside Blender's test images are for display and are not read.
"""

from pathlib import Path
from typing import Any

from ...formats.json_files import read_json
from .adaptor import Adaptor, Frame
from .files import subfolders
from .transforms import transforms_frames


class NerfstudioAdaptor(Adaptor):
    """A scene folder with transforms.json or transforms_<split>.json, or a folder of such scenes.

    One transforms.json for all splits tells them apart by its lists `train_filenames`, `val_filenames` and
    `test_filenames`; without these lists all frames are of the split train.
    """

    name = "nerfstudio"
    layout = "transforms.json or transforms_<split>.json, in it or in its folders"

    def scenes(self) -> list[str]:
        if self._file("") is not None:
            return [self.folder.resolve().name]
        return [name for name in subfolders(self.folder) if self._file(name) is not None]

    def frames(self, scene: str) -> list[Frame]:
        path = self._file("") or self._file(scene)
        content = read_json(path)
        kept = self._kept(content, path)

        def report(name: str, error: Exception) -> None:
            self.add_problem(scene, name, error)

        return transforms_frames(content, path, report, lambda name: kept is None or name in kept)

    def _file(self, scene: str) -> Path | None:
        for name in (f"transforms_{self.reading.split}.json", "transforms.json"):
            if (self.folder / scene / name).is_file():
                return self.folder / scene / name
        return None

    def _kept(self, content: dict[str, Any], path: Path) -> set[str] | None:
        """The file names of the split, None for all."""
        split = self.reading.split
        if f"{split}_filenames" in content:
            return set(content[f"{split}_filenames"])
        if split != "train" and path.name == "transforms.json":
            raise ValueError(f"{path} has no list {split}_filenames; all of its frames are of the split train")
        return None
