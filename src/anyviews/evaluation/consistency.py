"""Do views agree with each other? Scores of colour and depth across views, with and without the true geometry."""

from collections.abc import Sequence
from itertools import permutations

import torch
from jaxtyping import Float
from torch import Tensor

from ..cameras import Cameras
from ..geometry.depth import reproject_depth, warp_images
from .score import Fact, Score, check_finite, named


def cross_view_consistency(
    images: Float[Tensor, "views 3 height width"],
    depths: Float[Tensor, "views 1 height width"],
    reference_depths: Float[Tensor, "views 1 height width"],
    cameras: Cameras,
) -> dict[str, float]:
    """Disagreement of generated views where the true geometry says that they see the same point.

    Args:
        images, depths: generated.
        reference_depths: true z-depth, which decides what is covisible and where each pixel falls in the other view.
        cameras: of the views, batch shape [V].

    Returns:
        "color": mean absolute difference of sRGB between a view and another one warped into it; "depth": mean of
        |log depth difference| between generated depth seen from the two views. Both over all ordered pairs, each
        covisible pixel counting once; NaN if no two views share a pixel.
    """
    color_error, depth_error, count = 0.0, 0.0, 0
    for i, j in permutations(range(len(images)), 2):
        true = reproject_depth(reference_depths[i], cameras[i], reference_depths[j], cameras[j])
        seen = true.covisible[0]
        if not seen.any():
            continue
        warped = warp_images(torch.cat([images[j], depths[j]]), true.pixels)
        color_error += float((warped[:3] - images[i]).abs().mean(0)[seen].sum())
        # the generated depth of view i, moved along the true ray into view j, against what view j says there
        moved = true.depth[0] * depths[i, 0] / reference_depths[i, 0].clamp(min=1e-12)
        ratio = moved[seen].clamp(min=1e-12).log() - warped[3][seen].clamp(min=1e-12).log()
        depth_error += float(ratio.abs().sum())
        count += int(seen.sum())
    if count == 0:
        return {"color": float("nan"), "depth": float("nan")}
    return {"color": color_error / count, "depth": depth_error / count}


@torch.no_grad()
def score_reprojection(
    depths: Float[Tensor, "views 1 height width"],
    cameras: Cameras,
    thresholds: Sequence[float] = (0.01, 0.05),
    **protocol: Fact,
) -> dict[str, Score]:
    """How well the depth maps of posed views agree with each other; no truth is needed.

    Each pixel of a view is carried to another view by its depth, and its depth there compared with what that view says
    (inverse depth, interpolated bilinearly). Surfaces that are hidden there count as disagreement, so that the truth
    does not reach 1 either.

    Args:
        depths: [V, 1, H, W], z-depth, 0 where unknown: those pixels are left out.
        cameras: [V].
        thresholds: of the relative difference.
        protocol: what the caller did before.

    Returns:
        "reprojection_error", the (lower) median over all ordered pairs of views and their pixels of |difference| over
        what the other view says; per threshold "reprojection_within@t", the share below. Both are NaN if no pixel is
        seen twice.

    Raises:
        ValueError: if depths are not finite.
    """
    check_finite(depths=depths)
    errors = []
    for i, j in permutations(range(len(depths)), 2):
        found = reproject_depth(depths[i], cameras[i], depths[j], cameras[j])
        seen = (found.observed_depth > 0) & (found.depth > 0)
        errors.append(((found.depth - found.observed_depth).abs() / found.observed_depth.clamp(min=1e-12))[seen])
    error = torch.cat(errors) if errors else depths.new_zeros(0)
    facts = {
        "resolution": f"{depths.shape[-2]}x{depths.shape[-1]}",
        "mask": "pixels that fall on known depth of the other view",
        "pairs": len(errors),
        **protocol,
    }
    median = float(error.median()) if len(error) else float("nan")
    return named(
        Score("reprojection_error", median, "1", facts),
        *(
            Score(f"reprojection_within@{threshold:g}", float((error < threshold).double().mean()), "1", facts)
            for threshold in thresholds
        ),
    )
