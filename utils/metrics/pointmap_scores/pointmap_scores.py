"""ND, DAc and CD of pointmaps as MV-DUSt3R+ has them: `evaluate.load("utils/metrics/pointmap_scores")`."""

import datasets
import evaluate
import torch

from anyviews.evaluation.mvdust3r_metrics import score_pointmaps
from anyviews.evaluation.score import mean_scores, values_and_protocols


USAGE = """
predictions, references: pointmaps [V, H, W, 3] in the frame of the first camera, NaN in the references where unknown.
unit: of the references.
"""


class PointmapScores(evaluate.Metric):
    """Means over scenes."""

    def _info(self) -> evaluate.MetricInfo:
        points = datasets.Sequence(datasets.Sequence(datasets.Sequence(datasets.Sequence(datasets.Value("float32")))))
        features = datasets.Features({"predictions": points, "references": points})
        return evaluate.MetricInfo(description=__doc__, citation="", inputs_description=USAGE, features=features)

    def _compute(self, predictions, references, unit: str = "m") -> dict:
        pairs = (map(torch.tensor, pair) for pair in zip(predictions, references, strict=True))
        return values_and_protocols(
            mean_scores(score_pointmaps(found, wanted, wanted.isfinite().all(-1), unit) for found, wanted in pairs)
        )
