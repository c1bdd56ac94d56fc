"""Where a person can stand and walk in an apartment."""

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from .draw import EndlessDraw
from .parts import Part, Parts
from .plan import Plan


CELL = 0.1
# Metres from the floor between which something is in the way.
LOWEST, HIGHEST = 0.03, 2.0
# Distance that cameras keep from everything in the way.
CLEARANCE = 0.27


@dataclass(frozen=True)
class FreeSpace:
    """A grid over the floor.

    Args:
        origin: (x, z) of the corner of cell (0, 0).
        clearance: [X, Z], metres from each cell to what is in the way, and 0 where one cannot get.
        cells: [N, 2], indices of the cells where one can stand.
    """

    origin: tuple[float, float]
    clearance: np.ndarray
    cells: np.ndarray

    def position(self, cell: np.ndarray) -> np.ndarray:
        """x and z of the middle of cells [..., 2]."""
        return np.asarray(self.origin) + (np.asarray(cell) + 0.5) * CELL

    def distance(self, positions: np.ndarray) -> np.ndarray | np.float64:
        """Clearance at positions [..., 2]."""
        index = ((positions - np.asarray(self.origin)) / CELL).astype(int)
        index = np.clip(index, 0, np.asarray(self.clearance.shape) - 1)
        return self.clearance[index[..., 0], index[..., 1]]

    def random_cell(self, draw: EndlessDraw) -> np.ndarray:
        """A cell to stand on."""
        return self.cells[int(draw.between(0, len(self.cells)))]

    def near(self, draw: EndlessDraw, position: np.ndarray, spread: float) -> np.ndarray:
        """A position to stand at, normally distributed around another."""
        for _ in range(12):
            there = position + spread * np.array([draw.normal(), draw.normal()])
            if self.distance(there) > CLEARANCE:
                return there
        return self.position(self.random_cell(draw))


def free_space(plan: Plan, parts: Parts) -> FreeSpace:
    """The largest connected part of the floor with room to stand."""
    low, high = plan.bounds
    shape = tuple(math.ceil((high[axis] - low[axis]) / CELL) for axis in range(2))
    free = np.ones(shape, bool)
    for group in (parts.shell, parts.boxes, parts.balls, parts.cylinders):
        for part in group:
            if part.center[1] - part.size[1] < HIGHEST and part.center[1] + part.size[1] > LOWEST:
                x, z = (slice(*span) for span in cells_of(part, low, shape))
                free[x, z] = False
    # nothing lies outside; the border is as a wall
    distance = ndimage.distance_transform_edt(np.pad(free, 1))[1:-1, 1:-1] * CELL
    labels, count = ndimage.label(distance > CLEARANCE)
    largest = 1 + int(np.argmax(np.bincount(labels.ravel(), minlength=count + 1)[1:])) if count else 0
    clearance = np.where((labels == largest) & (distance > CLEARANCE), distance, 0.0)
    return FreeSpace(low, clearance, np.argwhere(clearance > 0))


def cells_of(part: Part, low: tuple[float, float], shape: tuple[int, int]) -> list[tuple[int, int]]:
    """First and last cell (exclusive) along x and z that a solid's bounding box touches."""
    cosine, sine = abs(math.cos(part.yaw)), abs(math.sin(part.yaw))
    half = (cosine * part.size[0] + sine * part.size[2], sine * part.size[0] + cosine * part.size[2])
    spans = []
    for axis, center in enumerate((part.center[0], part.center[2])):
        first = math.floor((center - half[axis] - low[axis]) / CELL)
        last = math.ceil((center + half[axis] - low[axis]) / CELL)
        spans.append((max(first, 0), max(min(last, shape[axis]), 0)))
    return spans
