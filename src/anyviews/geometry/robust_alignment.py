"""Similarities that wrong points hardly move: of pointmaps of the same pixels, and of a pointmap to known cameras."""

import torch
from jaxtyping import Float
from torch import Tensor

from ..cameras import Cameras
from .pose_recovery import RecoveredPoses, confidence_weights
from .rays import pixel_centers
from .similarity import Similarity, align_cameras, align_points


ALIGNMENT_ROUNDS = 20
# Distances of so many medians count a quarter.
SCALE = 3.0
# Pixels of a view that decide where the world lies, evenly spread.
ALIGNED_PIXELS = 1024
# Camera centres nearer together than this part of the distance of what they see give a world no scale.
LEAST_BASELINE = 1e-4
MOST_PAIRS = 64


def align_points_robustly(
    source: Float[Tensor, "points 3"], target: Float[Tensor, "points 3"], weights: Float[Tensor, "points"]
) -> Similarity:
    """The similarity that maps most source points onto target points, whatever the others do.

    `align_points` again and again, with Geman and McClure's weights, which far points lose altogether.

    Args:
        source: [N, 3].
        target: [N, 3], the points that the source points correspond to.
        weights: [N], not negative; points of no weight may be anything.

    Raises:
        ValueError: if the points do not determine a similarity.
    """
    used = weights > 0
    source, target, weights = source[used].double(), target[used].double(), weights[used].double()
    factors = torch.ones_like(weights)
    for _ in range(ALIGNMENT_ROUNDS):
        similarity = align_points(source, target, weights * factors)
        distances = (similarity.apply(source) - target).norm(dim=-1)
        factors = _trust(distances, SCALE * distances.median())
    return similarity


