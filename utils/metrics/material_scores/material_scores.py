"""Errors of base colour, roughness and metalness: `evaluate.load("utils/metrics/material_scores")`."""

import datasets
import evaluate
import torch

from anyviews.evaluation.material_metrics import score_base_color, score_material_map
from anyviews.evaluation.score import mean_scores, values_and_protocols


USAGE = """
predictions, references: maps [H, W, 6] of one size: base colour (sRGB in [0, 1]), roughness, metalness, and the mask,
of which that of the references counts.
scaled: whether each channel of base colour may be scaled first. Anything else is kept as protocol.
"""


class MaterialScores(evaluate.Metric):
    """Means over views."""

    def _info(self) -> evaluate.MetricInfo:
        maps = datasets.Sequence(datasets.Sequence(datasets.Sequence(datasets.Value("float32"))))
        features = datasets.Features({"predictions": maps, "references": maps})
        return evaluate.MetricInfo(description=__doc__, citation="", inputs_description=USAGE, features=features)

    def _compute(self, predictions, references, scaled: bool = True, **protocol) -> dict:
        pairs = (map(_tensor, pair) for pair in zip(predictions, references, strict=True))
        return values_and_protocols(mean_scores(_scores(*pair, scaled, protocol) for pair in pairs))


def _scores(found: torch.Tensor, wanted: torch.Tensor, scaled: bool, protocol: dict) -> dict:
    masks = wanted[:, 5:]
    scores = score_base_color(found[:, :3], wanted[:, :3], masks, scaled, **protocol)
    for channel, name in ((3, "roughness"), (4, "metallic")):
        maps = (values[:, channel : channel + 1] for values in (found, wanted))
        scores |= score_material_map(name, *maps, masks, **protocol)
    return scores


def _tensor(maps) -> torch.Tensor:
    return torch.tensor(maps).movedim(-1, 0)[None]
