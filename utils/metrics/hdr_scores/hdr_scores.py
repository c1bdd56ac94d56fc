"""PSNR-H, PSNR-L and SSIM of linear light as Stanford-ORB has them: `evaluate.load("utils/metrics/hdr_scores")`."""

import datasets
import evaluate
import torch

from anyviews.evaluation.score import mean_scores, values_and_protocols
from anyviews.evaluation.stanford_orb import score_orb_images


USAGE = """
predictions, references: linear images [H, W, 4] of one size, red, green, blue and the mask, of which that of the
references counts.
scaled: whether each channel of each image is scaled first, as for relighting. Anything else is kept as protocol.
"""


class HDRScores(evaluate.Metric):
    """Means over images."""

    def _info(self) -> evaluate.MetricInfo:
        images = datasets.Sequence(datasets.Sequence(datasets.Sequence(datasets.Value("float32"))))
        features = datasets.Features({"predictions": images, "references": images})
        return evaluate.MetricInfo(description=__doc__, citation="", inputs_description=USAGE, features=features)

    def _compute(self, predictions, references, scaled: bool = True, **protocol) -> dict:
        pairs = (map(_tensor, pair) for pair in zip(predictions, references, strict=True))
        return values_and_protocols(
            mean_scores(score_orb_images(a[:, :3], b[:, :3], b[:, 3:], scaled, **protocol) for a, b in pairs)
        )


def _tensor(image) -> torch.Tensor:
    return torch.tensor(image).movedim(-1, 0)[None]
