"""Do generated images lie in the geometry of their cameras? Epipolar distances of points that look the same."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ..cameras import Cameras
from .score import Score


# Of Yu et al. 2023: the share of the second best's distance that a match must stay below.
LOWE_RATIO = 0.8


def fundamental_matrices(a: Cameras, b: Cameras) -> Float[Tensor, "*batch 3 3"]:
    """F with x_b^T F x_a = 0 for the pixels of one point in cameras a and b of one batch shape (Hartley and Zisserman
    2004, Eq. 17.3)."""
    relative = b.world_to_camera @ a.camera_to_world
    x, y, z = relative[..., :3, 3].unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))
    essential = cross @ relative[..., :3, :3]
    return torch.linalg.inv(b.intrinsics).mT @ essential @ torch.linalg.inv(a.intrinsics)


def symmetric_epipolar_distances(
    pixels_a: Float[Tensor, "*batch points 2"], pixels_b: Float[Tensor, "*batch points 2"], a: Cameras, b: Cameras
) -> Float[Tensor, "*batch points"]:
    """Mean of each pixel's distance in its image from the line on which the other camera's pixel puts it, in pixels.

    Args:
        pixels_a: [*batch, N, 2], (x, y) in images of cameras a.
        pixels_b: [*batch, N, 2], the corresponding pixels in images of cameras b.
        a, b: cameras of batch shape [*batch]; at one place they have no epipolar lines, and the distances are NaN.
    """
    matrix = fundamental_matrices(a, b)
    ones = torch.ones_like(pixels_a[..., :1])
    points_a, points_b = torch.cat([pixels_a, ones], -1), torch.cat([pixels_b, ones], -1)
    lines_b, lines_a = points_a @ matrix.mT, points_b @ matrix
    residual = (points_b * lines_b).sum(-1).abs()
    return (residual / lines_a[..., :2].norm(dim=-1) + residual / lines_b[..., :2].norm(dim=-1)) / 2


def matched_pixels(
    a: Float[Tensor, "3 height_a width_a"], b: Float[Tensor, "3 height_b width_b"]
) -> tuple[Float[Tensor, "matches 2"], Float[Tensor, "matches 2"]]:
    """Pixels (x, y) of two images that look the same: SIFT features that are each other's best, by Lowe's ratio.

    Args:
        a: [3, H, W], sRGB in [0, 1].
        b: [3, H, W], sRGB in [0, 1].
    """
    from skimage.feature import SIFT, match_descriptors

    keypoints, descriptors = [], []
    for image in (a, b):
        sift = SIFT(upsampling=2)
        try:
            sift.detect_and_extract(image.mean(0).clamp(0, 1).cpu().numpy())
        except RuntimeError:  # skimage's answer to an image without features
            return torch.zeros(0, 2), torch.zeros(0, 2)
        # rows and columns, counted by the image that SIFT doubles first, halved
        keypoints.append(torch.from_numpy(sift.positions).flip(-1).float() + 0.25)
        descriptors.append(sift.descriptors)
    pairs = torch.from_numpy(match_descriptors(*descriptors, max_ratio=LOWE_RATIO, cross_check=True))
    return keypoints[0][pairs[:, 0]], keypoints[1][pairs[:, 1]]


def score_epipolar_consistency(
    images: Float[Tensor, "views 3 height width"],
    cameras: Cameras,
    pairs: Sequence[tuple[int, int]] | None = None,
    threshold: float = 2.0,
    matches: int = 10,
) -> Score:
    """Thresholded symmetric epipolar distance (TSED; Yu et al., "Long-term photometric consistent novel view synthesis
    with diffusion models", ICCV 2023): the share of pairs of views that agree with their cameras.

    Args:
        images: [V, 3, H, W], sRGB in [0, 1].
        cameras: [V].
        pairs: of views, or None for those that follow each other.
        threshold: in pixels; a pair agrees if the median distance of its matches is below.
        matches: the least number of matches without which a pair does not agree.
    """
    pairs = list(zip(range(len(images) - 1), range(1, len(images)), strict=True)) if pairs is None else list(pairs)
    agreeing = 0
    for i, j in pairs:
        found = [pixels.to(cameras.intrinsics) for pixels in matched_pixels(images[i], images[j])]
        if len(found[0]) >= matches:
            distances = symmetric_epipolar_distances(*found, cameras[i], cameras[j])
            agreeing += bool(distances.median() < threshold)
    facts = {
        "resolution": f"{images.shape[-2]}x{images.shape[-1]}",
        "pairs": len(pairs),
        "threshold": f"{threshold:g} pixels",
        "matches": f"{matches} or more, SIFT, ratio {LOWE_RATIO}, mutual",
    }
    return Score("tsed", agreeing / len(pairs) if pairs else float("nan"), "1", facts)
