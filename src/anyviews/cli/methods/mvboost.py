"""`anyviews run` with MVBoost: one photo of an object, or each of several, to 3D Gaussians."""

import argparse
import time
import warnings
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from ...cameras import Cameras
from ...foreground import REMOVER_NAME
from ...formats.image_folder import write_image_folder
from ...formats.photos import is_photo
from ...gaussians import FIELDS, Gaussians
from ...models.lgm import lgm_cameras
from ...pipelines.output_mvboost import MVBoostPipelineOutput
from ...pipelines.pipeline_mvboost import STRENGTH, MVBoostPipeline
from ...scene import Scene
from ..checkpoints import load_checkpoint
from ..outputs import write_formats
from ..overview import Row
from ..page import grid, heading, paragraph, pixels_figure, scene_figure, thinned


TITLE = "MVBoost: Gaussians of an object from one photo"
INPUT = "a photo of an object, transparent around it, or several such photos of several objects"
FORMATS = (
    *("gaussian-ply", "compressed-ply", "splat", "spz", "html", "mp4"),
    *("npz", "ply", "depth", "colmap", "transforms", "cameras-json"),
)
DEFAULT_FORMATS = ("gaussian-ply", "html", "mp4")

# The page shows so many objects; the folder beside it holds all.
MOST_SHOWN = 6
# The picture shows so many.
MOST_PICTURED = 3
# Degrees above the horizon of the renders, which show the object's top, too.
ELEVATION = 15.0
# Folders of what the generator drew, always written.
VIEWS, NORMALS = "views", "normals"


def add_arguments(group: argparse._ArgumentGroup) -> None:
    """Add this method's options."""
    group.add_argument("--refine", action="store_true", help="refine the views by what the Gaussians make of them")
    group.add_argument(
        "--strength", type=float, default=STRENGTH, help=f"of the refinement, in (0, 1] (default: {STRENGTH})"
    )
    group.add_argument("--steps", type=int, help="denoising steps (default: the checkpoint's)")
    group.add_argument("--guidance-scale", type=float, help="weight of the photo (default: the checkpoint's)")
    group.add_argument("--lora", metavar="FOLDER", help="boosting adapter to use with the checkpoint")
    group.add_argument(
        "--remove-background", action="store_true", help=f"cut photos without transparency out by {REMOVER_NAME}"
    )
    group.add_argument(
        "--input-view", action="store_true", help="find where the photo was taken from, and fit the Gaussians to it"
    )
    group.add_argument("--frames", type=int, default=24, metavar="N", help="renders around the object (default: 24)")


