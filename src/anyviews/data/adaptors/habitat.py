"""Trajectories rendered in Habitat (HM3D, Gibson, MP3D), in the form of MV-DUSt3R's training data.

A JSON record is a tuple of views with `rgb_list` and `depth_list` (a file per view, or one strip of `nv` views, one
beside the other), depth as 16-bit PNG in millimetres, `pose_raw_list` (4x4 camera-to-world, OpenCV axes; or
`pose_list`, text files of them), `intrinsic_raw` (3x3 or 4x4, for all views; or `intrinsic_list`) and `scene_name`.
Intrinsics belong to the depth image: colour of another size is resized to it. Records lie as .json files (one record,
or a list of them), as lines of .jsonl, or gathered in `dps_<split>.h5`, whose dataset `json_strs` holds one text per
record.
"""

import json
from collections.abc import Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from ...cameras import Cameras
from ...formats.photos import read_pixels
from ...views import Views
from .adaptor import READING_ERRORS, Adaptor, Frame, Reading
from .files import known_depth, read_json_value, read_matrix, square_pose
from .scannet import MILLIMETRE


class HabitatAdaptor(Adaptor):
    """Records in the folder; each is a scene of its own.

    Args:
        folder: holds dps_<split>.h5, or .json and .jsonl files at any depth.
        reading: what to take of it. Without an .h5 file all records are of the split train.
        root: what the paths in the records are relative to; default: the folder, else the record's own.

    Raises:
        ImportError: if there is an .h5 file and h5py is not installed.
    """

    name = "habitat"
    # the scans (HM3D, Gibson, Matterport3D) have terms of their own, which forbid commercial use
    licence = "other"
    scale = "metric"
    layout = "records with rgb_list and depth_list in .json or .jsonl files, or dps_<split>.h5"

    def __init__(self, folder: Path | str, reading: Reading | None = None, root: Path | str | None = None):
        super().__init__(folder, reading)
        self.root = None if root is None else Path(root)
        self._records: dict[str, tuple[Path, dict[str, Any]]] | None = None

    def scenes(self) -> list[str]:
        if self._records is None:
            self._records = {}
            for path, number, record in self._read_records():
                name = path.relative_to(self.folder).with_suffix("").as_posix()
                self._records[name if number is None else f"{name}-{number:06d}"] = path, record
        return sorted(self._records)

    def frames(self, scene: str) -> list[Frame]:
        self.scenes()
        path, record = self._records[scene]
        count = int(record["nv"]) if "nv" in record else len(record["depth_list"])
        # a strip is decoded once for all of its views
        read = lru_cache(maxsize=4)(read_pixels)
        find = partial(self._find, path.parent)
        return [Frame(f"{view:03d}", partial(_load, find, read, record, view, count)) for view in range(count)]

    def _find(self, beside: Path, name: str) -> Path:
        roots = [self.root] if self.root is not None else [self.folder, beside]
        for candidate in [*(root / name for root in roots), *(root / Path(name).name for root in roots)]:
            if candidate.is_file():
                return candidate
        raise FileNotFoundError(f"{name} is not in {', '.join(map(str, roots))}")

    def _read_records(self) -> Iterator[tuple[Path, int | None, dict[str, Any]]]:
        """Every record, with its file and its number where the file holds several."""
        gathered = self.folder / f"dps_{self.reading.split}.h5"
        if gathered.is_file():
            for number, text in enumerate(_read_h5(gathered)):
                yield from self._parsed(gathered, number, text)
            return
        if self.reading.split != "train":
            return
        for path in sorted([*self.folder.rglob("*.json"), *self.folder.rglob("*.jsonl")]):
            if path.suffix == ".jsonl":
                lines = path.read_text(encoding="utf-8").splitlines()
                for number, line in enumerate(line for line in lines if line.strip()):
                    yield from self._parsed(path, number, line)
                continue
            try:
                value = read_json_value(path)
            except READING_ERRORS as error:
                self.add_problem(path.name, "", error)
                continue
            several = isinstance(value, list)
            for number, record in enumerate(value if several else [value]):
                if isinstance(record, dict) and "depth_list" in record:
                    yield path, number if several else None, record

    def _parsed(self, path: Path, number: int, text: str | bytes) -> Iterator[tuple[Path, int, dict[str, Any]]]:
        try:
            yield path, number, json.loads(text.rstrip(b"\0") if isinstance(text, bytes) else text)
        except ValueError as error:
            self.add_problem(f"{path.name}-{number:06d}", "", f"not valid JSON: {error}")


def _read_h5(path: Path) -> list[bytes]:
    try:
        import h5py
    except ImportError as error:
        raise ImportError(f'{path}: .h5 files need h5py: pip install "anyviews[data]"') from error
    with h5py.File(path, "r") as file:
        return list(file["json_strs"][:].reshape(-1))


def _load(find, read, record: dict[str, Any], view: int, count: int, size: tuple[int, int] | None) -> Views:
    depth = torch.from_numpy(_pixels_of(find, read, record["depth_list"], view, count).astype("float32"))
    if depth.ndim != 2:
        raise ValueError(f"depth_list has colour ({tuple(depth.shape)}); 16-bit PNG of one channel is accepted")
    pixels = torch.from_numpy(_pixels_of(find, read, record["rgb_list"], view, count).copy())
    image = pixels[..., :3].movedim(-1, 0).float()[None] / 255
    height, width = depth.shape
    if image.shape[-2:] != depth.shape:
        image = F.interpolate(image, (height, width), mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)
    camera = Cameras.create(_intrinsics(find, record, view), _pose(find, record, view), height, width)
    views = Views(image, camera.reshape(1).to(dtype=torch.float32), depths=known_depth(depth[None] * MILLIMETRE)[None])
    return views if size is None else views.fit(*size)


def _pixels_of(find, read, names: list[str], view: int, count: int):
    """The pixels of one view, from its own file or from a strip of all."""
    if len(names) == count and count > 1:
        return read(find(names[view]))
    strip = read(find(names[0]))
    if strip.shape[1] % count:
        raise ValueError(f"{names[0]} is {strip.shape[1]} pixels wide, which is no multiple of its {count} views")
    width = strip.shape[1] // count
    return strip[:, view * width : (view + 1) * width]


def _intrinsics(find, record: dict[str, Any], view: int) -> torch.Tensor:
    if "intrinsic_raw" in record:
        return torch.tensor(record["intrinsic_raw"], dtype=torch.float64)[:3, :3]
    value = record["intrinsic_list"][view]
    if not isinstance(value, str):
        return torch.tensor(value, dtype=torch.float64)[:3, :3]
    path = find(value)
    try:
        return read_matrix(path, 3, 3)
    except ValueError:
        return read_matrix(path, 4, 4)[:3, :3]


def _pose(find, record: dict[str, Any], view: int) -> torch.Tensor:
    if "pose_raw_list" in record:
        return square_pose(torch.tensor(record["pose_raw_list"][view], dtype=torch.float64))
    return read_matrix(find(record["pose_list"][view]), 4, 4)
