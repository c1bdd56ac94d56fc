"""Compiled loops of the mesh rasteriser, over rows of one image.

A triangle is three edge functions of the pixel, linear in (x, y, 1), which are 0 on its edges and positive inside, and
its inverse depth, linear too (M. Olano and T. Greer, "Triangle scan conversion using 2D homogeneous coordinates",
1997). Corners behind the camera need no clipping this way.
"""

import numpy as np

from ..gaussians.cpu.compiler import Kernel, helper


@helper
def _plane(values, x, y):
    return values[0] * x + values[1] * y + values[2]


@Kernel
def fill_rows(first, last, edges, planes, boxes, nearest, inverse_depths, faces):
    """Write the nearest triangle of each pixel; of equally near ones the first.

    Args:
        first: row to begin with.
        last: row to end before.
        edges: float64 [F, 3, 3], the edge functions.
        planes: float64 [F, 3], the inverse depth.
        boxes: int32 [F, 4], first and last column, first and last row that may be covered, the last ones exclusive.
        nearest: inverse depth of the near plane.
        inverse_depths: float64 [H, W], 0 at first.
        faces: int32 [H, W], -1 at first.
    """
    for face in range(len(boxes)):
        left, right, top, bottom = boxes[face]
        edge, plane = edges[face], planes[face]
        for row in range(max(top, first), min(bottom, last)):
            y = row + 0.5
            for column in range(left, right):
                x = column + 0.5
                # what is 0 for one triangle is 0 for its neighbour: shared edges leave no gaps
                if _plane(edge[0], x, y) >= 0 and _plane(edge[1], x, y) >= 0 and _plane(edge[2], x, y) >= 0:
                    inverse = _plane(plane, x, y)
                    if inverse_depths[row, column] < inverse <= nearest:
                        inverse_depths[row, column] = inverse
                        faces[row, column] = face


@Kernel
def resolve_rows(first, last, edges, faces, inverse_depths, barycentrics, depths):
    """Write the perspective-correct barycentric coordinates float32 [H, W, 3] and depth [H, W] of covered pixels."""
    for row in range(first, last):
        for column in range(faces.shape[1]):
            face = faces[row, column]
            if face >= 0:
                x, y = column + 0.5, row + 0.5
                a = _plane(edges[face, 0], x, y)
                b = _plane(edges[face, 1], x, y)
                c = _plane(edges[face, 2], x, y)
                inverse_sum = 1 / (a + b + c)
                barycentrics[row, column, 0] = a * inverse_sum
                barycentrics[row, column, 1] = b * inverse_sum
                barycentrics[row, column, 2] = c * inverse_sum
                depths[row, column] = np.float32(1 / inverse_depths[row, column])
