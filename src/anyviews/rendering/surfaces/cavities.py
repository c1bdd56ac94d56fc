"""Cavities that no light reaches, filled in signed distances."""

import numpy as np
import torch
from jaxtyping import Float
from scipy import ndimage
from torch import Tensor


def fill_cavities(distances: Float[Tensor, "x y z"]) -> Float[Tensor, "x y z"]:
    """Signed distances with all inside that cannot be reached from a corner of the grid through positive cells.

    Cells are neighbours where they share a face. Learned distances have bubbles inside solid objects, which cost faces
    and texture and are never seen.

    Args:
        distances: [X, Y, Z], positive outside.

    Returns:
        Distances that are negated where they were positive and enclosed, on the CPU.

    Raises:
        ValueError: if all eight corners are inside: the grid does not reach around the object.
    """
    values = distances.detach().float().cpu().numpy()
    parts, _ = ndimage.label(values > 0)
    corners = np.unique(parts[:: values.shape[0] - 1, :: values.shape[1] - 1, :: values.shape[2] - 1])
    reached = corners[corners > 0]
    if len(reached) == 0:
        raise ValueError("all corners of the grid are inside the object; give a grid that reaches around it")
    enclosed = (parts > 0) & ~np.isin(parts, reached)
    return torch.from_numpy(np.where(enclosed, -values, values))
