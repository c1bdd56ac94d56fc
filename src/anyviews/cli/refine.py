"""`anyviews refine`: Gaussians and camera poses that fit the photos better."""

import argparse
import logging
import math
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..formats import VIEW_FORMATS, load_points, load_scene, load_views, save_scene, save_views
from ..formats.files import new_folder
from ..formats.json_files import write_json
from ..gaussians import Gaussians
from ..rendering.gaussians import BACKENDS, render_gaussians
from ..rendering.initialization import initial_gaussians
from ..rendering.photo_consistency import consistent_points
from ..rendering.photo_targets import near_plane, photo_scores, posed_views
from ..rendering.refinement import RefinementResult, RefinementSettings, refine_scene
from ..scene import Scene
from ..views import Views
from .convert import parse_size
from .outputs import check_not_inside
from .photos import choose_device, load_posed, spread
from .render import parse_color


HELP = "fit a scene's Gaussians and camera poses to its photos"

# Photos are shrunk to so many pixels on the longer side unless a size is given.
LONGEST_SIDE = 384
# Photos in the picture that compares before and after.
SHOWN = 6
# A pose moves only in the steps that see its photo.
STEPS_PER_PHOTO, LEAST_STEPS = 30, 500
# A line about the loss is logged so many times.
REPORTS = 10

# Degree of the harmonics of new Gaussians.
NEW_DEGREE = 1

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments to its parser."""
    parser.add_argument(
        "input",
        metavar="IN",
        help="folder of photos with cameras (COLMAP, transforms.json, cameras.json), a scene's .npz, or a file of "
        "Gaussians; Gaussians start at what it has of Gaussians, points, depth, or at points where the photos agree",
    )
    parser.add_argument("--photos", metavar="FOLDER", help="the photos, with cameras in the world of a scene or file")
    parser.add_argument("-o", "--output", metavar="OUT", required=True, help="new or empty folder to write")
    parser.add_argument("--steps", type=int, help=f"default: {STEPS_PER_PHOTO} per photo, at least {LEAST_STEPS}")
    parser.add_argument("--size", metavar="HxW", help=f"fit every photo to this (default: longer side {LONGEST_SIDE})")
    parser.add_argument("--hold-out", type=int, metavar="K", help="keep one photo out of K out, and score it")
    parser.add_argument("--fixed-cameras", action="store_true", help="leave the poses as they are")
    parser.add_argument("--focal", action="store_true", help="refine one factor of all focal lengths too")
    parser.add_argument("--degree", type=int, choices=range(4), help="of the harmonics (default: IN's, or 1)")
    parser.add_argument("--max-gaussians", type=int, default=30_000, metavar="N", help="made anew (default: 30000)")
    parser.add_argument(
        "--background",
        metavar="COLOR",
        help="put masked photos on it (black, white, R,G,B); default: look at masks alone",
    )
    parser.add_argument("--backend", choices=BACKENDS, default="auto", help="renderer (default: auto)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 (default: auto)")
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    parser.add_argument(
        "--format", choices=VIEW_FORMATS, default="colmap", help="of the folder of refined cameras (default: colmap)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace OUT where it has content")


@dataclass(frozen=True)
class Task:
    """What is refined.

    Args:
        scene: of the photos seen, with Gaussians, points or depth.
        seen: the photos to fit, with cameras.
        held_out: the photos kept out, with cameras, or None.
        background: [3] or None.
    """

    scene: Scene
    seen: Views
    held_out: Views | None
    background: Float[Tensor, "3"] | None


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Refine, write the folder, and return the result that is also in its result.json."""
    began = time.perf_counter()
    output = Path(arguments.output)
    check_not_inside(output, *(path for path in (arguments.input, arguments.photos) if path is not None))
    device = choose_device(arguments.device)
    with new_folder(output, arguments.overwrite) as folder:
        task = load_task(arguments)
        start = replace(task.scene, gaussians=first_gaussians(task, arguments).to(device))
        result = refine(start, task, arguments)
        refined = replace(
            result.scene, cameras=result.scene.cameras.to("cpu"), gaussians=result.scene.gaussians.to("cpu")
        )
        after = replace(task.seen, cameras=refined.cameras)
        scores = {"photos": {"psnr before": mean(result.psnr_before), "psnr after": mean(result.psnr_after)}}
        if task.held_out is not None:
            scores["held out"] = held_out_scores(start.gaussians, result.scene.gaussians, task, arguments.backend)
        compare(start.gaussians, result.scene.gaussians, after, task, arguments.backend, folder / "compare.png")
        save_scene(refined, folder / "gaussians.ply")
        save_views(after, folder / "cameras", arguments.format, refined.point_cloud())
        write_json({"losses": result.losses.tolist()}, folder / "losses.json")
        summary = summarize(arguments, task, result, scores, time.perf_counter() - began)
        write_json(summary, folder / "result.json")
    return summary


