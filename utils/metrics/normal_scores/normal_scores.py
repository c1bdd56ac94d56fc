"""Angles between normal maps: `evaluate.load("utils/metrics/normal_scores")`."""

import datasets
import evaluate
import torch

from anyviews.evaluation.depth_metrics import score_normals
from anyviews.evaluation.score import mean_scores, values_and_protocols


USAGE = """
predictions, references: normal maps [H, W, 3] of one size in one frame, 0 where unknown. Anything else is kept as
protocol, such as resize_filter="area".
"""


class NormalScores(evaluate.Metric):
    """Means over normal maps."""

    def _info(self) -> evaluate.MetricInfo:
        normals = datasets.Sequence(datasets.Sequence(datasets.Sequence(datasets.Value("float32"))))
        features = datasets.Features({"predictions": normals, "references": normals})
        return evaluate.MetricInfo(description=__doc__, citation="", inputs_description=USAGE, features=features)

    def _compute(self, predictions, references, **protocol) -> dict:
        pairs = (map(_tensor, pair) for pair in zip(predictions, references, strict=True))
        return values_and_protocols(mean_scores(score_normals(*pair, **protocol) for pair in pairs))


def _tensor(normals) -> torch.Tensor:
    return torch.tensor(normals).movedim(-1, 0)[None]
