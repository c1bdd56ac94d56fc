"""Similarity transforms of the world: a scale, a rotation and a translation, and the alignment that finds them."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..cameras import Cameras, rigid


# Camera centres that leave their line by less than this fraction of its length say more about the noise of the poses
# than about the roll around that line; the cameras' rotations say it better.
COLLINEAR_CENTERS = 1e-2


@dataclass(frozen=True)
class Similarity:
    """The map of world points x -> scale * rotation @ x + translation.

    Args:
        scale: [*batch], positive; z-depth seen by a mapped camera is multiplied by it.
        rotation: [*batch, 3, 3].
        translation: [*batch, 3], in units of the new world.
    """

    scale: Float[Tensor, "*batch"]
    rotation: Float[Tensor, "*batch 3 3"]
    translation: Float[Tensor, "*batch 3"]

    def apply(self, points: Float[Tensor, "*batch points 3"]) -> Float[Tensor, "*batch points 3"]:
        """Map world points [*batch, N, 3]."""
        return self.scale[..., None, None] * points @ self.rotation.mT + self.translation[..., None, :]

    def apply_cameras(self, cameras: Cameras) -> Cameras:
        """Map cameras [*batch, V]: mapped cameras see mapped points at the same pixels, `scale` times as deep.

        Raises:
            ValueError: if the cameras' batch shape is not that of the similarity plus one dimension.
        """
        if cameras.batch_shape[:-1] != tuple(self.scale.shape) or not cameras.batch_shape:
            raise ValueError(
                f"cameras of batch shape {cameras.batch_shape} do not fit a similarity of batch shape "
                f"{tuple(self.scale.shape)}; give {(*self.scale.shape, 'V')}, V cameras for each similarity"
            )
        pose = rigid(self.rotation[..., None, :, :] @ cameras.rotation, self.apply(cameras.centers))
        return Cameras(cameras.intrinsics, pose, cameras.image_sizes)

    def inverse(self) -> "Similarity":
        """The similarity that undoes this one."""
        rotation = self.rotation.mT
        translation = -(rotation @ self.translation[..., None])[..., 0] / self.scale[..., None]
        return Similarity(1 / self.scale, rotation, translation)

    def __matmul__(self, first: "Similarity") -> "Similarity":
        """The similarity that applies `first`, then this one."""
        translation = self.apply(first.translation[..., None, :])[..., 0, :]
        return Similarity(self.scale * first.scale, self.rotation @ first.rotation, translation)


def align_points(
    source: Float[Tensor, "*batch points 3"],
    target: Float[Tensor, "*batch points 3"],
    weights: Float[Tensor, "*batch points"] | None = None,
) -> Similarity:
    """Find the similarity that maps source points onto target points with least squared error (Umeyama, TPAMI 1991).

    Args:
        source: [*batch, N, 3].
        target: [*batch, N, 3], the points that the source points correspond to.
        weights: [*batch, N], non-negative, or None for equal weights.

    Raises:
        ValueError: if the points do not determine a similarity (NaN, no weight, coincident or collinear points).
    """
    weights = torch.ones_like(source[..., 0]) if weights is None else weights
    for name, values in (("source", source), ("target", target), ("weights", weights)):
        if not values.isfinite().all():
            raise ValueError(f"{name} holds NaN or infinity; give finite values (a weight of 0 leaves a point out)")
    if (weights < 0).any() or (weights.sum(-1) <= 0).any():
        raise ValueError(f"weights must be non-negative with a positive sum; found sums {weights.sum(-1).tolist()}")
    weights = weights / weights.sum(-1, keepdim=True)

    source_mean, source_centered = _center(source, weights)
    target_mean, target_centered = _center(target, weights)
    for name, points, centered in (("source", source, source_centered), ("target", target, target_centered)):
        coincident, collinear = _degeneracy(points, centered, weights)
        if collinear.any():
            found = "coincide" if coincident.any() else "lie on one line, which leaves the rotation around it open"
            raise ValueError(f"the {name} points {found}; a similarity needs at least 3 points that do not")

    # Eq. 38-43: the covariance's nearest rotation, then the scale that is best for it
    covariance = target_centered.mT @ (weights[..., None] * source_centered)
    rotation = nearest_rotation(covariance)
    scale = _trace_product(rotation, covariance) / _variance(source_centered, weights)
    translation = target_mean - scale[..., None] * (rotation @ source_mean[..., None])[..., 0]
    return Similarity(scale, rotation, translation)


def align_cameras(source: Cameras, target: Cameras) -> Similarity:
    """Find the similarity that maps source cameras onto target cameras.

    Camera centres decide where they determine it, as in `align_points`. Where they lie on a line (two cameras always
    do), the rotation is the one nearest to the sum of the centres' correlation and the mean relative camera rotation,
    and the scale is the ratio of the centres' spreads. Where either set's centres coincide (a single camera), the
    rotation comes from the camera rotations alone and the scale is 1, because nothing determines it.

    Args:
        source: cameras of batch shape [*batch, V].
        target: the cameras that they correspond to, of the same batch shape.

    Raises:
        ValueError: if the batch shapes differ, or there is no camera.
    """
    if source.batch_shape != target.batch_shape or not source.batch_shape or source.batch_shape[-1] == 0:
        raise ValueError(
            f"source and target cameras have batch shapes {source.batch_shape} and {target.batch_shape}; give the "
            "same number of cameras, at least one, in a last batch dimension of each"
        )
    weights = torch.full_like(source.centers[..., 0], 1 / source.batch_shape[-1])
    source_mean, source_centered = _center(source.centers, weights)
    target_mean, target_centered = _center(target.centers, weights)
    degenerate = [
        _degeneracy(source.centers, source_centered, weights, COLLINEAR_CENTERS),
        _degeneracy(target.centers, target_centered, weights, COLLINEAR_CENTERS),
    ]
    coincident, collinear = (torch.logical_or(*flags) for flags in zip(*degenerate, strict=True))

    covariance = target_centered.mT @ (weights[..., None] * source_centered)
    source_variance = _variance(source_centered, weights).masked_fill(coincident, 1)
    target_variance = _variance(target_centered, weights).masked_fill(coincident, 1)
    correlation = covariance / (source_variance * target_variance).sqrt()[..., None, None]
    correlation = correlation.masked_fill(coincident[..., None, None], 0)
    relative = (target.rotation @ source.rotation.mT).mean(-3)
    rotation = nearest_rotation(correlation + relative.masked_fill(~collinear[..., None, None], 0))

    scale = torch.where(
        collinear, (target_variance / source_variance).sqrt(), _trace_product(rotation, covariance) / source_variance
    )
    translation = target_mean - scale[..., None] * (rotation @ source_mean[..., None])[..., 0]
    return Similarity(scale, rotation, translation)


def nearest_rotation(matrix: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3 3"]:
    """The rotation R with the largest trace(R^T matrix), never a mirror (Umeyama 1991, Eq. 43)."""
    left, _, right = torch.linalg.svd(matrix)
    flip = torch.ones_like(matrix[..., 0])
    flip[..., 2] = torch.linalg.det(left @ right).sign()
    return left * flip[..., None, :] @ right


def _center(
    points: Float[Tensor, "*batch points 3"], weights: Float[Tensor, "*batch points"]
) -> tuple[Float[Tensor, "*batch 3"], Float[Tensor, "*batch points 3"]]:
    """The weighted mean of points, and the points relative to it."""
    mean = (weights[..., None] * points).sum(-2)
    return mean, points - mean[..., None, :]


def _variance(
    centered: Float[Tensor, "*batch points 3"], weights: Float[Tensor, "*batch points"]
) -> Float[Tensor, "*batch"]:
    return (weights * centered.square().sum(-1)).sum(-1)


def _trace_product(a: Float[Tensor, "*batch 3 3"], b: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch"]:
    """trace(a^T b)."""
    return (a * b).sum((-2, -1))


def _degeneracy(
    points: Float[Tensor, "*batch points 3"],
    centered: Float[Tensor, "*batch points 3"],
    weights: Float[Tensor, "*batch points"],
    ratio: float = 0.0,
) -> tuple[Bool[Tensor, "*batch"], Bool[Tensor, "*batch"]]:
    """Whether points coincide, and whether they lie on a line, up to rounding or to `ratio` of its length."""
    scatter = centered * weights.sqrt()[..., None]
    # three zero rows give three extents even to one or two points
    scatter = torch.cat([scatter, scatter.new_zeros(*scatter.shape[:-2], 3, 3)], dim=-2)
    extents = torch.linalg.svdvals(scatter)  # [*batch, 3], largest first
    rounding = 16 * torch.finfo(points.dtype).eps * points.abs().amax((-2, -1))
    return extents[..., 0] <= rounding, extents[..., 1] <= torch.maximum(rounding, ratio * extents[..., 0])
