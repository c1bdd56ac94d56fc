"""Random objects seen by level or tilted cameras at chosen azimuths, in front of white."""

from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..views import WorldViews
from .cameras import ObjectCameras, fitting_distances, looking_along
from .grid import Grid
from .render import Scenes, make_scenes, render_scenes


# Stands in for an orthographic camera: the size of an object's front and back differ by a tenth.
LONG_LENS = 0.05
# Of the picture's side, what the object takes at most.
FILL = 0.9


@torch.no_grad()
def render_turntables(
    seeds: Int[Tensor, "scenes"],
    azimuths: Float[Tensor, "views"],
    height: int,
    width: int,
    elevations: Float[Tensor, "scenes views"] | None = None,
    tangents: Float[Tensor, "scenes views"] | None = None,
    device: torch.device | str = "cpu",
    samples: int = 2,
) -> WorldViews:
    """Render the same objects as `render_objects`, by cameras that look at their middle, with all maps.

    Args:
        seeds: [B], one object per seed.
        azimuths: [V] in radians; 0 looks from +Z, and they grow towards +X.
        height: of the images in pixels.
        width: of the images in pixels.
        elevations: in radians, positive above the horizon; by default all 0.
        tangents: of half the horizontal field of view, each view framed on its own; by default nearly orthographic
            and all views of an object at one scale.
        device: where to render.
        samples: rays per pixel along each axis for colours, masks and materials.
    """
    device, aspect = torch.device(device), height / width

    def seen(index: int) -> Scenes:
        scene = make_scenes(seeds[index : index + 1], len(azimuths), aspect, device)
        tilt = torch.zeros(len(azimuths)) if elevations is None else elevations[index]
        lens = None if tangents is None else tangents[index : index + 1]
        cameras = _cameras(scene.grid, azimuths.to(device), tilt.to(device), lens, aspect)
        white = torch.ones_like(scene.background_color)
        return replace(scene, cameras=cameras, plain=torch.ones_like(scene.plain), background_color=white)

    with torch.autocast(device.type, enabled=False):
        return render_scenes(map(seen, range(len(seeds))), height, width, samples)


def _cameras(
    grid: Grid, azimuths: Tensor, elevations: Tensor, tangents: Tensor | None, aspect: float
) -> ObjectCameras:
    level = elevations.cos()
    backward = torch.stack([level * azimuths.sin(), elevations.sin(), level * azimuths.cos()], dim=-1)[None]
    rotations = looking_along(-backward, torch.zeros_like(azimuths)[None])
    lens = torch.full_like(backward[..., 0], LONG_LENS) if tangents is None else tangents.to(backward)
    distance = fitting_distances(
        grid, rotations, torch.zeros_like(backward), lens, torch.full_like(lens, FILL), aspect
    )
    if tangents is None:
        distance = distance.amax(1, keepdim=True).expand_as(distance)
    return ObjectCameras(backward * distance[..., None], rotations, lens)
