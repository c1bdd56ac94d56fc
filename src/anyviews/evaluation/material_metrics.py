"""Scores of materials: base colour up to a factor per channel, roughness and metalness as they are."""

import torch
from jaxtyping import Float
from torch import Tensor

from ..color import linear_from_srgb
from ..rendering.image_quality import psnr, weighted_mean
from .image_metrics import channel_scales
from .score import Fact, Score, check_finite, named


@torch.no_grad()
def score_base_color(
    base_color: Float[Tensor, "views 3 height width"],
    references: Float[Tensor, "views 3 height width"],
    masks: Float[Tensor, "views 1 height width"],
    scaled: bool = True,
    **protocol: Fact,
) -> dict[str, Score]:
    """PSNR of base colour in linear light over the pixels of the masks.

    Args:
        base_color: [V, 3, H, W], sRGB in [0, 1].
        references: [V, 3, H, W], sRGB in [0, 1].
        masks: [V, 1, H, W] in [0, 1]; views without any pixel are left out.
        scaled: whether each channel of each image may be scaled first (`channel_scales`): photos do not tell base
            colour from the colour of light.
        protocol: what the caller did before.

    Raises:
        ValueError: if values are not finite.
    """
    check_finite(base_color=base_color, references=references, masks=masks)
    found, wanted = linear_from_srgb(base_color.clamp(0, 1)), linear_from_srgb(references.clamp(0, 1))
    if scaled:
        found = (found * channel_scales(found, wanted, masks)).clamp(0, 1)
    facts = {**_facts(base_color), "color": "linear", "scale": "per channel and image" if scaled else "none"}
    seen = masks.flatten(1).amax(1) > 0
    value = float(psnr(found, wanted, masks)[seen].mean())
    return named(Score("base_color_psnr", value, "dB", {**facts, "peak": 1.0, **protocol}))


@torch.no_grad()
def score_material_map(
    name: str,
    values: Float[Tensor, "views 1 height width"],
    references: Float[Tensor, "views 1 height width"],
    masks: Float[Tensor, "views 1 height width"],
    **protocol: Fact,
) -> dict[str, Score]:
    """Mean absolute and root mean squared error of roughness or metalness over the pixels of the masks.

    Args:
        name: "roughness", "metallic": the first word of the scores' names.
        values: [V, 1, H, W], in [0, 1].
        references: [V, 1, H, W], in [0, 1].
        masks: [V, 1, H, W] in [0, 1]; views without any pixel are left out.
        protocol: what the caller did before.

    Returns:
        "<name>_mae", "<name>_rmse": means of the views' values.

    Raises:
        ValueError: if values are not finite.
    """
    check_finite(values=values, references=references, masks=masks)
    seen = masks.flatten(1).amax(1) > 0
    absolute = weighted_mean((values - references).abs(), masks)[seen].mean()
    squared = weighted_mean((values - references).square(), masks)[seen].sqrt().mean()
    facts = {**_facts(values), **protocol}
    return named(Score(f"{name}_mae", float(absolute), "1", facts), Score(f"{name}_rmse", float(squared), "1", facts))


def _facts(images: Tensor) -> dict[str, Fact]:
    return {
        "resolution": f"{images.shape[-2]}x{images.shape[-1]}",
        "mask": "pixels of the masks",
        "views": len(images),
        "average": "mean of the values of the views",
    }
