"""`anyviews demo`: one page of what a checkpoint does with a scene, in under a minute on a laptop."""

import argparse
import json
import time
import warnings
from pathlib import Path
from typing import Any

from ..formats.files import new_folder
from .convert import parse_size
from .generation import HELD_OUT, cautions, choose_targets, generate, load_pipeline, load_posed
from .report import write_report
from .run import (
    DEFAULT_FORMATS,
    add_sampling_arguments,
    check_not_inside,
    describe,
    describe_run,
    user_warnings,
    write_part,
    write_result,
)


__all__ = ["HELP", "add_arguments", "describe", "run"]

HELP = "generate and compare views of a sample scene, or of your own, and show them on one page"

DEFAULT_CHECKPOINT = "checkpoints/mvgd-tiny"
TRAINING_COMMAND = (
    "accelerate launch training_scripts/train_mvgd.py --config training_scripts/configs/mvgd_tiny.yaml --output_dir"
)
# The scene that lies in a checkpoint's folder.
SAMPLE = "sample"
# As many photos as the shipped checkpoint was trained to see at most.
MOST_CONTEXT_VIEWS = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments to its parser."""
    parser.add_argument(
        "scene",
        metavar="SCENE",
        nargs="?",
        help="folder of photos with cameras.json, transforms.json or COLMAP (default: the checkpoint's sample)",
    )
    parser.add_argument(
        "--checkpoint",
        default=DEFAULT_CHECKPOINT,
        help=f"folder or Hub repository of a pipeline (default: {DEFAULT_CHECKPOINT})",
    )
    parser.add_argument("-o", "--output", metavar="OUT", default="demo", help="folder to write (default: demo)")
    parser.add_argument("--size", metavar="HxW", help="fit every photo to this height and width, for mixed sizes")
    parser.add_argument("--frames", type=int, default=24, help="views of the path (default: 24)")
    add_sampling_arguments(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace OUT even if it is not an earlier demo")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Generate left-out photos and a path, write one page, and return the result that is also in result.json."""
    start = time.perf_counter()
    arguments.scene = find_scene(arguments.scene, arguments.checkpoint)
    output = Path(arguments.output)
    size = None if arguments.size is None else parse_size(arguments.size)
    check_not_inside(output, arguments.scene, arguments.checkpoint)
    replace = arguments.overwrite or is_earlier_demo(output)
    with new_folder(output, replace) as folder, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        photos = load_posed(arguments.scene, size)
        pipe = load_pipeline(arguments.checkpoint, arguments.device, progress=not arguments.json)
        generations, parts = [], []
        for path, frames in ((HELD_OUT, None), ("interpolate", arguments.frames)):
            generation = generate(
                pipe,
                choose_targets(photos, path, frames),
                arguments.seed,
                num_inference_steps=arguments.steps,
                ensemble_size=arguments.ensemble,
                max_context_views=MOST_CONTEXT_VIEWS,
            )
            generations.append(generation)
            parts.append(write_part(generation, folder, list(DEFAULT_FORMATS), path))
        result = {
            **describe_run(arguments, photos, str(pipe.device)),
            "output": str(output.resolve()),
            "warnings": user_warnings(caught) + [text for generation in generations for text in cautions(generation)],
            "seconds": round(time.perf_counter() - start, 3),
            "parts": parts,
        }
        write_result(result, folder)
        title = f"{Path(arguments.scene).resolve().name}: views that nobody photographed"
        write_report(folder / "index.html", title, result, photos, generations)
    return result


def find_scene(scene: str | None, checkpoint: str) -> str:
    """The scene given, or the sample in the checkpoint's folder.

    Raises:
        FileNotFoundError: if the default checkpoint, or the sample, is missing.
    """
    if not Path(checkpoint).is_dir() and (scene is None or checkpoint == DEFAULT_CHECKPOINT):
        raise FileNotFoundError(
            f"the checkpoint {Path(checkpoint).absolute()} does not exist; run this in the source checkout that has "
            f"it, give --checkpoint, or train one: {TRAINING_COMMAND} {checkpoint}"
        )
    if scene is not None:
        return scene
    sample = Path(checkpoint) / SAMPLE
    if not sample.is_dir():
        raise FileNotFoundError(
            f"{checkpoint} has no sample scene; give a folder of posed photos, or make one: "
            f"python utils/make_sample.py {sample}"
        )
    return str(sample)


def is_earlier_demo(folder: Path) -> bool:
    """Whether a folder is one that this verb wrote, which it may replace."""
    try:
        return json.loads((folder / "result.json").read_text(encoding="utf-8")).get("verb") == "demo"
    except (OSError, ValueError, AttributeError):
        return False
