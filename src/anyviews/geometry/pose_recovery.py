"""Cameras of pointmaps: focal lengths and poses of images whose every pixel has a predicted point."""

import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..cameras import Cameras, invert_rigid
from .rays import pixel_centers


# The least confident share of pixels says nothing about cameras (as DUSt3R's authors have it).
UNCERTAIN_SHARE = 0.03
# Beyond this quantile confidence counts alike: it is the exponential of a network's output, and has no upper bound.
SURE_QUANTILE = 0.9

# Focal lengths in units of the longer side: fields of view from 157 to 3 degrees.
SHORTEST_FOCAL, LONGEST_FOCAL = 0.1, 20.0

# Factors by which focal lengths of single views are tried longer and shorter, one after the other.
FOCAL_STEPS = (2.0, 1.4, 1.2, 1.1, 1.05, 1.02)

# Points per view that decide its pose; more make it slower, not better.
SAMPLED_POINTS = 2000
# How far a point may fall from its pixel, in units of the longer side: 8 pixels at 224. The next is tried where fewer
# than half of the points fall so near.
TOLERANCES = (8 / 224, 16 / 224, 32 / 224)
# With the widest tolerance, points from nowhere agree with some pose by 7 %.
LEAST_INLIERS = 0.25
FEWEST_POINTS = 6
# Points closer to one line than this part of its length can be turned about it.
COLLINEAR_POINTS = 1e-3
REFINEMENTS = 3


@dataclass(frozen=True)
class RecoveredPoses:
    """Cameras found from points, and how far each can be trusted.

    Args:
        cameras: [V]; the identity, at the origin of the points' frame, where no pose was found.
        errors: [V], median distance of points from their pixels, in pixels of the pointmap; infinite where no pose was
            found or half of the points lie behind the camera.
        inliers: [V], share of the points looked at that fall within a seventh of the image's side from their pixel.
        found: [V], whether enough do to call it a pose.
    """

    cameras: Cameras
    errors: Float[Tensor, "views"]
    inliers: Float[Tensor, "views"]
    found: Bool[Tensor, "views"]


def confidence_weights(
    points: Float[Tensor, "views height width 3"], confidence: Float[Tensor, "views height width"]
) -> Float[Tensor, "views height width"]:
    """Weights in [0, 1] of pixels: 0 for the least confident of each view and for points that are not finite.

    Args:
        points: [V, H, W, 3].
        confidence: [V, H, W], positive, larger is surer.
    """
    usable = points.isfinite().all(-1) & confidence.isfinite()
    flat = confidence.double().where(usable, torch.nan).flatten(1)
    quantiles = flat.new_tensor([UNCERTAIN_SHARE, SURE_QUANTILE])
    # view by view, because torch takes quantiles of 16 million values at most
    low, high = torch.stack([view.nanquantile(quantiles) for view in flat], dim=1)[..., None, None]
    weights = (confidence / high.clamp(min=1e-30)).clamp(0, 1)
    return weights.where(usable & (confidence >= low), 0.0).to(points.dtype)


def recover_focals(
    points: Float[Tensor, "views height width 3"], confidence: Float[Tensor, "views height width"]
) -> Float[Tensor, "views"]:
    """Focal lengths in pixels of views whose points are in their own camera frame, principal point at the centre.

    Every pixel u with a point at slope a = (x, y) / z says 1 / f = a.u / u.u. The answer is the median of these,
    weighted by confidence and by |u|, because what noise does to a pixel's word is inverse to |u|. Noise in a does not
    shorten it, as it does fits of f a to u (DUSt3R, Wang et al., CVPR 2024), and wrong points hardly move it.

    Args:
        points: [V, H, W, 3], each view's in its own camera frame. Of a pointmap in the frame of the first view, give
            points[:1].
        confidence: [V, H, W].

    Raises:
        ValueError: if a view has no point before its camera.
    """
    weights = confidence_weights(points, confidence).where(points[..., 2] > 0, 0.0).flatten(1).double()
    empty = ~(weights > 0).any(1)
    if empty.any():
        raise ValueError(
            f"view {int(empty.nonzero()[0])} has no finite point before its camera, so it has no focal length; give "
            "points in the frame of each view's own camera, z forward"
        )
    height, width = points.shape[1:3]
    pixels = pixel_centers(height, width, points.device, torch.float64) - weights.new_tensor([width, height]) / 2
    pixels, points = pixels.flatten(0, 1), points.double().flatten(1, 2)
    distances = pixels.norm(dim=-1).clamp(min=0.5)
    inverse = (points[..., :2] / points[..., 2:] * pixels).sum(-1) / distances.square()
    inverse, order = inverse.where(weights > 0, 0.0).sort(1)
    summed = (weights * distances).gather(1, order).cumsum(1)
    median = inverse.gather(1, torch.searchsorted(summed, summed[:, -1:] / 2))[:, 0]
    side = max(height, width)
    return (1 / median.clamp(1 / (LONGEST_FOCAL * side), 1 / (SHORTEST_FOCAL * side))).to(confidence.dtype)


