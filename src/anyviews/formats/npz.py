"""A scene as arrays in one .npz file, for NumPy and everything that reads it.

Arrays: `intrinsics` [V, 3, 3] and `camera_to_world` [V, 4, 4] (OpenCV axes, pixel centres at .5), `image_sizes` [V, 2]
(height, width), `names` [V], `scale`, and where known `images` uint8 [V, H, W, 3], `depths` and `depth_uncertainty`
float32 [V, H, W] (0 = unknown depth), `point_positions` [N, 3], `point_colors` uint8 [N, 3], `point_confidence` [N];
`gaussian_means` [N, 3], `gaussian_rotations` [N, 4], `gaussian_scales` [N, 3], `gaussian_opacities` [N] and
`gaussian_spherical_harmonics` [N, K, 3] as in `Gaussians`; `mesh_vertices` [V, 3], `mesh_faces` [F, 3],
`mesh_vertex_colors` and `mesh_vertex_normals` [V, 3], `mesh_texture_coordinates` [V, 2]; `material_base_color` and
`material_normals` [3, H, W], `material_roughness` and `material_metallic` [1, H, W] as in `Material`.
"""

import zipfile
from pathlib import Path
from typing import TypeVar, get_args

import numpy as np
import torch

from ..cameras import Cameras
from ..gaussians import FIELDS, Gaussians
from ..mesh import Material, Mesh
from ..scene import PointCloud, Scale, Scene
from .files import new_file
from .image_folder import to_uint8


MESH_FIELDS = ("vertices", "faces", "vertex_colors", "vertex_normals", "texture_coordinates")
MATERIAL_FIELDS = ("base_color", "roughness", "metallic", "normals")
Part = TypeVar("Part", Gaussians, Mesh, Material)
REQUIRED = ("intrinsics", "camera_to_world", "image_sizes", "names", "scale")


def write_npz(scene: Scene, path: Path | str, overwrite: bool = False) -> None:
    """Write a scene as arrays; images and the colours of points are stored in 8 bits, everything else exactly.

    Args:
        scene: any scene.
        path: a file name ending in .npz.
        overwrite: whether an existing file may be replaced.
    """
    arrays = {
        "intrinsics": scene.cameras.intrinsics,
        "camera_to_world": scene.cameras.camera_to_world,
        "image_sizes": scene.cameras.image_sizes,
    }
    for name in ("depths", "depth_uncertainty"):
        value = getattr(scene, name)
        if value is not None:
            arrays[name] = value.squeeze(1)
    if scene.points is not None:
        arrays["point_positions"] = scene.points.positions
        if scene.points.confidence is not None:
            arrays["point_confidence"] = scene.points.confidence
    material = None if scene.mesh is None else scene.mesh.material
    parts = (("gaussian", FIELDS, scene.gaussians), ("mesh", MESH_FIELDS, scene.mesh))
    for kind, names, part in (*parts, ("material", MATERIAL_FIELDS, material)):
        if part is not None:
            part.validate()
            values = {f"{kind}_{name}": getattr(part, name) for name in names}
            arrays.update({name: value for name, value in values.items() if value is not None})
    arrays = {name: value.detach().cpu().numpy() for name, value in arrays.items()}
    if scene.images is not None:
        arrays["images"] = to_uint8(scene.images.movedim(1, -1))
    if scene.points is not None and scene.points.colors is not None:
        arrays["point_colors"] = to_uint8(scene.points.colors)
    arrays["names"], arrays["scale"] = np.array(scene.names, dtype=np.str_), np.array(scene.scale)
    with new_file(path, overwrite) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)


def read_npz(path: Path | str) -> Scene:
    """Read a scene that `write_npz` wrote.

    Raises:
        ValueError: if the file is no such archive; the message names the missing arrays.
    """
    try:
        with np.load(Path(path), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (zipfile.BadZipFile, EOFError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as .npz: {error}") from error
    missing = [name for name in REQUIRED if name not in arrays]
    if missing:
        raise ValueError(f"{path} has no array {', '.join(missing)}; found {sorted(arrays)}")
    scale = str(arrays["scale"])
    if scale not in get_args(Scale):
        raise ValueError(f"{path}: scale is {scale!r}; accepted are {', '.join(get_args(Scale))}")

    tensors = {name: torch.from_numpy(value) for name, value in arrays.items() if value.dtype.kind in "fiu"}
    cameras = Cameras(*(tensors[name] for name in ("intrinsics", "camera_to_world", "image_sizes")))
    names = tuple(arrays["names"].tolist())
    points = None
    if "point_positions" in tensors:
        colors = tensors["point_colors"].float() / 255 if "point_colors" in tensors else None
        points = PointCloud(tensors["point_positions"], colors, tensors.get("point_confidence"))
    maps = {name: tensors[name][:, None] for name in ("depths", "depth_uncertainty") if name in tensors}
    images = tensors["images"].movedim(-1, 1).float() / 255 if "images" in tensors else None
    try:
        material = _part(tensors, Material, "material", MATERIAL_FIELDS)
        parts = {
            "gaussians": _part(tensors, Gaussians, "gaussian", FIELDS),
            "mesh": _part(tensors, Mesh, "mesh", MESH_FIELDS, material=material),
        }
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from None
    return Scene(
        cameras.validate(names=names), images=images, points=points, names=names, scale=scale, **maps, **parts
    )


def _part(
    tensors: dict[str, torch.Tensor], kind: type[Part], prefix: str, fields: tuple[str, ...], **others: Material | None
) -> Part | None:
    """The Gaussians, the mesh or its material among the arrays, or None."""
    values = {name: tensors[f"{prefix}_{name}"] for name in fields if f"{prefix}_{name}" in tensors}
    return kind(**values, **others).validate() if values else None
