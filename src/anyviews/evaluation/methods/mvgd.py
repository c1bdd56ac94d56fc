"""MVGD: novel images and depth, joint generation, and whether depth comes from parallax."""

import math
from functools import lru_cache

import torch
from torch import Tensor

from ...data.procedural import HELD_OUT_SEED_START
from ...data.world import render_world
from ...pipelines import MVGDPipeline
from ...views import Views
from ..baselines import mean_color, nearest_view
from ..case import Case, CaseResult, Row
from ..consistency import cross_view_consistency
from ..novel_views import (
    CONSTANT_DEPTHS,
    VIEWS_PER_SCENE,
    NovelViewScene,
    constant_depth_scores,
    generate,
    scene_scales,
)
from ..protocols import Protocol
from ..protocols.sources import Procedural
from .scoring import depth_map_scores, image_scores


MODEL = MVGDPipeline

# Denoising steps and ensemble members.
SETTINGS = {"1 step": (1, 1), "10 steps": (10, 1), "10 steps, mean of 5": (10, 5)}
ONE_STEP, TEN_STEPS = SETTINGS["1 step"], SETTINGS["10 steps"]

BLIND = {"nearest context view": nearest_view, "mean colour": mean_color}
NO_IMAGE = {"psnr": math.nan, "ssim": math.nan}
NO_DEPTH = {"absrel": math.nan, "delta1.25": math.nan}
# Training rooms on which the constant depth is chosen that a method without parallax could answer.
ROOMS_OF_CONSTANT = 64


def image_size(model: MVGDPipeline) -> int:
    """Side of the images in pixels."""
    return model.transformer.config.image_size


def evaluate(model: MVGDPipeline, case: Case, protocol: Protocol) -> CaseResult:
    """All tables that the protocol has."""
    context, targets = case.context[: protocol.context_views], case.targets[: protocol.target_views]
    rows, pictures = _quality(model, context, targets, case.seed)
    if isinstance(protocol.source, Procedural):
        depth = torch.full_like(targets.images[:, :1], training_depth(targets.height))
        rows.insert(
            len(BLIND), Row("quality", "constant depth of training rooms", NO_IMAGE | depth_map_scores(depth, targets))
        )
    if protocol.has("joint"):
        rows += _joint(model, context, case.targets[: protocol.joint_targets], case.seed)
    if protocol.has("views"):
        for count in protocol.view_counts:
            found = generate(model, case.context[:count], targets.cameras, ONE_STEP, case.seed)
            name = f"{count} context view{'s'[: count > 1]}"
            rows.append(Row("views", name, _scores(*found, targets)))
    if protocol.has("parallax"):
        rows += _parallax(model, case.context, targets, case.seed)
    return CaseResult(rows, pictures)


def _quality(model: MVGDPipeline, context: Views, targets: Views, seed: int) -> tuple[list[Row], dict[str, Tensor]]:
    """Settings of the sampler, beside answers that know no geometry."""
    guesses = {name: answer(context, targets) for name, answer in BLIND.items()}
    rows = [Row("quality", name, image_scores(image, targets.images) | NO_DEPTH) for name, image in guesses.items()]
    rows.append(Row("quality", "best constant depth of each view", NO_IMAGE | _constant(targets)))
    pictures = {"truth": targets.images, "nearest context view": guesses["nearest context view"]}
    if targets.depths is not None:
        pictures["true depth"] = targets.depths
    for name, setting in SETTINGS.items():
        images, depths = generate(model, context, targets.cameras, setting, seed)
        rows.append(Row("quality", name, _scores(images, depths, targets)))
        pictures |= {name: images, f"depth, {name}": depths}
    return rows, pictures


def _joint(model: MVGDPipeline, context: Views, targets: Views, seed: int) -> list[Row]:
    """Several targets one at a time and in one pass: scores, and how much the views disagree."""
    rows = []
    for name, per_pass in (("one at a time", 1), ("in one pass", len(targets))):
        images, depths = generate(model, context, targets.cameras, TEN_STEPS, seed, per_pass)
        across = {"color": math.nan, "depth": math.nan}
        if targets.depths is not None:
            across = cross_view_consistency(images, depths, targets.depths, targets.cameras)
        disagreement = {f"{kind}_disagreement": value for kind, value in across.items()}
        rows.append(Row("joint", name, _scores(images, depths, targets) | disagreement))
    return rows


def _parallax(model: MVGDPipeline, context: Views, targets: Views, seed: int) -> list[Row]:
    """Pairs of context views by their baseline: the scene scale over the median depth."""
    rows = []
    for pair in range(len(context) // 2):
        seen = context[[2 * pair, 2 * pair + 1]]
        _, depths = generate(model, seen, targets.cameras, ONE_STEP, seed)
        score = {
            "absrel": depth_map_scores(depths, targets)["absrel"],
            "constant_absrel": _constant(targets)["absrel"],
        }
        middle = targets.depths.flatten(1).median(1).values
        parallax = float((scene_scales(NovelViewScene(seen, targets)) / middle).mean())
        rows.append(Row("parallax", f"pair {pair}", score, parallax))
    return rows


def _scores(images: Tensor, depths: Tensor, targets: Views) -> dict[str, float]:
    return image_scores(images, targets.images) | depth_map_scores(depths, targets)


@lru_cache(maxsize=2)
def training_depth(size: int) -> float:
    """The constant z-depth in world units that is best for training rooms, of `CONSTANT_DEPTHS`, by AbsRel."""
    seeds = HELD_OUT_SEED_START - ROOMS_OF_CONSTANT + torch.arange(ROOMS_OF_CONSTANT)
    depths = render_world(seeds, VIEWS_PER_SCENE, size, size, "room", maps=False).depths.flatten()
    depths = depths[depths > 0]
    errors = torch.stack([((value - depths).abs() / depths).mean() for value in CONSTANT_DEPTHS])
    return float(CONSTANT_DEPTHS[errors.argmin()])


def _constant(targets: Views) -> dict[str, float]:
    """The constant depth that fits each view best."""
    if targets.depths is None:
        return dict(NO_DEPTH)
    found = [constant_depth_scores(depth[None], torch.ones(1)) for depth in targets.depths]
    return {name: float(torch.cat([one[name] for one in found]).mean()) for name in NO_DEPTH}
