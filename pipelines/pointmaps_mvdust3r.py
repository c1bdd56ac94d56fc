"""Pointmaps of MV-DUSt3R+ in one frame, and how those of overlapping groups of photos are put together."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from anyviews.gaussians import Gaussians
from anyviews.geometry.pose_recovery import confidence_weights
from anyviews.geometry.robust_alignment import align_points_robustly
from anyviews.geometry.similarity import Similarity
from anyviews.models.mvdust3r import MVDust3rPlusOutput, pixel_gaussians


# Groups whose shared photos differ by more than this part of their extent do not belong together.
LARGE_MISFIT = 0.1


@dataclass(frozen=True)
class Pointmaps:
    """What the network says about V photos, in one frame.

    Args:
        points: [V, H, W, 3].
        confidence: [V, H, W].
        gaussians: one of each pixel, V * H * W in this order; or None where the model has no Gaussian heads.
        first: the photo in whose camera frame the points are, or None in another world.
    """

    points: Float[Tensor, "views height width 3"]
    confidence: Float[Tensor, "views height width"]
    gaussians: Gaussians | None
    first: int | None

    @classmethod
    def from_output(
        cls, output: MVDust3rPlusOutput, pixel_values: Float[Tensor, "1 views 3 height width"]
    ) -> "Pointmaps":
        """The answer of the first path, in memory of the CPU."""
        gaussians = None
        if output.scales is not None and output.harmonics is None:
            gaussians = pixel_gaussians(output, pixel_values)[0, 0].to("cpu", torch.float32)
        points, confidence = (values[0, 0].float().cpu() for values in (output.points, output.confidence))
        return cls(points, confidence, gaussians, output.references[0])

    def __getitem__(self, index: Sequence[int]) -> "Pointmaps":
        """A selection of photos."""
        index = torch.tensor(index, dtype=torch.int64)
        gaussians = self.gaussians
        if gaussians is not None:
            pixels = self.confidence[0].numel()
            gaussians = gaussians.select((index[:, None] * pixels + torch.arange(pixels)).flatten())
        return Pointmaps(self.points[index], self.confidence[index], gaussians, None)

    def transform(self, similarity: Similarity) -> "Pointmaps":
        """The same in another world."""
        similarity = Similarity(
            *(getattr(similarity, name).to(self.points) for name in Similarity.__dataclass_fields__)
        )
        return Pointmaps(
            similarity.apply(self.points.flatten(0, 2)).view_as(self.points),
            self.confidence,
            None if self.gaussians is None else self.gaussians.transform(similarity),
            None,
        )


def join_groups(groups: Sequence[Sequence[int]], parts: Sequence[Pointmaps]) -> Pointmaps:
    """All photos in the frame of the first group; a photo of several groups is taken from the first that has it.

    Args:
        groups: of photo indices, all of 0 to V - 1; each after the first shares photos with those before.
        parts: the pointmaps of each group.
    """
    if len(groups) == 1 and list(groups[0]) == list(range(len(groups[0]))):
        return parts[0]
    first = parts[0].first
    place: dict[int, int] = {}
    joined: Pointmaps | None = None
    for number, (group, part) in enumerate(zip(groups, parts, strict=True)):
        new = [i for i, photo in enumerate(group) if photo not in place]
        if joined is not None:
            shared = [i for i, photo in enumerate(group) if photo in place]
            part = part.transform(_similarity_of(part[shared], joined[[place[group[i]] for i in shared]], number))
        place.update({group[i]: len(place) + position for position, i in enumerate(new)})
        joined = part[new] if joined is None else _cat(joined, part[new])
    joined = joined[[place[photo] for photo in range(len(place))]]
    return replace(joined, first=None if first is None else groups[0][first])


def _similarity_of(part: Pointmaps, joined: Pointmaps, number: int) -> Similarity:
    """Of a group's shared photos to what they are in the groups before; warns where the two do not fit."""
    weights = (confidence_weights(*_maps(part)) * confidence_weights(*_maps(joined))).sqrt().flatten()
    source, target = part.points.flatten(0, 2), joined.points.flatten(0, 2)
    similarity = align_points_robustly(source, target, weights)
    used = weights > 0
    target = target[used].double()
    misfit = (similarity.apply(source[used].double()) - target).norm(dim=-1).median()
    extent = (target - target.median(0).values).norm(dim=-1).median()
    if misfit > LARGE_MISFIT * extent:
        warnings.warn(
            f"pass {number + 1} fits the passes before it badly: the photos that they share differ by "
            f"{float(misfit / extent):.0%} of their extent. Give photos that overlap more, or raise max_views",
            stacklevel=5,
        )
    return similarity


def _maps(part: Pointmaps) -> tuple[Tensor, Tensor]:
    return part.points, part.confidence


def _cat(first: Pointmaps, second: Pointmaps) -> Pointmaps:
    gaussians = None
    if first.gaussians is not None:
        gaussians = Gaussians.cat([first.gaussians, second.gaussians])
    points, confidence = (
        torch.cat([getattr(part, name) for part in (first, second)]) for name in ("points", "confidence")
    )
    return Pointmaps(points, confidence, gaussians, None)