def recover_cameras(
    points: Float[Tensor, "views height width 3"],
    confidence: Float[Tensor, "views height width"],
    focals: Float[Tensor, "views"] | None = None,
    seed: int = 0,
) -> Cameras:
    """Cameras [V] of pointmaps in one frame, with principal points at the centre; warns of views without a pose.

    Args:
        points: [V, H, W, 3] in one frame.
        confidence: [V, H, W].
        focals: [V] in pixels; None takes that of the first view for all, whose camera frame the points must be in.
        seed: of the choice of points.

    Raises:
        ValueError: if the focal length is not given and cannot be found.
    """
    if focals is None:
        focals = recover_focals(points[:1], confidence[:1]).expand(len(points))
    poses = recover_poses(points, confidence, centered_intrinsics(focals, *points.shape[1:3]), seed)
    if not poses.found.all():
        lost = (~poses.found).nonzero().flatten().tolist()
        warnings.warn(
            f"no pose was found for {len(lost)} of {len(points)} views: {lost[:12]}; from nowhere do their points "
            "fall on their pixels, as when photos do not overlap",
            stacklevel=2,
        )
    return poses.cameras


def recover_poses(
    points: Float[Tensor, "views height width 3"],
    confidence: Float[Tensor, "views height width"],
    intrinsics: Float[Tensor, "views 3 3"],
    seed: int = 0,
) -> RecoveredPoses:
    """Poses of views of known intrinsics, by P3P in LO-RANSAC and robust refinement (poselib).

    Points are drawn by confidence. Refinement takes the median error for its scale, so it also serves points of
    which no small set gives a good pose.

    The result depends on the arguments alone, not on threads or on what ran before.

    Args:
        points: [V, H, W, 3] in one frame.
        confidence: [V, H, W].
        intrinsics: [V, 3, 3] in pixels of the pointmaps.
        seed: of the choice of points.
    """
    height, width = points.shape[1:3]
    weights = confidence_weights(points, confidence).flatten(1).double().cpu().numpy()
    flat = points.flatten(1, 2).double().cpu().numpy()
    pixels = pixel_centers(height, width, dtype=torch.float64).flatten(0, 1).numpy()
    matrices = intrinsics.double().cpu().numpy()

    def solve(view: int) -> tuple[np.ndarray, float, float]:
        drawn = _draw(weights[view], np.random.default_rng([seed, view]))
        return _solve_view(flat[view, drawn], pixels[drawn], matrices[view], (height, width))

    # poselib lets go of the interpreter while it works
    with ThreadPoolExecutor(min(len(points), os.cpu_count() or 1)) as pool:
        solved = list(pool.map(solve, range(len(points))))
    poses = torch.from_numpy(np.stack([pose for pose, _, _ in solved])).to(points)
    errors, inliers = (points.new_tensor([view[i] for view in solved]) for i in (1, 2))
    cameras = Cameras.create(intrinsics.to(points), invert_rigid(poses), height, width)
    return RecoveredPoses(cameras, errors, inliers, inliers >= LEAST_INLIERS)


def search_focals(
    points: Float[Tensor, "views height width 3"],
    confidence: Float[Tensor, "views height width"],
    intrinsics: Float[Tensor, "views 3 3"],
    seed: int = 0,
) -> Float[Tensor, "views 3 3"]:
    """Intrinsics with a focal length of each view's own: the one whose pose leaves the smallest median error.

    Where the points of all views are in one frame, only the first view says its focal length by itself; a view of
    another lens has to be asked for its pose as well.

    Args:
        points: [V, H, W, 3] in one frame.
        confidence: [V, H, W].
        intrinsics: [V, 3, 3], to start from; up to four times shorter or longer focal lengths are tried.
        seed: of the choice of points.
    """
    least = recover_poses(points, confidence, intrinsics, seed).errors
    for step in FOCAL_STEPS:
        start = intrinsics
        for factor in (step, 1 / step):
            tried = start.clone()
            tried[:, :2, :2] *= factor
            errors = recover_poses(points, confidence, tried, seed).errors
            better = errors < least
            intrinsics, least = tried.where(better[:, None, None], intrinsics), errors.where(better, least)
    return intrinsics


