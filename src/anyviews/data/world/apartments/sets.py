"""Sets of views that overlap in a controlled way: stars around a first view, and trees.

The idea of the training sets of MV-DUSt3R+ (Tang et al., 2024): views are taken if what they share with the ones
before lies within a range, which is measured on depth maps of the scene at low resolution.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ....geometry.rays import pixel_centers
from ..primitives import NO_HIT
from .draw import EndlessDraw
from .navigation import FreeSpace
from .scenes import Apartments
from .tiles import TILE, Frames, image_from_tiles, in_frustum, tile_directions
from .trace import camera_frames, nearest


SIZE = 3 * TILE
LEAST, MOST = 0.3, 0.7
FIRST_VIEWS = 6
TOO_NEAR = 0.5
TOLERANCE = 0.08
PAN, TILT, ROLL = 3.0, 10.0, 5.0


def low_depths(apartments: Apartments, frames: Frames) -> Float[Tensor, "frames size size"]:
    """z-depth of the scene at low resolution, 0 where there is nothing."""
    seen, near = in_frustum(apartments.solids, apartments.used, frames, SIZE, SIZE)
    frame = torch.arange(len(seen), device=seen.device).repeat_interleave(seen.shape[1])
    directions = tile_directions(frames.tangent, SIZE, SIZE, 1).flatten(0, 1)
    local = camera_frames(apartments.solids, frames)
    depth, _ = nearest(apartments, local, directions, frame, seen.flatten(0, 1), near[frame])
    return image_from_tiles(depth * (depth < NO_HIT), SIZE, SIZE)


def world_points(frames: Frames, depths: Float[Tensor, "frames size size"]) -> Float[Tensor, "frames pixels 3"]:
    """The points that pixels see."""
    grid = (pixel_centers(SIZE, SIZE).to(depths.device) * (2 / SIZE) - 1).flatten(0, 1)
    rays = torch.cat([grid * frames.tangent[:, None, None], torch.ones_like(depths).flatten(1)[..., None]], dim=-1)
    return frames.centers[:, None] + (rays * depths.flatten(1)[..., None]) @ frames.rotations.mT


def overlaps(frames: Frames, depths: Float[Tensor, "frames size size"]) -> Float[Tensor, "frames frames"]:
    """Mean of the two parts of what one view sees that the other sees as well, for every pair of views."""
    points = world_points(frames, depths)
    local = torch.einsum("jab,inja->jinb", frames.rotations, points[:, :, None] - frames.centers)
    depth = local[..., 2]
    grid = local[..., :2] / (depth.clamp(min=1e-3) * frames.tangent[:, None, None])[..., None]
    # inverse depth is linear in the image on planes
    inverse = F.grid_sample((1 / depths.clamp(min=1e-3))[:, None], grid, align_corners=False)[:, 0]
    known = depths.flatten(1) > 0
    agrees = (depth > 0) & (grid.abs() < 1).all(-1) & ((inverse * depth - 1).abs() < TOLERANCE) & known
    covered = agrees.float().sum(-1) / known.sum(-1).clamp(min=1)
    return (covered + covered.T) / 2


def gaze(position: np.ndarray, target: np.ndarray) -> tuple[float, float]:
    """Yaw and pitch that look at a target."""
    x, y, z = target - position
    return math.atan2(x, z), math.atan2(y, math.hypot(x, z))


def first_views(draw: EndlessDraw, space: FreeSpace) -> tuple[np.ndarray, np.ndarray]:
    """Positions and angles of candidates for the first view of a set."""
    positions, angles = [], []
    for _ in range(FIRST_VIEWS):
        x, z = space.position(space.random_cell(draw))
        positions.append([x, draw.between(1.2, 1.8), z])
        angles.append([draw.between(-math.pi, math.pi), math.radians(draw.between(-20, 0)), 0.0])
    return np.array(positions), np.array(angles)


def views_around(
    draw: EndlessDraw, space: FreeSpace, parents: np.ndarray, targets: np.ndarray, count: int, spread: float
) -> tuple[np.ndarray, np.ndarray]:
    """Positions and angles of `count` views near random parents, which look at about their parent's target."""
    positions, angles = [], []
    for _ in range(count):
        parent = int(draw.between(0, len(parents)))
        x, z = space.near(draw, parents[parent][[0, 2]], spread * draw.between(0.3, 1.2))
        position = np.array([x, draw.between(1.2, 1.8), z])
        yaw, pitch = gaze(position, targets[parent])
        yaw += math.radians(PAN) * draw.normal()
        pitch += math.radians(TILT) * draw.normal()
        positions.append(position)
        angles.append([yaw, np.clip(pitch, -1.0, 0.6), math.radians(ROLL) * draw.normal()])
    return np.array(positions), np.array(angles)


def sees_enough(depths: Float[Tensor, "views size size"]) -> list[bool]:
    """Whether each view looks at surfaces, and not at something right before it."""
    flat = depths.flatten(1)
    near = ((flat > 0) & (flat < TOO_NEAR)).float().mean(1)
    return (((flat > 0).float().mean(1) > 0.7) & (near < 0.3) & (flat.median(1).values > 2 * TOO_NEAR)).tolist()


def best_first(depths: Float[Tensor, "views size size"]) -> int:
    """The candidate that sees farthest among those that see enough."""
    enough = torch.tensor(sees_enough(depths), device=depths.device)
    return int((depths.flatten(1).median(1).values + 100 * enough).argmax())


def choose(shared: Float[Tensor, "views views"], usable: list[bool], wanted: Sequence[float], tree: bool) -> list[int]:
    """Indices of views, the first of which is 0; each next is the best that is left.

    Args:
        shared: overlaps of the candidates.
        usable: which candidates to prefer.
        wanted: for each further view, the largest overlap that it shall have with a view before.
        tree: whether the overlaps with all other views before shall be less than LEAST.
    """
    chosen, left = [0], [i for i in range(1, len(shared)) if usable[i]] or list(range(1, len(shared)))
    for target in wanted:
        candidates = [i for i in left if i not in chosen] or [i for i in range(len(shared)) if i not in chosen]
        ranked = shared[candidates][:, chosen].sort(dim=1, descending=True).values
        miss = (ranked[:, 0] - target).abs()
        if tree and len(chosen) > 1:
            miss = miss + 3 * (ranked[:, 1] - LEAST).clamp(min=0)
        chosen.append(candidates[int(miss.argmin())])
    return chosen
