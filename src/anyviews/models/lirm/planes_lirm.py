"""Feature planes and panoramas of LIRM, and how they are looked up.

A look-up is a weighted sum of rows of a table. Which rows, and with which weights, depends on the point alone, so it
is found once and serves every table. Interpolation and the first layer of a decoder are both linear, and that layer
has no bias: decoders_lirm.py applies it to the planes, and what is looked up here is its sum over the three planes.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from ...rendering.gaussians.cpu.workers import equal_ranges, run, worker_count
from .photos_lirm import LIRMPhotos


# In-plane coordinates (columns, rows) and the coordinate whose sign chooses between the two planes of a pair.
PLANE_AXES = ((0, 1, 2), (0, 2, 1), (1, 2, 0))

POINTS_PER_PART = 1 << 14


@dataclass(frozen=True)
class LIRMPlanes:
    """What an object is decoded from, in float32.

    Args:
        planes: [B, P, S, S, C] features. P = 6 planes xy+, xy-, xz+, xz-, yz+, yz- of S rows (the second axis of the
            name, from -R to R) and S columns (the first); + is where the third axis is above 0. P = 3 planes xy, xz,
            yz of a tri-plane.
        panoramas: [B, Q, H, W, C] features by azimuth (rows) and height (columns); None if the model has none.
        photos: that points are looked up in as well; None if the model keeps none.
    """

    planes: Float[Tensor, "batch planes size size channels"]
    panoramas: Float[Tensor, "batch panoramas azimuths heights panorama_channels"] | None = None
    photos: LIRMPhotos | None = None

    def __len__(self) -> int:
        return len(self.planes)

    def __getitem__(self, index: slice) -> "LIRMPlanes":
        """Some of the objects."""
        return self._with(lambda part: part[index])

    def to(self, device: torch.device | str) -> "LIRMPlanes":
        """The same on another device."""
        return self._with(lambda part: part.to(device))

    def detach(self) -> "LIRMPlanes":
        """The same without its history."""
        panoramas = None if self.panoramas is None else self.panoramas.detach()
        return LIRMPlanes(self.planes.detach(), panoramas, self.photos)

    def _with(self, change: Callable) -> "LIRMPlanes":
        parts = (self.planes, self.panoramas, self.photos)
        return LIRMPlanes(*(None if part is None else change(part) for part in parts))


@dataclass(frozen=True)
class Rows:
    """Rows of a table and how much of each is wanted.

    Args:
        indices: [N, K].
        weights: [N, K], without gradients.
    """

    indices: Int[Tensor, "points corners"]
    weights: Float[Tensor, "points corners"]

    def __getitem__(self, index: Tensor) -> "Rows":
        return Rows(self.indices[index], self.weights[index])


@torch.no_grad()
def plane_corners(
    points: Float[Tensor, "points 3"],
    objects: Int[Tensor, "points"],
    box_radius: float,
    num_planes: int,
    resolution: int,
) -> Rows:
    """The twelve texels around points on their three planes, which are those on their side of each axis.

    Texels at the edge lie on the edge of the box; points outside are moved to it. Points have no gradients.

    Args:
        points: [N, 3] in the object frame.
        objects: [N], which object of the batch each point asks for.
        box_radius: half the side of the box.
        num_planes: 6 or 3, see `LIRMPlanes`.
        resolution: texels per side.
    """
    if points.device.type == "cpu" and points.dtype == torch.float32:
        from .kernels_lirm import find_corners

        rows = Rows(torch.empty(len(points), 12, dtype=torch.int32), torch.empty(len(points), 12))
        arrays = [tensor.contiguous().numpy() for tensor in (points.detach(), objects.int())]
        out = rows.indices.numpy(), rows.weights.numpy()
        run(find_corners, _parts(len(points)), *arrays, box_radius, num_planes, resolution, *out)
        return rows

    texel = ((points / box_radius + 1) * ((resolution - 1) / 2)).nan_to_num().clamp(0, resolution - 1)
    whole = texel.floor().clamp(max=resolution - 2)
    part, whole = texel - whole, whole.long()
    indices, weights = [], []
    for pair, (column, row, dropped) in enumerate(PLANE_AXES):
        plane = pair if num_planes == 3 else 2 * pair + (points[:, dropped] <= 0).long()
        corner = ((num_planes * objects.long() + plane) * resolution + whole[:, row]) * resolution + whole[:, column]
        indices += [corner, corner + 1, corner + resolution, corner + resolution + 1]
        weights.append(_bilinear(part[:, column], part[:, row]))
    return Rows(torch.stack(indices, dim=-1).int(), torch.cat(weights, dim=-1))


@torch.no_grad()
def panorama_corners(
    directions: Float[Tensor, "points 3"],
    objects: Int[Tensor, "points"],
    num_panoramas: int,
    resolution: int,
    wrap: bool,
) -> Rows:
    """The four texels around directions on the first panorama of their object; others follow resolution**2 rows apart.

    Rows are azimuths atan2(x, y) from -pi to pi, columns the height z from -1 to 1. Directions have no gradients.

    Args:
        directions: [N, 3], unit.
        objects: [N], which object of the batch.
        num_panoramas, resolution: of an object, and texels per side.
        wrap: the last row is followed by the first.
    """
    azimuth = torch.atan2(directions[:, 0], directions[:, 1]) / (2 * math.pi) + 0.5  # 0 to 1
    row = azimuth.nan_to_num() * (resolution if wrap else resolution - 1)
    column = ((directions[:, 2] + 1) * ((resolution - 1) / 2)).nan_to_num().clamp(0, resolution - 1)
    top = row.floor().clamp(max=resolution - 1 if wrap else resolution - 2)
    left = column.floor().clamp(max=resolution - 2)
    weights = _bilinear(column - left, row - top)
    first = objects.long() * num_panoramas * resolution
    rows = [(first + (top.long() + step) % resolution) * resolution + left.long() for step in (0, 1)]
    indices = torch.stack([rows[0], rows[0] + 1, rows[1], rows[1] + 1], dim=-1)
    return Rows(indices.int(), weights)


def weighted_rows(
    table: Float[Tensor, "rows channels"], rows: Rows, gradient_sum: Float[Tensor, "rows channels"] | None = None
) -> Float[Tensor, "points channels"]:
    """The weighted sum of the rows that each point asks for.

    Args:
        table: [T, C], which gets gradients.
        rows: of each point.
        gradient_sum: where to add the table's gradient, instead of making a new one. A table is large, and a part of
            an image asks for few of its rows.
    """
    return _WeightedRows.apply(table, rows.indices, rows.weights, gradient_sum)


class _WeightedRows(torch.autograd.Function):
    """torch's embedding bag, whose gradient would sort all indices first: fifteen times slower than adding them up."""

    @staticmethod
    def forward(ctx, table: Tensor, indices: Tensor, weights: Tensor, gradient_sum: Tensor | None) -> Tensor:
        ctx.save_for_backward(indices, weights)
        ctx.table_shape, ctx.gradient_sum = table.shape, gradient_sum
        return F.embedding_bag(indices, table, per_sample_weights=weights.to(table.dtype), mode="sum")

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, None, None, None]:
        indices, weights = ctx.saved_tensors
        table_gradient = gradient.new_zeros(ctx.table_shape) if ctx.gradient_sum is None else ctx.gradient_sum
        if gradient.device.type == "cpu" and gradient.dtype == torch.float32:
            from .kernels_lirm import add_rows

            arrays = [tensor.contiguous().numpy() for tensor in (indices, weights, gradient)]
            ranges = equal_ranges(len(table_gradient), -(-len(table_gradient) // worker_count()))
            run(add_rows, ranges, *arrays, table_gradient.numpy())
        else:
            for index, weight in zip(indices.unbind(-1), weights.unbind(-1), strict=True):
                table_gradient.index_add_(0, index, gradient * weight[:, None].to(gradient.dtype))
        return table_gradient if ctx.gradient_sum is None else None, None, None, None


def _bilinear(right: Tensor, below: Tensor) -> Tensor:
    """Weights of the texels at the top left, top right, bottom left and bottom right [N, 4]."""
    left, above = 1 - right, 1 - below
    return torch.stack([left * above, right * above, left * below, right * below], dim=-1)


def _parts(count: int) -> list[tuple[int, int]]:
    return equal_ranges(count, count if worker_count() == 1 else POINTS_PER_PART) if count else []
