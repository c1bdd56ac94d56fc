"""What one view of a world sees of another, from depth and cameras alone."""

import torch
import torch.nn.functional as F

from anyviews.geometry.rays import pixel_centers


def reproject(world, source: int, target: int):
    """Of the pixels of one view: where they land in another, whether that is inside, and their depth there."""
    count, _, _, height, width = world.depths.shape
    pixels = pixel_centers(height, width).reshape(1, -1, 2).expand(count, -1, 2)
    depth = world.depths[:, source].flatten(1)
    points = world.cameras[:, source].unproject(pixels, depth)
    landed, landed_depth = world.cameras[:, target].project(points)
    grid = landed / landed.new_tensor([width, height]) * 2 - 1
    inside = (grid.abs() < 1).all(-1) & (landed_depth > 0) & (depth > 0)
    return grid[:, None], inside, landed_depth


def sample(maps, grid, mode):
    return F.grid_sample(maps, grid, mode=mode, align_corners=False)[:, :, 0]


def coverage(world, source: int, target: int):
    """Per scene, the part of a view's surface pixels that another view sees."""
    grid, inside, depth = reproject(world, source, target)
    seen = sample(world.depths[:, target], grid, "nearest")[:, 0]
    agrees = inside & ((seen / depth - 1).abs() < 0.08)
    return agrees.sum(1) / (world.depths[:, source].flatten(1) > 0).sum(1).clamp(min=1)


def covisibility(world):
    """Mean of `coverage` over scenes and ordered pairs of views."""
    views = range(world.depths.shape[1])
    return torch.stack([coverage(world, a, b) for a in views for b in views if a != b]).mean().item()
