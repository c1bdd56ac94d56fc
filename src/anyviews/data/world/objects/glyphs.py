"""Letters and digits drawn with straight strokes, as a small atlas of distances to them."""

from functools import cache
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


# Strokes of A to Z and 0 to 9: corners as digits x, y on a lattice of 5 x 7.
STROKES = (
    "002640 1232", "00063645443303 3342413000", "4536160501103041", "00062644422000", "46060040 0333",
    "460600 0333", "45361605011030414323", "0006 4046 0343", "2026 1030 1636", "4641301001", "0006 460340",
    "060040", "0006234640", "00064046", "011030414536160501", "00063645443303", "011030414536160501 2240",
    "00063645443303 2340", "453616050413334241301001", "2026 0646", "060110304146", "062046", "0610233046",
    "0046 0640", "062346 2320", "06460040", "011030414536160501 0145", "152620 1030", "05163645440040",
    "0516364544334241301001 1333", "30360242", "460603334241301001", "4536160501103041423303", "064610",
    "133344453616050413 1302011030414233", "0110304145361605041343",
)  # fmt: skip
# cells of the atlas in texels; the lattice and a margin of one unit span 6 x 8 units
CELL_HEIGHT, CELL_WIDTH = 32, 24
UNITS_HEIGHT, UNITS_WIDTH = 8, 6


@cache
def _atlas(device: torch.device) -> Tensor:
    """[1, 1, glyphs * CELL_HEIGHT, CELL_WIDTH]: distance to the strokes in units of the lattice, top row first."""
    y = 7 - (torch.arange(CELL_HEIGHT) + 0.5) * (UNITS_HEIGHT / CELL_HEIGHT)
    x = (torch.arange(CELL_WIDTH) + 0.5) * (UNITS_WIDTH / CELL_WIDTH) - 1
    points = torch.stack(torch.meshgrid(y, x, indexing="ij"), dim=-1).flip(-1)
    cells = []
    for strokes in STROKES:
        distance = torch.full(points.shape[:2], 9.0)
        for stroke in strokes.split():
            corners = torch.tensor([int(digit) for digit in stroke], dtype=torch.float32).reshape(-1, 2)
            for start, end in pairwise(corners):
                along = ((points - start) @ (end - start) / (end - start).square().sum()).clamp(0, 1)
                distance = torch.minimum(distance, (points - start - along[..., None] * (end - start)).norm(dim=-1))
        cells.append(distance)
    return torch.cat(cells)[None, None].to(device)


def glyph_distance(
    index: Float[Tensor, "points"], x: Float[Tensor, "points"], y: Float[Tensor, "points"]
) -> Float[Tensor, "points"]:
    """Distance to the strokes of glyphs in heights of a cell.

    Args:
        index: of the glyph, a whole number from 0 to 35.
        x: across the cell, in [0, 1].
        y: up the cell, in [0, 1].
    """
    rows = CELL_HEIGHT * len(STROKES)
    # half a texel away from the neighbouring glyphs
    down = (1 - y).clamp(0.5 / CELL_HEIGHT, 1 - 0.5 / CELL_HEIGHT)
    place = torch.stack([x * 2 - 1, (index + down) * (CELL_HEIGHT * 2 / rows) - 1], dim=-1)
    found = F.grid_sample(_atlas(x.device), place[None, None], padding_mode="border", align_corners=False)
    return found[0, 0, 0] / UNITS_HEIGHT
