"""Scores of depth maps, with the alignment named: AbsRel, RMSE and the share within a factor; and of normal maps."""

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from .angles import angles_between
from .score import Fact, Score, check_finite, named


Alignment = Literal["none", "median", "scale", "scale_shift"]
THRESHOLDS = {"delta1.25": 1.25, "delta1.25^2": 1.25**2, "delta1.25^3": 1.25**3}

# Shares of normals within these angles in degrees (Fouhey et al., ICCV 2013).
NORMAL_ANGLES = (11.25, 22.5, 30.0)


def score_depths(
    depths: Float[Tensor, "views 1 height width"],
    references: Float[Tensor, "views 1 height width"],
    masks: Float[Tensor, "views 1 height width"] | None = None,
    alignment: str = "none",
    per: str = "view",
    unit: str = "world units",
    **protocol: Fact,
) -> dict[str, Score]:
    """AbsRel, RMSE and delta of z-depth, means of the views' values; a predicted depth of 0 (unknown) is an error.

    Args:
        depths: [V, 1, H, W], z-depth.
        references: [V, 1, H, W], z-depth, 0 where unknown: not scored.
        masks: [V, 1, H, W], scored where above 0.5; None for all pixels of known depth.
        alignment, per: see `align_depths`.
        unit: of the references.
        protocol: what the caller did before, such as resize_filter="nearest".

    Returns:
        "absrel", "rmse", "delta1.25", "delta1.25^2", "delta1.25^3"; views without a scored pixel are left out.

    Raises:
        ValueError: if depths are not finite, or the alignment is unknown.
    """
    check_finite(depths=depths, references=references)
    valid = references > 0 if masks is None else (references > 0) & (masks > 0.5)
    aligned = align_depths(depths, references, valid, alignment, per)
    facts = {
        "resolution": f"{depths.shape[-2]}x{depths.shape[-1]}",
        "mask": "pixels of known depth" if masks is None else "pixels of known depth in the masks",
        "alignment": alignment if alignment == "none" else f"{alignment} per {per}",
        "views": len(depths),
        "average": "mean of the values of the views",
        **protocol,
    }
    values = {
        "absrel": absolute_relative_error(aligned, references, valid),
        "rmse": root_mean_square_error(aligned, references, valid),
        **{name: depth_accuracy(aligned, references, valid, factor) for name, factor in THRESHOLDS.items()},
    }
    scored = valid.flatten(1).any(1)
    units = {"rmse": unit}
    return named(
        *(Score(name, float(value[scored].mean()), units.get(name, "1"), facts) for name, value in values.items())
    )


def align_depths(
    depths: Float[Tensor, "views 1 height width"],
    references: Float[Tensor, "views 1 height width"],
    valid: Bool[Tensor, "views 1 height width"],
    alignment: str = "none",
    per: str = "view",
) -> Float[Tensor, "views 1 height width"]:
    """Bring depth maps of unknown scale to that of the references; unknown depth (0) has no say and stays 0.

    Args:
        depths: [V, 1, H, W], z-depth.
        references: [V, 1, H, W], z-depth.
        valid: [V, 1, H, W], the pixels that are compared.
        alignment: "none"; "median": the ratio of the medians (the mean of the two middle ones, as in numpy); "scale":
            the factor of least squared error; "scale_shift": factor and offset of least squared error, of depth and
            not of its inverse.
        per: "view", or "scene" for one alignment of all views, which keeps their relative scale under test.

    Raises:
        ValueError: if the alignment is unknown.
    """
    if alignment not in get_args(Alignment) or per not in ("view", "scene"):
        raise ValueError(
            f"found alignment {alignment!r} per {per!r}; accepted are {', '.join(get_args(Alignment))}, per view or "
            "scene"
        )
    if alignment == "none":
        return depths
    if per == "scene":
        rows = (values.reshape(1, 1, -1, 1) for values in (depths, references, valid))
        return align_depths(*rows, alignment).reshape(depths.shape)
    aligned = []
    for depth, reference, usable in zip(depths, references, valid & (depths > 0), strict=True):
        scale, shift = _fit(depth[usable].double(), reference[usable].double(), alignment)
        aligned.append(torch.where(depth > 0, scale.to(depth) * depth + shift.to(depth), 0))
    return torch.stack(aligned)


