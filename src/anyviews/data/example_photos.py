"""Example photos as each method takes them: held-out procedural scenes in folders."""

from dataclasses import dataclass
from pathlib import Path

import torch

from ..formats.cameras_json import write_cameras_json
from ..formats.files import new_folder
from ..formats.image_folder import write_png
from ..views import Views
from .procedural import HELD_OUT_SEED_START
from .world import WorldKind, render_world
from .world.objects.turntable import render_turntables


# A depth map of 12 bits compresses better than one of 16, and is still exact to a few millimetres in a room.
DEPTH_LEVELS = 4095


@dataclass(frozen=True)
class ExampleKind:
    """What is rendered.

    Args:
        world: kind of scene.
        views, size: number of photos and their side in pixels.
        scene: which held-out one, from 0, unless another is asked for.
        posed: whether the photos come with cameras.
        level: whether they are taken from the front, from far away.
    """

    world: WorldKind
    views: int
    size: int
    scene: int
    posed: bool
    level: bool = False


EXAMPLE_KINDS = {
    # a walk past solids of several colours that hide each other
    "room": ExampleKind("room", 12, 96, 7, posed=True),
    "photos": ExampleKind("apartment", 4, 96, 4, posed=False),
    "object": ExampleKind("object", 8, 128, 8, posed=True),
    "photo": ExampleKind("object", 1, 256, 20, posed=False, level=True),
}


def example_views(kind: str, scene: int | None = None) -> Views:
    """The photos of a held-out scene, named by number; with depth of rooms, masks of objects.

    Args:
        kind: one of EXAMPLE_KINDS.
        scene: which held-out scene, from 0; by default one that shows much.
    """
    example = EXAMPLE_KINDS[kind]
    seed = torch.tensor([HELD_OUT_SEED_START + (example.scene if scene is None else scene)])
    if example.level:
        world = render_turntables(seed, torch.zeros(example.views), example.size, example.size)
    else:
        world = render_world(seed, example.views, example.size, example.size, example.world)
    views, depths = world.scene(0), None
    if example.world == "room":
        step = views.depths.max() / DEPTH_LEVELS
        depths = (views.depths / step).round() * step
    masks = views.masks if example.world == "object" else None
    return Views(
        views.images, views.cameras, depths=depths, masks=masks, names=tuple(f"{i:02d}" for i in range(example.views))
    )


def write_example_photos(kind: str, folder: Path, scene: int | None = None, overwrite: bool = False) -> None:
    """Write photos with cameras as cameras.json has them, or alone, of objects with transparency.

    Args:
        kind: one of EXAMPLE_KINDS.
        folder: new or empty.
        scene: as of `example_views`.
        overwrite: whether a folder with content may be replaced.
    """
    views = example_views(kind, scene)
    if EXAMPLE_KINDS[kind].posed:
        write_cameras_json(views, folder, overwrite)
        return
    photos = views.images if views.masks is None else torch.cat([views.images, views.masks], dim=1)
    with new_folder(folder, overwrite) as temporary:
        for photo, name in zip(photos, views.names, strict=True):
            write_png(photo, temporary / f"{name}.png")
