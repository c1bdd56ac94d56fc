"""Walks through an apartment, as a person with a camera takes them."""

import math

import numpy as np
from scipy import ndimage

from .draw import EndlessDraw
from .navigation import FreeSpace


# Metres between the points of a path before cameras are put on it.
STEP = 0.05
LOOK_AHEAD = 0.8
MOST_GOALS = 6


def walk(draw: EndlessDraw, space: FreeSpace, views: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions [V, 3] and angles [V, 3] (yaw, pitch, roll in radians) along a smooth path.

    The camera looks ahead and around, and sways a little with the steps.
    """
    stride = draw.log_between(0.12, 0.7)
    path = long_path(draw, space, stride * (views - 1) + LOOK_AHEAD)
    length = STEP * (len(path) - 1)
    stride = min(stride, max(length - LOOK_AHEAD, 0.02) / max(views - 1, 1))
    along = stride * np.arange(views)
    points = at(path, along)
    ahead = at(path, along + LOOK_AHEAD) - points
    yaw = np.unwrap(np.arctan2(ahead[:, 0], ahead[:, 1]))
    height = draw.between(1.25, 1.75)
    swing, period, phase = math.radians(draw.between(0, 55)), draw.between(1.2, 4.0), draw.between(0, 2 * math.pi)
    yaw += swing * np.sin(2 * math.pi * along / period + phase)
    pitch = -math.radians(draw.between(0, 16)) + math.radians(draw.between(0, 7)) * np.sin(along * 2.1 + phase)
    yaw += math.radians(1.5) * normals(draw, views)
    pitch += math.radians(1.5) * normals(draw, views)
    roll = math.radians(2.0) * normals(draw, views)
    y = height + 0.02 * np.sin(2 * math.pi * along / 0.7) + 0.008 * normals(draw, views)
    y = np.clip(y, 1.2, 1.8)
    return np.stack([points[:, 0], y, points[:, 1]], axis=1), np.stack([yaw, pitch, roll], axis=1)


def normals(draw: EndlessDraw, count: int) -> np.ndarray:
    """Normally distributed numbers."""
    return np.array([draw.normal() for _ in range(count)])


def at(path: np.ndarray, along: np.ndarray) -> np.ndarray:
    """Points of a path at distances from its start."""
    index = along / STEP
    return np.stack([np.interp(index, np.arange(len(path)), path[:, axis]) for axis in range(2)], axis=1)


def long_path(draw: EndlessDraw, space: FreeSpace, length: float) -> np.ndarray:
    """A smooth path [N, 2] of at least the given length if it exists, with points STEP apart."""
    from skimage.graph import MCP_Geometric

    # keeping away from walls is worth a detour
    cost = np.where(space.clearance > 0, 1 + 0.15 / np.maximum(space.clearance, 0.1) ** 2, np.inf)
    corners = [space.random_cell(draw)]
    cells = [corners[0]]
    for _ in range(MOST_GOALS):
        if len(cells) * 1.1 * 0.1 > length + 0.5:
            break
        grid = MCP_Geometric(cost)
        grid.find_costs([tuple(corners[-1])])
        goal = max((space.random_cell(draw) for _ in range(3)), key=lambda cell: np.abs(cell - corners[-1]).sum())
        corners.append(goal)
        cells += [np.array(cell) for cell in grid.traceback(tuple(goal))[1:]]
    points = space.position(np.array(cells))
    if len(points) < 2:
        points = np.concatenate([points, points + 1e-3])
    for width in (0.35, 0.2, 0.1, 0.0):
        path = resampled(points)
        if width:
            path = resampled(ndimage.gaussian_filter1d(path, width / STEP, axis=0, mode="nearest"))
        if (space.distance(path) > 0).all():
            break
    return path


def resampled(points: np.ndarray) -> np.ndarray:
    """The same path with points STEP apart."""
    lengths = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    count = max(2, int(lengths[-1] / STEP) + 1)
    along = np.arange(count) * STEP
    return np.stack([np.interp(along, lengths, points[:, axis]) for axis in range(2)], axis=1)
