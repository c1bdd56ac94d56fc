"""render_world: one door to all kinds of procedural scenes."""

from typing import Literal

import torch
from jaxtyping import Int
from torch import Tensor

from .room import render_rooms
from .views import WorldViews


WorldKind = Literal["room", "object", "apartment"]
KINDS = ("room", "object", "apartment")


@torch.no_grad()
def render_world(
    seeds: Int[Tensor, "scenes"],
    views: int,
    height: int,
    width: int,
    kind: WorldKind = "room",
    device: torch.device | str = "cpu",
    samples: int = 2,
    maps: bool = True,
    **options,
) -> WorldViews:
    """Render the random scenes of given seeds; each scene depends on its seed (and the number of views) alone.

    Args:
        seeds: [B], one scene per seed, from 0 to 2**32 - 1.
        views: cameras per scene.
        height: of the images in pixels.
        width: of the images in pixels.
        kind: "room" for box rooms with simple solids, "apartment" for several connected, furnished rooms, "object"
            for single objects.
        device: where to render.
        samples: rays per pixel along each axis for colours; depth, mask and normals are those of the pixel's centre.
        maps: whether to give radiance, normals and materials too; without them rendering is faster.
        options: of apartments: `trajectory` ("walk", "star", "tree", or "any" by seed) and `metric` (metres instead
            of a random unit); of objects: `environments` to light them with.

    Returns:
        Views whose world has y up and a unit that is random per scene, so that absolute scale tells nothing.

    Raises:
        ValueError: for an unknown kind, or a seed out of range.
        TypeError: for an option that the kind does not take.
    """
    if kind not in KINDS:
        raise ValueError(f"kind is {kind!r}; accepted are {', '.join(map(repr, KINDS))}")
    # the CPU generator uses 32 bits of its seed, so that larger ones would silently repeat scenes
    outside = [seed for seed in seeds.tolist() if not 0 <= seed < 2**32]
    if outside:
        raise ValueError(f"seeds hold {outside[:8]}; accepted are 0 to 2**32 - 1 (take them modulo 2**32)")
    arguments = (seeds, views, height, width, device, samples, maps)
    # matrix products under a caller's autocast would move the cameras
    with torch.autocast(torch.device(device).type, enabled=False):
        if kind == "apartment":
            from .apartments import render_apartments

            return render_apartments(*arguments, **options)
        if kind == "object":
            from .objects import render_objects

            return render_objects(*arguments, **options)
        return render_rooms(*arguments, **options)
