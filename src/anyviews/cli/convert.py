"""`anyviews convert`: photos, cameras, points, Gaussians and meshes from one format to another."""

import argparse
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..formats import SCENE_FORMATS, VIEW_FORMATS, load_points, load_scene, load_views, save_scene, save_views
from ..formats.scene_files import MESH_FORMATS, SCENE_SUFFIXES, format_of
from ..formats.world_up import AXES
from ..gaussians import Gaussians
from ..mesh import Mesh
from ..scene import Scene


HELP = "convert photos with cameras, points, Gaussians, a mesh or a scene to another format"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments to its parser."""
    parser.add_argument(
        "input",
        metavar="IN",
        help="folder with cameras.json, transforms.json or a COLMAP model, or a scene, points, Gaussians or a mesh "
        f"({', '.join(SCENE_SUFFIXES)})",
    )
    parser.add_argument("output", metavar="OUT", help="folder or file to write")
    parser.add_argument(
        "--format",
        choices=SCENE_FORMATS,
        help="format of OUT (default: by its ending; .ply holds Gaussians where IN has some)",
    )
    parser.add_argument("--size", metavar="HxW", help="fit every photo to this height and width, e.g. 288x384")
    parser.add_argument("--min-opacity", type=float, metavar="X", help="leave out Gaussians with less, e.g. 0.005")
    parser.add_argument(
        "--degree",
        type=int,
        choices=range(4),
        help="degree of the Gaussians' harmonics to keep; 0 drops what colours do by direction",
    )
    parser.add_argument(
        "--resolution",
        type=int,
        default=256,
        metavar="N",
        help="of a mesh made from Gaussians or depth: voxels along its longest side (default: 256)",
    )
    parser.add_argument(
        "--up",
        choices=AXES,
        default="y+",
        help="the world's up, which viewers of .glb and .usdz show upwards (default: y+; COLMAP: y-)",
    )
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
    is_scene = source.suffix.lower() in SCENE_SUFFIXES and not source.is_dir()
    if format in VIEW_FORMATS and not is_scene:
        # views keep the masks, which a scene has no place for
        views, points = load_views(source, size), load_points(source)
        if views.cameras is None:
            raise ValueError(
                f"{source} has photos without cameras; convert needs cameras.json, transforms.json or COLMAP"
            )
        save_views(views, output, format, points, arguments.overwrite)
        return _summary(arguments, format, Scene(views.cameras, views.images, points=points))
    scene = load_scene(source, size)
    format = arguments.format or format_of(output, scene)
    scene = _prepared(scene, arguments)
    if format in MESH_FORMATS and scene.mesh is None:
        scene = replace(scene, mesh=_surface(scene, arguments))
    save_scene(scene, output, format, arguments.fps, arguments.overwrite, AXES[arguments.up])
    return _summary(arguments, format, scene)


def describe(summary: dict[str, Any]) -> str:
    """The summary in words."""
    size = f" of {summary['height']}x{summary['width']}" if "height" in summary else ""
    parts = [f"{summary['views']} views{size}"] if summary["views"] else []
    parts += [
        f"{summary[name]} {label}"
        for name, label in (("points", "points"), ("gaussians", "Gaussians"), ("faces", "faces"))
        if summary[name]
    ]
    return f"{' and '.join(parts)} from {summary['input']} to {summary['output']} ({summary['format']})"


def parse_size(text: str) -> tuple[int, int]:
    """(height, width) from text such as 288x384."""
    match = re.fullmatch(r"([1-9]\d*)[xX]([1-9]\d*)", text)
    if match is None:
        raise ValueError(f"--size {text} is not HxW; type for example --size 288x384 (height x width)")
    return int(match[1]), int(match[2])


def _prepared(scene: Scene, arguments: argparse.Namespace) -> Scene:
    """The scene as it will be written: what the options leave of it."""
    if arguments.min_opacity is None and arguments.degree is None:
        return scene
    if scene.gaussians is None:
        raise ValueError(f"--min-opacity and --degree are about Gaussians; {arguments.input} has none")
    return replace(scene, gaussians=_chosen(scene.gaussians, arguments))


def _surface(scene: Scene, arguments: argparse.Namespace) -> Mesh:
    """A mesh of the scene's Gaussians, else of its depth."""
    # loads the libraries of surface extraction
    from ..rendering.surfaces import mesh_from_gaussians, mesh_from_scene

    if scene.gaussians is None and scene.depths is None:
        raise ValueError(f"{arguments.input} has no mesh, no Gaussians and no depth; {arguments.output} needs one")
    if scene.gaussians is None:
        return mesh_from_scene(scene, resolution=arguments.resolution)
    cameras = scene.cameras if len(scene) else None
    return mesh_from_gaussians(scene.gaussians, cameras, resolution=arguments.resolution)


def _chosen(gaussians: Gaussians, arguments: argparse.Namespace) -> Gaussians:
    if arguments.min_opacity is not None:
        gaussians = gaussians.prune(min_opacity=arguments.min_opacity)
    if arguments.degree is not None:
        gaussians = gaussians.with_degree(min(arguments.degree, gaussians.degree))
    return gaussians


def _summary(arguments: argparse.Namespace, format: str, scene: Scene) -> dict[str, Any]:
    summary = {"input": arguments.input, "output": arguments.output, "format": format, "views": len(scene)}
    if scene.images is not None:
        summary.update(height=scene.images.shape[-2], width=scene.images.shape[-1])
    counts = {"points": scene.points, "gaussians": scene.gaussians, "faces": scene.mesh}
    return {**summary, **{name: 0 if part is None else len(part) for name, part in counts.items()}}
