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

# Level views of `turntable_views`, at equal turns; then those between them, in a range of elevations in degrees.
LEVEL_VIEWS = 8
RAISED_VIEWS = 4
RAISED = (-20.0, 50.0)


@torch.no_grad()
def turntable_views(
    seeds: Int[Tensor, "scenes"], size: int, device: torch.device | str = "cpu", samples: int = 2
) -> WorldViews:
    """Twelve nearly orthographic views of each object: eight level ones at 0, 45, ... degrees, and four raised ones.

    The level ones are those of `render_turntables`; the others stand at 22.5, 112.5, ... degrees, from below the
    horizon to above it.

    Args:
        seeds: [B], one object per seed.
        size: side of the images in pixels.
        device: where to render.
        samples: rays per pixel along each axis.
    """
    level = torch.arange(LEVEL_VIEWS) * (360 / LEVEL_VIEWS)
    between = 180 / LEVEL_VIEWS + torch.arange(RAISED_VIEWS) * (360 / RAISED_VIEWS)
    numbers = [torch.rand(RAISED_VIEWS, generator=torch.Generator().manual_seed(seed)) for seed in seeds.tolist()]
    raised = RAISED[0] + (RAISED[1] - RAISED[0]) * torch.stack(numbers)
    elevations = torch.cat([torch.zeros(len(seeds), LEVEL_VIEWS), raised], dim=1)
    azimuths = torch.cat([level, between]).deg2rad()
    return render_turntables(seeds, azimuths, size, size, elevations.deg2rad(), device=device, samples=samples)


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
            and all views of an object at one scale, at which the level ones just fit.
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
        framed = elevations == 0 if (elevations == 0).any() else torch.ones_like(elevations, dtype=torch.bool)
        distance = distance[:, framed].amax(1, keepdim=True).expand_as(distance)
    return ObjectCameras(backward * distance[..., None], rotations, lens)
