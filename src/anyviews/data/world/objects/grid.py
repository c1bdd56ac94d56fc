"""The distance of objects sampled once on a grid, so that rays, shadows and cameras cost the same for any object."""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from .field import distance
from .parts import Parts


# The grid spans [-EXTENT, EXTENT]; objects lie in the unit ball.
EXTENT = 1.06
RESOLUTION = 64
COARSE = 20
CELL = 2 * EXTENT / (RESOLUTION - 1)
# objects are made in about this box, and fill most of the unit ball afterwards
DESIGN_EXTENT = 1.7
LARGEST_RADIUS = 0.98


@dataclass(frozen=True)
class Grid:
    """Distances at RESOLUTION^3 nodes.

    Args:
        values: [B, 1, R, R, R], indexed by z, y, x.
    """

    values: Float[Tensor, "scenes 1 resolution resolution resolution"]

    def look_up(self, points: Float[Tensor, "scenes points 3"]) -> Float[Tensor, "scenes points"]:
        """Interpolated distance; outside the grid that at its border and about what it grows by from there."""
        samples = (points * (1 / EXTENT))[:, None, None]
        found = F.grid_sample(self.values, samples, padding_mode="border", align_corners=True)
        beyond = points.abs().amax(-1).sub_(EXTENT).clamp_(min=0)
        return found[:, 0, 0, 0].add_(beyond, alpha=0.9)


def nodes(count: int, extent: float, device: torch.device | str) -> Float[Tensor, "nodes 3"]:
    """Positions of a cubic grid of count^3 nodes in [-extent, extent], x running fastest."""
    line = torch.linspace(-extent, extent, count, device=device)
    z, y, x = torch.meshgrid(line, line, line, indexing="ij")
    return torch.stack([x, y, z], dim=-1).flatten(0, 2)


def normalized(parts: Parts) -> Parts:
    """The same objects centred at the origin, the farthest point at LARGEST_RADIUS."""
    points = nodes(COARSE, DESIGN_EXTENT, parts.centers.device)
    value = distance(parts, points.expand(len(parts.centers), -1, -1))[0].abs_()[..., None]
    # a node at distance d from the surface tells that the object reaches to within d of it
    high, low = (points - value).amax(1), (points + value).amin(1)
    centers = (high + low) / 2
    radii = ((points - centers[:, None]).norm(dim=-1) - value[..., 0]).amax(1, keepdim=True)
    return replace(parts, centers=centers, radii=radii / LARGEST_RADIUS)


def sampled(parts: Parts) -> Grid:
    """The grid: exact near the surface, interpolated from a coarser grid away from it."""
    count, device = len(parts.centers), parts.centers.device
    coarse = distance(parts, nodes(COARSE, EXTENT, device).expand(count, -1, -1))[0]
    coarse = coarse.unflatten(1, (1, COARSE, COARSE, COARSE))
    values = F.interpolate(coarse, size=(RESOLUTION,) * 3, mode="trilinear", align_corners=True).flatten(1)
    chosen = compacted(values.abs() < 1.2 * 2 * EXTENT / (COARSE - 1))
    points = nodes(RESOLUTION, EXTENT, device)[chosen]
    values = values.scatter(1, chosen, distance(parts, points)[0])
    return Grid(values.unflatten(1, (1, RESOLUTION, RESOLUTION, RESOLUTION)))


def compacted(chosen: Tensor) -> Int[Tensor, "scenes most"]:
    """Indices [B, M] of the chosen of [B, P] points, M the largest number in any scene; others follow the chosen."""
    if len(chosen) == 1:
        return chosen[0].nonzero()[:, 0][None]
    most = int(chosen.sum(1).max())
    return chosen.byte().argsort(dim=1, descending=True, stable=True)[:, :most]
