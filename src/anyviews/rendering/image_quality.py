"""How alike two images are, differentiable, over all pixels or over some: PSNR, SSIM and multi-scale SSIM."""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


# The window of Wang et al., "Image quality assessment: from error visibility to structural similarity", IEEE TIP 2004:
# a Gaussian of this standard deviation, cut off at this radius, in pixels; and the constants for a peak of 1.
SIGMA = 1.5
RADIUS = 5
STABILITY = (0.01**2, 0.03**2)

SMALLEST = 2 * RADIUS + 1

# Exponents of the scales, finest first, of Wang et al., "Multiscale structural similarity for image quality
# assessment", Asilomar 2003.
SCALE_EXPONENTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)

# Structures that contradict each other correlate negatively, of which no power is known; and at 0 it has no slope.
LEAST_SIMILARITY = 1e-6

Border = Literal["valid", "reflect"]


def psnr(
    images: Float[Tensor, "views channels height width"],
    references: Float[Tensor, "views channels height width"],
    weights: Float[Tensor, "views 1 height width"] | None = None,
) -> Float[Tensor, "views"]:
    """Peak signal-to-noise ratio of each image in dB for a peak of 1: of the mean over pixels and channels, unclipped.

    Args:
        images: [V, C, H, W].
        references: [V, C, H, W].
        weights: [V, 1, H, W], how much each pixel counts (a mask), or None for all alike.
    """
    return -10 * torch.log10(weighted_mean((images - references).square(), weights))


def ssim(
    images: Float[Tensor, "views channels height width"],
    references: Float[Tensor, "views channels height width"],
    weights: Float[Tensor, "views 1 height width"] | None = None,
    radius: int = RADIUS,
    border: Border = "valid",
    data_range: float = 1.0,
) -> Float[Tensor, "views"]:
    """Mean structural similarity of each image (Wang et al., TIP 2004), by default over the windows inside the image.

    Args:
        images: [V, C, H, W], as high and wide as the window, or more.
        references: [V, C, H, W].
        weights: [V, 1, H, W] in [0, 1]: pixels are seen by this share, and windows count by that of their centre, so
            that pixels of weight 0 do not matter; None for all alike.
        radius: where the Gaussian window of standard deviation 1.5 is cut off, in pixels.
        border: "valid" for the windows that lie inside the image, "reflect" for one at each pixel of an image that is
            reflected at its border.
        data_range: the peak of the images.

    Raises:
        ValueError: if the images are smaller than the window.
    """
    if min(images.shape[-2:]) < 2 * radius + 1:
        raise ValueError(
            f"images of {images.shape[-2]}x{images.shape[-1]}; SSIM needs {2 * radius + 1} pixels or more a side"
        )
    if weights is not None:
        images, references = images * weights, references * weights
        weights = weights if border == "reflect" else weights[..., radius:-radius, radius:-radius]
    luminance, contrast = _similarities(images, references, radius, border, data_range)
    return weighted_mean(luminance * contrast, weights)


