"""Losses of LIRM on rendered maps (spec of the training: docs/methods/lirm.md)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from .rendering_lirm import VALID_OPACITY, LIRMRender


# Of the exponent that takes sRGB to about linear light, and of the factor between the brightness of two base colours.
GAMMA = 2.2
SMALLEST_SCALE, LARGEST_SCALE = 0.1, 5.0

# Maps are compared in [-1, 1], where a squared error is four times that in [0, 1].
RANGE_FACTOR = 4


@dataclass(frozen=True)
class LIRMTargets:
    """What windows of the target views should show, with materials on white as the renderer composites them.

    Args:
        masks: [B, T, 1, S, S] in [0, 1].
        radiance, base_colors: [B, T, 3, S, S] sRGB in [0, 1], on white.
        roughness, metallic: [B, T, 1, S, S] in [0, 1], on white.
        normals: [B, T, 3, S, S], unit, in the object frame; 0 where unknown.
        depth: [B, T, 1, S, S], distance along the ray in units of the object frame; 0 where unknown.
        directions: [B, T, 3, S, S], unit, of the rays.
    """

    masks: Float[Tensor, "batch views 1 size size"]
    radiance: Float[Tensor, "batch views 3 size size"]
    base_colors: Float[Tensor, "batch views 3 size size"]
    roughness: Float[Tensor, "batch views 1 size size"]
    metallic: Float[Tensor, "batch views 1 size size"]
    normals: Float[Tensor, "batch views 3 size size"]
    depth: Float[Tensor, "batch views 1 size size"]
    directions: Float[Tensor, "batch views 3 size size"]


def lirm_losses(
    render: LIRMRender,
    targets: LIRMTargets,
    perceptual: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> dict[str, Tensor]:
    """Every term of the loss, not weighted; terms whose maps the model does not predict are left out.

    Each is a mean over objects, views and pixels.

    Args:
        render: maps along the rays of all pixels of the targets, in their order.
        targets: what they should be.
        perceptual: from images and references [N, 3, S, S] in [0, 1] to a dissimilarity [N].
    """
    shape = targets.masks.shape[1:2] + targets.masks.shape[-2:]
    maps = {name: value.mT.unflatten(-1, shape).transpose(1, 2) for name, value in render.maps().items()}
    losses = {"mask": F.mse_loss(maps["opacity"], targets.masks)}
    if "radiance" in maps:
        losses["radiance"] = _squared(maps["radiance"], targets.radiance)
        if perceptual is not None:
            losses["radiance_perceptual"] = _dissimilarity(perceptual, maps["radiance"], targets.radiance)
    if "base_colors" in maps:
        aligned = scale_aligned(maps["base_colors"], maps["opacity"], targets.base_colors, targets.masks)
        losses["base_color"] = _squared(aligned, targets.base_colors)
        if perceptual is not None:
            losses["base_color_perceptual"] = _dissimilarity(perceptual, aligned, targets.base_colors)
        losses["roughness"] = _squared(maps["roughness"], targets.roughness)
        losses["metallic"] = _squared(maps["metallic"], targets.metallic)
    inside = eroded(targets.masks)
    facing = (targets.normals * targets.directions).sum(2, keepdim=True) < 0
    losses["normal"] = _masked(maps["normals"], targets.normals, inside & facing)
    valid = maps["opacity"] > VALID_OPACITY
    if "numerical_normals" in maps:
        losses["numerical_normal"] = _masked(maps["numerical_normals"], targets.normals, inside & facing & valid)
    losses["depth"] = _masked(maps["depth"], targets.depth, inside & valid & (targets.depth > 0))
    return losses


def scale_aligned(
    colors: Float[Tensor, "batch views 3 size size"],
    opacity: Float[Tensor, "batch views 1 size size"],
    references: Float[Tensor, "batch views 3 size size"],
    masks: Float[Tensor, "batch views 1 size size"],
) -> Float[Tensor, "batch views 3 size size"]:
    """Base colours on white, as bright as the references on average over each object's masks.

    How bright a surface is and how much light falls on it cannot be told apart; this takes the question out of the
    loss. The factor applies to about linear light and has no gradient.
    """
    own = (colors - (1 - opacity)).clamp(min=0)
    with torch.no_grad():
        wanted, found = ((values.clamp(min=0).pow(GAMMA) * masks).sum((1, 2, 3, 4)) for values in (references, colors))
        scale = (wanted / found.clamp(min=1e-6)).clamp(SMALLEST_SCALE, LARGEST_SCALE).pow(1 / GAMMA)
    return (own * scale[:, None, None, None, None] + (1 - opacity)).clamp(max=1)


def eroded(masks: Float[Tensor, "batch views 1 size size"]) -> Tensor:
    """Pixels whose 3x3 neighbours are all on the object."""
    outside = F.max_pool2d((masks < 0.5).float().flatten(0, 1), 3, stride=1, padding=1)
    return (outside == 0).unflatten(0, masks.shape[:2])


def _squared(values: Tensor, references: Tensor) -> Tensor:
    return RANGE_FACTOR * F.mse_loss(values, references)


def _masked(values: Tensor, references: Tensor, kept: Tensor) -> Tensor:
    """Mean squared error over all pixels, where those not kept have none."""
    return torch.where(kept, values - references, 0.0).square().mean()


def _dissimilarity(perceptual: Callable[[Tensor, Tensor], Tensor], values: Tensor, references: Tensor) -> Tensor:
    return perceptual(values.flatten(0, 1).clamp(0, 1), references.flatten(0, 1)).mean()