def describe(summary: dict[str, Any]) -> str:
    """The summary in words."""
    lines = [
        f"{summary['gaussians']} Gaussians and {summary['photos']} photos of {summary['height']}x{summary['width']}, "
        f"{summary['steps']} steps in {summary['seconds']:.0f} s"
    ]
    for photos, row in summary["scores"].items():
        lines.append(f"  {photos:<9} " + ", ".join(f"{name} {value:.3f}" for name, value in row.items()))
    moved = summary["cameras_moved"]
    lines.append(
        f"  cameras turned by {moved['degrees']:.2f} degrees and moved by {moved['distance']:.4g} on average"
        if moved is not None
        else "  cameras stayed"
    )
    return "\n".join([*lines, f"look at {Path(summary['output']) / 'compare.png'}"])


def load_task(arguments: argparse.Namespace) -> Task:
    """Load the scene and its photos, and split them.

    Raises:
        ValueError: if photos or cameras are missing, or nothing is left to fit.
    """
    source = Path(arguments.input)
    if source.is_dir():
        if arguments.photos is not None:
            raise ValueError(f"{source} is a folder of photos itself; --photos goes with a scene's .npz or Gaussians")
        photos = load_posed(source, photo_size(source, arguments.size))
        points = load_points(source)
        scene = Scene(photos.cameras, photos.images, photos.depths, points=points, names=photos.names, scale="aligned")
    else:
        scene = load_scene(source)
        photos = load_photos(scene, arguments)
    background = None if arguments.background is None else parse_color(arguments.background)
    held_out = held_out_indices(len(photos), arguments.hold_out)
    seen = [index for index in range(len(photos)) if index not in held_out]
    if len(scene) == len(photos):
        scene = only(scene, seen)
    return Task(scene, photos[seen], photos[held_out] if held_out else None, background)


def load_photos(scene: Scene, arguments: argparse.Namespace) -> Views:
    """The photos of a scene that was read from a file: those given, or its own images, with cameras."""
    if arguments.photos is not None:
        return posed_views(scene, load_views(arguments.photos, photo_size(arguments.photos, arguments.size)))
    if scene.images is None or len(scene) == 0:
        raise ValueError(f"{arguments.input} has no photos; give --photos FOLDER, with cameras in its world")
    photos = posed_views(scene)
    return photos.fit(*fitting_size(photos, arguments.size))


def photo_size(folder: Path | str, size: str | None) -> tuple[int, int]:
    """The (height, width) to load photos at: the size asked for, or that of the first photo, shrunk."""
    return parse_size(size) if size is not None else fitting_size(load_views(folder, select=[0]), None)


def fitting_size(photos: Views, size: str | None) -> tuple[int, int]:
    """The (height, width) asked for, or that of the photos, shrunk to `LONGEST_SIDE`."""
    if size is not None:
        return parse_size(size)
    shrink = min(1.0, LONGEST_SIDE / max(photos.height, photos.width))
    return max(1, round(photos.height * shrink)), max(1, round(photos.width * shrink))


