"""Scores of images: PSNR, SSIM, multi-scale SSIM and LPIPS, over all pixels or inside masks."""

import torch
from jaxtyping import Float
from torch import Tensor

from ..rendering.image_quality import RADIUS, SIGMA, multi_scale_ssim, psnr, scale_count, ssim
from ..rendering.lpips import LPIPS
from .score import Fact, Score, check_finite, named


# What rounding may add to the ends of [0, 1].
ROUNDING = 1e-3


@torch.no_grad()
def score_images(
    images: Float[Tensor, "views 3 height width"],
    references: Float[Tensor, "views 3 height width"],
    masks: Float[Tensor, "views 1 height width"] | None = None,
    lpips: LPIPS | None = None,
    **protocol: Fact,
) -> dict[str, Score]:
    """PSNR, SSIM, multi-scale SSIM and, where its weights are given, LPIPS: means of the images' values.

    Args:
        images: [V, 3, H, W], sRGB; clipped to [0, 1] first.
        references: [V, 3, H, W], sRGB in [0, 1].
        masks: [V, 1, H, W] in [0, 1], the pixels that count; PSNR leaves the others out, SSIM the windows centred on
            them, and LPIPS sees both images black there. Images without any are left out of the means.
        lpips: with weights, on the device of the images; without one there is no LPIPS.
        protocol: what the caller did before, such as resize_filter="area".

    Returns:
        "psnr", "ssim", "ms_ssim", "lpips".

    Raises:
        ValueError: if values are not finite, the references are not in [0, 1], or the images are smaller than a
            metric's window.
    """
    check_finite(images=images, references=references, masks=masks)
    low, high = references.aminmax()
    if low < -ROUNDING or high > 1 + ROUNDING:
        raise ValueError(f"references lie in [{low:.3g}, {high:.3g}]; give sRGB in [0, 1], as `Views.images` holds it")
    images = images.clamp(0, 1)
    height, width = images.shape[-2:]
    facts = {
        "resolution": f"{height}x{width}",
        "color": "sRGB in [0, 1], clipped",
        "mask": "all pixels" if masks is None else "pixels of the masks",
        "views": len(images),
        "average": "mean of the values of the images",
        **protocol,
    }
    window = f"Gaussian, sigma {SIGMA}, {2 * RADIUS + 1} pixels, inside the image"
    scores = [
        Score("psnr", _mean(psnr(images, references, masks), masks), "dB", {**facts, "peak": 1.0}),
        Score("ssim", _mean(ssim(images, references, masks), masks, RADIUS), "1", {**facts, "window": window}),
        Score(
            "ms_ssim",
            _mean(multi_scale_ssim(images, references, masks), masks, RADIUS),
            "1",
            {**facts, "window": window, "scales": scale_count(height, width)},
        ),
    ]
    if lpips is not None:
        if masks is not None:
            images, references = images * masks, references * masks
        # one at a time, to bound the memory
        distances = torch.cat([lpips(a[None], b[None]) for a, b in zip(images, references, strict=True)])
        scores.append(Score("lpips", _mean(distances, masks), "1", {**facts, "net": lpips.net, "version": "0.1"}))
    return named(*scores)


def _mean(
    values: Float[Tensor, "views"], masks: Float[Tensor, "views 1 height width"] | None, margin: int = 0
) -> float:
    """Mean over the views that have anything to score, `margin` pixels from the border; NaN if none has."""
    if masks is not None:
        height, width = masks.shape[-2:]
        values = values[masks[..., margin : height - margin, margin : width - margin].flatten(1).amax(1) > 0]
    return float(values.double().mean())


def channel_scales(
    images: Float[Tensor, "views channels height width"],
    references: Float[Tensor, "views channels height width"],
    masks: Float[Tensor, "views 1 height width"] | None = None,
) -> Float[Tensor, "views channels 1 1"]:
    """The factor of each channel of each image that brings it nearest to its reference, in least squares.

    Light and base colour are known only up to such factors. As in Stanford-ORB (Kuang et al., NeurIPS 2023): over the
    pixels of the mask; a channel that is black there is taken for 1.

    Args:
        images: [V, C, H, W], linear light.
        references: [V, C, H, W], linear light.
        masks: [V, 1, H, W] in [0, 1], or None for all pixels.
    """
    weights = torch.ones_like(images[:, :1]) if masks is None else masks
    products = (images * references * weights).sum((2, 3), keepdim=True)
    squares = (images.square() * weights).sum((2, 3), keepdim=True)
    black = squares <= 1e-6
    products = torch.where(black, (references * weights).sum((2, 3), keepdim=True), products)
    return products / torch.where(black, weights.sum((2, 3), keepdim=True).clamp(min=1e-6), squares)
