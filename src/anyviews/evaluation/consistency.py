"""Do generated views agree with each other? Scores of colour and depth across views."""

from itertools import permutations

import torch
from jaxtyping import Float
from torch import Tensor

from ..cameras import Cameras
from ..geometry.depth import reproject_depth, warp_images


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
