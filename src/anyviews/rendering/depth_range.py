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

    A sparse table: level l holds the extremes of all squares of 2**l pixels, four of which cover a larger one.
    """
    height, width = inverse_depth.shape
    unknown = inverse_depth == 0
    level = torch.stack([inverse_depth, -inverse_depth]).masked_fill(unknown, -torch.inf)
    side = (2 * reach + 1).long().clamp(max=max(height, width))
    chosen = (side.double().log2() + 1e-9).long()
    extremes = torch.full((2, len(u)), -torch.inf, device=u.device)
    for exponent in range(int(chosen.max()) + 1 if len(chosen) else 0):
        members = (chosen == exponent).nonzero()[:, 0]
        last = side[members] - (1 << exponent)  # where the second square of each row begins, from the first
        left, top = ((center - reach).floor().long()[members] for center in (u, v))
        for column in (left, left + last):
            for row in (top, top + last):
                entry = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
                extremes[:, members] = extremes[:, members].maximum(level.flatten(1)[:, entry])
        step = 1 << exponent
        level = F.pad(level, (0, step, 0, step), value=-torch.inf)
        level = (
            level[:, :height, :width]
            .maximum(level[:, step:, :width])
            .maximum(level[:, :height, step:].maximum(level[:, step:, step:]))
        )
    return extremes[0], -extremes[1]
