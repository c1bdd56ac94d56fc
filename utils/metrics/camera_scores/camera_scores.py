"""Errors of relative camera poses, and ATE: `evaluate.load("utils/metrics/camera_scores")`."""

import datasets
import evaluate
import torch

from anyviews.cameras import Cameras
from anyviews.evaluation.pose_metrics import score_cameras
from anyviews.evaluation.score import mean_scores, values_and_protocols


USAGE = """
predictions, references: camera_to_world poses [V, 4, 4] of a scene, OpenCV axes; as many in all scenes.
thresholds: whole degrees of RRA, RTA, mAA and AUC.
unit: world unit of the references. Anything else is kept as protocol.
"""


class CameraScores(evaluate.Metric):
    """Means over scenes."""

    def _info(self) -> evaluate.MetricInfo:
        poses = datasets.Array3D((None, 4, 4), "float64")
        features = datasets.Features({"predictions": poses, "references": poses})
        return evaluate.MetricInfo(description=__doc__, citation="", inputs_description=USAGE, features=features)

    def _compute(self, predictions, references, thresholds: tuple[int, ...] = (5, 15, 30), **protocol) -> dict:
        pairs = (map(_cameras, pair) for pair in zip(predictions, references, strict=True))
        scores = mean_scores(score_cameras(*pair, thresholds, **protocol) for pair in pairs)
        del scores["focal_error"]  # there are no intrinsics
        return values_and_protocols(scores)


def _cameras(poses) -> Cameras:
    poses = torch.tensor(poses)
    return Cameras.create(torch.eye(3).to(poses).expand(len(poses), 3, 3), poses, 1, 1).validate()
