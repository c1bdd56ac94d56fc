"""Novel-view scores of MVGD on held-out procedural scenes, with baselines that know no geometry."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from ..cameras import Cameras
from ..data.procedural import HELD_OUT_SEED_START
from ..data.samples import seeded_permutation
from ..data.world import render_world
from ..pipelines import MVGDPipeline
from ..rendering.image_quality import psnr
from ..views import Views
from .baselines import mean_color, nearest_view
from .depth_metrics import depth_scores
from .pictures import grid_picture


# Fixed, because the procedural world's cameras depend on the number of views.
VIEWS_PER_SCENE = 12
MOST_TARGETS = 4

# The one constant depth that a method without parallax could answer, in units of the scene scale, is chosen out of
# these as the best on the very scenes it is judged on: an optimistic baseline.
CONSTANT_DEPTHS = torch.logspace(-1, 2, 61)


@dataclass(frozen=True)
class NovelViewScene:
    """One test: generate `targets` from `context`."""

    context: Views
    targets: Views


def held_out_scenes(
    count: int, size: int, context_views: int = 3, targets: int = 1, kind: str = "room"
) -> list[NovelViewScene]:
    """The first `count` held-out scenes of the procedural world; training never sees them.

    Args:
        count: number of scenes.
        size: side of the images in pixels.
        context_views: up to 8; more context views are added to the same first ones.
        targets: up to 4.
        kind: "room" or "object".
    """
    seeds = HELD_OUT_SEED_START + torch.arange(count)
    world = render_world(seeds, views=VIEWS_PER_SCENE, height=size, width=size, kind=kind)
    scenes = []
    for i, seed in enumerate(seeds.tolist()):
        # half of the rooms are walks in order: shuffled, so that targets lie among the context views as in training
        views = world.scene(i)[seeded_permutation(VIEWS_PER_SCENE, "novel views", seed)]
        scenes.append(NovelViewScene(views[MOST_TARGETS:][:context_views], views[:targets]))
    return scenes


def evaluate_novel_views(
    pipe: MVGDPipeline,
    scenes: Sequence[NovelViewScene],
    settings: dict[str, tuple[int, int]],
    targets_per_pass: int = 1,
    seed: int = 0,
    picture: Path | None = None,
    keep_outputs: bool = False,
) -> dict:
    """Generate the targets of all scenes and score them.

    Args:
        pipe: the pipeline.
        scenes: tests whose targets have images and depth.
        settings: per row of the table, (denoising steps, ensemble members).
        targets_per_pass: targets generated jointly.
        seed: of the sampling noise; scene i uses seed + i.
        picture: where to write a contact sheet of the first scenes.
        keep_outputs: also return "images" and "depths" of the last setting, all targets in a row.

    Returns:
        "rows": per setting and baseline the mean PSNR (dB, sRGB, all pixels), and AbsRel and delta < 1.25 of z-depth
        in world units over pixels of known depth, without alignment; "scenes": the same per target.
    """
    images = torch.cat([scene.targets.images for scene in scenes])
    depths = torch.cat([scene.targets.depths for scene in scenes])
    scores = {**_baselines(scenes, images, depths)}
    pictures = [images, None]
    for name, (steps, members) in settings.items():
        parts = [
            generate(pipe, scene.context, scene.targets.cameras, (steps, members), seed + i, targets_per_pass)
            for i, scene in enumerate(scenes)
        ]
        generated, estimated = (torch.cat(part) for part in zip(*parts, strict=True))
        scores[name] = {"psnr": psnr(generated, images), **depth_scores(estimated, depths)}
        pictures += [generated, estimated]
    if picture is not None:
        pictures[1] = depths
        nearest = torch.cat([nearest_view(scene.context, scene.targets) for scene in scenes])
        grid_picture([nearest, *pictures], picture, columns=12)
    per_target = [
        {name: {metric: float(values[i]) for metric, values in row.items()} for name, row in scores.items()}
        for i in range(len(images))
    ]
    rows = {name: {metric: float(v.mean()) for metric, v in row.items()} for name, row in scores.items()}
    outputs = {"images": generated, "depths": estimated} if keep_outputs else {}
    return {"rows": rows, "scenes": per_target, **outputs}


def generate(
    pipe: MVGDPipeline,
    context: Views,
    cameras: Cameras,
    setting: tuple[int, int],
    seed: int,
    targets_per_pass: int = 1,
) -> tuple[Float[Tensor, "targets 3 height width"], Float[Tensor, "targets 1 height width"]]:
    """Images and depths of target cameras.

    Args:
        pipe: the pipeline.
        context: views that it sees.
        cameras: of the targets.
        setting: (denoising steps, ensemble members).
        seed: of the sampling noise.
        targets_per_pass: targets generated jointly.
    """
    output = pipe(
        context,
        target_cameras=cameras,
        num_inference_steps=setting[0],
        ensemble_size=setting[1],
        targets_per_pass=targets_per_pass,
        generator=torch.Generator().manual_seed(seed),
        output_type="pt",
    )
    return output.images.cpu(), output.depths.cpu()


def scene_scales(scene: NovelViewScene) -> Tensor:
    """The scene scale of each target as MVGD normalises it, [T], in world units."""
    relative: list[Cameras] = [scene.context.cameras.relative_to(target) for target in scene.targets.cameras]
    return torch.stack([cameras.centers.abs().amax() for cameras in relative])


def constant_depth_scores(depths: Tensor, units: Tensor) -> dict[str, Tensor]:
    """Scores of the constant depth, in `units` [T] of each target, that is best for these very targets."""
    units = units[:, None, None, None]
    candidates = [depth_scores((units * value).expand_as(depths), depths) for value in CONSTANT_DEPTHS]
    return min(candidates, key=lambda scores: float(scores["absrel"].mean()))


def _baselines(scenes: Sequence[NovelViewScene], images: Tensor, depths: Tensor) -> dict[str, dict[str, Tensor]]:
    """Scores of answers that use no geometry."""
    nearest = torch.cat([nearest_view(scene.context, scene.targets) for scene in scenes])
    color = torch.cat([mean_color(scene.context, scene.targets) for scene in scenes])
    scales = torch.cat([scene_scales(scene) for scene in scenes])
    return {
        "nearest context view": {"psnr": psnr(nearest, images)},
        "mean colour": {"psnr": psnr(color, images)},
        "best constant depth in scene scales": constant_depth_scores(depths, scales),
        "best constant depth in world units": constant_depth_scores(depths, torch.ones_like(scales)),
    }
