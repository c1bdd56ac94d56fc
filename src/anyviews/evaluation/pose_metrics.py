"""Scores of cameras: relative poses of all pairs, camera centres after alignment, focal lengths."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..cameras import Cameras
from ..geometry.similarity import align_cameras
from .angles import angles_between, rotation_angles
from .score import Fact, Score, named


@dataclass(frozen=True)
class PairErrors:
    """Errors of the relative poses of all pairs of cameras.

    Args:
        rotation: [P], degrees, 0 to 180.
        translation: [P], degrees between the directions of translation, 0 to 90 where signs are ignored; NaN where
            the reference cameras stand in one place.
    """

    rotation: Float[Tensor, "pairs"]
    translation: Float[Tensor, "pairs"]

    @property
    def larger(self) -> Float[Tensor, "pairs"]:
        """The larger of the two, [P]; of the rotation alone where the translation has no direction."""
        return torch.fmax(self.rotation, self.translation)


def pair_errors(cameras: Cameras, references: Cameras, motion: str = "camera", signed: bool = False) -> PairErrors:
    """Compare the relative poses of all pairs i < j; independent of the world's frame and scale.

    Args:
        cameras: [V], predicted.
        references: [V].
        motion: "camera", the pose of i in the frame of j, world_to_camera_j @ camera_to_world_i (independent of the
            world's frame); "world", camera_to_world_i @ world_to_camera_j, which MV-DUSt3R+ reports: it
            depends on the world's frame, so put both sets in that of the same camera first (`Cameras.relative_to`).
        signed: whether a translation in the opposite direction counts as 180 degrees; otherwise, as PoseDiffusion,
            VGGT and MV-DUSt3R+ have it, as 0.

    Raises:
        ValueError: if there are fewer than two cameras, or not as many as references.
    """
    if cameras.batch_shape != references.batch_shape or len(cameras.batch_shape) != 1 or len(cameras) < 2:
        raise ValueError(
            f"found cameras of batch shapes {cameras.batch_shape} and {references.batch_shape}; give the same number, "
            "two or more"
        )
    if motion not in ("camera", "world"):
        raise ValueError(f"found motion {motion!r}; accepted are camera and world")
    found, wanted = (_relative_poses(c.to(dtype=torch.float64), motion) for c in (cameras, references))
    translation = angles_between(found[..., :3, 3], wanted[..., :3, 3])
    if not signed:
        translation = torch.minimum(translation, 180 - translation)
    apart = wanted[..., :3, 3].norm(dim=-1) > 0
    return PairErrors(rotation_angles(found[..., :3, :3], wanted[..., :3, :3]), translation.where(apart, torch.nan))


def _relative_poses(cameras: Cameras, motion: str) -> Float[Tensor, "pairs 4 4"]:
    first, second = torch.triu_indices(len(cameras), len(cameras), 1, device=cameras.device)
    to_world, from_world = cameras.camera_to_world, cameras.world_to_camera
    return from_world[second] @ to_world[first] if motion == "camera" else to_world[first] @ from_world[second]


def accuracy_within(errors: Float[Tensor, "pairs"], threshold: float) -> float:
    """Share of the defined errors below a threshold (RRA@t of rotations, RTA@t of translations)."""
    errors = errors[~errors.isnan()]
    return float((errors < threshold).double().mean())


def mean_average_accuracy(errors: Float[Tensor, "pairs"], threshold: int) -> float:
    """Mean over the whole degrees 1 to `threshold` of the share of errors below (mAA@t; what VGGT calls AUC@t)."""
    return sum(accuracy_within(errors, degrees) for degrees in range(1, threshold + 1)) / threshold


def area_under_curve(errors: Float[Tensor, "pairs"], threshold: float) -> float:
    """Area under the share of errors below t, for t from 0 to `threshold`, over the threshold (AUC@t), exactly.

    SuperGlue (Sarlin et al., CVPR 2020) joins the steps of that curve by straight lines instead, which adds at most
    1 / (2 * pairs).
    """
    errors = errors[~errors.isnan()].double()
    return float((1 - errors / threshold).clamp(min=0).mean())


def score_cameras(
    cameras: Cameras,
    references: Cameras,
    thresholds: Sequence[int] = (5, 15, 30),
    motion: str = "camera",
    unit: str = "world units",
    **protocol: Fact,
) -> dict[str, Score]:
    """Errors of cameras that may lie in any frame of any scale.

    Args:
        cameras: [V], predicted, two or more.
        references: [V].
        thresholds: whole degrees of RRA, RTA, mAA and AUC.
        motion: of `pair_errors`.
        unit: world unit of the references.
        protocol: what the caller did before.

    Returns:
        "rre" and "rte", mean rotation and translation error of all pairs in degrees (not 100 - RRA, as MV-DUSt3R+
        names them); per threshold "rra@t", "rta@t", "maa@t" and "auc@t" (of the larger of both errors); "ate", the
        root mean squared distance of centres after the similarity of `align_cameras`; "focal_error", relative.

    Raises:
        ValueError: if there are fewer than two cameras, or not as many as references, or they are no cameras.
    """
    cameras.validate("cameras")
    references.validate("references")
    errors = pair_errors(cameras, references, motion)
    pairs = {
        "pairs": len(errors.rotation),
        "relative_pose": "camera i in camera j" if motion == "camera" else "camera_to_world_i @ world_to_camera_j",
        "translation": "angle between directions, sign ignored",
        **protocol,
    }
    scores = [
        Score("rre", float(errors.rotation.mean()), "degrees", pairs),
        Score("rte", float(errors.translation.nanmean()), "degrees", pairs),
    ]
    for threshold in thresholds:
        values = {
            "rra": accuracy_within(errors.rotation, threshold),
            "rta": accuracy_within(errors.translation, threshold),
            "maa": mean_average_accuracy(errors.larger, threshold),
            "auc": area_under_curve(errors.larger, threshold),
        }
        scores += [Score(f"{name}@{threshold}", value, "1", pairs) for name, value in values.items()]
    ate = absolute_trajectory_error(cameras, references)
    similarity = "similarity of the centres; with the rotations where the centres lie on a line"
    facts = {"cameras": len(cameras), **protocol}
    scores.append(Score("ate", ate, unit, {**facts, "alignment": similarity}))
    scores.append(Score("focal_error", focal_error(cameras, references), "1", facts))
    return named(*scores)


def absolute_trajectory_error(cameras: Cameras, references: Cameras) -> float:
    """Root mean squared distance of camera centres after the best similarity (ATE), in world units of the references.

    Args:
        cameras: [V], predicted.
        references: [V].
    """
    cameras, references = cameras.to(dtype=torch.float64), references.to(dtype=torch.float64)
    aligned = align_cameras(cameras, references).apply(cameras.centers)
    return float((aligned - references.centers).square().sum(-1).mean().sqrt())


def focal_error(cameras: Cameras, references: Cameras) -> float:
    """Mean over cameras and axes of |f - f'| / f', with focal lengths in image widths and heights.

    Args:
        cameras: [V], predicted; their images may be of another size than those of the references.
        references: [V].
    """
    found, wanted = (
        c.intrinsics.double().diagonal(dim1=-2, dim2=-1)[..., :2] / c.image_sizes.flip(-1)
        for c in (cameras, references)
    )
    return float(((found - wanted).abs() / wanted).mean())
