"""`anyviews demo`: one page of what a checkpoint does with a scene, in under a minute on a laptop."""

import argparse
import json
from pathlib import Path
from typing import Any

from .convert import parse_size
from .methods import method_of, mvgd
from .methods.mvgd_generation import cautions, generate
from .outputs import check_not_inside
from .photos import HELD_OUT, choose_targets, load_posed
from .run import add_common_arguments, describe_result, run_into


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
    mvgd.add_sampling_arguments(parser)
    add_common_arguments(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace OUT even if it is not an earlier demo")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Generate left-out photos and a path, write one page, and return the result that is also in result.json."""
    arguments.scene = find_scene(arguments.scene, arguments.checkpoint)
    if method_of(arguments.checkpoint) != "mvgd":
        raise ValueError(
            f"the demo is one of MVGD, and {arguments.checkpoint} is another method's checkpoint; to use it: "
            f"anyviews run PHOTOS --checkpoint {arguments.checkpoint} -o OUT"
        )
    output = Path(arguments.output)
    check_not_inside(output, arguments.scene, arguments.checkpoint)
    return run_into(arguments, mvgd, generate_both, arguments.overwrite or is_earlier_demo(output), "scene")


def generate_both(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Left-out photos and a path between the photos, each in a folder of its own."""
    size = None if arguments.size is None else parse_size(arguments.size)
    photos = load_posed(arguments.scene, size)
    pipe = mvgd.load_pipeline(arguments.checkpoint, arguments.device, progress=not arguments.json)
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
        parts.append(mvgd.write_part(generation, folder, list(mvgd.DEFAULT_FORMATS), path))
    return {
        "title": f"{Path(arguments.scene).resolve().name}: views that nobody photographed",
        "photos": len(photos),
        "photo_size": [photos.height, photos.width],
        "device": str(pipe.device),
        "warnings": [text for generation in generations for text in cautions(generation)],
        "parts": parts,
        "shown": (photos, generations),
    }


def describe(result: dict[str, Any]) -> str:
    """The result in words."""
    return describe_result(result, mvgd)


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
