"""Bounding boxes that a few stray points do not blow up."""

import torch
from jaxtyping import Float
from torch import Tensor


# Points on either side of the middle ones that may be strays.
STRAY_FRACTION = 0.01
# Points beyond the middle ones by more than this many of their box's longest sides are strays.
REACH = 0.5
# Quantiles of more points would not differ.
SAMPLED_POINTS = 1 << 20


def robust_bounds(points: Float[Tensor, "points 3"]) -> tuple[Float[Tensor, "3"], Float[Tensor, "3"]]:
    """Corners of the smallest box around all points but far strays.

    Along each axis the middle 98 percent of the points span a range. Points farther outside it than half the longest
    of the three ranges are left out; all others lie in the box.

    Args:
        points: [N, 3] in world units, finite.

    Raises:
        ValueError: if there is no point.
    """
    if len(points) == 0:
        raise ValueError("there are no points to bound; give at least one")
    sample = points[:: -(-len(points) // SAMPLED_POINTS)].sort(dim=0).values
    stray = int(STRAY_FRACTION * len(sample))
    low, high = sample[stray], sample[-1 - stray]
    margin = REACH * (high - low).max()
    outside = torch.tensor(torch.inf).to(points)
    low = torch.where(points >= low - margin, points, outside).amin(0)
    high = torch.where(points <= high + margin, points, -outside).amax(0)
    return low, high
