"""Environments in the axes of other programs, turned into ours."""

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ...environment import Environment
from ...formats.hdr import read_environment


# Larger pictures are averaged down to this many rows: a lamp keeps its power.
ENVIRONMENT_HEIGHT = 256

Turn = Callable[[Float[Tensor, "height width 3"]], Float[Tensor, "height width 3"]]


def read_turned_environment(path: Path, turn: Turn, height: int = ENVIRONMENT_HEIGHT) -> Environment:
    """The environment of a .hdr or .exr file, looked up along other directions.

    Args:
        path: the picture.
        turn: from directions of the world to those of the picture, as if its axes were `Environment`'s.
        height: of the result, at most; its width is twice that.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is broken.
    """
    picture = read_environment(path).radiance
    height = min(height, picture.shape[-2])
    return Environment(F.interpolate(picture[None], (height, 2 * height), mode="area")[0]).turned(turn)


def from_camera(rotation: Float[Tensor, "3 3"]) -> Turn:
    """For pictures that a camera is in the middle of: the middle column is straight ahead, its right is on the right.

    Args:
        rotation: camera-to-world of that camera, with OpenGL axes (x right, y up, z backward).
    """

    def turn(directions: Float[Tensor, "height width 3"]) -> Float[Tensor, "height width 3"]:
        # the middle column of an Environment is +Z, that of the picture -Z
        return directions @ rotation.to(directions) * directions.new_tensor([-1.0, 1.0, -1.0])

    return turn


def from_blender(directions: Float[Tensor, "height width 3"]) -> Float[Tensor, "height width 3"]:
    """For Blender's world textures: z is up, the middle column is +X, and its right is -Y."""
    x, y, z = directions.unbind(-1)
    # an Environment has +Z in its middle and -X a quarter to the right of it
    return torch.stack([y, z, x], dim=-1)
