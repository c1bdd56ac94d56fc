"""Truncated signed distances on a voxel grid, filled from depth maps (Curless & Levoy, SIGGRAPH 1996).

Only blocks of voxels that a surface may pass are filled, so that time and memory grow with the area of the surface.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from .depth_range import inverse_depth_range
from .depth_surface import SLANTED_REACH, DepthSurface


# Voxels along the side of a block.
BLOCK = 8
# Voxels that are projected at once: on a CPU the intermediate results stay in the cache.
CPU_VOXELS_PER_PASS = 1 << 16
ACCELERATOR_VOXELS_PER_PASS = 1 << 23

# A voxel is known when the votes for it weigh more than this; it takes a surface seen under 89 degrees to weigh less.
MIN_WEIGHT = 1e-2

# Doubtful free space makes no voxel free, but refutes votes for a solid one that weigh less than this part of it.
DOUBT = 0.25

# What is held at once: distance, known and a temporary for each voxel, sums of votes and weights in filled blocks.
BYTES_PER_VOXEL, BYTES_PER_FILLED_VOXEL = 6, 12


@dataclass(frozen=True)
class VoxelGrid:
    """An axis-aligned grid of cubes.

    Args:
        origin: [3], centre of the first voxel in world units, in double precision.
        voxel_size: in world units.
        blocks: blocks of 8 voxels along x, y and z.
    """

    origin: Float[Tensor, "3"]
    voxel_size: float
    blocks: tuple[int, int, int]

    @classmethod
    def around(
        cls, low: Float[Tensor, "3"], high: Float[Tensor, "3"], voxel_size: float, margin: float
    ) -> "VoxelGrid":
        """The grid that covers the box between two corners and a margin around it."""
        middle, size = (low.double() + high.double()) / 2, high.double() - low.double() + 2 * margin
        blocks = (size / (BLOCK * voxel_size)).ceil().clamp(min=1)
        origin = middle - (blocks * BLOCK - 1) * voxel_size / 2
        return cls(origin, voxel_size, tuple(int(count) for count in blocks.tolist()))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along x, y and z."""
        return tuple(BLOCK * count for count in self.blocks)

    def block_corners(self, indices: Int[Tensor, "blocks"]) -> Float[Tensor, "blocks 3"]:
        """World positions of the first voxels of blocks, which are counted with z fastest."""
        _, y, z = self.blocks
        position = torch.stack([indices // (y * z), indices // z % y, indices % z], dim=-1)
        return self.origin + position * (BLOCK * self.voxel_size)


def integrate(
    surfaces: Callable[[], Iterator[DepthSurface]], grid: VoxelGrid, truncation: float, max_gigabytes: float
) -> tuple[Float[Tensor, "x y z"], Bool[Tensor, "x y z"]]:
    """Average what depth maps say about the voxels.

    Args:
        surfaces: gives the depth maps' surfaces, anew at each of two calls.
        grid: where.
        truncation: in world units.
        max_gigabytes: of memory.

    Returns:
        On the CPU, signed distances over the truncation distance, positive where it is empty, and whether they are
        known. Voxels whose distance cannot matter to the surface are unknown.

    Raises:
        ValueError: if it would take more memory, with the number.
    """
    count = grid.blocks[0] * grid.blocks[1] * grid.blocks[2]
    check_memory(grid, 0, max_gigabytes)
    filled = None
    for surface in surfaces():
        near = _near_surface(surface, grid, truncation)
        filled = near if filled is None else filled | near
    indices = filled.nonzero()[:, 0]
    check_memory(grid, len(indices), max_gigabytes)
    votes = torch.zeros(len(indices), BLOCK**3, device=indices.device)
    weights, doubts = torch.zeros_like(votes), torch.zeros_like(votes)
    corners = grid.block_corners(indices)
    for surface in surfaces():
        _add_votes(surface, grid, truncation, corners, votes, weights, doubts)
    votes /= weights.clamp(min=MIN_WEIGHT)
    # exactly 0 would put vertices of several edges at one place
    votes.masked_fill_(votes == 0, 1e-6)
    known = (weights > MIN_WEIGHT) & ((votes > 0) | (weights > DOUBT * doubts))
    del weights, doubts
    return (
        _volume(votes, indices, grid, torch.ones(count * BLOCK**3)),
        _volume(known, indices, grid, torch.zeros(count * BLOCK**3, dtype=torch.bool)),
    )


def check_memory(grid: VoxelGrid, filled_blocks: int, max_gigabytes: float) -> None:
    """Raise ValueError, with the number, where a grid of which some blocks are filled takes more memory."""
    x, y, z = grid.shape
    needed = needed_bytes(grid, filled_blocks) / 1e9
    if needed > max_gigabytes:
        fitting = max(x, y, z) * (max_gigabytes / needed) ** (1 / 3)
        raise ValueError(
            f"a grid of {x}x{y}x{z} voxels of {grid.voxel_size:.3g} needs {needed:.3g} GB, more than max_gigabytes = "
            f"{max_gigabytes:g}; give a larger max_gigabytes, tighter bounds, resolution={int(0.9 * fitting)} or "
            f"less, or voxel_size={grid.voxel_size * max(x, y, z) / (0.9 * fitting):.3g} or more"
        )


def needed_bytes(grid: VoxelGrid, filled_blocks: int) -> int:
    """Bytes that a grid takes of which some blocks are filled."""
    x, y, z = grid.shape
    return x * y * z * BYTES_PER_VOXEL + filled_blocks * BLOCK**3 * BYTES_PER_FILLED_VOXEL


def _near_surface(surface: DepthSurface, grid: VoxelGrid, truncation: float) -> Bool[Tensor, "blocks"]:
    """Blocks that hold, or touch, a voxel just behind the surface; a few others are taken with them."""
    indices = torch.arange(grid.blocks[0] * grid.blocks[1] * grid.blocks[2], device=surface.distance.device)
    u, v, spread, depth, radius = _footprints(surface, grid, grid.block_corners(indices))
    near = _in_image(surface, u, v, spread, depth + radius)
    u, v, spread, depth = (values[near] for values in (u, v, spread, depth))
    nearest, farthest = inverse_depth_range(surface.inverse_depth, u, v, spread)
    behind_nearest = nearest * (depth + radius) >= 1
    near[near.clone()] = behind_nearest & (farthest * (depth - radius - SLANTED_REACH * truncation) <= 1)
    return near


def _add_votes(
    surface: DepthSurface,
    grid: VoxelGrid,
    truncation: float,
    corners: Float[Tensor, "blocks 3"],
    votes: Float[Tensor, "blocks voxels"],
    weights: Float[Tensor, "blocks voxels"],
    doubts: Float[Tensor, "blocks voxels"],
) -> None:
    """Add what one depth map says to the sums of blocks."""
    u, v, spread, depth, radius = _footprints(surface, grid, corners)
    seen = _in_image(surface, u, v, spread, depth + radius).nonzero()[:, 0]
    steps = torch.arange(BLOCK, device=corners.device, dtype=torch.float64) * grid.voxel_size
    within = surface.project_steps(torch.cartesian_prod(steps, steps, steps))  # [3, voxels]
    limit = CPU_VOXELS_PER_PASS if corners.device.type == "cpu" else ACCELERATOR_VOXELS_PER_PASS
    for part in seen.split(limit // BLOCK**3):
        pixels = surface.project(corners[part])[:, :, None] + within[:, None]  # [3, part, voxels]
        distance, weight, doubt = surface.vote(pixels.flatten(1), truncation)
        for total, values in ((votes, distance.mul_(weight)), (weights, weight), (doubts, doubt)):
            total.index_add_(0, part, values.unflatten(0, (-1, BLOCK**3)))


def _footprints(
    surface: DepthSurface, grid: VoxelGrid, corners: Float[Tensor, "blocks 3"]
) -> tuple[Tensor, Tensor, Tensor, Tensor, float]:
    """Where blocks are seen: x, y and reach in pixels, z-depth of their middles, and the radius of a ball around one.

    The ball also holds the voxels next to the block, because a cell of the surface reaches one voxel beyond it.
    """
    radius = (BLOCK + 1) / 2 * 3**0.5 * grid.voxel_size
    middle = corners + (BLOCK - 1) / 2 * grid.voxel_size
    pixels = surface.project(middle)
    depth = pixels[2]
    # balls around the camera cover the image; balls aside of its axis are stretched
    focal = surface.camera.intrinsics[:2, :2].norm(dim=-1).max().item()
    slant = (middle - surface.camera.centers).norm(dim=-1).to(depth) / depth.clamp(min=radius)
    spread = focal * radius * slant / (depth - radius).clamp(min=1e-6 * radius) + 1
    u, v = (pixels[:2] / depth.clamp(min=1e-6 * radius)).clamp(-1e6, 1e6)
    return u, v, spread.clamp(max=1e6), depth, radius


def _in_image(surface: DepthSurface, u: Tensor, v: Tensor, spread: Tensor, depth: Tensor) -> Bool[Tensor, "blocks"]:
    height, width = surface.inverse_depth.shape
    inside = (u + spread > 0) & (u - spread < width) & (v + spread > 0) & (v - spread < height)
    # the middle of a ball that the camera is in, or just behind, may be seen anywhere
    return (inside | (spread > max(height, width))) & (depth > 0)


def _volume(
    values: Tensor, indices: Int[Tensor, "blocks"], grid: VoxelGrid, volume: Tensor
) -> Float[Tensor, "x y z"] | Bool[Tensor, "x y z"]:
    """Write the values of blocks [blocks, voxels] into a volume."""
    x, y, z = grid.blocks
    indices = indices.cpu()
    volume = volume.view(x, BLOCK, y, BLOCK, z, BLOCK)
    volume[indices // (y * z), :, indices // z % y, :, indices % z] = values.cpu().view(-1, BLOCK, BLOCK, BLOCK)
    return volume.view(*grid.shape)
