"""The scores of MV-DUSt3R+ exactly as its tables have them, which are not the textbook's; docs/metrics.md says how."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..cameras import Cameras
from .point_metrics import nearest_points
from .pose_metrics import accuracy_within, mean_average_accuracy, pair_errors
from .score import Score, check_finite, named


# Ceiling of ND and CD, so that one lost scene does not decide a mean.
CEILING = 10.0
ACCURATE = (0.1, 0.2, 0.3, 0.5)
SCALE_LIMITS = (1e-3, 1e3)


def align_pointmaps(
    points: Float[Tensor, "views height width 3"],
    references: Float[Tensor, "views height width 3"],
    valid: Bool[Tensor, "views height width"],
) -> tuple[Float[Tensor, "views height width 3"], Float[Tensor, "views height width 3"]]:
    """Centre both pointmaps at their medians and scale the prediction to the reference, over all views jointly.

    The unit of the reference stays, and nothing is rotated.

    Args:
        points: [V, H, W, 3], predicted, in the frame of the first camera.
        references: [V, H, W, 3], in the frame of the first camera.
        valid: [V, H, W].

    Raises:
        ValueError: if no pixel is valid, or a valid one is not finite.
    """
    check_finite(points=points[valid], references=references[valid])
    if not valid.any():
        raise ValueError("no pixel is valid; give pointmaps with at least one")
    found = points / points[valid].norm(dim=-1).mean().clamp(min=1e-8)
    found = found - found[valid].median(dim=0).values
    references = references - references[valid].median(dim=0).values
    scale, wanted_scale = (_spread(values[valid]) for values in (found, references))
    return found * (wanted_scale / scale.clamp(*SCALE_LIMITS)), references


def _spread(points: Float[Tensor, "points 3"]) -> Tensor:
    """Median distance from the median."""
    return (points - points.median(dim=0).values).norm(dim=-1).median()


def score_pointmaps(
    points: Float[Tensor, "views height width 3"],
    references: Float[Tensor, "views height width 3"],
    valid: Bool[Tensor, "views height width"],
    unit: str = "m",
    chamfer: bool = True,
) -> dict[str, Score]:
    """ND, DAc and CD of one sample.

    Args:
        points: [V, H, W, 3], predicted, in the frame of the first camera.
        references: [V, H, W, 3], in the frame of the first camera.
        valid: [V, H, W], pixels of known depth; views without any are left out.
        unit: of the references.
        chamfer: whether to give CD, which takes most of the time.

    Returns:
        "mvdust3r_nd": mean over views of the mean distance of corresponding points, at most 10 each; "mvdust3r_dac@t":
        1 if ND < t, else 0; "mvdust3r_cd": the sum of both mean squared nearest distances, at most 10.
    """
    found, wanted = align_pointmaps(points, references, valid)
    errors = (found - wanted).norm(dim=-1)
    views = [error[mask].mean().clamp(max=CEILING) for error, mask in zip(errors, valid, strict=True) if mask.any()]
    nd = float(torch.stack(views).mean())
    facts = {
        "resolution": f"{points.shape[1]}x{points.shape[2]}",
        "mask": "pixels of known depth",
        "alignment": "medians of both at 0; median distance of the prediction from 0 scaled to the reference's",
        "views": len(points),
    }
    scores = [
        Score("mvdust3r_nd", nd, unit, facts),
        *(Score(f"mvdust3r_dac@{limit:g}", float(nd < limit), "1", facts) for limit in ACCURATE),
    ]
    if chamfer:
        both = (found[valid], wanted[valid])
        squares = [nearest_points(a, b).distances.square().mean() for a, b in (both, both[::-1])]
        scores.append(Score("mvdust3r_cd", min(float(sum(squares)), CEILING), f"{unit}, squared", facts))
    return named(*scores)


def score_reference_frame_cameras(cameras: Cameras, references: Cameras) -> dict[str, Score]:
    """RRE, RTE and mAE: the shares of pairs that are not accurate.

    Args:
        cameras: [V], predicted; both are brought into the frame of their first camera.
        references: [V].

    Returns:
        "mvdust3r_rre", "mvdust3r_rte": share of pairs off by 15 degrees or more; "mvdust3r_mae": 1 - mAA@30; the
        tables have percent.
    """
    errors = pair_errors(cameras.relative_to(cameras[0]), references.relative_to(references[0]), motion="world")
    facts = {
        "pairs": len(errors.rotation),
        "relative_pose": "camera_to_world_i @ world_to_camera_j in the frame of camera 0",
        "translation": "angle between directions, sign ignored",
    }
    return named(
        Score("mvdust3r_rre", 1 - accuracy_within(errors.rotation, 15), "1", facts),
        Score("mvdust3r_rte", 1 - accuracy_within(errors.translation, 15), "1", facts),
        Score("mvdust3r_mae", 1 - mean_average_accuracy(errors.larger, 30), "1", facts),
    )