def held_out_indices(count: int, every: int | None) -> list[int]:
    """Indices of one photo out of `every`, from the middle of the first group on."""
    if every is None:
        return []
    if every < 2 or every // 2 >= count:
        raise ValueError(
            f"--hold-out {every} of {count} photos; accepted are 2 and more, so that photos are left to fit"
        )
    return list(range(every // 2, count, every))


def only(scene: Scene, index: list[int]) -> Scene:
    """The scene with some of its images, cameras and depth maps."""
    maps = {name: getattr(scene, name) for name in ("images", "depths", "depth_uncertainty")}
    maps = {name: None if value is None else value[index] for name, value in maps.items()}
    return replace(scene, cameras=scene.cameras[index], names=tuple(scene.names[i] for i in index), **maps)


def first_gaussians(task: Task, arguments: argparse.Namespace) -> Gaussians:
    """The scene's Gaussians, or new ones at its points, its depth, or where the photos agree."""
    scene = task.scene
    known = scene.gaussians is not None or scene.points is not None
    if not known and (scene.depths is None or not (scene.depths > 0).any()):
        logger.info("no Gaussians, points or depth; looking for points on which the photos agree")
        scene = replace(scene, points=consistent_points(task.seen, arguments.max_gaussians, arguments.seed))
    degree = NEW_DEGREE if arguments.degree is None and scene.gaussians is None else arguments.degree
    return initial_gaussians(scene, degree, arguments.max_gaussians, arguments.seed)


def refine(start: Scene, task: Task, arguments: argparse.Namespace) -> RefinementResult:
    """Refine, with a line about the loss now and then."""
    steps = max(LEAST_STEPS, STEPS_PER_PHOTO * len(task.seen)) if arguments.steps is None else arguments.steps
    every = max(1, steps // REPORTS)

    def log(step: int, loss: float) -> None:
        if step % every == 0:
            logger.info("step %d of %d: loss %.4f", step, steps, loss)

    return refine_scene(
        start,
        task.seen,
        steps=steps,
        optimize_cameras=not arguments.fixed_cameras,
        optimize_intrinsics=arguments.focal,
        background=task.background,
        settings=RefinementSettings(backend=arguments.backend, seed=arguments.seed),
        on_step=log,
    )


def held_out_scores(before: Gaussians, after: Gaussians, task: Task, backend: str) -> dict[str, float | None]:
    """Mean scores of the photos kept out, seen by their given cameras."""
    scores = {}
    for when, gaussians in (("before", before), ("after", after)):
        found = photo_scores(gaussians, task.held_out, task.background, backend)
        scores.update({f"{name} {when}": mean(values) for name, values in found.items()})
    return scores


def mean(values: Tensor) -> float | None:
    """A mean that JSON can hold."""
    value = float(values.mean())
    return value if math.isfinite(value) else None


@torch.no_grad()
def compare(before: Gaussians, after: Gaussians, refined: Views, task: Task, backend: str, path: Path) -> None:
    """Write a picture with rows photo, before and after; photos kept out come first."""
    # loads diffusers, which takes a second
    from ..evaluation.pictures import grid_picture

    given, moved = task.seen, refined
    if task.held_out is not None:
        given, moved = (Views.cat([task.held_out, views]) for views in (given, moved))
    held_out = 0 if task.held_out is None else min(len(task.held_out), SHOWN // 2)
    shown = list(range(held_out))
    rest = len(given) - len(task.seen)
    shown += [rest + i for i in spread(len(task.seen), min(SHOWN - held_out, len(task.seen)))]
    rows = [given.images[shown]]
    for gaussians, views in ((before, given), (after, moved)):
        cameras = views.cameras[shown].to(gaussians.device)
        near = near_plane(gaussians, cameras)
        background = None if task.background is None else task.background.to(gaussians.means)
        rows.append(render_gaussians(gaussians, cameras, backend, background, near=near).images.cpu())
    grid_picture(rows, path, len(shown), zoom=1)


def summarize(
    arguments: argparse.Namespace, task: Task, result: RefinementResult, scores: dict[str, Any], seconds: float
) -> dict[str, Any]:
    """The refinement in numbers that JSON can hold."""
    moved = {"degrees": mean(result.turns), "distance": mean(result.shifts), "focal_factor": result.focal_factor}
    return {
        "input": arguments.input,
        "output": str(Path(arguments.output).resolve()),
        "photos": len(task.seen),
        "held_out": [] if task.held_out is None else list(task.held_out.names),
        "height": task.seen.height,
        "width": task.seen.width,
        "gaussians": len(result.scene.gaussians),
        "degree": result.scene.gaussians.degree,
        "steps": len(result.losses),
        "seed": arguments.seed,
        "scale": result.scene.scale,
        "scores": scores,
        "cameras_moved": None if arguments.fixed_cameras else moved,
        "views": [
            {"name": name, "psnr_before": before, "psnr_after": after, "degrees": degrees, "distance": distance}
            for name, before, after, degrees, distance in zip(
                task.seen.names,
                *(
                    [mean(value) for value in values]
                    for values in (result.psnr_before, result.psnr_after, result.turns, result.shifts)
                ),
                strict=True,
            )
        ],
        "seconds": round(seconds, 1),
    }
