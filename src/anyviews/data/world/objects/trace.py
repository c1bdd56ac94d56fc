"""Where rays meet objects: sphere tracing in the grid, then a few exact steps."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .field import distance
from .grid import CELL, Grid, compacted
from .parts import Parts


# a ray is near the surface where the grid says less than this
NEAR = 0.5 * CELL
GRID_STEPS = 24
EXACT_STEPS = 6
ROUNDS = 3
TOLERANCE = 2e-4
# what is still on its way after the last round counts if it is as close as this
LAST_TOLERANCE = 1e-3
BALL_RADIUS = 1.03


@dataclass(frozen=True)
class Rays:
    """Rays of a batch of objects.

    Args:
        origins: [B, P, 3].
        directions: [B, P, 3], unit.
    """

    origins: Float[Tensor, "scenes rays 3"]
    directions: Float[Tensor, "scenes rays 3"]

    def at(self, distances: Float[Tensor, "scenes rays"]) -> Float[Tensor, "scenes rays 3"]:
        """The points at these distances."""
        return torch.addcmul(self.origins, self.directions, distances[..., None])

    def select(self, index: Tensor) -> "Rays":
        """Some rays of each object, by index [B, M]."""
        return Rays(gathered(self.origins, index), gathered(self.directions, index))


@dataclass(frozen=True)
class Hits:
    """What rays meet.

    Args:
        distances: [B, P] along the ray; meaningless where nothing is hit.
        found: [B, P].
    """

    distances: Float[Tensor, "scenes rays"]
    found: Bool[Tensor, "scenes rays"]


def gathered(values: Tensor, index: Tensor) -> Tensor:
    """values [B, P, ...] at index [B, M]."""
    if len(values) == 1:
        return values[:, index[0]]
    shape = (*index.shape, *values.shape[2:])
    return values.gather(1, index.reshape(*index.shape, *(1,) * (values.ndim - 2)).expand(shape))


def trace(parts: Parts, grid: Grid, rays: Rays) -> Hits:
    """The first point of each ray on the surface."""
    along = (rays.origins * rays.directions).sum(-1)
    squared = (rays.origins * rays.origins).sum(-1) - BALL_RADIUS**2
    half = (along * along - squared).clamp_(min=0).sqrt_()
    nearest, farthest = (-along - half).clamp_(min=0), -along + half
    found = torch.zeros_like(half, dtype=torch.bool)
    active = compacted(half > 0)
    for turn in range(ROUNDS):
        if not active.shape[1]:
            break
        some, start, end = rays.select(active), gathered(nearest, active), gathered(farthest, active)
        start = _march(grid, some, start, end, turn > 0)
        alive = start < end
        kept = compacted(alive)
        if not kept.shape[1]:
            break
        active, some = gathered(active, kept), some.select(kept)
        start, alive = gathered(start, kept), gathered(alive, kept)
        hit, missing = _refine(parts, some, start)
        hit_now = alive & (missing.abs() < (TOLERANCE if turn < ROUNDS - 1 else LAST_TOLERANCE))
        nearest = nearest.scatter(1, active, torch.where(alive, hit, gathered(nearest, active)))
        found = found.scatter(1, active, hit_now | gathered(found, active))
        active = gathered(active, compacted(alive & ~hit_now))
    return Hits(nearest, found)


def _march(grid: Grid, rays: Rays, start: Tensor, end: Tensor, leave: bool) -> Tensor:
    """Distances where rays come near the surface, or beyond `end` where they do not."""
    result = start.clone()
    index = torch.arange(start.shape[1], device=start.device).expand_as(start)
    position = start + CELL if leave else start
    for step in range(GRID_STEPS):
        value = grid.look_up(rays.at(position))
        done = (value < NEAR) | (position >= end)
        # the grid is coarse: rays stop a little before they come near
        position = torch.where(done, position, position + (value - 0.5 * NEAR).clamp_(min=0.4 * CELL))
        if step % 4 == 3:
            result = result.scatter(1, index, position)
            kept = compacted(~done)
            if not kept.shape[1]:
                return result
            if kept.shape[1] < 0.8 * index.shape[1]:
                index, rays, position, end = (
                    gathered(index, kept),
                    rays.select(kept),
                    gathered(position, kept),
                    gathered(end, kept),
                )
    return result.scatter(1, index, position)


def _refine(parts: Parts, rays: Rays, position: Tensor) -> tuple[Tensor, Tensor]:
    """Exact steps: sphere tracing at first, then the secant through the last two; and the distance left over."""
    value = distance(parts, rays.at(position))[0]
    step = value
    for _ in range(EXACT_STEPS - 1):
        position = position + step
        next_value = distance(parts, rays.at(position))[0]
        # how fast the distance falls along the ray: 1 when it meets the surface head on
        slope = ((value - next_value) / torch.where(step.abs() < 1e-7, 1e-7, step)).clamp_(0.12, 1)
        value = next_value
        step = (value / slope).clamp_(-CELL, 2 * CELL)
    return position, value
