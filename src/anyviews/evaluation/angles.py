"""Angles between directions and between rotations, exact for small ones too, where an arc cosine loses its digits."""

import torch
from jaxtyping import Float
from torch import Tensor


def angles_between(a: Float[Tensor, "*batch 3"], b: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch"]:
    """Angles between vectors of any length in degrees, 0 to 180; 90 where either is 0."""
    sine, cosine = torch.linalg.cross(a, b, dim=-1).norm(dim=-1), (a * b).sum(-1)
    return torch.rad2deg(torch.atan2(sine, cosine)).where((sine > 0) | (cosine != 0), 90.0)


def rotation_angles(a: Float[Tensor, "*batch 3 3"], b: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch"]:
    """Angle of the rotation that leads from a to b, in degrees, 0 to 180."""
    between = a @ b.mT
    skew = between - between.mT
    sine = torch.stack([skew[..., 2, 1], skew[..., 0, 2], skew[..., 1, 0]], dim=-1).norm(dim=-1)
    cosine = between.diagonal(dim1=-2, dim2=-1).sum(-1) - 1
    return torch.rad2deg(torch.atan2(sine, cosine))
