"""Numbers of the official implementation with random weights, kept beside the checkout and not part of it."""

import functools
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from anyviews.models.mvdust3r import (
    MVDust3rPlusConfig,
    MVDust3rPlusModel,
    config_of_checkpoint,
    convert_mvdust3r_state_dict,
)


FOLDER = Path(__file__).resolve().parents[4] / "shared" / "golden" / "mvdust3r"

needs_golden = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"needs the official numbers in {FOLDER}")

# name -> number of references
CASES = {
    "mvd_n2_b1_plain": 1,
    "mvd_n4_b2": 1,
    "mvd_n5_b1_sq32": 1,
    "mvdp_n4_m2_b1_plain": 2,
    "mvdp_n4_m4_b1": 4,
}

OUTPUTS = {
    "points": "pts3d",
    "confidence": "conf",
    "opacities": "opacity",
    "scales": "scale",
    "rotations": "rotation",
    "harmonics": "rgb",
}

HEAD_DIM = 16


@functools.cache
def golden(name: str) -> dict[str, Tensor]:
    return load_file(FOLDER / f"{name}.safetensors")


def golden_keys(variant: str) -> dict[str, dict]:
    return json.loads((FOLDER / f"{variant}_keys.json").read_text(encoding="utf-8"))


@functools.cache
def official_weights(gaussians: bool = True, skip: bool = True, fusion: bool = True) -> dict[str, Tensor]:
    """The recipe's weights under their official names."""
    weights = golden("weights_core") | golden("weights_pts_heads") | (golden("weights_gs_heads") if gaussians else {})
    return {
        key: value.float() if value.is_floating_point() else value
        for key, value in weights.items()
        if (skip or "skip_proj" not in key) and (fusion or "same_view" not in key)
    }


@functools.cache
def official_model(case: str) -> MVDust3rPlusModel:
    """The model of a case in evaluation mode."""
    full = not case.endswith("plain")
    weights = official_weights(gaussians=full, skip=full, fusion=CASES[case] > 1)
    options = config_of_checkpoint(weights, head_dim=HEAD_DIM, gaussian_colors="head").to_diff_dict()
    config = MVDust3rPlusConfig(**{**options, "num_references": CASES[case]})
    model = MVDust3rPlusModel(config).eval()
    model.load_state_dict(convert_mvdust3r_state_dict(weights, "head"))
    return model


def in_view_order(slots: Tensor, num_paths: int) -> Tensor:
    """[slots, batch * paths, ...] to [batch, paths, views, ...]: path m has view m in slot 0 and view 0 in slot m."""
    views = slots.unflatten(1, (-1, num_paths)).movedim(0, 2).clone()
    for path in range(1, num_paths):
        views[:, path, [0, path]] = views[:, path, [path, 0]]
    return views


def golden_output(case: str, name: str) -> Tensor | None:
    """An output of `MVDust3rPlusModel` as the official one gives it, all paths; None if the case has no such head."""
    slots = golden(f"case_{case}").get(f"out.{OUTPUTS[name]}")
    if slots is None:
        return None
    views = in_view_order(slots, CASES[case])
    return views[..., 0] if name == "opacities" else views


def assert_close(actual: Tensor, expected: Tensor, atol: float) -> None:
    torch.testing.assert_close(actual, expected, atol=atol, rtol=0)
