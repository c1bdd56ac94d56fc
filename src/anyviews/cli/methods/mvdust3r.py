"""`anyviews run` with MV-DUSt3R+: photos of which nothing is known to points, cameras, depth and Gaussians."""

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from jaxtyping import Bool, Float
from torch import Tensor

from ...evaluation.pictures import color_depth
from ...formats.photos import Photo, load_photos
from ...geometry.paths import interpolate
from ...pipelines.output_mvdust3r import MVDust3rPlusPipelineOutput
from ...pipelines.pipeline_mvdust3r import MVDust3rPlusPipeline
from ...rendering.gaussians import render_gaussians
from ...rendering.surfaces import mesh_from_scene
from ...scene import Scene
from ...views import Views
from ..camera_map import camera_map
from ..checkpoints import load_checkpoint
from ..outputs import write_formats
from ..overview import MOST_COLUMNS, Row
from ..page import grid, heading, paragraph, pixels_figure, scene_figure, table, thinned
from ..photos import load_posed


TITLE = "MV-DUSt3R+: points, cameras and Gaussians of photos without cameras"
INPUT = "photos of a scene, of which nothing else is known"
GAUSSIAN_FORMATS = ("gaussian-ply", "compressed-ply", "splat", "spz", "html")
VIEW_FORMATS = ("colmap", "transforms", "cameras-json")
MESH_FORMATS = ("glb", "mesh-ply", "obj")
FORMATS = ("npz", "ply", "depth", *GAUSSIAN_FORMATS, *VIEW_FORMATS, *MESH_FORMATS)
DEFAULT_FORMATS = ("npz", "ply", "gaussian-ply", "colmap")

# The page shows so many photos; the folder beside it holds all.
MOST_SHOWN = 24
# Photos are written at their own size where all of them together have no more pixels than this.
MOST_PIXELS = 100_000_000
FOCALS = {"auto": None, "shared": True, "own": False}


def add_arguments(group: argparse._ArgumentGroup) -> None:
    """Add this method's options."""
    group.add_argument(
        "--cameras",
        choices=("none", "intrinsics", "poses"),
        default="none",
        help="what to use of the cameras that come with the photos (default: none)",
    )
    group.add_argument(
        "--references", metavar="A,B", help="photos that serve as references, counted from 0 (default: chosen)"
    )
    group.add_argument(
        "--focal-lengths",
        choices=tuple(FOCALS),
        default="auto",
        help="one of all photos, or each its own (default: shared by photos of one size)",
    )
    group.add_argument(
        "--confidence-percentile",
        type=float,
        default=3.0,
        metavar="P",
        help="percent of all pixels, the least sure, to leave out (default: 3)",
    )
    group.add_argument("--max-views", type=int, default=24, metavar="N", help="photos of one pass (default: 24)")
    group.add_argument("--max-memory", metavar="2GB", help="what a pass may take beside the weights")
    group.add_argument("--skip-unreadable", action="store_true", help="leave out photos that cannot be read")