def centered_intrinsics(focals: Float[Tensor, "*batch"], height: int, width: int) -> Float[Tensor, "*batch 3 3"]:
    """Intrinsics of square pixels with the principal point at the centre of the image."""
    intrinsics = torch.zeros(*focals.shape, 3, 3, device=focals.device, dtype=focals.dtype)
    intrinsics[..., 0, 0] = intrinsics[..., 1, 1] = focals
    intrinsics[..., :, 2] = focals.new_tensor([width / 2, height / 2, 1.0])
    return intrinsics


def _draw(weights: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Pixels drawn by weight, again and again where there are few, so that weights count in small images too."""
    usable = weights.nonzero()[0]
    if len(usable) < FEWEST_POINTS:
        return usable
    return generator.choice(usable, SAMPLED_POINTS, p=weights[usable] / weights[usable].sum())


def _solve_view(
    points: np.ndarray, pixels: np.ndarray, matrix: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray, float, float]:
    """World-to-camera pose of one view, its median error in pixels, and its share of inliers (0: there is no pose)."""
    # a world of unit size around the origin, so that poselib's thresholds mean the same in every unit
    center = points.mean(axis=0) if len(points) else np.zeros(3)
    spread, across = _extents(points - center)
    if len(points) < FEWEST_POINTS or across <= COLLINEAR_POINTS * max(spread, 1e-6 * np.abs(points).max()):
        return np.eye(4), np.inf, 0.0
    points = (points - center) / spread
    found = _estimate(points, pixels, matrix, size)
    errors = _pixel_errors(found, points, pixels, matrix)
    pose = np.eye(4)
    pose[:3] = found.Rt
    inliers = float((errors < TOLERANCES[-1] * max(size)).mean())
    if not np.isfinite(pose).all() or inliers == 0:
        return np.eye(4), np.inf, 0.0
    pose[:3, 3] = pose[:3, 3] * spread - pose[:3, :3] @ center
    return pose, float(np.median(errors)), inliers


def _extents(centered: np.ndarray) -> tuple[float, float]:
    """Standard deviations of points along their longest and second longest axis."""
    if not len(centered):
        return 0.0, 0.0
    variances = np.linalg.eigvalsh(centered.T @ centered / len(centered))
    return float(np.sqrt(max(variances[2], 0.0))), float(np.sqrt(max(variances[1], 0.0)))


def _estimate(points: np.ndarray, pixels: np.ndarray, matrix: np.ndarray, size: tuple[int, int]):
    import poselib

    camera = {
        "model": "PINHOLE",
        "height": size[0],
        "width": size[1],
        "params": [matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2]],
    }
    for share in TOLERANCES:
        tolerance = share * max(size)
        search = {"max_reproj_error": tolerance, "min_iterations": 100, "max_iterations": 1000, "seed": 0}
        pose, _ = poselib.estimate_absolute_pose(pixels, points, camera, search, _robust(tolerance / 4))
        errors = _pixel_errors(pose, points, pixels, matrix)
        if (errors < tolerance).mean() >= 0.5:
            break
    for _ in range(REFINEMENTS):
        scale = np.median(errors)
        if not np.isfinite(scale):
            break
        pose, _ = poselib.refine_absolute_pose(pixels, points, pose, camera, _robust(np.clip(scale, 0.01, tolerance)))
        errors = _pixel_errors(pose, points, pixels, matrix)
    return pose


def _robust(scale: float) -> dict:
    return {"loss_type": "CAUCHY", "loss_scale": float(scale)}


def _pixel_errors(pose, points: np.ndarray, pixels: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Distances of projected points from their pixels; infinite behind the camera."""
    local = points @ pose.R.T + pose.t
    before = local[:, 2] > 0
    slopes = local[:, :2] / np.where(before, local[:, 2], 1.0)[:, None]
    projected = slopes * matrix[[0, 1], [0, 1]] + matrix[:2, 2]
    return np.where(before, np.linalg.norm(projected - pixels, axis=1), np.inf)
