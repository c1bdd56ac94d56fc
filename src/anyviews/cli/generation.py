"""What `run` and `demo` share: choosing context photos and targets, generating, scoring, and writing the files."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from diffusers.utils import logging as diffusers_logging
from torch import Tensor

from ..cameras import Cameras
from ..evaluation.depth_metrics import depth_scores
from ..formats import load_views, save_scene
from ..formats.image_folder import png_names
from ..geometry.context import nearest_cameras
from ..geometry.paths import interpolate, orbit, spiral
from ..pipelines import MVGDPipeline
from ..rendering.image_quality import psnr
from ..scene import Scene
from ..views import Views


HELD_OUT = "held-out"
NOVEL_PATHS = {"orbit": orbit, "interpolate": interpolate, "spiral": spiral}
DEFAULT_FRAMES = 24

# Where each format is written in the output folder; `images` is always written.
FILES = {
    "npz": "scene.npz",
    "depth": "depth",
    "ply": "points.ply",
    "mp4": "video.mp4",
    "colmap": "colmap",
    "transforms": "transforms",
    "cameras-json": "cameras-json",
}
DEFAULT_FORMATS = ("npz", "depth", "ply", "mp4")
# A path flows; left-out photos are a slide show.
FRAMES_PER_SECOND = {HELD_OUT: 2}
PATH_FRAMES_PER_SECOND = 12

# More pixels than this at the far end of the depth range deserve a warning.
MUCH_SATURATION = 0.2


@dataclass(frozen=True)
class Targets:
    """Which photos the model sees, and what it is asked for.

    Args:
        path: "held-out" or the name of a novel path.
        context: the photos that the model sees.
        cameras: T target cameras.
        names: T labels.
        photos: the T photos left out, for "held-out"; else None.
    """

    path: str
    context: Views
    cameras: Cameras
    names: tuple[str, ...]
    photos: Views | None = None


@dataclass(frozen=True)
class Generation:
    """Generated views with what they are compared with; all images have the model's resolution.

    Args:
        path: "held-out" or the name of a novel path.
        context: the photos that the model saw.
        context_views_per_pass: how many of them, the nearest, it saw for each target.
        scene: T generated images, depth maps and depth uncertainties.
        truth: the T photos left out, or None on a novel path.
        nearest: [T], for each target the index of the context photo whose camera is nearest.
        scene_scale: [T], unit of the model in units of the cameras.
        saturated_depth: [T], share of pixels at the far end of the depth range.
        skipped: one message per target that could not be generated.
        seconds: that generating took.
    """

    path: str
    context: Views
    context_views_per_pass: int
    scene: Scene
    truth: Views | None
    nearest: Tensor
    scene_scale: Tensor
    saturated_depth: Tensor
    skipped: tuple[str, ...]
    seconds: float


def load_posed(scene: Path | str, size: tuple[int, int] | None) -> Views:
    """Load a folder of photos with cameras; raises ValueError that says how to get cameras if it has none."""
    views = load_views(scene, size)
    if views.cameras is None:
        raise ValueError(
            f"{scene} has {len(views)} photos without cameras; needed is a folder with cameras.json, transforms.json "
            "or a COLMAP model. To make one: colmap automatic_reconstructor --workspace_path FOLDER --image_path "
            f"{scene}"
        )
    return views


def load_pipeline(checkpoint: str, device: str, progress: bool) -> MVGDPipeline:
    """Load a pipeline from a folder or a Hub repository.

    Args:
        checkpoint: a folder, or the name of a repository.
        device: of torch, or "auto" for the fastest that is there.
        progress: whether to show progress bars.
    """
    folder = Path(checkpoint)
    if folder.is_dir() and not (folder / "model_index.json").is_file():
        raise FileNotFoundError(f"{checkpoint} has no model_index.json; give a folder that save_pretrained wrote")
    # a repository is called owner/name; anything else can only be meant as a folder
    if not folder.is_dir() and (len(folder.parts) != 2 or folder.parts[0] in ("..", folder.anchor)):
        raise FileNotFoundError(f"the checkpoint {checkpoint} does not exist; give its folder or a Hub repository")
    device = choose_device(device)
    if not progress:
        diffusers_logging.disable_progress_bar()
    try:
        pipe = MVGDPipeline.from_pretrained(checkpoint)
    except OSError as error:
        raise OSError(
            f"the checkpoint {checkpoint} is no folder here, and cannot be loaded as a Hub repository: {error}"
            if not folder.is_dir()
            else f"the checkpoint {checkpoint} cannot be loaded: {error}"
        ) from error
    finally:
        diffusers_logging.enable_progress_bar()
    pipe.set_progress_bar_config(disable=not progress, desc="denoising")
    return pipe.to(device)


def choose_device(name: str) -> str:
    """The device that a name such as auto, cpu, cuda:1 or mps stands for; raises ValueError where it is not there."""
    found = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    found += ["mps", "cpu"] if torch.backends.mps.is_available() else ["cpu"]
    if name == "auto":
        return found[0]
    if name not in (*found, *(device.partition(":")[0] for device in found)):
        raise ValueError(f"--device {name} is not here; accepted are auto, {', '.join(found)}")
    return name


def spread(count: int, chosen: int) -> list[int]:
    """Indices of `chosen` out of `count` items, evenly spaced from the first to the last."""
    if chosen == 1:
        return [count // 2]
    return torch.linspace(0, count - 1, chosen).round().int().tolist()


def choose_targets(
    views: Views, path: str, frames: int | None = None, context_views: int | None = None, hold_out_every: int = 4
) -> Targets:
    """Split the photos into context and left-out ones, or lay a path through the context cameras.

    Args:
        views: posed photos.
        path: "held-out", "orbit", "interpolate" or "spiral".
        frames: number of targets; by default every photo left out, or 24 of a path.
        context_views: how many photos the model sees, evenly spaced; by default all (that are not left out).
        hold_out_every: for "held-out": one photo out of so many is left out.

    Raises:
        ValueError: if there are too few photos, or the path cannot be laid.
    """
    count = len(views)
    if frames is not None and frames < 1:
        raise ValueError(f"--frames {frames}; accepted are 1 and more")
    held_out: list[int] = []
    if path == HELD_OUT:
        if count < 2 or hold_out_every < 2:
            raise ValueError(
                f"held-out needs at least 2 photos (found {count}) and --hold-out-every of at least 2 (found "
                f"{hold_out_every}), so that something is left to see"
            )
        # from the middle of the first group on, so that left-out photos have neighbours on both sides
        held_out = list(range(min(hold_out_every // 2, count - 1), count, hold_out_every))
    seen = [i for i in range(count) if i not in held_out]
    if context_views is not None:
        if not 1 <= context_views <= len(seen):
            raise ValueError(f"--context-views {context_views}; accepted are 1 to {len(seen)}, the photos there are")
        seen = [seen[i] for i in spread(len(seen), context_views)]
    context = views[seen]
    if path == HELD_OUT:
        if frames is not None:
            held_out = [held_out[i] for i in spread(len(held_out), min(frames, len(held_out)))]
        photos = views[held_out]
        names = tuple(name.removesuffix(".png") for name in png_names(photos.names))
        return Targets(path, context, photos.cameras, names, photos)
    cameras = NOVEL_PATHS[path](context.cameras, frames or DEFAULT_FRAMES)
    return Targets(path, context, cameras, tuple(f"{i:04d}" for i in range(len(cameras))))


def generate(pipe: MVGDPipeline, targets: Targets, seed: int = 0, **options: Any) -> Generation:
    """Generate the targets that see something of the context.

    Args:
        pipe: the pipeline.
        targets: context and targets.
        seed: of the sampling noise.
        options: further arguments of the pipeline's call.

    Raises:
        ValueError: if no target can be generated, with the reason of the first.
    """
    context = targets.context.resize(*pipe.resolution(targets.context.cameras))
    accepted, skipped = _accepted_targets(pipe, context, targets, options.get("scene_scale"))
    cameras = targets.cameras[accepted]
    start = time.perf_counter()
    output = pipe(
        context,
        target_cameras=cameras,
        generator=torch.Generator().manual_seed(seed),
        output_type="pt",
        **options,
    )
    seconds = time.perf_counter() - start
    truth = None
    if targets.photos is not None:
        truth = targets.photos[accepted].resize(output.cameras.height, output.cameras.width)
    return Generation(
        targets.path,
        context,
        min(len(context), options.get("max_context_views") or len(context)),
        replace(output.to_scene(), names=tuple(targets.names[i] for i in accepted)),
        truth,
        nearest_cameras(output.cameras, context.cameras, 1)[:, 0],
        output.scene_scale,
        output.saturated_depth,
        tuple(skipped),
        seconds,
    )


def _accepted_targets(
    pipe: MVGDPipeline, context: Views, targets: Targets, scene_scale: float | None
) -> tuple[list[int], list[str]]:
    """Indices of targets that the pipeline accepts, and messages about the others."""
    accepted, skipped = [], []
    for i, name in enumerate(targets.names):
        try:
            pipe.check_geometry(context.cameras, targets.cameras[i : i + 1], scene_scale)
            accepted.append(i)
        except ValueError as error:
            skipped.append(f"{name}: {error}")
    # where nothing is left, the pipeline's own check says what is wrong with the call
    return (accepted, skipped) if accepted else (list(range(len(targets.names))), [])


def score(generation: Generation) -> dict[str, Any] | None:
    """Scores against the left-out photos, with baselines that know no geometry; None on a novel path.

    Returns:
        "rows": per method the mean over targets of psnr (dB), absrel and delta1.25; "targets": the same per target;
        None where a score is not known.
    """
    truth, scene = generation.truth, generation.scene
    if truth is None:
        return None
    rows: dict[str, dict[str, Tensor]] = {"generated": {}}
    if scene.images is not None:
        rows["generated"]["psnr"] = psnr(scene.images, truth.images)
    nearest = generation.context.images[generation.nearest]
    if nearest.shape == truth.images.shape:
        rows["nearest photo"] = {"psnr": psnr(nearest, truth.images)}
    known = None if generation.context.depths is None else generation.context.depths[generation.context.depths > 0]
    if truth.depths is not None and scene.depths is not None and len(known):
        rows["generated"].update(depth_scores(scene.depths, truth.depths))
        constant = known.median().expand(truth.depths.shape)
        rows["constant depth"] = depth_scores(constant, truth.depths)

    def mean(values: Tensor) -> float | None:
        return _number(values[values.isfinite()].mean())

    return {
        "rows": {name: {metric: mean(values) for metric, values in row.items()} for name, row in rows.items()},
        "targets": [
            {name: {metric: _number(values[i]) for metric, values in row.items()} for name, row in rows.items()}
            for i in range(len(scene))
        ],
    }


def _number(value: Tensor) -> float | None:
    """A number that JSON has."""
    return float(value) if math.isfinite(value) else None


def cautions(generation: Generation) -> list[str]:
    """What a reader of the result should know."""
    found = []
    if generation.skipped:
        total = len(generation.skipped) + len(generation.scene)
        found.append(
            f"{generation.path}: {len(generation.skipped)} of {total} targets are skipped; the first: "
            f"{generation.skipped[0]}"
        )
    saturated = float(generation.saturated_depth.mean())
    if saturated > MUCH_SATURATION:
        found.append(
            f"{generation.path}: {saturated:.0%} of the generated depth is at the far end of the model's range; a "
            f"scene scale above {float(generation.scene_scale.max()):.3g} (anyviews run --scene-scale) would reach on"
        )
    return found


def write_files(generation: Generation, folder: Path, formats: Sequence[str]) -> list[str]:
    """Write the generated images, and the scene in further formats, into a folder; returns what was written."""
    scene = generation.scene
    written = []
    if scene.images is not None:
        save_scene(scene, folder / "images", "png")
        written.append("images")
    fps = FRAMES_PER_SECOND.get(generation.path, PATH_FRAMES_PER_SECOND)
    for name in formats:
        save_scene(scene, folder / FILES[name], name, fps)
        written.append(FILES[name])
    return written


def summarize(generation: Generation, scores: dict[str, Any] | None) -> dict[str, Any]:
    """A generation in numbers that JSON can hold."""
    scene = generation.scene
    per_target = [
        {
            "name": scene.names[i],
            "nearest_photo": generation.context.names[int(generation.nearest[i])],
            "scene_scale": float(generation.scene_scale[i]),
            "saturated_depth": float(generation.saturated_depth[i]),
            **({} if scores is None else {"scores": scores["targets"][i]}),
        }
        for i in range(len(scene))
    ]
    return {
        "path": generation.path,
        "context_views": list(generation.context.names),
        "context_views_per_pass": generation.context_views_per_pass,
        "context_size": [generation.context.height, generation.context.width],
        "image_size": [scene.cameras.height, scene.cameras.width],
        "seconds": round(generation.seconds, 3),
        "saturated_depth": float(generation.saturated_depth.mean()),
        "scores": None if scores is None else scores["rows"],
        "targets": per_target,
        "skipped": list(generation.skipped),
    }
