"""Training losses of MV-DUSt3R+ (arXiv 2412.06974): pure functions of the network's outputs and of targets."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from ...cameras import Cameras
from ...geometry.rays import pixel_centers
from ...rendering.gaussians import render_gaussians
from .modeling_mvdust3r import MVDust3rPlusOutput
from .processing_mvdust3r import LARGEST_SCALE, SMALLEST_SCALE, pixel_gaussians


# Weight of the term that rewards confidence.
CONFIDENCE_WEIGHT = 0.2
NEAREST_UNIT = 1e-8


@dataclass(frozen=True)
class PointLosses:
    """Confidence-aware regression of points.

    Args:
        loss: what is minimised.
        error: mean distance of normalised points over valid pixels; the loss without confidence.
        units: [batch, paths], mean distance of the predicted points from the reference camera, which normalises them.
        target_units: [batch, paths], the same of the targets.
    """

    loss: Float[Tensor, ""]
    error: Float[Tensor, ""]
    units: Float[Tensor, "batch paths"]
    target_units: Float[Tensor, "batch paths"]


@dataclass(frozen=True)
class RenderLosses:
    """What Gaussians look like from the true cameras.

    Args:
        color: mean Euclidean distance of colours in [-1, 1] over valid pixels.
        scale: mean squared excess of the normalised scales over their bounds.
    """

    color: Float[Tensor, ""]
    scale: Float[Tensor, ""]


def points_in_references(
    depths: Float[Tensor, "batch views 1 height width"], cameras: Cameras, references: Sequence[int]
) -> Float[Tensor, "batch paths views height width 3"]:
    """Target points of all pixels in the camera frame of each path's reference, in world units.

    Args:
        depths: z-depth in world units, 0 where unknown: such a pixel's point is its camera's centre.
        cameras: of batch shape [batch, views].
        references: the reference view of each path.
    """
    height, width = depths.shape[-2:]
    pixels = pixel_centers(height, width, depths.device, cameras.dtype).flatten(0, 1)
    pixels = pixels.expand(*cameras.batch_shape, -1, 2)
    paths = [
        cameras.relative_to(cameras[:, [view]]).unproject(pixels, depths.flatten(2).to(cameras.dtype))
        for view in references
    ]
    return torch.stack(paths, dim=1).unflatten(3, (height, width))


def point_losses(
    points: Float[Tensor, "batch paths views height width 3"],
    confidence: Float[Tensor, "batch paths views height width"],
    targets: Float[Tensor, "batch paths views height width 3"],
    valid: Bool[Tensor, "batch views height width"],
    references: Sequence[int],
    confidence_weight: float = CONFIDENCE_WEIGHT,
) -> PointLosses:
    """Regression weighted by the predicted confidence C: C * error - confidence_weight * log C, section 3.3.

    Errors are distances of points normalised by their mean distance from the reference camera, prediction and target
    each by its own, with gradients through both. The loss is the sum over slots of the mean over the slot's valid
    pixels in the whole batch, as in the official implementation; slot 0 has the paths' references, the others one view
    of each path.

    Args:
        points: predicted, in the frame of each path's reference.
        confidence: predicted.
        targets: from `points_in_references`.
        valid: pixels of known depth.
        references: the reference view of each path, of the output.
        confidence_weight: of the reward for confidence.

    Raises:
        ValueError: if no pixel is valid.
    """
    if not valid.any():
        raise ValueError("no pixel of the batch has a known depth; give depth maps with some pixels above 0")
    weight = valid[:, None].to(points.dtype)  # [batch, 1, views, height, width]
    units, target_units = (mean_distance(values, weight) for values in (points, targets))
    scale, target_scale = (unit.reciprocal()[..., None, None, None, None] for unit in (units, target_units))
    errors = (points * scale - targets * target_scale).norm(dim=-1)
    losses = (confidence * errors - confidence_weight * confidence.log()) * weight
    weight = weight.expand_as(losses)

    path = torch.arange(len(references))[:, None]
    slots = torch.tensor(slot_views(references, points.shape[2]))
    total, count = (values[:, path, slots].sum((0, 1, 3, 4)) for values in (losses, weight))
    return PointLosses(
        loss=(total / count.clamp(min=1)).sum(),
        error=(errors * weight).sum() / weight.sum(),
        units=units,
        target_units=target_units,
    )


def mean_distance(
    points: Float[Tensor, "batch paths views height width 3"], weight: Float[Tensor, "batch 1 views height width"]
) -> Float[Tensor, "batch paths"]:
    """Mean distance from the reference camera over the pixels of weight 1 in all views."""
    mean = (points.norm(dim=-1) * weight).sum((2, 3, 4)) / (weight.sum((2, 3, 4)) + NEAREST_UNIT)
    return mean.clamp(min=NEAREST_UNIT)


def slot_views(references: Sequence[int], views: int) -> list[list[int]]:
    """The view in each slot of each path: references first, and the path's own exchanged with the first."""
    order = [*references, *(view for view in range(views) if view not in references)]
    slots = []
    for path in range(len(references)):
        own = list(order)
        own[0], own[path] = own[path], own[0]
        slots.append(own)
    return slots


def render_losses(
    output: MVDust3rPlusOutput,
    pixel_values: Float[Tensor, "batch views 3 height width"],
    targets: Float[Tensor, "batch target_views 3 height width"],
    cameras: Cameras,
    target_cameras: Cameras,
    losses: PointLosses,
    backend: str = "auto",
) -> RenderLosses:
    """The Gaussians of all pixels rendered at the true cameras, against the photos; section 3.3.

    Prediction and cameras are brought to one unit by the two mean distances of `losses`.

    Args:
        output: of a model with Gaussian heads whose colours are those of the pixels.
        pixel_values: the network's input, in [-1, 1].
        targets: photos to match, input views and others, in [-1, 1].
        cameras: of the input views, [batch, views].
        target_cameras: of the targets, [batch, target_views].
        losses: of the same output.
        backend: of `render_gaussians`.
    """
    factor = (losses.units / losses.target_units)[..., None]  # [batch, paths, 1]
    rigs = [target_cameras.relative_to(cameras[:, [view]]) for view in output.references]
    rigs = Cameras.stack(rigs).reshape(len(rigs), *target_cameras.batch_shape)
    background = torch.ones(3, device=targets.device)
    gaussians = pixel_gaussians(output, pixel_values)
    rigs = Cameras(*(values.transpose(0, 1) for values in (rigs.intrinsics, rigs.camera_to_world, rigs.image_sizes)))
    rendered = render_gaussians(gaussians, rigs.scaled(factor), backend, background).images
    difference = 2 * rendered - 1 - targets[:, None]
    scales = output.scales / losses.units[..., None, None, None, None]
    excess = F.relu(scales - LARGEST_SCALE) + F.relu(SMALLEST_SCALE - scales)
    # the distance has no gradient at 0
    return RenderLosses(color=(difference.square().sum(3) + 1e-12).sqrt().mean(), scale=excess.square().mean())
