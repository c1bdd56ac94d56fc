"""What MVDust3rPlusPipeline is going to do with so many photos, what it takes, and how long: made before it starts."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from anyviews.geometry.view_similarity import central_views, overlapping_groups
from anyviews.models.memory import format_bytes
from anyviews.models.mvdust3r import MVDust3rPlusConfig, peak_bytes, plan_head_views


# Views of one pass: what the network was trained and measured with. More are reconstructed in groups.
MOST_VIEWS = 24
# One of so many views of a group is shared with the groups before.
VIEWS_PER_SHARED = 4
HEAD_VIEWS = 8
# Values per pixel of the results of all photos: points, confidence, Gaussians with their harmonics, images.
RESULT_VALUES = 24
# Sides of the matrices whose product measures a device, and what the network reaches of that speed.
PROBE_SIDE = 512
EFFICIENCY = 0.5


@dataclass(frozen=True)
class ReconstructionPlan:
    """Which photos the network sees together, and what that takes.

    Args:
        groups: of photos that go through the network together; a later group shares photos with those before.
        references: of each group, the photos that serve as references; the first gives the frame of its points.
        head_views: photos at a time in the heads of the network.
        peak_bytes: of memory beside the weights.
        operations: floating-point operations, a multiply-add counted as two.
        seconds: roughly, on the device at hand; None where it was not measured.
    """

    groups: tuple[tuple[int, ...], ...]
    references: tuple[tuple[int, ...], ...]
    head_views: int
    peak_bytes: int
    operations: float
    seconds: float | None = None

    def describe(self) -> str:
        """The plan in one sentence."""
        photos = len(set().union(*self.groups))
        together = "in one pass"
        if len(self.groups) > 1:
            together = f"in {len(self.groups)} passes of up to {max(map(len, self.groups))} photos, which overlap"
        work = self.operations / 1e9
        duration = "" if self.seconds is None else f", about {self.seconds:.2g} s"
        return (
            f"{photos} photos {together}; {work:,.{0 if work > 10 else 2}f} GFLOP{duration}; up to "
            f"{format_bytes(self.peak_bytes)} beside the weights; reference photos "
            f"{'; '.join(', '.join(map(str, references)) for references in self.references)}"
        )


def plan_reconstruction(
    config: MVDust3rPlusConfig,
    similarity: Float[Tensor, "views views"],
    image_size: tuple[int, int],
    references: Sequence[int] | None = None,
    max_views: int = MOST_VIEWS,
    max_memory: int | None = None,
    bytes_per_value: int = 4,
) -> ReconstructionPlan:
    """Groups of photos, their references, and what they take.

    Args:
        config: of the model.
        similarity: of all pairs of photos.
        image_size: (height, width) of the network's images.
        references: photos that serve as references; None chooses those that all others are most similar to.
        max_views: photos of one pass at most.
        max_memory: bytes beside the weights; where it does not suffice, passes become smaller.
        bytes_per_value: of the weights.

    Raises:
        ValueError: if the memory does not suffice for the smallest pass, or references are given for several groups.
    """
    count, memory = len(similarity), {"bytes_per_value": bytes_per_value}
    held = count * image_size[0] * image_size[1] * 4 * RESULT_VALUES
    left = None if max_memory is None else max_memory - held

    def fits(views: int) -> bool:
        return left is None or peak_bytes(config, views, *image_size, head_views=1, **memory) <= left

    size = min(count, max_views)
    least = min(count, 3)
    while size > least and not fits(size):
        size -= 1
    if not fits(size):
        needed = held + peak_bytes(config, size, *image_size, head_views=1, **memory)
        raise ValueError(
            f"max_memory={max_memory} bytes is too little for {count} photos, even {size} at a time; at least "
            f"{needed} bytes ({format_bytes(needed)}) are needed"
        )
    groups = [list(range(count))] if size == count else overlapping_groups(similarity, size, shared_views(size))
    if references is not None and len(groups) > 1:
        raise ValueError(
            f"references={list(references)} were given, but {count} photos take {len(groups)} passes, which need "
            f"references of their own; leave them out, or give {size} photos or fewer"
        )
    chosen = [_references(similarity, group, config.num_references) for group in groups]
    if references is not None:
        chosen = [list(references)]
    head_views = (
        HEAD_VIEWS if left is None else min(HEAD_VIEWS, plan_head_views(config, size, *image_size, left, **memory))
    )
    return ReconstructionPlan(
        tuple(map(tuple, groups)),
        tuple(map(tuple, chosen)),
        head_views,
        held + peak_bytes(config, size, *image_size, head_views=head_views, **memory),
        sum(operations(config, len(group), len(refs), image_size) for group, refs in zip(groups, chosen, strict=True)),
    )


def shared_views(size: int) -> int:
    """How many views of a group of this size an earlier group has, too."""
    return max(2, size // VIEWS_PER_SHARED)


def operations(config: MVDust3rPlusConfig, views: int, references: int, image_size: tuple[int, int]) -> float:
    """Floating-point operations of one pass, a multiply-add counted as two."""
    pixels = image_size[0] * image_size[1]
    tokens = pixels // config.patch_size**2
    ratio = config.mlp_ratio

    def layer(width: int, linear: float, keys: float) -> float:
        """Of one view: `linear` matrices of width x width, and attention to so many keys."""
        return 2 * tokens * width * (linear * width + 2 * keys)

    encoder = config.encoder_num_layers * layer(config.encoder_hidden_size, 4 + 2 * ratio, tokens)
    paths = references if config.has_fusion else 1
    width = config.decoder_hidden_size
    # keys and values of every view are made for both sets of weights
    decoder = layer(width, 4 + 6 + 2 * ratio, tokens * views)
    fusion = layer(width, 4 + 4 + 2 * ratio, tokens * paths) if config.has_fusion else 0.0
    heads = 2 * tokens * width * 4 * config.patch_size**2
    if config.use_skip:
        heads += 2 * pixels * config.skip_hidden_size * (9 * (6 + 3) + 2 * 25 * config.skip_hidden_size)
    if config.use_gaussians:
        heads += 2 * tokens * config.gaussian_hidden_size * (3 * width + 8 * config.patch_size**2)
    return views * (encoder + config.decoder_num_layers * paths * (decoder + fusion) + heads)


def measured_speed(device: torch.device, dtype: torch.dtype) -> float:
    """Operations per second that a network can count on here, from a product of matrices."""
    matrix = torch.ones(PROBE_SIDE, PROBE_SIDE, device=device, dtype=dtype)
    fastest = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        float((matrix @ matrix)[0, 0])  # read back: the device has finished
        fastest = min(fastest, time.perf_counter() - start)
    return EFFICIENCY * 2 * PROBE_SIDE**3 / fastest


def _references(similarity: Tensor, group: list[int], count: int) -> list[int]:
    return [group[i] for i in central_views(similarity[group][:, group], count)]
