"""Which photos to condition on: the cameras nearest to a target camera."""

import torch
from jaxtyping import Int
from torch import Tensor

from ..cameras import Cameras


def nearest_cameras(targets: Cameras, candidates: Cameras, count: int) -> Int[Tensor, "*batch targets count"]:
    """Find the candidates nearest to each target, nearest first; equally near ones in the order given.

    The distance of a target t and a candidate c is |center_t - center_c| / size + angle(axis_t, axis_c): the size of
    the scene is the root mean square distance of the candidates' centres from their mean, the angle between the
    optical axes is in radians. Roll and world scale do not matter.

    Args:
        targets: cameras of batch shape [*batch, T].
        candidates: cameras of batch shape [*batch, C].
        count: how many candidates to return for each target, at most C.

    Returns:
        Indices into the candidates, [*batch, T, count].

    Raises:
        ValueError: if there are fewer candidates than `count`.
    """
    if not 1 <= count <= candidates.batch_shape[-1]:
        raise ValueError(
            f"{count} nearest cameras asked for; accepted is 1 to {candidates.batch_shape[-1]}, all the candidates"
        )
    offsets = targets.centers[..., :, None, :] - candidates.centers[..., None, :, :]  # [*batch, T, C, 3]
    centered = candidates.centers - candidates.centers.mean(-2, keepdim=True)
    size = centered.square().sum(-1).mean(-1).sqrt()[..., None, None]
    rounding = 16 * torch.finfo(size.dtype).eps * candidates.centers.abs().amax((-2, -1))[..., None, None]
    # candidates that share one centre are equally far from a target, whatever the size
    distance = offsets.norm(dim=-1) / torch.where(size > rounding, size, 1)

    target_axes, candidate_axes = targets.rotation[..., :, None, :, 2], candidates.rotation[..., None, :, :, 2]
    # unlike the arc cosine, exact for small angles
    angle = 2 * torch.atan2((target_axes - candidate_axes).norm(dim=-1), (target_axes + candidate_axes).norm(dim=-1))
    return (distance + angle).argsort(dim=-1, stable=True)[..., :count]