def align_points_to_cameras(
    points: Float[Tensor, "views height width 3"],
    confidence: Float[Tensor, "views height width"],
    recovered: RecoveredPoses,
    cameras: Cameras,
) -> Similarity:
    """The similarity of a pointmap's frame to the world of known cameras, in which points fall on their pixels.

    Starts from the recovered poses, pair by pair, because some may be wrong; then all pixels' distances are made
    smaller by Gauss-Newton steps with Geman and McClure's weights.

    Args:
        points: [V, H, W, 3] in one frame.
        confidence: [V, H, W].
        recovered: poses of the same views in that frame.
        cameras: [V], known, in pixels of the pointmaps.

    Raises:
        ValueError: if fewer than two poses were recovered, or the known cameras stand in one place.
    """
    usable = recovered.found.nonzero().flatten()
    if len(usable) < 2:
        raise ValueError(
            f"poses of {len(usable)} of {len(points)} views were recovered from the points; two are needed to find "
            "the given cameras' world. Leave the poses out to get the points in a frame of their own"
        )
    cameras = cameras.to(dtype=torch.float64)
    step = max(1, round((points[0, ..., 0].numel() / ALIGNED_PIXELS) ** 0.5))
    grid = (slice(None), slice(step // 2, None, step), slice(step // 2, None, step))
    weights = confidence_weights(points, confidence)[grid].flatten(1).double()
    pixels = pixel_centers(*points.shape[1:3], points.device, torch.float64)[grid[1:]].flatten(0, 1)
    points = points[grid].flatten(1, 2).double().where(weights[..., None] > 0, 0.0)
    best = _best_start(points, weights, pixels, recovered.cameras.to(dtype=torch.float64), cameras, usable)
    return _refined(best, points, weights, pixels, cameras)


def _best_start(
    points: Tensor, weights: Tensor, pixels: Tensor, found: Cameras, cameras: Cameras, usable: Tensor
) -> Similarity:
    """The alignment of a pair of recovered poses, or of all, in which points fall nearest to their pixels."""
    first, second = torch.triu_indices(len(usable), len(usable), 1, device=usable.device)
    baselines = (cameras.centers[usable[first]] - cameras.centers[usable[second]]).norm(dim=-1)
    widest = baselines.argsort(descending=True, stable=True)[:MOST_PAIRS]
    pairs = torch.stack([usable[first[widest]], usable[second[widest]]], dim=-1)
    candidates = [
        align_cameras(found[usable], cameras[usable]),
        *(align_cameras(found[pair], cameras[pair]) for pair in pairs),
    ]
    depths = [_local(candidates[0], points, cameras)[..., 2].abs().median()]
    if baselines.max() <= LEAST_BASELINE * max(depths):
        raise ValueError(
            "the given cameras stand in one place, so they give the scene no scale; give their intrinsics alone"
        )
    costs = [_distances(candidate, points, weights, pixels, cameras).median() for candidate in candidates]
    return candidates[int(torch.stack(costs).argmin())]


def _refined(similarity: Similarity, points: Tensor, weights: Tensor, pixels: Tensor, cameras: Cameras) -> Similarity:
    """Damped Gauss-Newton over the seven parameters of a similarity."""
    damping = 1e-3
    scale = SCALE * _distances(similarity, points, weights, pixels, cameras).median().clamp(min=1e-3)
    cost = _cost(similarity, points, weights, pixels, cameras, scale)
    for _ in range(ALIGNMENT_ROUNDS):
        jacobian, residuals = _linearized(similarity, points, weights, pixels, cameras, scale)
        hessian, gradient = jacobian.mT @ jacobian, jacobian.mT @ residuals
        damped = hessian + damping * torch.diag(hessian.diagonal().clamp(min=1e-12))
        moved = _moved(similarity, torch.linalg.solve(damped, -gradient))
        moved_cost = _cost(moved, points, weights, pixels, cameras, scale)
        if moved_cost < cost:
            similarity, cost, damping = moved, moved_cost, damping / 4
        else:
            damping *= 8
    return similarity


def _moved(similarity: Similarity, change: Float[Tensor, "7"]) -> Similarity:
    """The similarity after a small growth, turn and shift of the world about the points' old image."""
    turn = torch.linalg.matrix_exp(_cross(change[None, 1:4])[0])
    growth = change[0].exp()
    pivot = similarity.translation
    return Similarity(similarity.scale * growth, turn @ similarity.rotation, pivot + change[4:])


def _linearized(
    similarity: Similarity, points: Tensor, weights: Tensor, pixels: Tensor, cameras: Cameras, scale: Tensor
) -> tuple[Float[Tensor, "rows 7"], Float[Tensor, "rows"]]:
    """Weighted residuals in pixels of all points, and how they change with the parameters of `_moved`."""
    local = _local(similarity, points, cameras)
    offsets = similarity.scale * points @ similarity.rotation.mT  # from the pivot
    inside = (local[..., 2] > 0) & (weights > 0)
    depth = local[..., 2].where(inside, 1.0)
    slopes = local[..., :2] / depth[..., None]
    focal = cameras.intrinsics[:, None, :2, :2]
    residuals = (slopes[..., None, :] @ focal.mT)[..., 0, :] + cameras.intrinsics[:, None, :2, 2] - pixels
    distances = residuals.norm(dim=-1)
    root = (weights * _trust(distances, scale) * inside).sqrt()

    eye = torch.eye(3, dtype=points.dtype, device=points.device).expand(*points.shape[:2], 3, 3)
    world = torch.cat([offsets[..., None], -_cross(offsets), eye], dim=-1)  # [V, N, 3, 7]
    moved = cameras.rotation.mT[:, None] @ world
    flat = (moved[..., :2, :] - slopes[..., None] * moved[..., 2:, :]) / depth[..., None, None]
    jacobian = focal @ flat * root[..., None, None]
    return jacobian.flatten(0, 2), (residuals * root[..., None]).flatten()


def _distances(
    similarity: Similarity, points: Tensor, weights: Tensor, pixels: Tensor, cameras: Cameras
) -> Float[Tensor, "points"]:
    """Distances from their pixels of all points that count; infinite behind the camera."""
    projected, depth = cameras.project(similarity.apply(points.flatten(0, 1)).view_as(points))
    return (projected - pixels).norm(dim=-1).where(depth > 0, torch.inf)[weights > 0]


def _cost(
    similarity: Similarity, points: Tensor, weights: Tensor, pixels: Tensor, cameras: Cameras, scale: Tensor
) -> Tensor:
    distances = _distances(similarity, points, weights, pixels, cameras)
    squares = (distances / scale).clamp(max=1e3).square()
    return (weights[weights > 0] * squares / (1 + squares)).sum()


def _local(similarity: Similarity, points: Tensor, cameras: Cameras) -> Float[Tensor, "views points 3"]:
    """Points in the frames of their cameras."""
    world = similarity.apply(points.flatten(0, 1)).view_as(points)
    return (world - cameras.centers[:, None]) @ cameras.rotation


def _trust(distances: Tensor, scale: Tensor) -> Tensor:
    """What a residual counts for (Geman and McClure, 1987)."""
    return 1 / (1 + (distances / scale.clamp(min=1e-12)).square()).square()


def _cross(vectors: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Matrices of the cross product with vectors."""
    x, y, z = vectors.unbind(-1)
    zero = torch.zeros_like(x)
    rows = ((zero, -z, y), (z, zero, -x), (-y, x, zero))
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)
