"""`anyviews render`: Gaussians or a mesh seen along a path of cameras, as a video or as a folder of images."""

import argparse
import math
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..cameras import Cameras
from ..formats import load_scene, save_views
from ..formats.files import new_file, new_folder
from ..formats.image_folder import write_image_folder
from ..formats.video import write_video
from ..formats.world_up import AXES
from ..gaussians import Gaussians
from ..geometry.bounds import robust_bounds
from ..geometry.paths import look_at, orbit
from ..rendering.gaussians import BACKENDS, render_gaussians, render_normals
from ..rendering.photo_targets import near_plane
from ..scene import Scene
from ..views import Views
from . import mesh_frames
from .convert import parse_size
from .photos import DEFAULT_FRAMES, NOVEL_PATHS, choose_device, load_posed, spread


HELP = "render Gaussians or a mesh along a path, to a video or to images"

GIVEN = "cameras"
DEPTH, NORMALS = "_depth", "_normals"
COLORS = {"black": "0,0,0", "gray": "0.5,0.5,0.5", "white": "1,1,1"}

# Where no cameras are given: the size of the images, the angle that their width spans, and the height of the path.
DEFAULT_SIZE, DEFAULT_FOV, ELEVATION = "512x512", 50.0, 20.0
# Cameras of larger photos are shrunk to this longer side unless a size is given.
LONGEST_SIDE = 768
# Fainter Gaussians do not decide what the path goes around.
SOLID = 0.1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments to its parser."""
    parser.add_argument(
        "input", metavar="THING", help="Gaussians (.ply, .splat, .spz), a mesh (.glb, .obj, .ply) or a scene's .npz"
    )
    parser.add_argument("-o", "--output", metavar="OUT", required=True, help="a new .mp4, or a new or empty folder")
    parser.add_argument("--cameras", metavar="FOLDER", help="photos with cameras in the same world, to look from")
    parser.add_argument(
        "--path",
        choices=(*NOVEL_PATHS, GIVEN),
        help=f"around or through the cameras, or {GIVEN}: from these (default: {GIVEN} with --cameras, else orbit)",
    )
    parser.add_argument("--frames", type=int, help=f"default: {DEFAULT_FRAMES}, or all given cameras")
    parser.add_argument(
        "--size", metavar="HxW", help=f"of the images (default: that of the cameras, or {DEFAULT_SIZE})"
    )
    parser.add_argument(
        "--fov", type=float, help=f"degrees across, where there are no cameras (default: {DEFAULT_FOV:g})"
    )
    parser.add_argument(
        "--up", choices=AXES, help="the world's up, where there are no cameras (default: y+; COLMAP: y-)"
    )
    parser.add_argument("--background", metavar="COLOR", default="black", help="black, white, gray or R,G,B in [0, 1]")
    parser.add_argument("--depth", action="store_true", help="z-depth too: 16-bit PNG in a folder, colours in a video")
    parser.add_argument("--normals", action="store_true", help="normals too, x y z in the world as red green blue")
    parser.add_argument("--fps", type=float, default=12, help="frames per second of mp4 (default: 12)")
    parser.add_argument("--backend", choices=BACKENDS, default="auto", help="renderer (default: auto)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 (default: auto)")
    parser.add_argument("--overwrite", action="store_true", help="replace OUT where it exists")
    mesh_frames.add_arguments(parser)


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Render, write, and return a summary that JSON can hold."""
    began = time.perf_counter()
    output, background = Path(arguments.output), parse_color(arguments.background)
    video = output.suffix.lower() == ".mp4"
    if not video and output.suffix:
        raise ValueError(f"{output}: accepted are a name that ends in .mp4, or a folder, whose name has no ending")
    device = choose_device(arguments.device)
    scene = load_scene(arguments.input)
    if scene.gaussians is None and scene.mesh is None:
        raise ValueError(
            f"{arguments.input} has no Gaussians or mesh to render; to make Gaussians from photos with cameras: "
            f"anyviews refine {arguments.input} -o OUT"
        )
    if scene.gaussians is not None and (arguments.environment is not None or arguments.samples is not None):
        raise ValueError(f"--environment and --samples are for meshes; {arguments.input} has Gaussians")
    cameras, path = choose_cameras(scene, arguments)
    # what may not be replaced should not be found out after minutes of work
    with ExitStack() as stack:
        if video:
            files = {part: output.with_stem(output.stem + part) for part in _parts(arguments)}
            opened = {part: stack.enter_context(new_file(file, arguments.overwrite)) for part, file in files.items()}
        else:
            opened = {"": stack.enter_context(new_folder(output, arguments.overwrite))}
        if scene.gaussians is None:
            lit = mesh_frames.render_mesh_frames(scene.mesh, cameras, background, arguments)
            named = {"": lit["images"], DEPTH: lit["depths"], NORMALS: lit["normals"]}
            pictures = {part: named[part] for part in _parts(arguments)}
        else:
            pictures = render_frames(scene.gaussians.to(device), cameras, background, arguments)
        if video:
            for part, file in opened.items():
                write_video(pictures[part] if part != DEPTH else colored(pictures[part]), file, arguments.fps)
        else:
            write_folder(pictures, cameras, opened[""])
    return {
        "input": arguments.input,
        "output": str(output),
        "files": [str(file) for file in files.values()] if video else [str(output)],
        "gaussians": 0 if scene.gaussians is None else len(scene.gaussians),
        "faces": 0 if scene.gaussians is not None else len(scene.mesh),
        "path": path,
        "frames": len(cameras),
        "height": cameras.height,
        "width": cameras.width,
        "seconds": round(time.perf_counter() - began, 1),
    }


