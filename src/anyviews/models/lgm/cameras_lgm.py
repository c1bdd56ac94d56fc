"""Cameras of LGM: the orbit it looks from, and the frame of the first of them.

LGM's world is the package's: +Y up, with the front camera on +Z and the one of azimuth 90 on +X. Its authors count
elevations downwards; here they are positive above the horizon.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from ...cameras import Cameras, rigid
from ...geometry.paths import look_at
from ...geometry.quaternions import multiply_quaternions, quaternion_to_matrix
from ...geometry.similarity import Similarity
from .configuration_lgm import LGMConfig


# Where the released model looks from, in this order: front, right, back, left.
INPUT_AZIMUTHS = (0.0, 90.0, 180.0, 270.0)

# Camera jitter of the authors' training: the largest turns about the camera's up and right axes, in radians.
LARGEST_JITTER = (0.1 * math.pi, 0.05 * math.pi)


def lgm_cameras(
    azimuths: Sequence[float] | Float[Tensor, "*batch"] = INPUT_AZIMUTHS,
    elevations: float | Sequence[float] | Float[Tensor, "*batch"] = 0.0,
    radius: float = 1.5,
    field_of_view: float = 49.1,
    size: int = 256,
) -> Cameras:
    """Cameras on a sphere around the origin that look at it; the defaults are the inputs of the released model.

    Args:
        azimuths: degrees, [*batch]; 0 is the front (+Z), 90 the right (+X).
        elevations: degrees above the horizon, [*batch] or one for all. The authors' code has the opposite sign.
        radius: distance from the origin.
        field_of_view: in degrees.
        size: side of the images in pixels.

    Raises:
        ValueError: if a camera is straight above or below the origin.
    """
    azimuth, elevation = torch.broadcast_tensors(
        torch.deg2rad(torch.as_tensor(azimuths, dtype=torch.float32)),
        torch.deg2rad(torch.as_tensor(elevations, dtype=torch.float32)),
    )
    eyes = radius * torch.stack(
        [elevation.cos() * azimuth.sin(), elevation.sin(), elevation.cos() * azimuth.cos()], dim=-1
    )
    focal = size / 2 / math.tan(math.radians(field_of_view) / 2)
    intrinsics = eyes.new_tensor([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1]])
    return look_at(eyes, torch.zeros_like(eyes), eyes.new_tensor([0.0, 1.0, 0.0]), intrinsics, size, size)


def first_camera_frame(cameras: Cameras, radius: float = 1.5) -> Similarity:
    """The map [*batch] from the world to the one in which the first camera is at (0, 0, radius) and looks along -Z.

    LGM is trained in that frame (spec B.3). It keeps lengths: scale the world first, so that the object lies within
    the unit cube and the cameras at about `radius` from its centre.

    Args:
        cameras: of batch shape [*batch, V].
        radius: distance of the first camera from the new origin.
    """
    first = cameras.camera_to_world[..., 0, :, :]
    # to the first camera's own axes, then to axes with y up and z backward, then back by the radius
    rotation = first.new_tensor([1.0, -1.0, -1.0])[:, None] * first[..., :3, :3].mT
    translation = -(rotation @ first[..., :3, 3:])[..., 0]
    translation = translation + translation.new_tensor([0.0, 0.0, radius])
    return Similarity(torch.ones_like(translation[..., 0]), rotation, translation)


def lgm_frame(inputs: Cameras, config: LGMConfig) -> Similarity:
    """The map to LGM's frame, and to a unit in which objects are as large in the images as LGM's are.

    For cameras like LGM's own that puts the first of them at its radius.

    Args:
        inputs: V cameras around the world's origin that look at it, the first of them the front.
        config: of the model.
    """
    distances = inputs.centers.norm(dim=-1)
    half_width = distances * inputs.width / 2 / inputs.intrinsics[:, 0, 0]
    scale = config.camera_radius * math.tan(math.radians(config.field_of_view) / 2) / half_width.mean()
    enlarge = Similarity(scale, torch.eye(3), torch.zeros(3))
    return first_camera_frame(inputs.scaled(scale), float(distances[0] * scale)) @ enlarge


def jitter_cameras(cameras: Cameras, turns: Float[Tensor, "*batch 2"]) -> Cameras:
    """Cameras that are turned about the origin, each about its own axes: inputs whose poses are slightly wrong.

    Args:
        cameras: of batch shape [*batch].
        turns: [*batch, 2], angles in radians about the camera's up axis, and about its right axis before that; the
            authors draw them uniformly within plus and minus `LARGEST_JITTER`.
    """
    right, up = cameras.rotation[..., 0], -cameras.rotation[..., 1]
    about_up, about_right = (
        torch.cat([(angle / 2).cos(), axis * (angle / 2).sin()], dim=-1)
        for axis, angle in ((up, turns[..., :1]), (right, turns[..., 1:]))
    )
    turn = quaternion_to_matrix(multiply_quaternions(about_up, about_right))
    pose = rigid(turn @ cameras.rotation, (turn @ cameras.centers[..., None])[..., 0])
    return replace(cameras, camera_to_world=pose)
