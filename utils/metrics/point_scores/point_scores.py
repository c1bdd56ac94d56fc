"""Chamfer distance, its halves and F-score of point clouds: `evaluate.load("utils/metrics/point_scores")`."""

import datasets
import evaluate
import torch

from anyviews.evaluation.point_metrics import score_points
from anyviews.evaluation.score import mean_scores, values_and_protocols


USAGE = """
predictions, references: points [N, 3], as many in all predictions and as many in all references, in one frame.
thresholds: of the F-score, in world units.
unit: the world unit. Anything else is kept as protocol, such as alignment="similarity".
"""


class PointScores(evaluate.Metric):
    """Means over scenes or objects."""

    def _info(self) -> evaluate.MetricInfo:
        points = datasets.Array2D((None, 3), "float64")
        features = datasets.Features({"predictions": points, "references": points})
        return evaluate.MetricInfo(description=__doc__, citation="", inputs_description=USAGE, features=features)

    def _compute(self, predictions, references, thresholds: tuple[float, ...] = (), **protocol) -> dict:
        pairs = (map(torch.tensor, pair) for pair in zip(predictions, references, strict=True))
        return values_and_protocols(mean_scores(score_points(*pair, thresholds, **protocol) for pair in pairs))
