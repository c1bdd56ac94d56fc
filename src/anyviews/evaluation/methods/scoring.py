"""Scores of a prediction as plain numbers, after checks that it is one."""

import math

from torch import Tensor

from ...views import Views
from ..depth_metrics import score_depths
from ..image_metrics import score_images


def image_scores(images: Tensor, references: Tensor, masks: Tensor | None = None) -> dict[str, float]:
    """Means over the views of "psnr" and "ssim", of images clipped to [0, 1]; NaN where masks leave nothing.

    Raises:
        ValueError: if the sizes differ, or values are not finite.
    """
    check_sizes(images, references)
    scores = score_images(images, references, masks)
    return {name: scores[name].value for name in ("psnr", "ssim")}


def depth_map_scores(depths: Tensor, targets: Views) -> dict[str, float]:
    """Means over the views of "absrel" and "delta1.25", without alignment; NaN for targets without depth.

    Raises:
        ValueError: if the sizes differ, or values are not finite.
    """
    names = ("absrel", "delta1.25")
    if targets.depths is None:
        return dict.fromkeys(names, math.nan)
    check_sizes(depths, targets.depths)
    scores = score_depths(depths, targets.depths)
    return {name: scores[name].value for name in names}


def check_sizes(found: Tensor, wanted: Tensor) -> None:
    """Raise ValueError if a prediction is not of the shape of its reference."""
    if found.shape != wanted.shape:
        raise ValueError(
            f"the prediction is {list(found.shape)} and its reference {list(wanted.shape)}; predict every view, at "
            "the size of the protocol"
        )