def describe(summary: dict[str, Any]) -> str:
    """The summary in words."""
    thing = f"{summary['faces']} faces" if summary["faces"] else f"{summary['gaussians']} Gaussians"
    return (
        f"{thing} in {summary['frames']} frames of {summary['height']}x{summary['width']} "
        f"({summary['path']}) in {summary['seconds']:.1f} s: {', '.join(summary['files'])}"
    )


def choose_cameras(scene: Scene, arguments: argparse.Namespace) -> tuple[Cameras, str]:
    """The cameras to look from, and the name of their path.

    Raises:
        ValueError: if the path needs cameras and there are none, or does not take what was asked for.
    """
    path = arguments.path or (GIVEN if arguments.cameras else "orbit")
    frames = arguments.frames
    if frames is not None and frames < 1:
        raise ValueError(f"--frames {frames}; accepted are 1 and more")
    size = None if arguments.size is None else parse_size(arguments.size)
    given = scene.cameras if arguments.cameras is None else load_posed(arguments.cameras, None).cameras
    if len(given) == 0:
        if path != "orbit":
            raise ValueError(
                f"--path {path} needs cameras, which {arguments.input} has none of; give --cameras FOLDER"
            )
        return cameras_around(_solid_points(scene), arguments, size or parse_size(DEFAULT_SIZE)), path
    if arguments.fov is not None or arguments.up is not None:
        raise ValueError("--fov and --up are for what comes without cameras; these have some, which say both")
    if path == GIVEN:
        chosen = given if frames is None else given[spread(len(given), min(frames, len(given)))]
    else:
        chosen = NOVEL_PATHS[path](given, frames or DEFAULT_FRAMES)
    if size is None:
        shrink = min(1.0, LONGEST_SIDE / float(chosen.image_sizes.max()))
        size = tuple(max(1, round(side * shrink)) for side in (chosen[:1].height, chosen[:1].width))
    return fitted(chosen, *size), path


def cameras_around(points: Float[Tensor, "points 3"], arguments: argparse.Namespace, size: tuple[int, int]) -> Cameras:
    """Cameras on a circle around points, from which all of them are seen."""
    low, high = robust_bounds(points)
    name = arguments.up or "y+"
    up = torch.tensor(AXES[name]).to(low)
    # seen from +z at first, as of glTF, or from +y where z is up
    front = torch.tensor([0.0, 0.0, 1.0] if name[0] != "z" else [0.0, 1.0, 0.0]).to(low)
    side = torch.linalg.cross(up, front)
    fov = math.radians(DEFAULT_FOV if arguments.fov is None else arguments.fov)
    if not 0 < fov < math.pi:
        raise ValueError(f"--fov {arguments.fov:g}; accepted are degrees between 0 and 180")
    height, width = size
    focal = width / (2 * math.tan(fov / 2))
    narrowest = math.atan(min(size) / (2 * focal))
    distance = 0.5 * (high - low).norm() / math.sin(narrowest)
    elevation = math.radians(ELEVATION)
    ring = torch.stack([front, side, -front, -side]) * math.cos(elevation) + up * math.sin(elevation)
    focus = (low + high) / 2
    intrinsics = torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]]).to(low)
    around = look_at(focus + distance * ring, focus, up, intrinsics, height, width)
    return orbit(around, arguments.frames or DEFAULT_FRAMES, focus, up)