def multi_scale_ssim(
    images: Float[Tensor, "views channels height width"],
    references: Float[Tensor, "views channels height width"],
    weights: Float[Tensor, "views 1 height width"] | None = None,
) -> Float[Tensor, "views"]:
    """Mean multi-scale structural similarity of each image (Wang et al., Asilomar 2003, Eq. 7).

    As many of the five scales as fit are compared, each half the last (`scale_count`), their exponents scaled to a sum
    of 1; the product over the scales is taken per channel. An odd last row or column is left out of the next scale.

    Args:
        images: [V, C, H, W] in [0, 1], at least 11 pixels high and wide; 176 for all five scales.
        references: [V, C, H, W] in [0, 1].
        weights: [V, 1, H, W] in [0, 1], as for `ssim`; at coarser scales their means. A scale at which nothing of an
            image counts is left out of it; an image of which nothing counts at all gets 1.

    Raises:
        ValueError: if the images are smaller than the window.
    """
    exponents, shape = SCALE_EXPONENTS[: scale_count(*images.shape[-2:])], images.shape[:2]
    logarithms, total = images.new_zeros(images.shape[:2].numel()), images.new_zeros(images.shape[:2].numel())
    if weights is not None:
        images, references = images * weights, references * weights
    # a channel is an image of its own, so that means are taken per channel
    images, references = images.flatten(0, 1)[:, None], references.flatten(0, 1)[:, None]
    weights = None if weights is None else weights.repeat_interleave(shape[1], dim=0)
    for scale, exponent in enumerate(exponents):
        luminance, similarity = _similarities(images, references, RADIUS, "valid", 1.0)
        if scale == len(exponents) - 1:
            similarity = luminance * similarity
        seen = None if weights is None else weights[..., RADIUS:-RADIUS, RADIUS:-RADIUS]
        counts = torch.ones_like(total) if seen is None else (seen.flatten(1).amax(1) > 0).to(total)
        total = total + exponent * counts
        term = weighted_mean(similarity, seen).clamp(min=LEAST_SIMILARITY).log()
        logarithms = logarithms + exponent * counts * term
        images, references = F.avg_pool2d(images, 2), F.avg_pool2d(references, 2)
        weights = None if weights is None else F.avg_pool2d(weights, 2)
    return (logarithms / total.clamp(min=LEAST_SIMILARITY)).exp().unflatten(0, shape).mean(1)


def scale_count(height: int, width: int) -> int:
    """How many scales `multi_scale_ssim` compares of images of this size.

    Raises:
        ValueError: if there is none.
    """
    count = min((min(height, width) // SMALLEST).bit_length(), len(SCALE_EXPONENTS))
    if count == 0:
        raise ValueError(f"images of {height}x{width}; multi-scale SSIM needs {SMALLEST} pixels or more a side")
    return count


def weighted_mean(
    values: Float[Tensor, "views channels height width"], weights: Float[Tensor, "views 1 height width"] | None
) -> Float[Tensor, "views"]:
    """Mean over the channels and pixels of each view; 0 where no pixel has weight."""
    if weights is None:
        return values.flatten(1).mean(1)
    total = weights.flatten(1).sum(1) * values.shape[1]
    return (values * weights).flatten(1).sum(1) / total.clamp(min=torch.finfo(values.dtype).tiny)


def _similarities(
    images: Float[Tensor, "views channels height width"],
    references: Float[Tensor, "views channels height width"],
    radius: int,
    border: Border,
    data_range: float,
) -> tuple[Tensor, Tensor]:
    """Of each window how alike the means are, and how alike contrast and structure."""
    moments = torch.stack([images, references, images.square(), references.square(), images * references])
    mean_x, mean_y, square_x, square_y, product = _blur(moments, radius, border)
    luminance_floor, contrast_floor = (constant * data_range**2 for constant in STABILITY)
    means = 2 * mean_x * mean_y + luminance_floor
    covariance = 2 * (product - mean_x * mean_y) + contrast_floor
    energies = mean_x.square() + mean_y.square() + luminance_floor
    variances = square_x - mean_x.square() + square_y - mean_y.square() + contrast_floor
    return means / energies, covariance / variances


def _blur(values: Float[Tensor, "moments views channels height width"], radius: int, border: Border) -> Tensor:
    """Gaussian means over the windows that lie inside the image, `radius` fewer pixels on each side, or over all."""
    offsets = torch.arange(-radius, radius + 1, device=values.device, dtype=values.dtype)
    window = torch.exp(-offsets.square() / (2 * SIGMA**2))
    window = window / window.sum()
    flat = values.flatten(0, 2)[:, None]
    if border == "reflect":
        flat = F.pad(flat, [radius] * 4, mode="reflect")
    return F.conv2d(F.conv2d(flat, window[None, None, :, None]), window[None, None, None, :])[:, 0].unflatten(
        0, values.shape[:3]
    )
