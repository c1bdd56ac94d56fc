"""Which Gaussians touch which tiles, front to back."""

import numpy as np

from .blending import SUMS
from .compiler import Kernel


# Pairs of a Gaussian and a tile that are held at once.
PAIRS_PER_WINDOW = 1 << 22


@Kernel
def add_corners(rectangles, corners):
    """Mark the corners of rectangles of tiles [N, 4]; the sums over both axes of `corners` then count them."""
    for i in range(rectangles.shape[0]):
        left, right, top, bottom = rectangles[i, 0], rectangles[i, 1], rectangles[i, 2], rectangles[i, 3]
        if left < right:
            corners[top, left] += 1
            corners[top, right] -= 1
            corners[bottom, left] -= 1
            corners[bottom, right] += 1


@Kernel
def fill_lists(first, last, order, rectangles, window, offsets, members):
    """Write the lists of the tile rows first .. last - 1 of a window, in the given order of Gaussians."""
    columns = window[1] - window[0]
    top, bottom = window[2] + first, window[2] + last
    ends = offsets[first * columns : last * columns].copy()
    for place in range(order.shape[0]):
        i = order[place]
        if rectangles[i, 3] <= top or rectangles[i, 2] >= bottom:
            continue
        left, right = max(rectangles[i, 0], window[0]), min(rectangles[i, 1], window[1])
        for y in range(max(rectangles[i, 2], top), min(rectangles[i, 3], bottom)):
            at = (y - top) * columns - window[0]
            for x in range(left, right):
                members[ends[at + x]] = i
                ends[at + x] += 1


@Kernel
def add_pairs(first, last, lists, pairs, values, sums):
    """Add up what pairs of Gaussians first .. last - 1 with tiles hold, tile by tile.

    Args:
        first, last: Gaussians.
        lists, pairs: as in `blend_tiles_backward`.
        values: [pairs, 10], what it wrote.
        sums: [gaussians, 10], added to.
    """
    _, offsets, members = lists
    starts, used = pairs
    for tile in range(used.shape[0]):
        for place in range(used[tile]):
            i = members[offsets[tile] + place]
            if first <= i < last:
                at = starts[tile] + place
                for value in range(SUMS):
                    sums[i, value] += values[at, value]


def tile_counts(rectangles: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """How many Gaussians touch each tile, [rows, columns]."""
    corners = np.zeros((rows + 1, columns + 1), np.int64)
    add_corners(rectangles, corners)
    return corners.cumsum(0).cumsum(1)[:rows, :columns]


def front_to_back(rectangles: np.ndarray, depths: np.ndarray) -> np.ndarray:
    """Indices of the Gaussians that touch a tile by float32 depth, those of equal depth by index."""
    seen = np.flatnonzero(rectangles[:, 0] < rectangles[:, 1]).astype(np.uint64)
    # positive floats are ordered as their bits are; numpy sorts whole integers several times faster than indices
    keys = (depths[seen].view(np.uint32).astype(np.uint64) << np.uint64(32)) | seen
    keys.sort()
    return (keys & np.uint64(0xFFFFFFFF)).astype(np.int32)


def plan_windows(counts: np.ndarray, limit: int = PAIRS_PER_WINDOW) -> list[np.ndarray]:
    """Cut the image into windows (first and last + 1 tile column, first and last + 1 tile row) of bounded pairs.

    A window is whole rows of tiles, part of a row where that holds too many pairs, at least one tile.
    """
    windows = []
    for top, bottom in _groups(counts.sum(1), limit):
        columns = _groups(counts[top:bottom].sum(0), limit) if bottom - top == 1 else [(0, counts.shape[1])]
        windows += [np.array([left, right, top, bottom]) for left, right in columns]
    return windows


def _groups(counts: np.ndarray, limit: int) -> list[tuple[int, int]]:
    """Consecutive groups whose sums stay within a limit, or hold one entry."""
    groups, first, held = [], 0, 0
    for index, count in enumerate(counts.tolist()):
        if index > first and held + count > limit:
            groups.append((first, index))
            first, held = index, 0
        held += count
    return [*groups, (first, len(counts))]
