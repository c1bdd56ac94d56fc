"""AbsRel, RMSE and delta of depth maps: `evaluate.load("utils/metrics/depth_scores")`."""

import datasets
import evaluate
import torch

from anyviews.evaluation.depth_metrics import score_depths
from anyviews.evaluation.score import mean_scores, values_and_protocols


USAGE = """
predictions, references: z-depth maps [H, W] of one size, 0 where unknown.
alignment: none, median, scale or scale_shift, found for each map.
unit: of the references. Anything else is kept as protocol, such as resize_filter="nearest".
"""


class DepthScores(evaluate.Metric):
    """Means over depth maps."""

    def _info(self) -> evaluate.MetricInfo:
        depth = datasets.Sequence(datasets.Sequence(datasets.Value("float32")))
        features = datasets.Features({"predictions": depth, "references": depth})
        return evaluate.MetricInfo(description=__doc__, citation="", inputs_description=USAGE, features=features)

    def _compute(self, predictions, references, alignment: str = "none", **protocol) -> dict:
        pairs = (map(_tensor, pair) for pair in zip(predictions, references, strict=True))
        return values_and_protocols(
            mean_scores(score_depths(*pair, alignment=alignment, **protocol) for pair in pairs)
        )


def _tensor(depth) -> torch.Tensor:
    return torch.tensor(depth)[None, None]
