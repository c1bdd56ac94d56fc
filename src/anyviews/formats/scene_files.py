"""Whole scenes: choosing the reader by file ending and header, and the writer by name or file ending."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from ..cameras import Cameras
from ..gaussians import Gaussians
from ..mesh import Mesh
from ..scene import PointCloud, Scene
from .depth_png import write_depth_folder
from .detect import VIEW_FORMATS, images_of_scene, load_view_points, load_views, save_views, views_of_scene
from .image_folder import write_image_folder
from .npz import read_npz, write_npz
from .ply_table import read_ply_header
from .world_up import Y_UP


GAUSSIAN_FORMATS = ("gaussian-ply", "compressed-ply", "splat", "spz", "html")
MESH_FORMATS = ("glb", "usdz", "obj", "mesh-ply")
SCENE_FORMATS = (*VIEW_FORMATS, "npz", "ply", "depth", "png", "mp4", *GAUSSIAN_FORMATS, *MESH_FORMATS)

# The first ending that fits counts; .ply holds what the scene has.
FORMAT_OF_ENDING = {
    ".compressed.ply": "compressed-ply",
    ".npz": "npz",
    ".ply": "ply",
    ".mp4": "mp4",
    ".splat": "splat",
    ".spz": "spz",
    ".html": "html",
    ".glb": "glb",
    ".usdz": "usdz",
    ".obj": "obj",
}
GAUSSIAN_ENDINGS = (".ply", ".compressed.ply", ".splat", ".spz", ".npz")

# Files that load_scene reads without photos.
SCENE_SUFFIXES = (".npz", ".ply", ".splat", ".spz", ".glb", ".usdz", ".obj")


def load_scene(path: Path | str, size: tuple[int, int] | None = None) -> Scene:
    """Load whatever a file or folder holds: a scene (.npz), points, Gaussians, a mesh, or photos with cameras.

    Args:
        path: an .npz, .ply, .splat, .spz, .glb, .usdz or .obj file, or photos with cameras as `load_views` takes
            them. What a .ply file holds is read from its header.
        size: (height, width) to fit images to.

    Returns:
        A scene; its `cameras` are none, of batch shape (0,), where the file has none.

    Raises:
        FileNotFoundError: if nothing of this kind is there.
        ValueError: if something is there and cannot be used.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SCENE_SUFFIXES or path.is_dir():
        return _load_photos(path, size)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; give a file ({', '.join(SCENE_SUFFIXES)}) or a folder")
    if suffix == ".npz":
        scene = read_npz(path)
        return scene if size is None else _fitted(scene, size)
    if size is not None:
        raise ValueError(f"{path} has no images to fit to {size[0]}x{size[1]}; leave the size out")
    if suffix in (".glb", ".usdz", ".obj") or (suffix == ".ply" and ply_content(path) == "mesh"):
        from .mesh_files import read_mesh

        return _scene(mesh=read_mesh(path))
    if suffix == ".ply" and ply_content(path) == "points":
        from .ply import read_ply

        return _scene(points=read_ply(path))
    return _scene(gaussians=load_gaussians(path))


