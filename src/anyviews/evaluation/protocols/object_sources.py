"""Objects under two lights: path traced ones with all their maps, and the captures of Stanford-ORB."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ...data.adaptors import open_adaptor
from ...data.adaptors.files import read_picture
from ...environment import Environment
from ...formats import load_views
from ...formats.cameras_json import FILE_NAME
from ...formats.hdr import read_environment
from ...formats.json_files import json_frames, read_json
from ...views import Views
from ..case import Case
from .sources import Need, Source, first_names, root_folder


HOLDS = "objects with cameras.json, relit views and material maps, and envs/ beside them"
WHERE = "Stanford-ORB: https://stanfordorb.github.io, unpacked with blender_HDR (or blender_LDR) and ground_truth"


@dataclass(frozen=True)
class PathTracedObjects(Source):
    """Folders of rendered objects: cameras.json whose frames name `albedo`, `material`, `normal` and `depth` maps, and
    for some of them `relit_file`, the same view under `env_B` instead of `env_A`.

    Views with a relit image are those to predict; the others, evenly spread, are given.
    """

    subfolder: str = "pbr_objects"

    def names(self, need: Need, count: int | None) -> list[str]:
        root = root_folder(need.data, self.subfolder, HOLDS)
        names = sorted(path.name for path in root.iterdir() if (path / FILE_NAME).is_file())
        return first_names(names, count, root)

    def read(self, name: str, need: Need) -> Case:
        root = root_folder(need.data, self.subfolder, HOLDS)
        content = read_json(root / name / FILE_NAME)
        frames = json_frames(content, root / name / FILE_NAME)
        relit = [index for index, frame in enumerate(frames) if "relit_file" in frame]
        others = [index for index in range(len(frames)) if index not in relit]
        if len(relit) < need.target_views or len(others) < need.context_views:
            raise ValueError(
                f"{name} has {len(relit)} relit views and {len(others)} others; needed are {need.target_views} and "
                f"{need.context_views}"
            )
        steps = torch.linspace(0, len(others) - 1, need.context_views).round().int().tolist()
        chosen = [others[step] for step in steps], relit[: need.target_views]
        context, targets = (_with_maps(root / name, frames, indices, need.size) for indices in chosen)
        images = [read_picture(root / name / frames[index]["relit_file"]) for index in chosen[1]]
        under_b = replace(
            load_views(root / name, None, chosen[1]), images=torch.stack([_on_white(image) for image in images])
        )
        first, second = (_environment(root, content[key]) for key in ("env_A", "env_B"))
        return Case(name, 0, context, targets, first, under_b.fit(*need.size), second)


@dataclass(frozen=True)
class StanfordORBCaptures(Source):
    """Captures of Stanford-ORB: training views are given, test views to be predicted, and the test views of the same
    object in another scene, with that scene's light, to be relit.

    Args:
        hdr: whether linear images are read, which needs OpenEXR.
    """

    hdr: bool = True

    def names(self, need: Need, count: int | None) -> list[str]:
        return first_names(self._open(need, "test", None).require_scenes(), count, need.data)

    def read(self, name: str, need: Need) -> Case:
        parts = [("train", need.context_views), ("test", need.target_views)]
        context, targets = (self._sample(need, split, name, count) for split, count in parts)
        novel = self._open(need, "novel", need.target_views)
        others = [scene for scene in novel.scenes() if scene.partition("/")[0] == name]
        relit = self._sample(need, "novel", others[0], need.target_views) if others else None
        case = Case(name, 0, context.views, targets.views, targets.environment)
        return case if relit is None else replace(case, relit=relit.views, relit_environment=relit.environment)

    def _sample(self, need: Need, split: str, scene: str, count: int):
        adaptor = self._open(need, split, count)
        samples = adaptor.read(scene)
        if not samples:
            raise ValueError(f"{scene}, split {split}, cannot be read: {adaptor.report()}")
        return samples[0]

    def _open(self, need: Need, split: str, count: int | None):
        if need.data is None or not need.data.is_dir():
            raise FileNotFoundError(f"give the unpacked dataset with --data FOLDER. {WHERE}; its images are CC BY 4.0")
        return open_adaptor(
            "stanford-orb", need.data, split=split, size=need.size, views_per_sample=count, hdr=self.hdr
        )


def _with_maps(folder: Path, frames: list[dict], indices: list[int], size: tuple[int, int]) -> Views:
    """Views with normals and materials, fitted to a size."""
    views = load_views(folder, None, indices)
    pictures = {key: [read_picture(folder / frames[index][key]) for index in indices] for key in MAPS}
    materials = torch.stack([image[:3] for image in pictures["material"]])
    normals = torch.stack([image[:3] for image in pictures["normal"]]) * 2 - 1
    seen = views.depths > 0
    full = replace(
        views,
        base_colors=torch.stack([image[:3] for image in pictures["albedo"]]),
        roughness=materials[:, 1:2],
        metallic=materials[:, 2:3],
        normals=torch.nn.functional.normalize(normals, dim=1) * seen,
    )
    return full.fit(*size)


MAPS = ("albedo", "material", "normal")


def _on_white(image: Tensor) -> Tensor:
    """[3, H, W] of an image with straight alpha."""
    return image[:3] * image[3:] + 1 - image[3:] if len(image) == 4 else image


def _environment(root: Path, name: str) -> Environment:
    """The light, beside the folder of the objects or in it."""
    path = next((place for place in (root.parent / name, root / name) if place.is_file()), None)
    if path is None:
        raise FileNotFoundError(f"the light {name} is neither in {root.parent} nor in {root}; put it into one of them")
    return read_environment(path)
