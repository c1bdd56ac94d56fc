"""Camera paths: where to look from next, given the cameras of the photos."""

import math

import torch
from jaxtyping import Float
from scipy.interpolate import CubicSpline
from scipy.spatial.transform import Rotation, Slerp
from torch import Tensor

from ..cameras import Cameras, rigid
from .similarity import nearest_rotation


# Optical axes within about half a degree of each other meet too far away, or too inexactly, to say where.
PARALLEL_AXES = 1e-4
# Where the axes do not meet: the focus lies this many times the cameras' spread ahead, or at 1 for a single camera.
PARALLEL_FOCUS = 4.0
# Radius of the path of a single camera, as a fraction of the distance to its focus.
SMALL_RADIUS = 0.1
# Cameras face the same way when their mean optical axis is longer than this.
SAME_WAY = 0.5
# Cameras that turn less than this (mean squared sine) say nothing about which of their axes is the vertical one.
MINIMUM_YAW = 0.01


def look_at(
    eyes: Float[Tensor, "*batch 3"],
    targets: Float[Tensor, "*#batch 3"],
    up: Float[Tensor, "*#batch 3"],
    intrinsics: Float[Tensor, "*#batch 3 3"],
    height: int,
    width: int,
) -> Cameras:
    """Build cameras at `eyes` that look at `targets`.

    Args:
        eyes: [*batch, 3], camera centres.
        targets: [*batch, 3] or [3], the points in the images' optical centres.
        up: [*batch, 3] or [3], the direction that points up in the images.
        intrinsics: [*batch, 3, 3] or [3, 3], in pixels.
        height: of the images, in pixels.
        width: of the images, in pixels.

    Raises:
        ValueError: if an eye is at its target or looks along `up`.
    """
    forward = targets - eyes
    distance = forward.norm(dim=-1, keepdim=True)
    right = torch.linalg.cross(forward, up.expand_as(forward), dim=-1)
    sine = right.norm(dim=-1, keepdim=True) / (distance * up.norm(dim=-1, keepdim=True))
    undetermined = ~(sine[..., 0] > 1e-5)  # also where the distance is 0
    if undetermined.any():
        index = tuple(undetermined.nonzero()[0].tolist())
        eye, target = eyes[index].tolist(), targets.expand_as(eyes)[index].tolist()
        raise ValueError(
            f"camera {list(index)} at {eye} looking at {target} is at its target or looks along up "
            f"{up.expand_as(eyes)[index].tolist()}; move it or give another up"
        )
    forward, right = forward / distance, right / right.norm(dim=-1, keepdim=True)
    rotation = torch.stack([right, torch.linalg.cross(forward, right, dim=-1), forward], dim=-1)
    return Cameras.create(intrinsics.expand(*eyes.shape[:-1], 3, 3), rigid(rotation, eyes), height, width)


def mean_camera(cameras: Cameras) -> Cameras:
    """The mean camera [] of cameras [V]: mean centre, rotation, image size, and intrinsics scaled to that size.

    Raises:
        ValueError: if there is no camera, or not exactly one batch dimension.
    """
    if len(cameras.batch_shape) != 1 or len(cameras) == 0:
        raise ValueError(f"cameras have batch shape {cameras.batch_shape}; a path needs [V] with at least 1 camera")
    height, width = cameras.image_sizes.double().mean(0).round().int().tolist()
    intrinsics = cameras.resize(height, width).intrinsics.mean(0)
    pose = rigid(nearest_rotation(cameras.rotation.mean(0)), cameras.centers.mean(0))
    return Cameras.create(intrinsics, pose, height, width)


