"""RealEstate10K: camera trajectories of video clips.

Source: https://google.github.io/realestate10k/download.html. `<split>/<clip>.txt` holds the video's address and then a
line per frame: the time in microseconds, focal lengths and principal point as parts of the image's width and height
(corners at 0 and 1), two zeros, and the 3x4 world-to-camera matrix with OpenCV axes. Frames are not part of the
dataset; they are looked for as pictures that are named by their time in a folder that is named by the clip.
"""

from functools import partial
from pathlib import Path

import numpy as np
import torch

from ...cameras import Cameras
from ...formats.photos import Photo, load_photos, read_size
from ...views import Views
from .adaptor import Adaptor, Frame, Reading
from .files import numbered, square_pose


COLUMNS = 19


class RealEstate10KAdaptor(Adaptor):
    """Clips with frames on disk.

    Args:
        folder: holds the splits with the clips' .txt files.
        reading: what to take of it.
        frames: the folder of the frames, as `<clip>/<time>.png` or `<split>/<clip>/<time>.png` (or .jpg); default
            `frames` in `folder`, else `folder`.
    """

    name = "realestate10k"
    # Google's licence CC BY 4.0 covers the cameras; the frames belong to those who uploaded the videos
    licence = "other"
    layout = "<split>/<clip>.txt, and the frames as <clip>/<time>.png in frames/<split>, frames or <split>"

    def __init__(self, folder: Path | str, reading: Reading | None = None, frames: Path | str | None = None):
        super().__init__(folder, reading)
        split = self.reading.split
        roots = [Path(frames)] if frames is not None else [self.folder / "frames", self.folder]
        self.roots = [path for root in roots for path in (root / split, root)]

    def scenes(self) -> list[str]:
        return sorted(path.stem for path in (self.folder / self.reading.split).glob("*.txt"))

    def frames(self, scene: str) -> list[Frame]:
        rows = _read_rows(self.folder / self.reading.split / f"{scene}.txt")
        folder = next((root / scene for root in self.roots if (root / scene).is_dir()), None)
        if folder is None:
            raise FileNotFoundError(f"no folder of frames {scene} in {', '.join(map(str, self.roots))}")
        files = numbered(folder)
        seen = [(files[int(row[0])], row) for row in rows if row[0] in files]
        frames = [Frame(path.name, partial(_load, path, row)) for path, row in seen]
        if missing := len(rows) - len(frames):
            self.add_problem(scene, f"{missing} of {len(rows)}", f"{folder} has no pictures of these times")
        return frames


def _read_rows(path: Path) -> np.ndarray:
    lines = path.read_text(encoding="utf-8").split("\n")[1:]
    table = [line.split() for line in lines if line.strip()]
    wrong = [len(row) for row in table if len(row) != COLUMNS]
    if wrong or not table:
        found = f"a line holds {wrong[0]} columns" if wrong else "there are no frames"
        raise ValueError(f"{path}: {found}; lines of {COLUMNS} columns after a first one are accepted")
    # times have up to ten digits, which double precision holds exactly
    rows = np.array(table, dtype=np.float64)
    if rows[:, 5:7].any():
        raise ValueError(f"{path} has values other than 0 in columns 6 and 7, whose meaning is not documented")
    return rows


def _load(path: Path, row: np.ndarray, size: tuple[int, int] | None) -> Views:
    height, width = read_size(path)
    fx, fy, cx, cy = row[1:5] * (width, height, width, height)
    intrinsics = torch.tensor([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype=torch.float64)
    pose = square_pose(torch.from_numpy(row[7:]).reshape(3, 4))
    camera = Cameras.from_world_to_camera(intrinsics, pose, torch.tensor([height, width]))
    return load_photos([Photo(path, path.name, intrinsics, camera.camera_to_world, (height, width))], size)
