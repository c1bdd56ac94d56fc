"""`anyviews run` with MVGD: posed photos to novel images and depth."""

import argparse
from pathlib import Path
from typing import Any

from ...evaluation.pictures import color_depth
from ...pipelines import MVGDPipeline
from ..checkpoints import load_checkpoint
from ..convert import parse_size
from ..outputs import FILES
from ..overview import Row
from ..page import photo_section
from ..photos import DEFAULT_FRAMES, HELD_OUT, NOVEL_PATHS, choose_targets, load_posed
from .mvgd_generation import Generation, cautions, generate, score, summarize, write_files
from .mvgd_page import generation_section


TITLE = "MVGD: novel images and depth from photos with cameras"
INPUT = "photos of a scene with their cameras"
FORMATS = ("npz", "depth", "ply", "mp4", "colmap", "transforms", "cameras-json")
DEFAULT_FORMATS = ("npz", "depth", "ply", "mp4")


def add_arguments(group: argparse._ArgumentGroup) -> None:
    """Add this method's options."""
    group.add_argument(
        "--path",
        choices=(*NOVEL_PATHS, HELD_OUT),
        default="orbit",
        help="where to look from; held-out: photos are left out, generated and compared (default: orbit)",
    )
    group.add_argument("--frames", type=int, help=f"views to generate (default: {DEFAULT_FRAMES}, or all held out)")
    group.add_argument("--hold-out-every", type=int, default=4, metavar="K", help="held-out: one of K (default: 4)")
    group.add_argument("--context-views", type=int, metavar="N", help="photos to see, evenly spaced (default: all)")
    group.add_argument("--max-context-views", type=int, metavar="N", help="photos per target: the nearest N")
    group.add_argument("--size", metavar="HxW", help="fit every photo to this height and width, for mixed sizes")
    add_sampling_arguments(group)
    group.add_argument("--targets-per-pass", type=int, default=1, metavar="N", help="generated jointly (default: 1)")
    group.add_argument("--incremental", action="store_true", help="later views see the generated ones before them")
    group.add_argument("--scene-scale", type=float, metavar="X", help="unit of the model in units of the cameras")
    group.add_argument("--max-memory", metavar="2GB", help="what a pass may take beside the weights")


def add_sampling_arguments(group: argparse._ActionsContainer) -> None:
    """Add the options that `run` and `demo` share."""
    group.add_argument("--steps", type=int, default=10, help="denoising steps (default: 10)")
    group.add_argument("--ensemble", type=int, default=5, help="samples per view (default: 5)")


def run(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Generate, and write the files."""
    size = None if arguments.size is None else parse_size(arguments.size)
    photos = load_posed(arguments.photos, size)
    targets = choose_targets(
        photos, arguments.path, arguments.frames, arguments.context_views, arguments.hold_out_every
    )
    pipe = load_pipeline(arguments.checkpoint, arguments.device, progress=not arguments.json)
    generation = generate(
        pipe,
        targets,
        arguments.seed,
        num_inference_steps=arguments.steps,
        ensemble_size=arguments.ensemble,
        targets_per_pass=arguments.targets_per_pass,
        incremental=arguments.incremental,
        scene_scale=arguments.scene_scale,
        max_context_views=arguments.max_context_views,
        max_memory=arguments.max_memory,
    )
    return {
        "title": f"{Path(arguments.photos).resolve().name}: {arguments.path}",
        "photos": len(photos),
        "photo_size": [photos.height, photos.width],
        "device": str(pipe.device),
        "warnings": cautions(generation),
        "parts": [write_part(generation, folder, arguments.formats)],
        "shown": (photos, [generation]),
    }


def load_pipeline(checkpoint: str, device: str, progress: bool) -> MVGDPipeline:
    """Load a pipeline from a folder or a Hub repository, as `load_checkpoint` does."""
    return load_checkpoint(MVGDPipeline, checkpoint, device, progress, task="denoising")


def write_part(generation: Generation, folder: Path, formats: list[str], subfolder: str = "") -> dict[str, Any]:
    """Write the files of one generation, in a subfolder where one is named; returns its summary with them."""
    files = [str(Path(subfolder) / name) for name in write_files(generation, folder / subfolder, formats)]
    part = {**summarize(generation, score(generation)), "files": files}
    if "mp4" in formats:
        part["video"] = str(Path(subfolder) / FILES["mp4"])
    return part


def sections(result: dict[str, Any], folder: Path) -> list[str]:
    """Every generation, and the photos."""
    photos, generations = result["shown"]
    html = []
    for part, generation in zip(result["parts"], generations, strict=True):
        html += generation_section(part, generation, folder)
    seen = set(generations[0].context.names)
    return html + photo_section(photos, ["seen" if name in seen else "left out" for name in photos.names])


def overview(result: dict[str, Any], folder: Path) -> list[Row]:
    """Of every generation the photos seen, the views, what they are compared with, and their depth."""
    rows = [("photos seen", result["shown"][1][0].context.images)]
    for generation in result["shown"][1]:
        scene, truth = generation.scene, generation.truth
        if truth is not None:
            rows.append(("photos left out", truth.images))
        if scene.images is not None:
            rows.append(("generated", scene.images))
        if scene.depths is not None:
            rows.append(("their depth, near is warm", color_depth(scene.depths)))
    return rows


def describe(result: dict[str, Any]) -> list[str]:
    """The generations in words."""
    lines = []
    for part in result["parts"]:
        height, width = part["image_size"]
        lines.append(
            f"{part['path']}: {len(part['targets'])} views of {height}x{width} from {len(part['context_views'])} "
            f"photos in {part['seconds']:.1f} s"
        )
        for name, row in (part["scores"] or {}).items():
            figures = (f"{metric} {value:.3f}" for metric, value in row.items() if value is not None)
            lines.append(f"  {name:<16} {', '.join(figures)}")
    return lines