def focus_point(cameras: Cameras) -> Float[Tensor, "3"]:
    """The point nearest to all optical axes, in the least-squares sense.

    Where the axes of cameras that face the same way are parallel or meet behind them (a single camera, a straight
    forward-facing track), it lies ahead of the mean camera, by 4 times the cameras' root mean square spread, or by 1
    where there is no spread.

    Args:
        cameras: cameras of batch shape [V].

    Raises:
        ValueError: if the cameras look away from each other, at no common point.
    """
    mean = mean_camera(cameras)
    axes = cameras.rotation[..., 2]  # [V, 3]
    offsets = cameras.centers - mean.centers
    across = torch.eye(3).to(axes) - axes[:, :, None] * axes[:, None, :]  # projects a vector away from each axis
    if torch.linalg.eigvalsh(across.mean(0))[0] > PARALLEL_AXES:
        focus = torch.linalg.solve(across.sum(0), (across @ offsets[..., None]).sum(0))[:, 0]
        if (axes * (focus - offsets)).sum(-1).mean() > 0:
            return mean.centers + focus
    forward = axes.mean(0)
    if forward.norm() < SAME_WAY:
        raise ValueError(
            f"the {len(cameras)} cameras look away from each other, at no common point; give focus, or use interpolate"
        )
    spread = offsets.square().sum(-1).mean().sqrt()
    distance = torch.where(spread > 1e-6 * mean.centers.norm(), PARALLEL_FOCUS * spread, 1)
    return mean.centers + distance * forward / forward.norm()


def up_direction(cameras: Cameras) -> Float[Tensor, "3"]:
    """The world direction that points up, estimated from cameras [V].

    It is the direction that the cameras' horizontal axes avoid, because photos are mostly held level; where the
    cameras hardly turn it is their mean up axis.

    Raises:
        ValueError: if the cameras' up axes cancel.
    """
    mean = -cameras.rotation[..., 1].mean(0)
    if mean.norm() < 0.05:
        raise ValueError(f"the up axes of the {len(cameras)} cameras cancel; give up as a world direction")
    right = cameras.rotation[..., 0]
    variances, directions = torch.linalg.eigh(right.mT @ right / len(cameras))
    vertical = directions[:, 0] * (directions[:, 0] @ mean).sign()
    level = variances[1] > MINIMUM_YAW and variances[0] < 0.1 * variances[1] and vertical @ mean > 0.3 * mean.norm()
    return vertical if level else mean / mean.norm()


def orbit(
    cameras: Cameras,
    count: int,
    focus: Float[Tensor, "3"] | None = None,
    up: Float[Tensor, "3"] | None = None,
) -> Cameras:
    """Circle once around the scene's focus, at the cameras' mean radius and height, starting near the first camera.

    A single camera, or cameras at one place, make a small circle around themselves that stays on the side they see.

    Args:
        cameras: cameras of batch shape [V].
        count: number of frames; the frame after the last one would be the first.
        focus: the point to look at, or None for `focus_point`.
        up: the axis of the circle, or None for `up_direction`.

    Returns:
        Cameras of batch shape [count].

    Raises:
        ValueError: if the cameras have no common focus or up, or are straight above or below the focus.
    """
    mean = mean_camera(cameras)
    focus = focus_point(cameras) if focus is None else focus
    up = up_direction(cameras) if up is None else up / up.norm()
    angles = _angles(count, 1, cameras)
    if (cameras.centers - mean.centers).norm(dim=-1).max() <= 1e-6 * (focus - mean.centers).norm():
        radius = SMALL_RADIUS * (focus - mean.centers).norm()
        circle = torch.stack([angles.cos(), angles.sin(), torch.zeros_like(angles)], dim=-1) * radius
        return _look_from(mean.centers + circle @ mean.rotation.mT, focus, up, mean)

    offsets = cameras.centers - focus
    heights = offsets @ up
    outward = offsets - heights[:, None] * up  # [V, 3]
    radius = outward.norm(dim=-1).mean()
    first = outward[outward.norm(dim=-1) >= 0.5 * radius][0]  # a camera near the axis has no side to start from
    first = torch.nn.functional.normalize(first, dim=0)
    second = torch.linalg.cross(up, first)
    circle = angles.cos()[:, None] * first + angles.sin()[:, None] * second
    return _look_from(focus + heights.mean() * up + radius * circle, focus, up, mean)


