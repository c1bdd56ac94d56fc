"""The scores of Stanford-ORB (Kuang et al., NeurIPS 2023 datasets and benchmarks) as its code computes them.

Everything is measured at 512x512, to which photos and masks are brought by the means of 4x4 pixels. A method's score
is the mean over the images of a capture, then over captures (`mean_score` twice).
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ..color import srgb_from_linear
from ..rendering.image_quality import psnr, ssim
from ..rendering.lpips import LPIPS
from .image_metrics import channel_scales
from .point_metrics import nearest_points
from .score import Fact, Score, check_finite, named


# Light above this is clipped before PSNR-H, whose peak is 1 all the same.
HDR_PEAK = 4.0
ERODED_BY = 5
WINDOW = "Gaussian, sigma 1.5, 3 pixels, reflected border"


def erode(masks: Float[Tensor, "views 1 height width"]) -> Float[Tensor, "views 1 height width"]:
    """Pixels whose 5x5 neighbourhood, as far as it lies in the image, is above 0.5: 1, others 0."""
    return -F.max_pool2d(-(masks > 0.5).to(masks), ERODED_BY, stride=1, padding=ERODED_BY // 2)


@torch.no_grad()
def score_orb_images(
    images: Float[Tensor, "views 3 height width"],
    references: Float[Tensor, "views 3 height width"],
    masks: Float[Tensor, "views 1 height width"],
    scaled: bool,
    lpips: LPIPS | None = None,
    **protocol: Fact,
) -> dict[str, Score]:
    """PSNR-H, PSNR-L, SSIM and, with the weights of VGG, LPIPS: means of the images' values.

    Args:
        images: [V, 3, H, W], linear light.
        references: [V, 3, H, W], linear light.
        masks: [V, 1, H, W], before erosion.
        scaled: whether each channel of each image is scaled first (`channel_scales`): the benchmark does for
            relighting, and does not for new views.
        lpips: of the net "vgg".
        protocol: what the caller did before.

    Returns:
        "orb_psnr_h", "orb_psnr_l", "orb_ssim", "orb_lpips".

    Raises:
        ValueError: if values are not finite.
    """
    check_finite(images=images, references=references, masks=masks)
    masks = erode(masks)
    found, wanted = images * masks, references.clamp(min=0) * masks
    # PSNR-H brings an exposure at which the reference, clipped, is as bright as its display
    displayed = wanted.clamp(max=1)
    exposure = srgb_from_linear(displayed).mean((1, 2, 3)) / displayed.mean((1, 2, 3)).clamp(min=1e-12)
    bright, bright_wanted = (values * exposure[:, None, None, None] for values in (found, wanted))
    if scaled:
        found = found * channel_scales(found, wanted, masks)
        bright = bright * channel_scales(bright, bright_wanted, masks)
    shown, shown_wanted = srgb_from_linear(found), srgb_from_linear(wanted)
    high = _floored_psnr(bright.clamp(0, HDR_PEAK), bright_wanted.clamp(0, HDR_PEAK))
    low = _floored_psnr(shown, shown_wanted)
    similarity = ssim(shown * masks, shown_wanted * masks, radius=1, border="reflect")
    facts = {**_facts(images, scaled), **protocol}
    scores = [
        Score("orb_psnr_h", float(high.mean()), "dB", {**facts, "color": "linear in [0, 4]", "peak": 1.0}),
        Score("orb_psnr_l", float(low.mean()), "dB", {**facts, "color": "sRGB", "peak": 1.0}),
        Score("orb_ssim", float(similarity.mean()), "1", {**facts, "color": "sRGB", "window": WINDOW}),
    ]
    if lpips is not None:
        # the benchmark applies the curve of sRGB a second time
        distance = _mean_lpips(lpips, *(srgb_from_linear(values * masks) for values in (shown, shown_wanted)))
        scores.append(Score("orb_lpips", distance, "1", {**facts, "color": "sRGB curve twice", **_net(lpips)}))
    return named(*scores)


@torch.no_grad()
def score_orb_base_color(
    base_color: Float[Tensor, "views 3 height width"],
    references: Float[Tensor, "views 3 height width"],
    masks: Float[Tensor, "views 1 height width"],
    lpips: LPIPS | None = None,
    **protocol: Fact,
) -> dict[str, Score]:
    """PSNR and SSIM of linear base colour after a factor per channel and image, and LPIPS of its display.

    Args:
        base_color: [V, 3, H, W], linear.
        references: [V, 3, H, W], linear.
        masks: [V, 1, H, W], before erosion.
        lpips: of the net "vgg".
        protocol: what the caller did before.

    Returns:
        "orb_base_color_psnr", "orb_base_color_ssim", "orb_base_color_lpips".

    Raises:
        ValueError: if values are not finite.
    """
    check_finite(base_color=base_color, references=references, masks=masks)
    masks = erode(masks)
    found, wanted = base_color * masks, references.clamp(0, 1) * masks
    found = (found * channel_scales(found, wanted, masks)).clamp(0, 1)
    facts = {**_facts(base_color, scaled=True), "color": "linear", **protocol}
    similarity = ssim(found, wanted, radius=1, border="reflect")
    scores = [
        Score("orb_base_color_psnr", float(_floored_psnr(found, wanted).mean()), "dB", {**facts, "peak": 1.0}),
        Score("orb_base_color_ssim", float(similarity.mean()), "1", {**facts, "window": WINDOW}),
    ]
    if lpips is not None:
        distance = _mean_lpips(lpips, srgb_from_linear(found), srgb_from_linear(wanted))
        scores.append(Score("orb_base_color_lpips", distance, "1", {**facts, "color": "sRGB", **_net(lpips)}))
    return named(*scores)


def _facts(images: Tensor, scaled: bool) -> dict[str, Fact]:
    return {
        "resolution": f"{images.shape[-2]}x{images.shape[-1]}",
        "mask": "eroded by 5x5, black outside; all pixels count",
        "scale": "per channel and image" if scaled else "none",
        "views": len(images),
        "average": "mean of the values of the images",
    }


def _mean_lpips(lpips: LPIPS, images: Tensor, references: Tensor) -> float:
    """One image at a time, to bound the memory."""
    return float(torch.cat([lpips(a[None], b[None]) for a, b in zip(images, references, strict=True)]).mean())


def _net(lpips: LPIPS) -> dict[str, Fact]:
    return {"net": lpips.net, "version": "0.1"}


def _floored_psnr(
    images: Float[Tensor, "views 3 height width"], references: Float[Tensor, "views 3 height width"]
) -> Float[Tensor, "views"]:
    """PSNR, or that of a grey image where it is higher."""
    return torch.maximum(psnr(images, references), psnr(torch.full_like(images, 0.5), references))


@torch.no_grad()
def score_orb_depths(
    depths: Float[Tensor, "views 1 height width"],
    references: Float[Tensor, "views 1 height width"],
    masks: Float[Tensor, "views 1 height width"],
    **protocol: Fact,
) -> Score:
    """Scale-invariant squared error of z-depth with one factor for all views of a capture; tables have it times 1000.

    Args:
        depths: [V, 1, H, W], z-depth.
        references: [V, 1, H, W], z-depth.
        masks: [V, 1, H, W], before erosion.
        protocol: what the caller did before.

    Raises:
        ValueError: if values are not finite.
    """
    check_finite(depths=depths, references=references, masks=masks)
    masks = erode(masks).double()
    found, wanted = depths.double() * masks, references.double() * masks
    scale = (found * wanted).sum() / found.square().sum().clamp(min=1e-12)
    facts = {
        "resolution": f"{depths.shape[-2]}x{depths.shape[-1]}",
        "mask": "eroded by 5x5; the mean is over all pixels of the image",
        "alignment": "scale per scene",
        "views": len(depths),
        **protocol,
    }
    return Score("orb_depth_si_mse", float((scale * found - wanted).square().mean()), "world units, squared", facts)


def score_orb_shape(
    points: Float[Tensor, "points 3"], reference_vertices: Float[Tensor, "vertices 3"], **protocol: Fact
) -> Score:
    """Mean of the two mean squared nearest distances, without any alignment; tables have it times 2000.

    Args:
        points: [N, 3], 30 000 of them drawn from the predicted surface (`surface_points`).
        reference_vertices: [M, 3], the vertices of the scanned mesh.
        protocol: what the caller did before.
    """
    both = (points, reference_vertices)
    squares = [float(nearest_points(a, b).distances.square().mean()) for a, b in (both, both[::-1])]
    facts = {"points": len(points), "reference_points": len(reference_vertices), "alignment": "none", **protocol}
    return Score("orb_chamfer_squared", sum(squares) / 2, "world units, squared", facts)
