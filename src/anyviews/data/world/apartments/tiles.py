"""Which solids can matter to which tile of an image, so that a ray meets a few of hundreds.

Rays lie in tiles of TILE x TILE pixels. A loop over candidates visits the k-th candidate of all tiles at once; tiles
are sorted by how many they have, so that the k-th step works on a leading slice of them.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..primitives import Solids, multiply


TILE = 8


@dataclass(frozen=True)
class Frames:
    """Cameras of a batch of scenes in a row.

    Args:
        scene: [F], which scene each looks at.
        centers: [F, 3].
        rotations: [F, 3, 3], camera to world.
        tangent: [F], of half the horizontal field of view.
    """

    scene: Int[Tensor, "frames"]
    centers: Float[Tensor, "frames 3"]
    rotations: Float[Tensor, "frames 3 3"]
    tangent: Float[Tensor, "frames"]

    def __getitem__(self, chosen) -> "Frames":
        return Frames(self.scene[chosen], self.centers[chosen], self.rotations[chosen], self.tangent[chosen])


def tile_counts(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of tiles that cover an image."""
    return -(-height // TILE), -(-width // TILE)


def tile_directions(
    tangent: Float[Tensor, "frames"], height: int, width: int, samples: int
) -> Float[Tensor, "frames tiles 2 rays"]:
    """x and y of the camera-frame directions (z = 1) of all rays, tile by tile, each tile row by row."""
    rows, columns = tile_counts(height, width)
    step = (torch.arange(TILE * samples, device=tangent.device) + 0.5) / samples
    x = torch.arange(columns, device=tangent.device)[:, None] * TILE + step
    y = torch.arange(rows, device=tangent.device)[:, None] * TILE + step
    shape = (rows, columns, TILE * samples, TILE * samples)
    x = (x * (2 / width) - 1)[None, :, None, :].expand(shape)
    y = (y * (2 / width) - height / width)[:, None, :, None].expand(shape)
    return torch.stack([x, y], dim=2).flatten(0, 1).flatten(2) * tangent[:, None, None, None]


def image_from_tiles(values: Tensor, height: int, width: int) -> Tensor:
    """[..., F * tiles, TILE * TILE] values put together as [..., F, height, width]."""
    rows, columns = tile_counts(height, width)
    values = values.unflatten(-1, (TILE, TILE)).unflatten(-3, (-1, rows, columns)).transpose(-3, -2)
    return values.flatten(-4, -3).flatten(-2)[..., :height, :width]


def in_frustum(
    solids: Solids, used: Bool[Tensor, "scenes solids"], frames: Frames, height: int, width: int
) -> tuple[Bool[Tensor, "frames tiles solids"], Float[Tensor, "frames solids"]]:
    """Whether the bounding box of each solid can meet the rays of each tile, and the least depth it has there."""
    centers, axes = solids.centers[frames.scene], solids.rotations[frames.scene] * solids.sizes[frames.scene, :, None]
    to_camera = frames.rotations.mT[:, None]
    centers = multiply(to_camera, (centers - frames.centers[:, None])[..., None])[..., 0]
    axes = multiply(to_camera, axes)
    overlaps = []
    for axis, count in ((1, tile_counts(height, width)[0]), (0, tile_counts(height, width)[1])):
        edges = torch.arange(count + 1, device=centers.device) * (2 * TILE / width)
        edges = (edges - (height / width if axis == 1 else 1)) * frames.tangent[:, None]
        # the box against the planes through the camera along the edges of tiles
        edges = edges[:, None]
        middle = centers[..., axis, None] - edges * centers[..., 2, None]
        extent = sum((axes[..., axis, k, None] - edges * axes[..., 2, k, None]).abs() for k in range(3))
        after, before = (middle + extent)[..., :-1] > 0, (middle - extent)[..., 1:] < 0
        overlaps.append((after & before).mT)
    depth = axes[..., 2, :].abs().sum(-1)
    seen = (overlaps[0][:, :, None] & overlaps[1][:, None]).flatten(1, 2)
    seen &= (used[frames.scene] & (centers[..., 2] + depth > 0))[:, None]
    return seen, centers[..., 2] - depth


@dataclass(frozen=True)
class Candidates:
    """For each tile that has any, the solids to look at.

    Args:
        order: tiles by falling number of candidates.
        solids: [tiles in order, most], indices of solids; only the first ones of each row count.
        alive: for each step, how many tiles still have a candidate.
    """

    order: Int[Tensor, "tiles"]
    solids: Int[Tensor, "tiles most"]
    alive: list[int]

    @classmethod
    def of(cls, mask: Bool[Tensor, "tiles solids"]) -> "Candidates":
        """The candidates where a mask is true. The number of steps is read back from the device, once."""
        counts = mask.sum(1)
        order = counts.argsort(descending=True, stable=True)
        tile, solid = mask[order].nonzero(as_tuple=True)
        counts = counts[order]
        rank = torch.arange(len(tile), device=mask.device) - (counts.cumsum(0) - counts)[tile]
        sizes = counts.tolist()
        most = sizes[0] if sizes else 0
        solids = torch.zeros(len(mask), most, dtype=torch.long, device=mask.device)
        solids[tile, rank] = solid
        alive = [0] * most
        for size in sizes:
            if size:
                alive[size - 1] += 1
        for step in range(most - 2, -1, -1):
            alive[step] += alive[step + 1]
        busy = alive[0] if most else 0
        return cls(order[:busy], solids[:busy], alive)

    def steps(self) -> Iterator[tuple[int, Tensor]]:
        """(number of leading tiles, index of each one's next solid)."""
        for step, alive in enumerate(self.alive):
            yield alive, self.solids[:alive, step]
