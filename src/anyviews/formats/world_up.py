"""Which way is up: turning worlds so that viewers, for which +Y is up, do not show them upside down."""

import math
from collections.abc import Sequence


Y_UP = (0.0, 1.0, 0.0)
# Names of axes that point up in a world.
AXES = {
    "x+": (1.0, 0.0, 0.0),
    "x-": (-1.0, 0.0, 0.0),
    "y+": Y_UP,
    "y-": (0.0, -1.0, 0.0),
    "z+": (0.0, 0.0, 1.0),
    "z-": (0.0, 0.0, -1.0),
}


def quaternion_to_y_up(up: Sequence[float]) -> tuple[float, float, float, float]:
    """The smallest rotation (x, y, z, w) that takes a direction to +Y; half a turn about x where it is -Y.

    Raises:
        ValueError: if `up` is no direction.
    """
    length = math.sqrt(sum(value * value for value in up))
    if len(up) != 3 or not 0 < length < math.inf:
        raise ValueError(f"up is {tuple(up)}; accepted is a direction (x, y, z), as (0, -1, 0) of OpenCV-like worlds")
    x, y, z = (value / length for value in up)
    if y < -1 + 1e-12:
        return 1.0, 0.0, 0.0, 0.0
    # half way between the direction and +Y: (cross(up, Y), 1 + dot(up, Y)), normalised
    half = math.sqrt((1 + y) * 2)
    quaternion = -z / half, 0.0, x / half, half / 2
    return tuple(value + 0.0 for value in quaternion)
