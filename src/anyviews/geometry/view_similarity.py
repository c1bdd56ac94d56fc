"""Which photos of a set show the same things, before anything is known of their cameras."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor


# Photos are compared at this size, in cells of 8 pixels every 4; a patch is 2 x 2 cells that do not overlap.
SIDE, CELL, STRIDE = 64, 8, 4
DIRECTIONS = 8
# What a difference in colour counts for beside one in the directions of edges.
COLOR_WEIGHT = 2.0
# What similarity counts for where another chosen view is more similar already.
REPEATED = 0.01


def view_similarity(images: Float[Tensor, "views 3 height width"]) -> Float[Tensor, "views views"]:
    """How alike what two photos show is, at most 1, for every pair.

    Each patch of one photo looks for the patch of the other that is most like it in edges and colours, wherever it is;
    the similarity is the mean of these best cosines, both ways. Patches are compared without what all photos share.

    Args:
        images: sRGB in [0, 1].
    """
    patches = _patches(images.float())
    patches = F.normalize(patches - patches.mean((0, 1)), dim=-1)  # [V, N, C]
    best = [torch.einsum("nc,vmc->vnm", own, patches).amax(-1).mean(-1) for own in patches]
    similarity = torch.stack(best)
    return (similarity + similarity.mT) / 2


def central_views(similarity: Float[Tensor, "candidates views"], count: int) -> list[int]:
    """Candidates to which, between them, all views are similar: the one most like all first, then what it lacks.

    Args:
        similarity: of every candidate and every view; of all pairs of views where all are candidates.
        count: how many are wanted; no more than there are candidates.
    """
    covered = torch.full_like(similarity[0], -1.0)
    chosen: list[int] = []
    for _ in range(min(count, len(similarity))):
        gains = (similarity.maximum(covered) + REPEATED * similarity).sum(1)
        gains[chosen] = -math.inf
        chosen.append(int(gains.argmax()))
        covered = covered.maximum(similarity[chosen[-1]])
    return chosen


def overlapping_groups(similarity: Float[Tensor, "views views"], size: int, shared: int) -> list[list[int]]:
    """All views in groups, each of which shares views with those before, so that results can be put together.

    The first group grows from the most central view, each later one from the view most similar to those before, always
    by the view most similar to any of the group. A later group begins with the `shared` views before it that are most
    similar to its new ones.

    Args:
        similarity: of all pairs.
        size: of a group at most.
        shared: views of a later group that an earlier one has, too.

    Raises:
        ValueError: if a group would have no room for new views.
    """
    if not 1 <= shared < size:
        raise ValueError(f"groups of {size} views cannot share {shared}; accepted are 1 to {size - 1}")
    groups, seen = [], similarity.new_zeros(len(similarity), dtype=torch.bool)
    while not seen.all():
        nearest = similarity[seen].amax(0) if groups else similarity.sum(1)
        new = _grow(similarity, int(nearest.where(~seen, -math.inf).argmax()), seen, size - shared * bool(groups))
        before = seen.nonzero().flatten()
        anchors = central_views(similarity[before][:, new], shared) if groups else []
        groups.append([*before[anchors].tolist(), *new])
        seen[new] = True
    return groups


def _grow(similarity: Float[Tensor, "views views"], first: int, seen: Bool[Tensor, "views"], size: int) -> list[int]:
    """Up to `size` views not seen yet: the first, and always the one most similar to any so far (Prim's algorithm)."""
    chosen, free = [first], ~seen
    while len(chosen) < min(size, int(free.sum())):
        left = free.clone()
        left[chosen] = False
        chosen.append(int(similarity[chosen].amax(0).where(left, -math.inf).argmax()))
    return chosen


def _patches(images: Float[Tensor, "views 3 height width"]) -> Float[Tensor, "views patches channels"]:
    """Directions of edges and colours of overlapping patches (after Dalal and Triggs, CVPR 2005)."""
    images = F.interpolate(images, (SIDE, SIDE), mode="bilinear", antialias=True)
    gray = images.mean(1, keepdim=True)
    across, down = (
        F.pad(gray[..., 2:] - gray[..., :-2], (1, 1)),
        F.pad(gray[..., 2:, :] - gray[..., :-2, :], (0, 0, 1, 1)),
    )
    strength, angle = torch.hypot(across, down), torch.atan2(down, across)
    turns = torch.arange(DIRECTIONS, device=images.device)[:, None, None] * (2 * math.pi / DIRECTIONS)
    edges = strength * torch.cos(angle - turns).clamp(min=0).square()
    edges, colors = (F.avg_pool2d(values, CELL, STRIDE) for values in (edges, images))
    colors = COLOR_WEIGHT * (colors - colors.mean((0, 2, 3), keepdim=True))
    cells = torch.cat([F.normalize(edges, dim=1), colors], dim=1)
    step = CELL // STRIDE
    ends = (slice(None, -step), slice(step, None))
    return torch.cat([cells[:, :, rows, columns] for rows in ends for columns in ends], dim=1).flatten(2).mT
