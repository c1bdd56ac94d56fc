"""`anyviews run` with LIRM: photos of an object with cameras and masks to a mesh with materials, for any light."""

import argparse
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...color import srgb_from_linear
from ...formats.hdr import read_environment
from ...models.lirm.processing_lirm import on_white
from ...pipelines.inputs_lirm import read_object_photos
from ...pipelines.output_lirm import LIRMAsset
from ...pipelines.pipeline_lirm import LIRMPipeline
from ...rendering.shading.studio import studio_environment
from ..checkpoints import load_checkpoint
from ..outputs import FILES
from ..overview import MOST_COLUMNS, SIDE, Row
from ..page import grid, heading, paragraph, photo_section, pixels_figure, scene_figure, table, thinned, video_figure
from ..photos import load_posed


TITLE = "LIRM: shape and materials of an object"
INPUT = "photos of an object with their cameras, transparent or with masks"
FORMATS = ("glb", "usdz", "obj", "mesh-ply", "mp4")
DEFAULT_FORMATS = ("glb", "mp4")
# What is always written: the state that further photos refine.
ASSET = "asset"

# The page shows so many of the photos beside what the network sees, at so many pixels.
MOST_SHOWN, SHOWN_SIDE = 6, 128
MAPS = ("base colour", "roughness", "metallic", "normals")


def add_arguments(group: argparse._ArgumentGroup) -> None:
    """Add this method's options."""
    group.add_argument("--refine", metavar="ASSET", help="asset/ of an earlier run: PHOTOS are further ones of it")
    group.add_argument("--views-per-step", type=int, metavar="N", help="photos of one update (default: as trained)")
    group.add_argument(
        "--order",
        choices=("spread", "capture"),
        default="spread",
        help="photos of an update: far from each other, or as they come (default: spread)",
    )
    group.add_argument("--center", metavar="X,Y,Z", help="of the object (default: found from the masks)")
    group.add_argument("--radius", type=float, help="of a sphere around the center that holds the object")
    group.add_argument("--remove-background", action="store_true", help="make masks by rembg where photos have none")
    group.add_argument("--resolution", type=int, default=256, metavar="N", help="cells of the grid (default: 256)")
    group.add_argument("--texture-size", type=int, default=1024, metavar="N", help="texels (default: 1024)")
    group.add_argument("--max-faces", type=int, default=20_000, metavar="N", help="of the mesh (default: 20000)")
    group.add_argument(
        "--environment", metavar="FILE", help=".hdr or .exr that lights the video (default: a grey room)"
    )
    group.add_argument("--frames", type=int, default=48, metavar="N", help="of the video (default: 48)")


