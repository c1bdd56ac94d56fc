"""Renders of objects with all their maps (G-buffers), for inverse rendering.

The maps are those that large inverse rendering models are trained on. No public dataset has this very layout: it is
for renders of one's own, of Objaverse or ABO. An object is a folder with

    rig.json                {"fov": degrees, horizontal, "size": [height, width], "camera_to_world": [4x4, ...]}
    rgb/000.png             sRGB; or rgb/000.exr, linear radiance
    mask/000.png            white on the object (an alpha channel of rgb also does)
    depth/000.exr           z-depth, 1e10 in the background, as Blender writes it
    normal/000.exr          world-space normals
    base_color/000.png      sRGB
    metallic_roughness/000.png  linear; first channel metallic, second roughness
    environment.hdr         the light, as Blender's world texture (z up); or .exr

of which rig.json and rgb are needed. Camera axes are Blender's: x right, y up, z backward.
"""

import math
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...cameras import Cameras
from ...color import srgb_from_linear
from ...environment import Environment
from ...formats.exr import read_exr
from ...formats.json_files import frame_number, read_json
from ...formats.photos import Photo, load_photos
from ...views import Views
from .adaptor import Adaptor, Frame, Reading
from .environments import from_blender, read_turned_environment
from .files import find_photo, read_depth, read_picture, subfolders


RGB = (("R", "G", "B"),)
NORMALS = (("X", "Y", "Z"), ("R", "G", "B"))


class ObjectBuffersAdaptor(Adaptor):
    """Folders of rendered objects.

    Args:
        folder: holds the objects.
        reading: what to take of it.
        unit: what lengths are multiplied by: 2 if objects fill a ball of radius 0.5 and should fill one of radius 1.
    """

    name = "object-buffers"
    layout = "<object>/rig.json and <object>/rgb"

    def __init__(self, folder: Path | str, reading: Reading | None = None, unit: float = 1.0):
        super().__init__(folder, reading)
        self.unit = unit

    def scenes(self) -> list[str]:
        if self.reading.split != "train":
            return []
        return [name for name in subfolders(self.folder) if (self.folder / name / "rig.json").is_file()]

    def frames(self, scene: str) -> list[Frame]:
        folder = self.folder / scene
        cameras = _cameras(folder / "rig.json").scaled(self.unit)
        return [Frame(f"{i:03d}", partial(self._load, folder, f"{i:03d}", cameras[i])) for i in range(len(cameras))]

    def environment(self, scene: str) -> Environment | None:
        for name in ("environment.hdr", "environment.exr"):
            if (self.folder / scene / name).is_file():
                return read_turned_environment(self.folder / scene / name, from_blender)
        return None

    def _load(self, folder: Path, stem: str, camera: Cameras, size: tuple[int, int] | None) -> Views:
        views = _with_maps(_read_image(folder, stem, camera), folder, stem, self.unit)
        if size is None:
            return views
        views = views.fit(*size)
        return views if views.radiance is None else replace(views, images=srgb_from_linear(views.radiance))


def _cameras(path: Path) -> Cameras:
    rig: dict[str, Any] = read_json(path)
    height, width = (int(value) for value in rig["size"])
    focal = 0.5 * width / math.tan(math.radians(frame_number(rig, "fov", str(path), positive=True)) / 2)
    intrinsics = torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]], dtype=torch.float64)
    poses = torch.tensor(rig["camera_to_world"], dtype=torch.float64)
    if poses.ndim != 3 or poses.shape[1:] != (4, 4):
        raise ValueError(f"{path}: camera_to_world has shape {tuple(poses.shape)}; a list of 4x4 matrices is accepted")
    count = len(poses)
    return Cameras.from_opengl(intrinsics.expand(count, 3, 3), poses, torch.tensor([[height, width]]).expand(count, 2))


def _read_image(folder: Path, stem: str, camera: Cameras) -> Views:
    path = find_photo(folder / "rgb", stem, (".exr", ".png", ".jpg"))
    mask = folder / "mask" / f"{stem}.png"
    mask = mask if mask.is_file() else None
    if path.suffix != ".exr":
        size = (camera.height, camera.width)
        return load_photos([Photo(path, stem, camera.intrinsics, camera.camera_to_world, size, mask=mask)])
    radiance = read_exr(path, RGB)[None].clamp(min=0)
    masks = None if mask is None else read_picture(mask)[None, :1]
    return Views(srgb_from_linear(radiance), camera.reshape(1).to(dtype=torch.float32), masks, radiance=radiance)


def _with_maps(views: Views, folder: Path, stem: str, unit: float) -> Views:
    def path(kind: str, suffix: str) -> Path | None:
        return folder / kind / f"{stem}{suffix}" if (folder / kind).is_dir() else None

    maps: dict[str, Tensor] = {}
    if file := path("depth", ".exr"):
        maps["depths"] = read_depth(file, unit)
    if file := path("normal", ".exr"):
        maps["normals"] = F.normalize(read_exr(file, NORMALS), dim=0)
    if file := path("base_color", ".png"):
        maps["base_colors"] = read_picture(file)[:3]
    if file := path("metallic_roughness", ".png"):
        maps["metallic"], maps["roughness"] = read_picture(file)[:2].split(1)
    masks = {} if views.masks is None else {"masks": views.masks[0]}
    for name, values in {**masks, **maps}.items():
        if tuple(values.shape[-2:]) != (views.height, views.width):
            raise ValueError(
                f"the {name} of {folder / stem} have {tuple(values.shape[-2:])} pixels and its image "
                f"{views.height, views.width}; give one size"
            )
    return replace(views, **{name: values[None] for name, values in maps.items()})
