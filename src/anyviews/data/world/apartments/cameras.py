"""Camera poses in apartments: walks, and star- and tree-like sets of controlled overlap."""

import math

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..trajectories import look_at
from .draw import EndlessDraw
from .navigation import FreeSpace, free_space
from .scenes import Apartment, Apartments
from .sets import (
    LEAST,
    MOST,
    best_first,
    choose,
    first_views,
    low_depths,
    overlaps,
    sees_enough,
    views_around,
    world_points,
)
from .tiles import Frames


# so that a seed's cameras do not repeat the choices of its rooms
CAMERA_STREAM = 1 << 33


def apartment_cameras(
    seeds: Int[Tensor, "scenes"], made: list[Apartment], apartments: Apartments, views: int, trajectory: str
) -> tuple[Frames, Float[Tensor, "scenes"]]:
    """The cameras of each scene in a row, in metres, and the random unit of each scene.

    Args:
        seeds: of the scenes.
        made: the scenes.
        apartments: the scenes as tensors.
        views: cameras per scene.
        trajectory: "walk", "star" or "tree", or "any" for one that depends on the seed.
    """
    device = apartments.skies.device
    draws = [EndlessDraw(seed + CAMERA_STREAM) for seed in seeds.tolist()]
    scale = torch.tensor([draw.log_between(0.25, 2.0) for draw in draws], device=device)
    tangent = torch.tensor([math.tan(math.radians(draw.between(55, 90) / 2)) for draw in draws], device=device)
    kinds = [draw.pick(["walk", "walk", "star", "tree"]) for draw in draws]
    if trajectory != "any":
        kinds = [trajectory] * len(draws)
    spaces = [free_space(apartment.plan, apartment.parts) for apartment in made]
    sets = overlapping_sets(draws, kinds, spaces, apartments, tangent, views)
    poses = []
    for index, (draw, kind, space) in enumerate(zip(draws, kinds, spaces, strict=True)):
        poses.append(walk_frames(draw, space, views, index, tangent[index]) if kind == "walk" else sets[index])
    return concatenated(poses), scale


def walk_frames(draw: EndlessDraw, space: FreeSpace, views: int, scene: int, tangent: Tensor) -> Frames:
    """The cameras of a walk."""
    from .walks import walk

    return frames_of(*walk(draw, space, views), scene, tangent)


def frames_of(positions: np.ndarray, angles: np.ndarray, scene: int, tangent: Tensor) -> Frames:
    """Frames of one scene from positions [V, 3] and (yaw, pitch, roll) [V, 3]."""
    device = tangent.device
    centers = torch.tensor(positions, dtype=torch.float32, device=device)
    yaw, pitch, roll = torch.tensor(angles, dtype=torch.float32, device=device).unbind(1)
    forward = torch.stack([pitch.cos() * yaw.sin(), pitch.sin(), pitch.cos() * yaw.cos()], dim=-1)
    # look_at is for worlds with y down: half a turn about x before and after
    upright = torch.tensor([1.0, -1.0, -1.0], device=device)
    rotations = upright[:, None] * look_at(torch.zeros_like(forward)[None], (upright * forward)[None], roll[None])[0]
    index = torch.full((len(centers),), scene, device=device)
    return Frames(index, centers, rotations, tangent.expand(len(centers)))


def concatenated(frames: list[Frames]) -> Frames:
    """Several frames in a row."""
    return Frames(*(torch.cat([getattr(f, name) for f in frames]) for name in Frames.__dataclass_fields__))


def overlapping_sets(
    draws: list[EndlessDraw],
    kinds: list[str],
    spaces: list[FreeSpace],
    apartments: Apartments,
    tangent: Float[Tensor, "scenes"],
    views: int,
) -> dict[int, Frames]:
    """The cameras of those scenes that are stars or trees.

    Three generations of candidates: first views, views around the best of them, and views around those.
    """
    chosen = [index for index, kind in enumerate(kinds) if kind != "walk"]
    if not chosen:
        return {}
    generations = [generation([first_views(draws[i], spaces[i]) for i in chosen], chosen, apartments, tangent)]
    kept = []
    for frames, depths in generations[0]:
        best = best_first(depths)
        kept.append((frames[best : best + 1], depths[best : best + 1]))
    pools = [[pair] for pair in kept]
    for count, spread in ((2 * views + 6, 0.8), (2 * views + 6, 1.6)):
        made = []
        for index, pool in zip(chosen, pools, strict=True):
            frames, depths = pool[-1]
            targets = observed_points(frames, depths)
            around = (draws[index], spaces[index], frames.centers.cpu().numpy(), targets)
            made.append(views_around(*around, count, spread))
        for pool, pair in zip(pools, generation(made, chosen, apartments, tangent), strict=True):
            pool.append(pair)
    results = {}
    for index, pool in zip(chosen, pools, strict=True):
        frames, depths = concatenated([pair[0] for pair in pool]), torch.cat([pair[1] for pair in pool])
        usable = sees_enough(depths)
        wanted = [draws[index].between(LEAST, MOST) for _ in range(views - 1)]
        order = choose(overlaps(frames, depths).cpu(), usable, wanted, kinds[index] == "tree")
        results[index] = frames[torch.tensor(order, device=depths.device)]
    return results


def generation(
    made: list[tuple[np.ndarray, np.ndarray]], scenes: list[int], apartments: Apartments, tangent: Tensor
) -> list[tuple[Frames, Tensor]]:
    """Frames of candidates of several scenes, with their depth at low resolution."""
    frames = [frames_of(*poses, scene, tangent[scene]) for poses, scene in zip(made, scenes, strict=True)]
    depths = low_depths(apartments, concatenated(frames)).split([len(f.scene) for f in frames])
    return list(zip(frames, depths, strict=True))


def observed_points(frames: Frames, depths: Tensor) -> np.ndarray:
    """The mean of the points that each view sees."""
    points, known = world_points(frames, depths), (depths > 0).flatten(1)[..., None]
    return ((points * known).sum(1) / known.sum(1).clamp(min=1)).cpu().numpy()
