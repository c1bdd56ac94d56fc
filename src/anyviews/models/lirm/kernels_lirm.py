"""Compiled parts of plane look-ups on a CPU. They compute what planes_lirm.py states in tensor operations."""

import numpy as np

from ...rendering.gaussians.cpu.compiler import Kernel


HALF, ONE, ZERO = np.float32(0.5), np.float32(1), np.float32(0)


@Kernel
def find_corners(first, last, points, objects, box_radius, num_planes, resolution, indices, weights):
    """Rows and weights of the texels around points `first` to `last` - 1, see `plane_corners`.

    Args:
        points, objects: [N, 3] float32 and [N] int32.
        box_radius, num_planes, resolution: of the planes.
        indices, weights: [N, 12] int32 and float32, written to.
    """
    end = np.float32(resolution - 1)
    scale = HALF * end / np.float32(box_radius)
    signs = num_planes // 3
    for point in range(first, last):
        for pair in range(3):
            horizontal = points[point, 0 if pair < 2 else 1]
            vertical = points[point, 1 if pair == 0 else 2]
            dropped = points[point, 2 - pair]
            u, v = horizontal * scale + HALF * end, vertical * scale + HALF * end
            u = min(u, end) if u > ZERO else ZERO  # NaN too, which must not become an index
            v = min(v, end) if v > ZERO else ZERO
            column = min(int(u), resolution - 2)
            row = min(int(v), resolution - 2)
            right, below = u - np.float32(column), v - np.float32(row)
            plane = signs * pair + (1 if signs == 2 and not dropped > ZERO else 0)
            corner = ((num_planes * objects[point] + plane) * resolution + row) * resolution + column
            place = 4 * pair
            indices[point, place] = corner
            indices[point, place + 1] = corner + 1
            indices[point, place + 2] = corner + resolution
            indices[point, place + 3] = corner + resolution + 1
            weights[point, place] = (ONE - right) * (ONE - below)
            weights[point, place + 1] = right * (ONE - below)
            weights[point, place + 2] = (ONE - right) * below
            weights[point, place + 3] = right * below


@Kernel
def add_rows(first, last, indices, weights, gradient, table_gradient):
    """Add weighted rows to those rows of a table that lie in `first` to `last` - 1.

    Args:
        indices, weights: [N, K] int32 and float32.
        gradient: [N, C], of the weighted sums of K rows.
        table_gradient: [T, C], added to.
    """
    channels = gradient.shape[1]
    for point in range(indices.shape[0]):
        for corner in range(indices.shape[1]):
            row = indices[point, corner]
            if first <= row < last:
                weight = weights[point, corner]
                for channel in range(channels):
                    table_gradient[row, channel] += weight * gradient[point, channel]