def run(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Reconstruct, and write the files."""
    center = _point(arguments.center)
    if arguments.environment is None:
        environment = studio_environment(up=torch.tensor([0.0, 1.0, 0.0]), front=torch.tensor([0.0, 0.0, 1.0]))
    else:
        environment = read_environment(arguments.environment)
    pipe = load_checkpoint(
        LIRMPipeline, arguments.checkpoint, arguments.device, progress=not arguments.json, task="updates"
    )
    known = None if arguments.refine is None else pipe.load_asset(arguments.refine)
    if known is not None and (center is not None or arguments.radius is not None):
        raise ValueError("--refine keeps the object's place; leave out --center and --radius")
    remover = "rembg" if arguments.remove_background else None
    photos = read_object_photos(load_posed(arguments.photos, None), background_remover=remover)
    options = {name: getattr(arguments, name) for name in ("views_per_step", "order", "resolution", "max_faces")}
    options["texture_size"] = arguments.texture_size
    start = time.perf_counter()
    if known is None:
        asset = pipe(photos, center=center, radius=arguments.radius, **options)
    else:
        asset = pipe.update(known, photos, **options)
    seconds = time.perf_counter() - start
    files = [ASSET]
    asset.save(folder / ASSET)
    for name in arguments.formats:
        if name == "mp4":
            asset.turntable(folder / FILES[name], environment, arguments.frames)
        else:
            asset.save(folder / FILES[name])
        files.append(FILES[name])
    return {
        "photos": len(photos),
        "device": str(pipe.device),
        "parts": [{**_summary(asset), "seconds": round(seconds, 3), "files": files}],
        "shown": (asset, photos, environment),
    }


def sections(result: dict[str, Any], folder: Path) -> list[str]:
    """The object to turn, in the light, and photos beside what the network sees from the same places."""
    asset, photos, _ = result["shown"]
    (part,) = result["parts"]
    html = [heading("The object"), paragraph(_sentence(part))]
    html.append(scene_figure(asset.to_scene(), "The mesh in its base colours, and the cameras; drag to turn"))
    video = folder / FILES["mp4"]
    if video.is_file():
        html.append(video_figure(video, "The mesh with its materials in the light of an environment"))
    html.append(heading("Photos, and what the network sees from their places"))
    html.append(
        paragraph(
            "Volume rendering of the network's fields, not of the mesh. Normals are shown as colours in the world of "
            "the cameras.",
            quiet=True,
        )
    )
    shown = photos[thinned(len(photos), MOST_SHOWN)]
    scale = min(1.0, SHOWN_SIDE / max(shown.height, shown.width))
    shown = shown.resize(max(1, round(shown.height * scale)), max(1, round(shown.width * scale)))
    maps = asset.render_views(shown.cameras)
    normals = maps.normals / 2 + 0.5
    figures = []
    for i, name in enumerate(shown.names):
        figures.append(pixels_figure(shown.images[i], name))
        figures.append(pixels_figure(maps.images[i], "what the network sees"))
        for caption, values in zip(MAPS, (maps.base_colors, maps.roughness, maps.metallic, normals), strict=True):
            if values is not None:
                picture = on_white(values[i], maps.masks[i]).clamp(0, 1).expand(3, -1, -1)
                figures.append(pixels_figure(picture, caption))
    html.append(grid(figures))
    columns = ["photos", "names"]
    rows = {
        f"update {index + 1}": [str(len(names)), ", ".join(names[:8]) + (" ..." if len(names) > 8 else "")]
        for index, names in enumerate(part["updates"])
    }
    return [*html, heading("Updates"), table(columns, rows), *photo_section(photos)]


def overview(result: dict[str, Any], folder: Path) -> list[Row]:
    """Photos, and the mesh once around in the light of the environment and in its base colours."""
    asset, photos, environment = result["shown"]
    lit = asset.relight(environment, asset.turntable_cameras(MOST_COLUMNS, SIDE), method="prefiltered")
    # radiance is summed over the covered part of a pixel; white fills the rest
    rows = [("photos", photos.images), ("mesh, lit anew", srgb_from_linear(lit.radiance + 1 - lit.masks))]
    return rows if lit.base_colors is None else [*rows, ("base colour", on_white(lit.base_colors, lit.masks))]


def describe(result: dict[str, Any]) -> list[str]:
    """The reconstruction in words."""
    return [_sentence(part) for part in result["parts"]]


def _sentence(part: dict[str, Any]) -> str:
    count = sum(len(names) for names in part["updates"])
    return (
        f"{part['faces']} faces with materials of {count} photos in {len(part['updates'])} "
        f"update{'s'[: len(part['updates']) != 1]}, in the unit of the given cameras, in {part['seconds']:.1f} s"
    )


def _summary(asset: LIRMAsset) -> dict[str, Any]:
    return {
        "faces": len(asset.mesh),
        "updates": [list(photos.names) for photos in asset.history],
        "center": asset.frame.center.tolist(),
        "radius": 0.5 / asset.frame.similarity.scale.item(),
        "gain": asset.frame.gain,
    }


def _point(text: str | None) -> Tensor | None:
    if text is None:
        return None
    try:
        numbers = [float(number) for number in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != 3:
        raise ValueError(f"--center {text}; accepted are three numbers such as 0.1,0,2.5")
    return torch.tensor(numbers)