def _solid_points(scene: Scene) -> Float[Tensor, "points 3"]:
    """What a path goes around."""
    if scene.gaussians is None:
        return scene.mesh.vertices
    return scene.gaussians.means[scene.gaussians.opacities >= min(SOLID, float(scene.gaussians.opacities.max()))]


def fitted(cameras: Cameras, height: int, width: int) -> Cameras:
    """Cameras of the largest centred windows of another aspect ratio, resized."""
    sizes = cameras.image_sizes.flip(-1).to(cameras.intrinsics)
    wanted = sizes.new_tensor([width, height])
    scale = (wanted / sizes).amax(-1, keepdim=True).expand_as(sizes)
    return cameras.affine(scale, (wanted - scale * sizes) / 2, height, width)


@torch.no_grad()
def render_frames(
    gaussians: Gaussians, cameras: Cameras, background: Float[Tensor, "3"], arguments: argparse.Namespace
) -> dict[str, Tensor]:
    """Images [T, 3, H, W] under the key "", and where asked for depth [T, 1, H, W] and normals [T, 3, H, W]."""
    frames: dict[str, list[Tensor]] = {part: [] for part in _parts(arguments)}
    background = background.to(gaussians.means)
    options = {"backend": arguments.backend, "near": near_plane(gaussians, cameras)}
    # one at a time, to bound the memory
    for camera in cameras.to(gaussians.device, gaussians.dtype):
        camera = camera.reshape(1)
        render = render_gaussians(gaussians, camera, background=background, **options)
        found = {"": render.images, DEPTH: render.depths * (render.alphas >= 0.5)}
        if arguments.normals:
            normals = render_normals(gaussians, camera, **options)
            found[NORMALS] = (normals + 1) / 2 * (normals != 0).any(-3, keepdim=True)
        for part, pictures in frames.items():
            pictures.append(found[part].cpu())
    return {part: torch.cat(pictures) for part, pictures in frames.items()}


def colored(depths: Float[Tensor, "frames 1 height width"]) -> Float[Tensor, "frames 3 height width"]:
    """Depth in false colours of one range for all frames, so that they do not flicker."""
    # the colours are those of diffusers, which takes a second to load
    from ..evaluation.pictures import color_depth

    tall = depths.flatten(0, 2)[None, None]
    return color_depth(tall)[0].unflatten(1, (len(depths), -1)).movedim(1, 0)


def write_folder(pictures: dict[str, Tensor], cameras: Cameras, folder: Path) -> None:
    """Write images, depth and cameras as a folder of posed photos, and normals beside them."""
    names = tuple(f"{i:04d}" for i in range(len(cameras)))
    views = Views(pictures[""].clamp(0, 1), cameras, depths=pictures.get(DEPTH), names=names)
    save_views(views, folder, "cameras-json")
    if NORMALS in pictures:
        write_image_folder(pictures[NORMALS], folder / "normals", names)


def parse_color(text: str) -> Float[Tensor, "3"]:
    """An sRGB colour from text such as white or 1,0.5,0."""
    try:
        color = torch.tensor([float(value) for value in COLORS.get(text, text).split(",")])
    except ValueError:
        color = torch.empty(0)
    if color.shape != (3,) or not ((color >= 0) & (color <= 1)).all():
        raise ValueError(
            f"--background {text}; accepted are {', '.join(COLORS)}, or red,green,blue in [0, 1] as in 1,0.5,0"
        )
    return color


def _parts(arguments: argparse.Namespace) -> list[str]:
    """What is rendered; also what video files' names end in."""
    return ["", *([DEPTH] if arguments.depth else []), *([NORMALS] if arguments.normals else [])]
