"""Views of single procedural objects on white, by cameras of one's own."""

from dataclasses import replace

import torch

from ....cameras import Cameras
from ....views import Views
from .cameras import ObjectCameras
from .render import make_scenes, render_scenes


# Of the unit ball that holds every object; it then fits into the images of all of LGM's cameras.
OBJECT_SCALE = 0.6


@torch.no_grad()
def object_views(seed: int, cameras: Cameras, samples: int = 2) -> Views:
    """Views of one procedural object on white, with depth, by any square cameras [V] around the origin.

    Args:
        seed: of the object.
        cameras: with the principal point in the middle.
        samples: rays per pixel along each axis.
    """
    size = cameras.width
    scenes = make_scenes(torch.tensor([seed]), len(cameras), 1.0, torch.device("cpu"))
    tangents = size / 2 / cameras.intrinsics[:, 0, 0]
    scenes = replace(
        scenes,
        cameras=ObjectCameras(cameras.centers[None] / OBJECT_SCALE, cameras.rotation[None], tangents[None]),
        background_color=torch.ones(1, 3),
        plain=torch.ones(1, 1),
        scale=torch.full((1, 1), OBJECT_SCALE),
    )
    rendered = render_scenes([scenes], size, size, samples, maps=False)
    return Views(rendered.images[0], cameras, masks=rendered.masks[0], depths=rendered.depths[0])