def spiral(cameras: Cameras, count: int, turns: int = 2, focus: Float[Tensor, "3"] | None = None) -> Cameras:
    """Spiral around the mean camera while looking at the focus, as LLFF (Mildenhall et al. 2019) shows its scenes.

    The radii are the cameras' 90th percentile offsets along the mean camera's axes; for cameras at one place, a tenth
    of the distance to the focus.

    Args:
        cameras: cameras of batch shape [V] that face the same way.
        count: number of frames; after an even number of turns, the frame after the last one would be the first.
        turns: number of turns around the mean camera.
        focus: the point to look at, or None for `focus_point`.

    Returns:
        Cameras of batch shape [count].

    Raises:
        ValueError: if the cameras do not face the same way.
    """
    mean = mean_camera(cameras)
    if cameras.rotation[..., 2].mean(0).norm() < SAME_WAY:
        raise ValueError(
            f"a spiral needs cameras that face the same way; these {len(cameras)} do not, use orbit or interpolate"
        )
    focus = focus_point(cameras) if focus is None else focus
    distance = (focus - mean.centers).norm()
    radii = torch.quantile(((cameras.centers - mean.centers) @ mean.rotation).abs(), 0.9, dim=0)
    if radii.max() <= 1e-6 * distance:
        radii = distance * radii.new_tensor([SMALL_RADIUS, SMALL_RADIUS, 0])
    angles = _angles(count, turns, cameras)
    # half as fast along the axis as around it
    offsets = torch.stack([angles.cos(), -angles.sin(), -(angles / 2).sin()], dim=-1) * radii
    return _look_from(mean.centers + offsets @ mean.rotation.mT, focus, -mean.rotation[:, 1], mean)


def interpolate(cameras: Cameras, count: int) -> Cameras:
    """Move through keyframe cameras in their order, from the first to the last, at equal time between keyframes.

    Centres follow a natural cubic spline, rotations the shortest turns (slerp), intrinsics straight lines.

    Args:
        cameras: keyframes of batch shape [V], V at least 2; frames fall on all of them when count - 1 is a multiple
            of V - 1.
        count: number of frames.

    Returns:
        Cameras of batch shape [count], all of the mean image size.

    Raises:
        ValueError: if there are fewer than two keyframes.
    """
    mean = mean_camera(cameras)
    if len(cameras) < 2:
        raise ValueError("interpolate moves between cameras and got 1; give at least 2, or use orbit or spiral")
    _check_count(count)
    keys = torch.arange(len(cameras), dtype=torch.float64)
    times = torch.linspace(0, len(cameras) - 1, count, dtype=torch.float64)
    centers = CubicSpline(keys, cameras.centers.detach().cpu().double(), bc_type="natural")(times)
    rotations = Slerp(keys, Rotation.from_matrix(cameras.rotation.detach().cpu().double()))(times).as_matrix()
    pose = rigid(torch.as_tensor(rotations), torch.as_tensor(centers)).to(cameras.camera_to_world)

    before = times.long().clamp(max=len(cameras) - 2)
    fraction = (times - before).to(cameras.intrinsics)[:, None, None]
    intrinsics = cameras.resize(mean.height, mean.width).intrinsics
    intrinsics = torch.lerp(intrinsics[before], intrinsics[before + 1], fraction)
    return Cameras.create(intrinsics, pose, mean.height, mean.width)


def _look_from(
    eyes: Float[Tensor, "count 3"], focus: Float[Tensor, "3"], up: Float[Tensor, "3"], mean: Cameras
) -> Cameras:
    """Cameras at eyes that look at the focus through the mean camera's lens."""
    return look_at(eyes, focus, up, mean.intrinsics, mean.height, mean.width)


def _angles(count: int, turns: int, cameras: Cameras) -> Float[Tensor, "count"]:
    """Equally spaced angles over a number of turns, the end left out."""
    _check_count(count)
    return torch.arange(count, device=cameras.device, dtype=cameras.dtype) * (2 * math.pi * turns / count)


def _check_count(count: int):
    if count < 1:
        raise ValueError(f"a path of {count} frames was asked for; accepted is 1 or more")
