"""Do depth maps of posed views agree? `evaluate.load("utils/metrics/reprojection_scores")`."""

import datasets
import evaluate
import torch

from anyviews.cameras import Cameras
from anyviews.evaluation.consistency import score_reprojection
from anyviews.evaluation.score import mean_scores, values_and_protocols


USAGE = """
predictions: z-depth maps [V, H, W] of a scene, 0 where unknown.
references: the views' cameras, [V, 7, 4]: camera_to_world (OpenCV axes) over the intrinsics in pixels, whose fourth
column is not read.
thresholds: of the relative difference. Anything else is kept as protocol.
"""


class ReprojectionScores(evaluate.Metric):
    """Means over scenes."""

    def _info(self) -> evaluate.MetricInfo:
        features = datasets.Features(
            {
                "predictions": datasets.Sequence(datasets.Sequence(datasets.Sequence(datasets.Value("float32")))),
                "references": datasets.Array3D((None, 7, 4), "float64"),
            }
        )
        return evaluate.MetricInfo(description=__doc__, citation="", inputs_description=USAGE, features=features)

    def _compute(self, predictions, references, thresholds: tuple[float, ...] = (0.01, 0.05), **protocol) -> dict:
        scenes = (map(torch.tensor, pair) for pair in zip(predictions, references, strict=True))
        return values_and_protocols(
            mean_scores(
                score_reprojection(depths[:, None], _cameras(cameras, depths), thresholds, **protocol)
                for depths, cameras in scenes
            )
        )


def _cameras(rows: torch.Tensor, depths: torch.Tensor) -> Cameras:
    cameras = Cameras.create(rows[:, 4:, :3], rows[:, :4], *depths.shape[-2:])
    return cameras.to(dtype=depths.dtype).validate()
