"""`anyviews convert`: photos, cameras and scenes from one format to another."""

import argparse
import re
from pathlib import Path
from typing import Any

from ..formats import SCENE_FORMATS, VIEW_FORMATS, load_points, load_views, save_scene, save_views
from ..formats.detect import format_of
from ..formats.npz import read_npz
from ..scene import PointCloud, Scene
from ..views import Views


HELP = "convert photos with cameras, or a scene, to another format"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments to its parser."""
    parser.add_argument(
        "input",
        metavar="IN",
        help="folder with cameras.json, transforms.json or a COLMAP model, or a scene's .npz file",
    )
    parser.add_argument("output", metavar="OUT", help="folder or file to write")
    parser.add_argument("--format", choices=SCENE_FORMATS, help="format of OUT (default: by its ending)")
    parser.add_argument("--size", metavar="HxW", help="fit every photo to this height and width, e.g. 288x384")
    parser.add_argument("--fps", type=float, default=24, help="frames per second of mp4 (default: 24)")
    parser.add_argument("--overwrite", action="store_true", help="replace OUT where it exists")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Convert, and return a summary that JSON can hold."""
    source, output = Path(arguments.input), Path(arguments.output)
    format = arguments.format or format_of(output)
    size = None if arguments.size is None else parse_size(arguments.size)
    # replacing what is being read would delete the original photos
    inside = output.exists() and output.resolve().is_relative_to(source.resolve())
    if inside or source.resolve().is_relative_to(output.resolve()):
        raise ValueError(f"the output {output} exists and is part of the input {source}, or holds it; give another")
    if source.suffix.lower() == ".npz" and size is None:
        scene = read_npz(source)
        save_scene(scene, output, format, arguments.fps, arguments.overwrite)
        return _summary(arguments, format, scene.images, scene.points, len(scene))
    views, points = load_views(source, size), load_points(source)
    if views.cameras is None:
        raise ValueError(f"{source} has photos without cameras; convert needs cameras.json, transforms.json or COLMAP")
    if format in VIEW_FORMATS:
        save_views(views, output, format, points, arguments.overwrite)
    else:
        save_scene(_scene(views, points), output, format, arguments.fps, arguments.overwrite)
    return _summary(arguments, format, views.images, points, len(views))


def describe(summary: dict[str, Any]) -> str:
    """The summary in words."""
    size = f" of {summary['height']}x{summary['width']}" if "height" in summary else ""
    points = f" and {summary['points']} points" if summary["points"] else ""
    return (
        f"{summary['views']} views{size}{points} from {summary['input']} to {summary['output']} ({summary['format']})"
    )


def parse_size(text: str) -> tuple[int, int]:
    """(height, width) from text such as 288x384."""
    match = re.fullmatch(r"([1-9]\d*)[xX]([1-9]\d*)", text)
    if match is None:
        raise ValueError(f"--size {text} is not HxW; type for example --size 288x384 (height x width)")
    return int(match[1]), int(match[2])


def _scene(views: Views, points: PointCloud | None) -> Scene:
    return Scene(views.cameras, views.images, views.depths, points=points, names=views.names, scale="aligned")


def _summary(
    arguments: argparse.Namespace, format: str, images: Any, points: PointCloud | None, count: int
) -> dict[str, Any]:
    summary = {"input": arguments.input, "output": arguments.output, "format": format, "views": count}
    if images is not None:
        summary.update(height=images.shape[-2], width=images.shape[-1])
    return {**summary, "points": 0 if points is None else len(points)}
