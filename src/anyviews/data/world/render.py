"""render_world: one door to all kinds of procedural scenes."""

from typing import Literal

import torch
from jaxtyping import Int
from torch import Tensor

from .random_scene import random_object
from .room import render_rooms
from .views import WorldViews


WorldKind = Literal["room", "object"]


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
) -> WorldViews:
    """Render the random scenes of given seeds; each scene depends on its seed (and the number of views) alone.

    Args:
        seeds: [B], one scene per seed, from 0 to 2**32 - 1.
        views: cameras per scene.
        height: of the images in pixels.
        width: of the images in pixels.
        kind: "room" for furnished rooms, "object" for single objects in front of a plain background.
        device: where to render.
        samples: rays per pixel along each axis for colours; depth, mask and normals are those of the pixel's centre.
        maps: whether to give radiance, normals and materials too; without them rendering is faster.

    Returns:
        Views whose world has y up and a unit that is random per scene, so that absolute scale tells nothing.

    Raises:
        ValueError: for an unknown kind, or a seed out of range.
    """
    if kind not in ("room", "object"):
        raise ValueError(f"kind is {kind!r}; accepted are 'room' and 'object'")
    # the CPU generator uses 32 bits of its seed, so that larger ones would silently repeat scenes
    outside = [seed for seed in seeds.tolist() if not 0 <= seed < 2**32]
    if outside:
        raise ValueError(f"seeds hold {outside[:8]}; accepted are 0 to 2**32 - 1 (take them modulo 2**32)")
    if kind == "object":
        return render_rooms(seeds, views, height, width, device, samples, maps, random_object)
    return render_rooms(seeds, views, height, width, device, samples, maps)