def run(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Reconstruct every object, and write the files."""
    if arguments.frames < 1:
        raise ValueError(f"--frames {arguments.frames}; accepted are 1 and more")
    photos = find_photos(Path(arguments.photos))
    pipe = load_checkpoint(MVBoostPipeline, arguments.checkpoint, arguments.device, progress=not arguments.json)
    if arguments.lora is not None:
        pipe.load_lora_weights(arguments.lora)
        pipe.fuse_lora()
    parts, shown = [], []
    kept = thinned(len(photos), MOST_SHOWN)
    for i, photo in enumerate(photos):
        start = time.perf_counter()
        output = _reconstruct(pipe, photo, arguments)
        input_view = _fit_input_view(pipe, photo, output, arguments) if arguments.input_view else None
        seconds = time.perf_counter() - start
        scene = output.to_scene(0, _around(pipe, arguments.frames))
        subfolder = photo.name if len(photos) > 1 else ""
        parts.append(
            {
                "photo": photo.name,
                "gaussians": len(output.gaussians),
                "refined": arguments.refine,
                "input_view": input_view,
                "seconds": round(seconds, 3),
                "files": _write(output, scene, folder, subfolder, arguments.formats),
            }
        )
        if i in kept:
            shown.append((parts[-1], output, scene))
    return {"photos": len(photos), "device": str(pipe.device), "parts": parts, "shown": shown}


def find_photos(path: Path) -> list[Path]:
    """The photos of a folder by name, or the one that is given itself.

    Raises:
        FileNotFoundError: if there is none.
    """
    if path.is_file():
        return [path]
    photos = sorted(entry for entry in path.iterdir() if is_photo(entry)) if path.is_dir() else []
    if not photos:
        raise FileNotFoundError(f"{path} has no photos; give a photo of an object, or a folder of such photos")
    return photos


def sections(result: dict[str, Any], folder: Path) -> list[str]:
    """Of every object the photo as it was seen, the views drawn of it, and the Gaussians."""
    html = []
    for part, output, scene in result["shown"]:
        html += [heading(part["photo"]), paragraph(_sentence(part))]
        html.append(scene_figure(scene, "The Gaussians; drag to turn"))
        figures = [pixels_figure(output.pictures[0], "what the generator sees")]
        for caption, images in _rows(output):
            figures += [pixels_figure(image, caption.format(i)) for i, image in enumerate(images)]
        html.append(grid(figures))
    if len(result["shown"]) < len(result["parts"]):
        html.append(paragraph(f"{len(result['shown'])} of {len(result['parts'])} objects are shown.", quiet=True))
    return html


def overview(result: dict[str, Any], folder: Path) -> list[Row]:
    """Of the first objects the photo with the views drawn of it, and the Gaussians from around."""
    rows = []
    for part, output, scene in result["shown"][:MOST_PICTURED]:
        photo = F.interpolate(output.pictures[:1], output.images.shape[-2:], mode="area")[0]
        rows.append((f"{part['photo']}, and views drawn of it", [photo, *output.images]))
        rows.append(("Gaussians from around", scene.images))
    return rows


def describe(result: dict[str, Any]) -> list[str]:
    """The reconstructions in words."""
    return [_sentence(part) for part in result["parts"]]


def _sentence(part: dict[str, Any]) -> str:
    views = "refined views" if part["refined"] else "views"
    sentence = f"{part['photo']}: {part['gaussians']} Gaussians of generated {views} in {part['seconds']:.1f} s"
    found = part["input_view"]
    if found is None:
        return sentence
    if not found["converged"]:
        return f"{sentence}; no pose shows the photo well, the best is off by {found['error']:.2f}"
    return f"{sentence}; the photo's view is off by {found['error']:.2f}, was {found['error_before']:.2f}"


def _reconstruct(pipe: MVBoostPipeline, photo: Path, arguments: argparse.Namespace) -> MVBoostPipelineOutput:
    try:
        return pipe(
            photo,
            refine=arguments.refine,
            strength=arguments.strength,
            num_inference_steps=arguments.steps,
            guidance_scale=arguments.guidance_scale,
            background_remover=REMOVER_NAME if arguments.remove_background else None,
            # each photo its own, so that a result does not depend on the photos before it
            generator=torch.Generator().manual_seed(arguments.seed),
            output_type="pt",
        )
    except ValueError as error:
        raise ValueError(f"{photo}: {error}") from error


def _fit_input_view(
    pipe: MVBoostPipeline, photo: Path, output: MVBoostPipelineOutput, arguments: argparse.Namespace
) -> dict[str, Any]:
    """Replace the Gaussians by those that look like the photo; returns what was found."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # `describe` says what did not converge
        found = pipe.optimize_input_view(
            output.gaussians[0], photo, background_remover=REMOVER_NAME if arguments.remove_background else None
        )
    output.gaussians = Gaussians(**{name: getattr(found.gaussians, name)[None] for name in FIELDS})
    return {
        "converged": found.pose.converged,
        "turn_degrees": found.pose.turn,
        "overlap": found.pose.overlap,
        "error_before": found.error_before,
        "error": found.error,
    }


def _around(pipe: MVBoostPipeline, frames: int) -> Cameras:
    config = pipe.reconstructor.config
    azimuths = [360 * i / frames for i in range(frames)]
    return lgm_cameras(azimuths, ELEVATION, config.camera_radius, config.field_of_view, config.output_size)


def _write(output: MVBoostPipelineOutput, scene: Scene, folder: Path, subfolder: str, formats: list[str]) -> list[str]:
    """Write the files of one object, in a subfolder where one is named; returns their names."""
    target = folder / subfolder
    names = [f"{i:02d}.png" for i in range(len(output.images))]
    write_image_folder(output.images, target / VIEWS, names)
    write_image_folder(output.normals, target / NORMALS, names)
    return [str(Path(subfolder) / name) for name in (VIEWS, NORMALS, *write_formats(scene, target, formats))]


def _rows(output: MVBoostPipelineOutput) -> list[tuple[str, torch.Tensor]]:
    """Captions and images of an object's views, those before a refinement first."""
    rows = [] if output.unrefined_images is None else [("view {} before the refinement", output.unrefined_images)]
    scene = output.to_scene()
    return [*rows, ("view {}", output.images), ("normals {}", output.normals), ("Gaussians {}", scene.images)]
