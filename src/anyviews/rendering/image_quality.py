"""How alike two images are, differentiable, over all pixels or over some: PSNR and SSIM."""

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


def psnr(
    images: Float[Tensor, "views 3 height width"],
    references: Float[Tensor, "views 3 height width"],
    weights: Float[Tensor, "views 1 height width"] | None = None,
) -> Float[Tensor, "views"]:
    """Peak signal-to-noise ratio of each sRGB image in dB for a peak of 1.

    Args:
        images: [V, 3, H, W].
        references: [V, 3, H, W].
        weights: [V, 1, H, W], how much each pixel counts (a mask), or None for all alike.
    """
    return -10 * torch.log10(weighted_mean((images - references).square(), weights))


def ssim(
    images: Float[Tensor, "views 3 height width"],
    references: Float[Tensor, "views 3 height width"],
    weights: Float[Tensor, "views 1 height width"] | None = None,
) -> Float[Tensor, "views"]:
    """Mean structural similarity of each image (Wang et al., TIP 2004) over the windows that lie inside the image.

    Args:
        images: [V, 3, H, W] in [0, 1], at least 11 pixels high and wide.
        references: [V, 3, H, W] in [0, 1].
        weights: [V, 1, H, W] in [0, 1]: pixels are seen by this share, and windows count by that of their centre, so
            that pixels of weight 0 do not matter; None for all alike.

    Raises:
        ValueError: if the images are smaller than the window.
    """
    if min(images.shape[-2:]) < SMALLEST:
        raise ValueError(
            f"images of {images.shape[-2]}x{images.shape[-1]}; SSIM needs {SMALLEST} pixels or more a side"
        )
    if weights is not None:
        images, references = images * weights, references * weights
        weights = weights[..., RADIUS:-RADIUS, RADIUS:-RADIUS]
    moments = torch.stack([images, references, images.square(), references.square(), images * references])
    mean_x, mean_y, square_x, square_y, product = _blur(moments)
    luminance_floor, contrast_floor = STABILITY
    means = 2 * mean_x * mean_y + luminance_floor
    covariance = 2 * (product - mean_x * mean_y) + contrast_floor
    energies = mean_x.square() + mean_y.square() + luminance_floor
    variances = square_x - mean_x.square() + square_y - mean_y.square() + contrast_floor
    return weighted_mean(means * covariance / (energies * variances), weights)


def weighted_mean(
    values: Float[Tensor, "views channels height width"], weights: Float[Tensor, "views 1 height width"] | None
) -> Float[Tensor, "views"]:
    """Mean over the channels and pixels of each view; 0 where no pixel has weight."""
    if weights is None:
        return values.flatten(1).mean(1)
    total = weights.flatten(1).sum(1) * values.shape[1]
    return (values * weights).flatten(1).sum(1) / total.clamp(min=torch.finfo(values.dtype).tiny)


def _blur(values: Float[Tensor, "moments views channels height width"]) -> Tensor:
    """Gaussian means over the windows that lie inside the image, `RADIUS` fewer pixels on each side."""
    offsets = torch.arange(-RADIUS, RADIUS + 1, device=values.device, dtype=values.dtype)
    window = torch.exp(-offsets.square() / (2 * SIGMA**2))
    window = window / window.sum()
    flat = values.flatten(0, 2)[:, None]
    return F.conv2d(F.conv2d(flat, window[None, None, :, None]), window[None, None, None, :])[:, 0].unflatten(
        0, values.shape[:3]
    )