def _fit(
    depths: Float[Tensor, "pixels"], references: Float[Tensor, "pixels"], alignment: str
) -> tuple[Tensor, Tensor]:
    """Factor and offset; 1 and 0 where there is no pixel to find them by."""
    scale, shift = depths.new_ones(()), depths.new_zeros(())
    if len(depths) == 0:
        return scale, shift
    if alignment == "median":
        return _median(references) / _median(depths), shift
    if alignment == "scale":
        return (depths * references).sum() / depths.square().sum(), shift
    centered = depths - depths.mean()
    # equal depths leave the factor open
    if centered.square().sum() > 1e-12 * depths.square().sum():
        scale = (centered * references).sum() / centered.square().sum()
    return scale, references.mean() - scale * depths.mean()


def _median(values: Float[Tensor, "pixels"]) -> Tensor:
    """The mean of the two middle values; torch takes the lower one."""
    return (values.median() - (-values).median()) / 2


def absolute_relative_error(
    depths: Float[Tensor, "views 1 height width"],
    references: Float[Tensor, "views 1 height width"],
    valid: Bool[Tensor, "views 1 height width"],
) -> Float[Tensor, "views"]:
    """Mean of |depth - reference| / reference over the valid pixels of each view (AbsRel); NaN without any."""
    error = (depths - references).abs() / references.where(valid, torch.ones_like(references))
    return _mean(error, valid)


def root_mean_square_error(
    depths: Float[Tensor, "views 1 height width"],
    references: Float[Tensor, "views 1 height width"],
    valid: Bool[Tensor, "views 1 height width"],
) -> Float[Tensor, "views"]:
    """Root of the mean squared difference over the valid pixels of each view, in world units; NaN without any."""
    return _mean((depths - references).square(), valid).sqrt()


def depth_accuracy(
    depths: Float[Tensor, "views 1 height width"],
    references: Float[Tensor, "views 1 height width"],
    valid: Bool[Tensor, "views 1 height width"],
    threshold: float = 1.25,
) -> Float[Tensor, "views"]:
    """Share of valid pixels of each view whose depth is within a factor of the reference; NaN where there are none."""
    safe = references.where(valid, torch.ones_like(references))
    ratio = torch.maximum(depths / safe, safe / depths.clamp(min=1e-12))
    return _mean((ratio < threshold).to(depths), valid)


def depth_scores(
    depths: Float[Tensor, "views 1 height width"], references: Float[Tensor, "views 1 height width"]
) -> dict[str, Float[Tensor, "views"]]:
    """AbsRel and delta < 1.25 of each view over the pixels of known (positive) reference depth, without alignment."""
    valid = references > 0
    return {
        "absrel": absolute_relative_error(depths, references, valid),
        "delta1.25": depth_accuracy(depths, references, valid),
    }


def score_normals(
    normals: Float[Tensor, "views 3 height width"],
    references: Float[Tensor, "views 3 height width"],
    masks: Float[Tensor, "views 1 height width"] | None = None,
    **protocol: Fact,
) -> dict[str, Score]:
    """Angles between normals over the pixels of all views together.

    Args:
        normals: [V, 3, H, W], of any length, in the frame of the references; 0 (unknown) counts as 90 degrees.
        references: [V, 3, H, W], 0 where unknown: not scored.
        masks: [V, 1, H, W], scored where above 0.5; None for all known pixels.
        protocol: what the caller did before.

    Returns:
        "normal_mean", "normal_median" in degrees, the shares "normal_within_11.25", ..., and "normal_cosine_distance",
        the mean of 1 - cosine.

    Raises:
        ValueError: if normals are not finite.
    """
    check_finite(normals=normals, references=references)
    valid = references.square().sum(1) > 0
    if masks is not None:
        valid &= masks[:, 0] > 0.5
    found, wanted = (F.normalize(values.double(), dim=1).movedim(1, -1)[valid] for values in (normals, references))
    angles = angles_between(found, wanted)
    facts = {
        "resolution": f"{normals.shape[-2]}x{normals.shape[-1]}",
        "mask": "pixels of known normal" if masks is None else "pixels of known normal in the masks",
        "views": len(normals),
        "average": "over the pixels of all views together",
        **protocol,
    }
    median = _median(angles) if len(angles) else angles.mean()
    return named(
        Score("normal_mean", float(angles.mean()), "degrees", facts),
        Score("normal_median", float(median), "degrees", facts),
        *(
            Score(f"normal_within_{angle:g}", float((angles < angle).double().mean()), "1", facts)
            for angle in NORMAL_ANGLES
        ),
        Score("normal_cosine_distance", float((1 - (found * wanted).sum(-1)).mean()), "1", facts),
    )


def _mean(values: Float[Tensor, "views 1 height width"], valid: Bool[Tensor, "views 1 height width"]) -> Tensor:
    """Means over the valid pixels of each view, NaN where there are none."""
    return values.where(valid, torch.zeros_like(values)).flatten(1).sum(1) / valid.flatten(1).sum(1)
