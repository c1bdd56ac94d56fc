"""CO3Dv2, Common Objects in 3D.

Source: the README of https://github.com/facebookresearch/co3d and its reader in PyTorch3D (implicitron/dataset,
renderer/camera_conversions.py). `<category>/frame_annotations.jgz` is a gzipped JSON list of frames. A camera is
PyTorch3D's: x_camera = x_world R + T with rows as vectors, x to the left and y up; focal length and principal point in
normalised device coordinates, of which the image's shorter side spans [-1, 1] ("ndc_isotropic"), or each side does
("ndc_norm_image_bounds"). The 16 bits of a depth pixel are a half-precision number, times `scale_adjustment`.
"""

from collections import defaultdict
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...cameras import Cameras
from ...formats.photos import Photo, load_photos, read_pixels
from ...views import Views
from .adaptor import Adaptor, Frame, Reading
from .files import known_depth, read_json_value, subfolders
from .maps import pinhole, with_depth


ANNOTATIONS = "frame_annotations.jgz"


class CO3DAdaptor(Adaptor):
    """Sequences of objects, with masks and, inside the valid part, depth of multi-view stereo.

    Args:
        folder: holds the categories.
        reading: what to take of it; `split` is "train", "val" or "test" of the subset.
        subset: of the frames, such as "fewview_dev" for set_lists/set_lists_fewview_dev.json; None takes all frames
            that have a camera, as the split train.
        categories: names of the categories; None takes all.
    """

    name = "co3d"
    licence = "cc-by-nc-4.0"
    layout = f"<category>/{ANNOTATIONS} and <category>/<sequence>/images"

    def __init__(
        self,
        folder: Path | str,
        reading: Reading | None = None,
        subset: str | None = None,
        categories: list[str] | None = None,
    ):
        super().__init__(folder, reading)
        self.subset, self.categories = subset, categories
        # a category's annotations take much memory, and its sequences follow each other
        self._sequences = lru_cache(maxsize=1)(self._read_sequences)

    def scenes(self) -> list[str]:
        if self.subset is None and self.reading.split != "train":
            return []
        scenes = []
        for category in subfolders(self.folder):
            wanted = self.categories is None or category in self.categories
            if wanted and (self.folder / category / ANNOTATIONS).is_file():
                try:
                    scenes += [f"{category}/{sequence}" for sequence in sorted(self._sequences(category))]
                except (ValueError, OSError, KeyError, TypeError) as error:
                    self.add_problem(category, "", error)
        return scenes

    def frames(self, scene: str) -> list[Frame]:
        category, sequence = scene.split("/", 1)
        frames = self._sequences(category)[sequence]
        return [
            Frame(Path(frame["image"]["path"]).name, partial(_load, self.folder, frame))
            for frame in sorted(frames, key=lambda frame: frame["frame_number"])
        ]

    def _read_sequences(self, category: str) -> dict[str, list[dict[str, Any]]]:
        kept = self._subset(category)
        sequences = defaultdict(list)
        for frame in read_json_value(self.folder / category / ANNOTATIONS):
            # the cameras of hidden test frames are not published
            if frame.get("viewpoint") is not None and (kept is None or frame["image"]["path"] in kept):
                sequences[frame["sequence_name"]].append(frame)
        return sequences

    def _subset(self, category: str) -> set[str] | None:
        if self.subset is None:
            return None
        path = self.folder / category / "set_lists" / f"set_lists_{self.subset}.json"
        return {image for _, _, image in read_json_value(path)[self.reading.split]}


def _load(root: Path, frame: dict[str, Any], size: tuple[int, int] | None) -> Views:
    image, mask, depth = root / frame["image"]["path"], frame.get("mask"), frame.get("depth")
    height, width = frame["image"]["size"]
    camera = camera_from_pytorch3d(frame["viewpoint"], height, width)
    photo = Photo(
        image,
        image.name,
        camera.intrinsics,
        camera.camera_to_world,
        (height, width),
        mask=None if mask is None else root / mask["path"],
    )
    views = load_photos([photo], size)
    return views if depth is None else with_depth(views, _read_depth(root, depth), pinhole(camera.intrinsics))


def camera_from_pytorch3d(viewpoint: dict[str, Any], height: int, width: int) -> Cameras:
    """The camera of a viewpoint annotation.

    Raises:
        ValueError: for another format of the intrinsics.
    """
    half = torch.tensor([width, height], dtype=torch.float64) / 2
    kind = viewpoint.get("intrinsics_format", "ndc_norm_image_bounds")
    if kind not in ("ndc_isotropic", "ndc_norm_image_bounds"):
        raise ValueError(f"intrinsics_format is {kind!r}; accepted are ndc_isotropic and ndc_norm_image_bounds")
    unit = half.min().expand(2) if kind == "ndc_isotropic" else half
    intrinsics = torch.eye(3, dtype=torch.float64)
    intrinsics[[0, 1], [0, 1]] = torch.tensor(viewpoint["focal_length"], dtype=torch.float64) * unit
    # x and y of the device point the other way than those of pixels
    intrinsics[:2, 2] = half - torch.tensor(viewpoint["principal_point"], dtype=torch.float64) * unit
    flip = torch.tensor([-1.0, -1.0, 1.0], dtype=torch.float64)
    world_to_camera = torch.eye(4, dtype=torch.float64)
    world_to_camera[:3, :3] = (torch.tensor(viewpoint["R"], dtype=torch.float64) * flip).mT
    world_to_camera[:3, 3] = torch.tensor(viewpoint["T"], dtype=torch.float64) * flip
    return Cameras.from_world_to_camera(intrinsics, world_to_camera, torch.tensor([height, width]))


def _read_depth(root: Path, depth: dict[str, Any]) -> torch.Tensor:
    path = root / depth["path"]
    stored = read_pixels(path)
    if stored.ndim != 2 or stored.dtype.itemsize != 2:
        raise ValueError(f"{path} has shape {stored.shape} of {stored.dtype}; 16-bit depth is accepted")
    bits = np.ascontiguousarray(stored.astype(np.uint16))
    values = torch.from_numpy(bits.view(np.float16).astype(np.float32))[None] * depth["scale_adjustment"]
    if depth.get("mask_path"):
        valid = torch.from_numpy(np.ascontiguousarray(read_pixels(root / depth["mask_path"]) > 0))
        values = values * valid.reshape(*values.shape[1:], -1)[None, ..., 0]
    return known_depth(values)
