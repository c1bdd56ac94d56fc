"""PSNR, SSIM, multi-scale SSIM and LPIPS: `evaluate.load("utils/metrics/image_scores")`."""

import datasets
import evaluate
import numpy as np
import torch

from anyviews.evaluation.image_metrics import score_images
from anyviews.evaluation.score import mean_scores, values_and_protocols
from anyviews.rendering.lpips import LPIPS


USAGE = """
predictions, references: sRGB images of 8 bits and one size, PIL or uint8 [H, W, 3].
lpips: a folder of converted weights (utils/convert_lpips.py); without it there is no LPIPS.
Anything else is kept as protocol, such as resize_filter="area".
"""


class ImageScores(evaluate.Metric):
    """Means over pairs of images."""

    def _info(self) -> evaluate.MetricInfo:
        features = datasets.Features({"predictions": datasets.Image(), "references": datasets.Image()})
        return evaluate.MetricInfo(description=__doc__, citation="", inputs_description=USAGE, features=features)

    def _compute(self, predictions, references, lpips: str | None = None, **protocol) -> dict:
        network = None if lpips is None else LPIPS.from_pretrained(lpips)
        pairs = (map(_tensor, pair) for pair in zip(predictions, references, strict=True))
        return values_and_protocols(mean_scores(score_images(*pair, lpips=network, **protocol) for pair in pairs))


def _tensor(image) -> torch.Tensor:
    return torch.from_numpy(np.array(image.convert("RGB"))).movedim(-1, 0)[None] / 255