def run(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Reconstruct, and write the files."""
    references = _references(arguments.references)
    pipe = load_checkpoint(
        MVDust3rPlusPipeline, arguments.checkpoint, arguments.device, progress=not arguments.json, task="passes"
    )
    known: dict[str, Any] = {"images": _photo_folder(arguments.photos)}
    if arguments.cameras != "none":
        known["images"] = load_posed(arguments.photos, None)
    if arguments.cameras == "intrinsics":
        known["intrinsics"] = known["images"].cameras.intrinsics
    start = time.perf_counter()
    # the pipeline logs its plan before it starts, which the command line prints
    output = pipe(
        **known,
        references=references,
        shared_focal=FOCALS[arguments.focal_lengths],
        confidence_percentile=arguments.confidence_percentile,
        max_views=arguments.max_views,
        max_memory=arguments.max_memory,
        skip_unreadable=arguments.skip_unreadable,
        seed=arguments.seed,
    )
    seconds = time.perf_counter() - start
    formats, warnings = _possible_formats(arguments.formats, output)
    scene = output.to_scene()
    files = write_formats(scene, folder, [name for name in formats if name not in (*VIEW_FORMATS, *MESH_FORMATS)])
    if any(name in VIEW_FORMATS for name in formats):
        photos = known["images"] if isinstance(known["images"], Views) else _originals(known["images"], output)
        posed = _with_poses(scene if photos is None else output.to_scene(photos), output.found)
        files += write_formats(posed, folder, [name for name in formats if name in VIEW_FORMATS])
    if any(name in MESH_FORMATS for name in formats):
        meshed = replace(scene, mesh=mesh_from_scene(scene))
        files += write_formats(meshed, folder, [name for name in formats if name in MESH_FORMATS])
    return {
        "photos": len(output.views),
        "device": str(pipe.device),
        "warnings": warnings,
        "parts": [{**_summary(output, pipe.last_plan.describe()), "seconds": round(seconds, 3), "files": files}],
        "shown": (output, scene),
    }


def sections(result: dict[str, Any], folder: Path) -> list[str]:
    """The scene, its cameras, and every photo with its depth and confidence."""
    output, scene = result["shown"]
    (part,) = result["parts"]
    shown = thinned(len(output.views), MOST_SHOWN)
    html = [heading("The scene"), paragraph(_sentence(part)), paragraph(f"Plan: {part['plan']}.", quiet=True)]
    html.append(scene_figure(scene, "Points or Gaussians of all photos, and their cameras; drag to turn"))
    found = output.found.nonzero().flatten()
    if len(found) > 1:
        cameras = scene.cameras[found]
        html.append(
            f"<figure>{camera_map(cameras, cameras[:0])}<figcaption>The cameras from above; up is estimated from the "
            "photos.</figcaption></figure>"
        )
    html += [heading("Cameras"), _camera_table(part, shown)]
    html.append(
        paragraph("Median error: between points and their pixels, in pixels of the network's images.", quiet=True)
    )
    html.append(heading("What the network sees, depth and confidence"))
    html.append(
        paragraph(
            "Depth in false colours of its logarithm, near is warm, black where it is left out. Confidence: its "
            "logarithm, black for the least and white for the largest of all photos.",
            quiet=True,
        )
    )
    depths, confidence = color_depth(scene.depths), _gray(output.confidence)
    figures = []
    for i in shown:
        figures.append(pixels_figure(scene.images[i], output.views.names[i]))
        figures.append(pixels_figure(depths[i], "depth"))
        figures.append(pixels_figure(confidence[i], "confidence"))
    return [*html, grid(figures)]


def overview(result: dict[str, Any], folder: Path) -> list[Row]:
    """What the network sees, its depth, and the Gaussians from between the cameras where there are any."""
    output, scene = result["shown"]
    rows = [("photos", scene.images), ("depth found, near is warm", color_depth(scene.depths))]
    if output.gaussians is not None and output.found.sum() > 1:
        path = interpolate(scene.cameras[output.found], 2 * MOST_COLUMNS)
        rows.append(("Gaussians from between the photos", render_gaussians(output.gaussians, path).images))
    return rows


def describe(result: dict[str, Any]) -> list[str]:
    """The reconstruction in words."""
    return [_sentence(part) for part in result["parts"]]


def _sentence(part: dict[str, Any]) -> str:
    found = sum(photo["found"] for photo in part["cameras"])
    unit = "the unit of the given cameras" if part["scale"] == "aligned" else "an arbitrary unit"
    gaussians = f" and {part['gaussians']} Gaussians" if part["gaussians"] else ""
    return (
        f"{part['points']} points{gaussians} of {len(part['cameras'])} photos in {unit}, poses of {found} of them, in "
        f"{part['seconds']:.1f} s"
    )


def _summary(output: MVDust3rPlusPipelineOutput, plan: str) -> dict[str, Any]:
    centers, focals = output.cameras.centers.tolist(), output.focal_lengths.tolist()
    errors = output.pose_errors.where(output.pose_errors.isfinite(), -1.0).tolist()
    return {
        "plan": plan,
        "scale": output.scale,
        "references": [[output.views.names[i] for i in group] for group in output.references],
        "points": int(output.kept.sum()),
        "gaussians": 0 if output.gaussians is None else len(output.gaussians),
        "cameras": [
            {
                "name": name,
                "found": bool(output.found[i]),
                "size": output.cameras.image_sizes[i].tolist(),
                "focal_lengths": focals[i],
                "center": centers[i],
                "median_error": errors[i] if errors[i] >= 0 else None,
                "kept": round(float(output.kept[i].float().mean()), 4),
            }
            for i, name in enumerate(output.views.names)
        ],
    }


def _camera_table(part: dict[str, Any], shown: list[int]) -> str:
    columns = [
        "pose",
        "photo, pixels",
        "focal length, pixels",
        "centre",
        "median error, network's pixels",
        "pixels kept",
    ]
    rows = {}
    for photo in (part["cameras"][i] for i in shown):
        error = photo["median_error"]
        rows[photo["name"]] = [
            "found" if photo["found"] else "not found",
            "\N{MULTIPLICATION SIGN}".join(map(str, photo["size"])),
            f"{photo['focal_lengths'][0]:.1f}",
            ", ".join(f"{value:.2f}" for value in photo["center"]),
            "" if error is None else f"{error:.2f}",
            f"{photo['kept']:.0%}",
        ]
    return table(columns, rows)


def _gray(confidence: Float[Tensor, "views height width"]) -> Float[Tensor, "views 3 height width"]:
    logs = confidence.clamp(min=1e-12).log()
    low, high = logs.amin(), logs.amax()
    return ((logs - low) / (high - low).clamp(min=1e-6))[:, None].expand(-1, 3, -1, -1)


def _possible_formats(formats: list[str], output: MVDust3rPlusPipelineOutput) -> tuple[list[str], list[str]]:
    """The formats asked for without those that this result cannot give, and what to say about these."""
    problems = []
    if output.gaussians is None:
        problems.append(("the checkpoint has no Gaussians", GAUSSIAN_FORMATS))
    if not output.found.any():
        problems.append(("no photo has a pose", (*VIEW_FORMATS, *MESH_FORMATS)))
    warnings = []
    for reason, lacking in problems:
        missing = [name for name in formats if name in lacking]
        formats = [name for name in formats if name not in lacking]
        if missing:
            warnings.append(f"{reason}, so {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not written")
    return formats, warnings


def _with_poses(scene: Scene, found: Bool[Tensor, "views"]) -> Scene:
    """The scene without the photos that have no pose."""
    return replace(
        scene,
        cameras=scene.cameras[found],
        images=scene.images[found],
        depths=scene.depths[found],
        names=tuple(name for name, kept in zip(scene.names, found.tolist(), strict=True) if kept),
    )


def _references(text: str | None) -> str | list[int]:
    if text is None:
        return "auto"
    try:
        return [int(number) for number in text.split(",")]
    except ValueError:
        raise ValueError(f"--references {text}; accepted are photo numbers such as 0,4,7, counted from 0") from None


def _photo_folder(photos: str) -> Path:
    """The folder itself, or its images/ as in datasets with cameras."""
    images = Path(photos) / "images"
    return images if images.is_dir() else Path(photos)


def _originals(folder: Path, output: MVDust3rPlusPipelineOutput) -> Views | None:
    """The photos at their own size, if they have one size and not too many pixels."""
    sizes = output.cameras.image_sizes
    if len(sizes.unique(dim=0)) > 1 or int(sizes.prod(dim=1).sum()) > MOST_PIXELS:
        return None
    return load_photos([Photo(folder / name, name) for name in output.views.names])
