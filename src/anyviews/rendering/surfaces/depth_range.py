"""The range of depth that is seen in a window of a depth map."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def inverse_depth_range(
    inverse_depth: Float[Tensor, "height width"],
    u: Float[Tensor, "points"],
    v: Float[Tensor, "points"],
    reach: Float[Tensor, "points"],
) -> tuple[Float[Tensor, "points"], Float[Tensor, "points"]]:
    """Largest and smallest known inverse depth in squares of `reach` pixels around (u, v); -inf and inf without any.

    A range may also hold that of a few pixels around the square. Squares beside the image are moved to its border.
    A sparse table answers: level l holds the extremes of all squares of 2**l pixels, four of which cover a larger one.
    """
    height, width = inverse_depth.shape
    left, right = ((u + sign * reach).clamp(0, width - 1).long() for sign in (-1, 1))
    top, bottom = ((v + sign * reach).clamp(0, height - 1).long() for sign in (-1, 1))
    side = torch.maximum(right - left, bottom - top) + 1
    chosen = (side.double().log2() + 1e-9).long()
    level = torch.stack([inverse_depth, -inverse_depth]).masked_fill(inverse_depth == 0, -torch.inf)
    extremes = level.new_full((2, len(u)), -torch.inf)
    for exponent in range(int(chosen.max()) + 1 if len(chosen) else 0):
        step = 1 << exponent
        members = (chosen == exponent).nonzero()[:, 0]
        for column in (left, torch.maximum(right - step + 1, left)):
            for row in (top, torch.maximum(bottom - step + 1, top)):
                entry = (row * width + column)[members]
                extremes[:, members] = extremes[:, members].maximum(level.flatten(1)[:, entry])
        level = F.pad(level, (0, step, 0, step), value=-torch.inf)
        level = (
            level[:, :height, :width]
            .maximum(level[:, step:, :width])
            .maximum(level[:, :height, step:].maximum(level[:, step:, step:]))
        )
    return extremes[0], -extremes[1]
