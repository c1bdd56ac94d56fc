"""Until the procedural world is in the tree, its interface stands in with one flat colour per scene."""

import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import torch

import anyviews
from anyviews.cameras import Cameras
from anyviews.views import Views


@dataclass
class FlatWorldViews:
    images: torch.Tensor
    depths: torch.Tensor
    masks: torch.Tensor
    cameras: Cameras

    def scene(self, i):
        return Views(self.images[i], self.cameras[i], self.masks[i], self.depths[i])


def render_flat_world(seeds, views, height, width, kind="room", device="cpu"):
    shape = (len(seeds), views, 1, height, width)
    images = ((seeds % 251) / 251).reshape(-1, 1, 1, 1, 1).expand(len(seeds), views, 3, height, width).to(device)
    intrinsics = torch.tensor([[8.0, 0, width / 2], [0, 8.0, height / 2], [0, 0, 1]]).expand(*shape[:2], 3, 3)
    cameras = Cameras.create(intrinsics, torch.eye(4).expand(*shape[:2], 4, 4), height, width)
    return FlatWorldViews(images, torch.ones(shape), torch.ones(shape), cameras)


if not (Path(anyviews.__file__).parent / "data" / "world" / "render.py").exists():
    stand_in = ModuleType("anyviews.data.world")
    stand_in.render_world = render_flat_world
    sys.modules["anyviews.data.world"] = stand_in
