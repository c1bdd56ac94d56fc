"""Image and depth scores; every function says its protocol in its docstring."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def psnr(
    images: Float[Tensor, "views 3 height width"], references: Float[Tensor, "views 3 height width"]
) -> Float[Tensor, "views"]:
    """Peak signal-to-noise ratio of each sRGB image in dB, over all pixels and channels, for a peak of 1."""
    return -10 * torch.log10((images - references).square().flatten(1).mean(1))


def absolute_relative_error(
    depths: Float[Tensor, "views 1 height width"],
    references: Float[Tensor, "views 1 height width"],
    valid: Bool[Tensor, "views 1 height width"],
) -> Float[Tensor, "views"]:
    """Mean of |depth - reference| / reference over the valid pixels of each view, without any alignment (AbsRel)."""
    error = (depths - references).abs() / references.where(valid, torch.ones_like(references))
    return (error * valid).flatten(1).sum(1) / valid.flatten(1).sum(1)


def depth_accuracy(
    depths: Float[Tensor, "views 1 height width"],
    references: Float[Tensor, "views 1 height width"],
    valid: Bool[Tensor, "views 1 height width"],
    threshold: float = 1.25,
) -> Float[Tensor, "views"]:
    """Share of valid pixels of each view whose depth is within a factor of the reference, without any alignment."""
    safe = references.where(valid, torch.ones_like(references))
    ratio = torch.maximum(depths / safe, safe / depths.clamp(min=1e-12))
    return ((ratio < threshold) & valid).flatten(1).sum(1) / valid.flatten(1).sum(1)


def depth_scores(
    depths: Float[Tensor, "views 1 height width"], references: Float[Tensor, "views 1 height width"]
) -> dict[str, Float[Tensor, "views"]]:
    """AbsRel and delta < 1.25 of each view over the pixels whose reference depth is known (positive)."""
    valid = references > 0
    return {
        "absrel": absolute_relative_error(depths, references, valid),
        "delta1.25": depth_accuracy(depths, references, valid),
    }
