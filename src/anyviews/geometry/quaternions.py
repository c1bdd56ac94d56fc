"""Unit quaternions, w first, as rotations."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def quaternion_to_matrix(quaternions: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotation matrices of quaternions [*batch, 4] (w, x, y, z) of any length but zero."""
    w, x, y, z = F.normalize(quaternions, dim=-1).unbind(-1)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def matrix_to_quaternion(matrices: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 4"]:
    """Unit quaternions (w, x, y, z), w >= 0, of rotation matrices [*batch, 3, 3]."""
    (a, b, c), (d, e, f), (g, h, i) = (row.unbind(-1) for row in matrices.unbind(-2))
    # each row is the quaternion times four times one of its components; the longest row divides by no small number
    candidates = torch.stack(
        [
            torch.stack([1 + a + e + i, h - f, c - g, d - b], dim=-1),
            torch.stack([h - f, 1 + a - e - i, b + d, c + g], dim=-1),
            torch.stack([c - g, b + d, 1 - a + e - i, f + h], dim=-1),
            torch.stack([d - b, c + g, f + h, 1 - a - e + i], dim=-1),
        ],
        dim=-2,
    )
    longest = candidates.square().sum(-1).argmax(-1)[..., None, None].expand(*matrices.shape[:-2], 1, 4)
    quaternion = F.normalize(candidates.gather(-2, longest)[..., 0, :], dim=-1)
    return torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)


def multiply_quaternions(
    left: Float[Tensor, "*#batch 4"], right: Float[Tensor, "*#batch 4"]
) -> Float[Tensor, "*batch 4"]:
    """The quaternion (w, x, y, z) of the rotation that applies `right`, then `left`."""
    w, vector = left[..., :1], left[..., 1:]
    other_w, other = right[..., :1], right[..., 1:]
    real = w * other_w - (vector * other).sum(-1, keepdim=True)
    vector, other = torch.broadcast_tensors(vector, other)
    return torch.cat([real, w * other + other_w * vector + torch.linalg.cross(vector, other)], dim=-1)
