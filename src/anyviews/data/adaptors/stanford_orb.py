"""Stanford-ORB, photographs of real objects under known light.

Source: the README, orb/utils/env_map.py and orb/utils/mesh_to_geometry.py of
https://github.com/StanfordORB/Stanford-ORB. `blender_LDR/<capture>` (PNG) and `blender_HDR/<capture>` (linear .exr)
have `transforms_{train,test,novel}.json` in NeRF's form (OpenGL camera axes; frames are named without a suffix) and
masks in `train_mask` and `test_mask`. For test images, `ground_truth/<capture>` has `env_map/<n>.exr` in the camera's
frame (the middle column is straight ahead), `surface_normal/<n>.npy` in the camera's frame with OpenGL axes,
`z_depth/<n>.npy` (-1 or 0 in the background) and `pseudo_gt_albedo/<n>.png`.

The split novel has, as samples of their own, the test images of the same object in the other scenes, with poses in
this capture's frame and with the light of the other scene: for relighting. Each of its frames has its own field of
view.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from ...cameras import Cameras
from ...color import srgb_from_linear
from ...environment import Environment
from ...formats.exr import read_exr
from ...formats.json_files import frame_matrix, frame_number, frame_text, json_frames, read_json
from ...formats.photos import Photo, load_photos, read_size
from ...views import Views
from .adaptor import READING_ERRORS, Adaptor, Frame, Reading
from .buffers import RGB
from .environments import from_camera, read_turned_environment
from .files import find_photo, known_depth, read_npy, read_picture, subfolders
from .maps import pinhole, sampled


class StanfordORBAdaptor(Adaptor):
    """Captures of objects: "train", "test" with geometry and albedo, and "novel".

    Args:
        folder: holds blender_LDR or blender_HDR, and ground_truth.
        reading: what to take of it.
        hdr: whether to read the linear images, as radiance too.
        light: whether to read the environments, which are .exr files.
    """

    name = "stanford-orb"
    layout = "blender_LDR/<capture>/transforms_<split>.json (or blender_HDR), and ground_truth/<capture>"

    def __init__(self, folder: Path | str, reading: Reading | None = None, hdr: bool = False, light: bool = True):
        super().__init__(folder, reading)
        self.hdr, self.light = hdr, light
        self.images = self.folder / ("blender_HDR" if hdr else "blender_LDR")

    def scenes(self) -> list[str]:
        split, scenes = self.reading.split, []
        for capture in subfolders(self.images):
            if not (self.images / capture / f"transforms_{split}.json").is_file():
                continue
            if split != "novel":
                scenes.append(capture)
                continue
            try:
                others = {frame["scene_name"] for frame in self._entries(capture, split)}
            except READING_ERRORS as error:
                self.add_problem(capture, "", error)
                continue
            scenes += [f"{capture}/{other}" for other in sorted(others)]
        return scenes

    def frames(self, scene: str) -> list[Frame]:
        capture, _, other = scene.partition("/")
        return [
            Frame(frame_text(frame, "file_path", scene), partial(self._load, other or capture, frame))
            for frame in self._entries(capture, self.reading.split, other)
        ]

    def environment(self, scene: str) -> Environment | None:
        """The light of the first test image whose map can be read; it is the same for the whole capture."""
        if not self.light:
            return None
        capture, _, other = scene.partition("/")
        try:
            entries = self._entries(capture, "novel" if other else "test", other)
        except READING_ERRORS as error:
            self.add_problem(scene, "environment", error)
            return None
        reason: Exception | str = "there are no test images"
        for frame in entries:
            path = self._truth(other or capture, "env_map", frame, ".exr")
            try:
                return read_turned_environment(
                    path, from_camera(frame_matrix(frame, "transform_matrix", scene, 4, 4)[:3, :3])
                )
            except READING_ERRORS as error:
                reason = error
        self.add_problem(scene, "environment", reason)
        return None

    def _entries(self, capture: str, split: str, other: str = "") -> list[dict[str, Any]]:
        """Frames of a file of transforms, with what the file says for all."""
        path = self.images / capture / f"transforms_{split}.json"
        content = read_json(path)
        frames = [{**content, **frame} for frame in json_frames(content, path)]
        return [frame for frame in frames if not other or frame.get("scene_name") == other]

    def _truth(self, capture: str, kind: str, frame: dict[str, Any], suffix: str) -> Path:
        return self.folder / "ground_truth" / capture / kind / f"{Path(frame['file_path']).name}{suffix}"

    def _load(self, capture: str, frame: dict[str, Any], size: tuple[int, int] | None) -> Views:
        place = Path(frame_text(frame, "file_path", capture))
        path = find_photo(self.images / capture / place.parent, place.name, (".exr",) if self.hdr else (".png",))
        mask = self.images / capture / f"{place.parent.name}_mask" / f"{place.name}.png"
        height, width = read_size(mask)
        focal = 0.5 * width / math.tan(frame_number(frame, "camera_angle_x", str(path), positive=True) / 2)
        intrinsics = torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]], dtype=torch.float64)
        pose = frame_matrix(frame, "transform_matrix", str(path), 4, 4)
        camera = Cameras.from_opengl(intrinsics, pose, torch.tensor([height, width]))
        if self.hdr:
            views = _linear_views(path, mask, camera, size)
        else:
            photo = Photo(path, path.name, intrinsics, camera.camera_to_world, (height, width), mask=mask)
            views = load_photos([photo], size)
        return self._with_truth(views, camera, capture, frame)

    def _with_truth(self, views: Views, camera: Cameras, capture: str, frame: dict[str, Any]) -> Views:
        """Views with depth, normals and albedo where the capture has them, at whatever size they have."""
        maps = {}
        for field, kind, suffix, read in (
            ("depths", "z_depth", ".npy", _read_z_depth),
            ("normals", "surface_normal", ".npy", partial(_read_normals, rotation=camera.to_opengl()[:3, :3])),
            ("base_colors", "pseudo_gt_albedo", ".png", read_picture),
        ):
            path = self._truth(capture, kind, frame, suffix)
            if path.is_file():
                maps[field] = _looked_up(views, camera, read, path)[None]
        return replace(views, **maps)


def _looked_up(views: Views, camera: Cameras, read: Callable[[Path], torch.Tensor], path: Path) -> torch.Tensor:
    values = read(path)
    values = values[:3]
    return sampled(views, values, pinhole(camera.resize(*values.shape[-2:]).intrinsics))


def _linear_views(path: Path, mask: Path, camera: Cameras, size: tuple[int, int] | None) -> Views:
    # the subtraction of sensor noise leaves values below 0
    radiance = read_exr(path, RGB)[None].clamp(min=0)
    masks = read_picture(mask)[None, :1]
    if masks.shape[-2:] != radiance.shape[-2:]:
        raise ValueError(f"{path} has {tuple(radiance.shape[-2:])} pixels and its mask {tuple(masks.shape[-2:])}")
    views = Views(srgb_from_linear(radiance), camera.reshape(1).to(dtype=torch.float32), masks, radiance=radiance)
    if size is None:
        return views
    views = views.fit(*size)
    return replace(views, images=srgb_from_linear(views.radiance))


def _read_z_depth(path: Path) -> torch.Tensor:
    values = torch.from_numpy(read_npy(path).astype("float32"))
    return known_depth(values.reshape(1, *values.shape[:2]))


def _read_normals(path: Path, rotation: torch.Tensor) -> torch.Tensor:
    """[3, H, W] in the world's frame, 0 where unknown."""
    values = torch.from_numpy(read_npy(path).astype("float32")).nan_to_num()
    if values.ndim != 3 or values.shape[-1] != 3:
        raise ValueError(f"{path} has shape {tuple(values.shape)}; height x width x 3 is accepted")
    return F.normalize(values @ rotation.to(values).mT, dim=-1).movedim(-1, 0).contiguous()
