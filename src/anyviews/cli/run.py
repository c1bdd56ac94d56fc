"""`anyviews run`: posed photos to novel images and depth, with one page that shows them."""

import argparse
import json
import platform
import shlex
import time
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..formats.files import new_folder
from .convert import parse_size
from .generation import (
    DEFAULT_FORMATS,
    DEFAULT_FRAMES,
    FILES,
    HELD_OUT,
    NOVEL_PATHS,
    Generation,
    cautions,
    choose_targets,
    generate,
    load_pipeline,
    load_posed,
    score,
    summarize,
    write_files,
)
from .report import write_report


HELP = "generate novel views and depth of a scene from photos with cameras"

# Arguments that say how to print, not what to compute.
PRINTING = ("verb", "module", "json", "debug")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments to its parser."""
    parser.add_argument("scene", metavar="SCENE", help="folder of photos with cameras.json, transforms.json or COLMAP")
    parser.add_argument("-o", "--output", metavar="OUT", required=True, help="new or empty folder to write")
    parser.add_argument("--method", choices=("mvgd",), default="mvgd", help="default: mvgd")
    parser.add_argument("--checkpoint", required=True, help="folder or Hub repository of a pipeline")
    parser.add_argument(
        "--path",
        choices=(*NOVEL_PATHS, HELD_OUT),
        default="orbit",
        help="where to look from; held-out: photos are left out, generated and compared (default: orbit)",
    )
    parser.add_argument("--frames", type=int, help=f"views to generate (default: {DEFAULT_FRAMES}, or all held out)")
    parser.add_argument("--hold-out-every", type=int, default=4, metavar="K", help="held-out: one of K (default: 4)")
    parser.add_argument("--context-views", type=int, metavar="N", help="photos to see, evenly spaced (default: all)")
    parser.add_argument("--max-context-views", type=int, metavar="N", help="photos per target: the nearest N")
    parser.add_argument("--size", metavar="HxW", help="fit every photo to this height and width, for mixed sizes")
    add_sampling_arguments(parser)
    parser.add_argument("--targets-per-pass", type=int, default=1, metavar="N", help="generated jointly (default: 1)")
    parser.add_argument("--incremental", action="store_true", help="later views see the generated ones before them")
    parser.add_argument("--scene-scale", type=float, metavar="X", help="unit of the model in units of the cameras")
    parser.add_argument("--max-memory", metavar="2GB", help="what a pass may take beside the weights")
    parser.add_argument(
        "--formats",
        default=",".join(DEFAULT_FORMATS),
        help=f"beside images, any of {','.join(FILES)} (default: {','.join(DEFAULT_FORMATS)})",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace OUT where it has content")


def add_sampling_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that `run` and `demo` share."""
    parser.add_argument("--steps", type=int, default=10, help="denoising steps (default: 10)")
    parser.add_argument("--ensemble", type=int, default=5, help="samples per view (default: 5)")
    parser.add_argument("--seed", type=int, default=0, help="of the noise (default: 0)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: auto)")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Generate, write the folder, and return the result that is also in its result.json."""
    start = time.perf_counter()
    output = Path(arguments.output)
    formats = parse_formats(arguments.formats)
    size = None if arguments.size is None else parse_size(arguments.size)
    check_not_inside(output, arguments.scene, arguments.checkpoint)
    # the folder comes first: that it may not be replaced should not be found out after minutes of work
    with new_folder(output, arguments.overwrite) as folder, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        photos = load_posed(arguments.scene, size)
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
        part = write_part(generation, folder, formats)
        result = {
            **describe_run(arguments, photos, str(pipe.device)),
            "output": str(output.resolve()),
            "warnings": [*user_warnings(caught), *cautions(generation)],
            "seconds": round(time.perf_counter() - start, 3),
            "parts": [part],
        }
        write_result(result, folder)
        title = f"{Path(arguments.scene).resolve().name}: {arguments.path}"
        write_report(folder / "index.html", title, result, photos, [generation])
    return result


def describe(result: dict[str, Any]) -> str:
    """The result in words."""
    lines = [f"warning: {warning}" for warning in result["warnings"]]
    for part in result["parts"]:
        height, width = part["image_size"]
        lines.append(
            f"{part['path']}: {len(part['targets'])} views of {height}x{width} from {len(part['context_views'])} "
            f"photos in {part['seconds']:.1f} s"
        )
        for name, row in (part["scores"] or {}).items():
            figures = (f"{metric} {value:.3f}" for metric, value in row.items() if value is not None)
            lines.append(f"  {name:<16} {', '.join(figures)}")
    return "\n".join([*lines, f"look at {Path(result['output']) / 'index.html'}"])


def parse_formats(text: str) -> list[str]:
    """The formats of a list such as npz,ply."""
    formats = [name for name in text.split(",") if name]
    unknown = [name for name in formats if name not in FILES]
    if unknown:
        raise ValueError(f"--formats has {', '.join(unknown)}; accepted are {', '.join(FILES)}, separated by commas")
    return list(dict.fromkeys(formats))


def check_not_inside(output: Path, *inputs: str) -> None:
    """Raise ValueError if replacing the output folder would delete an input."""
    for source in inputs:
        if Path(source).resolve().is_relative_to(output.resolve()):
            raise ValueError(f"{output} holds the input {source}; give another output")


def write_part(generation: Generation, folder: Path, formats: list[str], subfolder: str = "") -> dict[str, Any]:
    """Write the files of one generation, in a subfolder where one is named; returns its summary with them."""
    files = [str(Path(subfolder) / name) for name in write_files(generation, folder / subfolder, formats)]
    part = {**summarize(generation, score(generation)), "files": files}
    if "mp4" in formats:
        part["video"] = str(Path(subfolder) / FILES["mp4"])
    return part


def describe_run(arguments: argparse.Namespace, photos: Any, device: str) -> dict[str, Any]:
    """What was asked for, on what, and by which versions."""
    settings = {name: value for name, value in vars(arguments).items() if name not in PRINTING}
    command = ["anyviews", arguments.verb, settings["scene"]]
    for name, value in settings.items():
        if name != "scene" and value is not None and value is not False:
            command += [f"--{name.replace('_', '-')}"] + ([] if value is True else [str(value)])
    return {
        "verb": arguments.verb,
        "command": shlex.join(command),
        "settings": settings,
        "versions": {
            "anyviews": version("anyviews"),
            "torch": version("torch"),
            "diffusers": version("diffusers"),
            "Python": platform.python_version(),
        },
        "device": device,
        "photos": len(photos),
        "photo_size": [photos.height, photos.width],
    }


def user_warnings(caught: list[warnings.WarningMessage]) -> list[str]:
    """The texts of warnings that are meant for users, each once."""
    return list(dict.fromkeys(str(item.message) for item in caught if item.category is UserWarning))


def write_result(result: dict[str, Any], folder: Path) -> None:
    """Write result.json."""
    text = json.dumps(result, indent=2, allow_nan=False)
    (folder / "result.json").write_text(text + "\n", encoding="utf-8")
