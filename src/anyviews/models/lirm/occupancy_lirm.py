"""Signed distances on grids, and which cells of the box can be seen at all."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from .decoders_lirm import LIRMDecoders, LIRMTables


# Grids of more lines than this look the photos up at every fourth line first.
SMALLEST_INTERPOLATED = 128
COARSENING = 4
POINTS_AT_A_TIME = 1 << 18


@dataclass(frozen=True)
class LIRMOccupancy:
    """Cells of the box outside of which samples of rays are skipped.

    Args:
        cells: [B, G, G, G] by x, y and z.
        box_radius: half the side of the box.
    """

    cells: Bool[Tensor, "batch size size size"]
    box_radius: float

    def holds(self, points: Float[Tensor, "points 3"], objects: Int[Tensor, "points"]) -> Bool[Tensor, "points"]:
        """Whether the cells of points [N, 3] in the box of objects [N] may be visible."""
        size = self.cells.shape[-1]
        cell = ((points / self.box_radius + 1) * (size / 2)).long().clamp_(0, size - 1)
        flat = ((objects.long() * size + cell[:, 0]) * size + cell[:, 1]) * size + cell[:, 2]
        return self.cells.flatten()[flat]


@torch.no_grad()
def distances_on_grid(
    decoders: LIRMDecoders, tables: LIRMTables, coordinates: Float[Tensor, "size"]
) -> Float[Tensor, "batch size size size"]:
    """Signed distances at all points (x, y, z) whose coordinates are among those given.

    On a grid the features need no look-up per point: each plane is interpolated at the grid's lines once, and what is
    left are sums of its values.

    Args:
        decoders: of the model.
        tables: of `LIRMDecoders.project`.
        coordinates: [G], of all three axes.

    Returns:
        [B, G, G, G] by x, y and z.
    """
    config, size = decoders.config, len(coordinates)
    signs = config.num_planes // 3
    shape = (tables.batch, 3, signs, config.plane_resolution, config.plane_resolution, -1)
    planes = _at_lines(tables.tables["sdf"].view(shape), 4, coordinates / config.box_radius)
    planes = _at_lines(planes, 3, coordinates / config.box_radius)  # [B, 3, signs, G rows, G columns, hidden]
    starts = [_first_on_grid(decoders, tables, coordinates, index) for index in range(tables.batch)]
    side = (coordinates <= 0).long() if signs == 2 else torch.zeros_like(coordinates, dtype=torch.long)
    distances = planes.new_empty(tables.batch, size, size, size)
    for index, (xy, xz, yz) in enumerate(planes):
        for x in range(size):
            projected = xy[:, :, x][side].transpose(0, 1)  # [y, z, hidden], as are the next two
            projected = projected + xz[:, :, x][side] + yz[side[x]].transpose(0, 1)
            learned = decoders.heads["sdf"](projected.flatten(0, 1))
            distances[index, x] = decoders.correct(learned, starts[index][x].flatten()).view(size, size)
    return distances


def find_occupancy(
    decoders: LIRMDecoders, tables: LIRMTables, resolution: int, invisible_distance: float
) -> LIRMOccupancy:
    """Cells in which, or next to which, the surface may be nearer than a distance.

    A cell counts by its centre's distance less half its diagonal, which is exact for a true distance, and neighbours
    of cells that count do too, for those that are not.

    Args:
        decoders, tables: see `distances_on_grid`.
        resolution: cells per side; even, so that none lies on both sides of an axis.
        invisible_distance: samples further outside have no weight.
    """
    radius = decoders.config.box_radius
    width = 2 * radius / resolution
    device = tables.tables["sdf"].device
    centers = (torch.arange(resolution, device=device, dtype=torch.float32) + 0.5) * width - radius
    distances = distances_on_grid(decoders, tables, centers)
    near = (distances < invisible_distance + width * 3**0.5 / 2).float()
    return LIRMOccupancy(F.max_pool3d(near, 3, stride=1, padding=1) > 0, radius)


def _first_on_grid(
    decoders: LIRMDecoders, tables: LIRMTables, coordinates: Float[Tensor, "size"], index: int
) -> Float[Tensor, "size size size"]:
    """Distances to the shape at the start; those to a hull of many photos are interpolated away from its surface."""
    size = len(coordinates)

    def look_up(points: Tensor) -> Tensor:
        parts = points.split(POINTS_AT_A_TIME)
        return torch.cat(
            [
                decoders.first_distances(tables, part, torch.full_like(part[:, 0], index, dtype=torch.int))
                for part in parts
            ]
        )

    if size < SMALLEST_INTERPOLATED or tables.photos is None:
        return look_up(torch.cartesian_prod(coordinates, coordinates, coordinates)).view(size, size, size)
    lines = torch.linspace(0, size - 1, -(-size // COARSENING) + 1, device=coordinates.device)
    coarse = torch.lerp(coordinates[lines.floor().long()], coordinates[lines.ceil().long()], lines - lines.floor())
    values = look_up(torch.cartesian_prod(coarse, coarse, coarse)).view(1, 1, *[len(coarse)] * 3)
    values = F.interpolate(values, (size, size, size), mode="trilinear", align_corners=True)[0, 0]
    x, y, z = (values.abs() < 2 * (coarse[1:] - coarse[:-1]).max()).nonzero(as_tuple=True)
    values[x, y, z] = look_up(torch.stack([coordinates[x], coordinates[y], coordinates[z]], dim=-1))
    return values


def _at_lines(planes: Tensor, axis: int, places: Tensor) -> Tensor:
    """Planes interpolated along one axis at places in [-1, 1]; the outermost texels lie at -1 and 1."""
    last = planes.shape[axis] - 1
    texel = ((places + 1) * (last / 2)).clamp(0, last)
    whole = texel.floor().clamp(max=last - 1)
    weight = (texel - whole).view(-1, *[1] * (planes.ndim - 1 - axis))
    return torch.lerp(planes.index_select(axis, whole.int()), planes.index_select(axis, whole.int() + 1), weight)