def load_gaussians(path: Path | str) -> Gaussians:
    """Load Gaussians from .ply (as the original implementation or LGM writes it, or compressed), .splat, .spz or .npz.

    Raises:
        FileNotFoundError: if the file is missing.
        ValueError: if it is damaged, or holds no Gaussians.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; give a file with Gaussians ({', '.join(GAUSSIAN_ENDINGS)})")
    # the optional formats' libraries load only when they are used
    match path.suffix.lower():
        case ".ply" if ply_content(path) == "compressed-gaussians":
            from .compressed_ply import read_compressed_ply

            return read_compressed_ply(path)
        case ".ply":
            from .gaussian_ply import read_gaussian_ply

            return read_gaussian_ply(path)
        case ".splat":
            from .splat import read_splat

            return read_splat(path)
        case ".spz":
            from .spz import read_spz

            return read_spz(path)
        case ".npz":
            return _gaussians(read_npz(path), str(path))
    raise ValueError(f"{path} is no file of Gaussians; accepted are {', '.join(GAUSSIAN_ENDINGS)}")


def load_points(path: Path | str) -> PointCloud | None:
    """The points of a .ply file, or those that come with a folder's photos (a COLMAP model's), or None."""
    if Path(path).suffix.lower() == ".ply" and Path(path).is_file():
        from .ply import read_ply

        return load_scene(path).point_cloud() if "gaussians" in ply_content(path) else read_ply(path)
    return load_view_points(path)


def save_scene(
    scene: Scene,
    path: Path | str,
    format: str | None = None,
    fps: float = 24,
    overwrite: bool = False,
    up: Sequence[float] = Y_UP,
) -> None:
    """Write a scene: all of it (npz), its points, Gaussians, mesh, depth maps, images, or a dataset folder.

    Args:
        scene: any scene that has what the format holds.
        path: a new or empty folder for colmap, colmap-text, transforms, cameras-json, depth and png, else a file.
        format: one of SCENE_FORMATS; None takes it from the file ending, where .ply holds the scene's Gaussians if it
            has some, else its points or depth, else its mesh.
        fps: frames per second of mp4.
        overwrite: whether an existing file, or folder with content, may be replaced.
        up: of glb and usdz: the direction of the scene's world that viewers show upwards.

    Raises:
        ImportError: if the format needs an optional package that is not installed, with the pip line.
        ValueError: if the format is unknown, or the scene has nothing that it holds.
    """
    format = format or format_of(path, scene)
    if format not in SCENE_FORMATS:
        raise ValueError(f"unknown format {format!r}; accepted are {', '.join(SCENE_FORMATS)}")
    if format == "npz":
        write_npz(scene, path, overwrite)
    elif format == "ply":
        from .ply import write_ply

        write_ply(scene.point_cloud(), path, overwrite)
    elif format == "depth":
        write_depth_folder(scene, path, overwrite)
    elif format == "png":
        write_image_folder(images_of_scene(scene, format), path, scene.names, overwrite)
    elif format == "mp4":
        from .video import write_video

        write_video(images_of_scene(scene, format), path, fps, overwrite)
    elif format in GAUSSIAN_FORMATS:
        _save_gaussians(scene, path, format, overwrite)
    elif format in MESH_FORMATS:
        _save_mesh(_mesh(scene, format), path, format, overwrite, up)
    else:
        save_views(views_of_scene(scene, format), path, format, scene.points, overwrite)


def format_of(path: Path | str, scene: Scene | None = None) -> str:
    """The format that a file ending stands for.

    Args:
        path: the file to write.
        scene: what will be written, which decides what .ply holds; None stands for points.

    Raises:
        ValueError: if the ending stands for no format, as of a folder.
    """
    format = next((name for ending, name in FORMAT_OF_ENDING.items() if str(path).lower().endswith(ending)), None)
    if format is None:
        raise ValueError(
            f"{path}: the ending {Path(path).suffix!r} names no format; end it in {', '.join(FORMAT_OF_ENDING)} or "
            f"give the format, one of {', '.join(SCENE_FORMATS)}"
        )
    if format == "ply" and scene is not None:
        if scene.gaussians is not None:
            return "gaussian-ply"
        if scene.mesh is not None and scene.points is None and scene.depths is None:
            return "mesh-ply"
    return format


def ply_content(path: Path | str) -> str:
    """What a PLY file holds by its header: "gaussians", "compressed-gaussians", "mesh" or "points".

    Raises:
        ValueError: if the file is no PLY.
    """
    header = read_ply_header(path)
    found = set(header.properties("vertex"))
    if "packed_position" in found:
        return "compressed-gaussians"
    if {"scale_0", "rot_0", "f_dc_0"} & found:
        return "gaussians"
    has_faces = "face" in header.elements and header.elements["face"].count > 0
    return "mesh" if has_faces else "points"


def _save_gaussians(scene: Scene, path: Path | str, format: str, overwrite: bool) -> None:
    gaussians = _gaussians(scene, f"the scene to write as {format}")
    if format == "gaussian-ply":
        from .gaussian_ply import write_gaussian_ply

        write_gaussian_ply(gaussians, path, overwrite=overwrite)
    elif format == "compressed-ply":
        from .compressed_ply import write_compressed_ply

        write_compressed_ply(gaussians, path, overwrite)
    elif format == "splat":
        from .splat import write_splat

        write_splat(gaussians, path, overwrite)
    elif format == "spz":
        from .spz import write_spz

        write_spz(gaussians, path, overwrite)
    else:
        from .gaussian_html import write_gaussian_html

        write_gaussian_html(gaussians, path, scene.cameras if len(scene) else None, overwrite=overwrite)


def _save_mesh(mesh: Mesh, path: Path | str, format: str, overwrite: bool, up: Sequence[float]) -> None:
    from .glb import write_glb
    from .mesh_files import write_mesh_ply, write_obj
    from .usdz import write_usdz

    if format in ("glb", "usdz"):
        writer = write_glb if format == "glb" else write_usdz
        writer(mesh, path, overwrite, up)
    else:
        writer = write_obj if format == "obj" else write_mesh_ply
        writer(mesh, path, overwrite)


def _load_photos(path: Path, size: tuple[int, int] | None) -> Scene:
    views = load_views(path, size)
    if views.cameras is None:
        raise ValueError(
            f"{path} has photos without cameras; a scene needs cameras.json, transforms.json or a COLMAP model"
        )
    points = load_view_points(path)
    return Scene(views.cameras, views.images, views.depths, points=points, names=views.names, scale="aligned")


def _fitted(scene: Scene, size: tuple[int, int]) -> Scene:
    """The scene with images of another size; what is not in pixels stays."""
    views = views_of_scene(scene).fit(*size)
    return replace(scene, images=views.images, cameras=views.cameras, depths=views.depths, depth_uncertainty=None)


def _scene(points: PointCloud | None = None, gaussians: Gaussians | None = None, mesh: Mesh | None = None) -> Scene:
    """A scene without cameras."""
    cameras = Cameras(torch.zeros(0, 3, 3), torch.zeros(0, 4, 4), torch.zeros(0, 2, dtype=torch.int64))
    return Scene(cameras, points=points, gaussians=gaussians, mesh=mesh)


def _gaussians(scene: Scene, name: str) -> Gaussians:
    if scene.gaussians is None:
        raise ValueError(f"{name} has no Gaussians; give one that has, or write its points (ply) or all of it (npz)")
    return scene.gaussians


def _mesh(scene: Scene, format: str) -> Mesh:
    if scene.mesh is None:
        raise ValueError(
            f"the scene has no mesh, which {format} holds; make one from its Gaussians or depth maps "
            "(anyviews.rendering), or write its Gaussians or points as .ply"
        )
    return scene.mesh
