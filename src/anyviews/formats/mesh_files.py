"""Meshes as PLY, with colours in sRGB, and the reader of all mesh files; .glb and .obj are written by glb and obj."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..color import srgb_from_linear
from ..mesh import Material, Mesh
from .glb import UP_KEY
from .image_folder import to_uint8
from .mesh_materials import material_from_trimesh
from .mesh_parts import join_meshes
from .obj import write_obj
from .ply import as_table
from .ply_table import read_ply_tables, write_ply_tables
from .usdz_reading import read_usdz


MESH_SUFFIXES = (".glb", ".usdz", ".obj", ".ply")

__all__ = ["MESH_SUFFIXES", "read_mesh", "write_mesh_ply", "write_obj"]


def write_mesh_ply(mesh: Mesh, path: Path | str, overwrite: bool = False) -> None:
    """Write a mesh as little-endian binary PLY, with normals where known and colours in 8 bits.

    PLY has no materials: of these, the base colours at the vertices are written.

    Args:
        mesh: a valid mesh.
        path: a file name ending in .ply.
        overwrite: whether an existing file may be replaced.

    Raises:
        ValueError: if the mesh is not valid.
    """
    mesh.validate()
    named = dict(zip("xyz", _columns(mesh.vertices), strict=True))
    if mesh.vertex_normals is not None:
        named.update(zip(("nx", "ny", "nz"), _columns(mesh.vertex_normals), strict=True))
    colors = mesh.base_colors_at_vertices()
    if colors is not None:
        named.update(zip(("red", "green", "blue"), to_uint8(colors).T, strict=True))
    faces = np.empty(len(mesh), [("vertex_indices", "<i4", 3)])
    faces["vertex_indices"] = mesh.faces.cpu().numpy()
    write_ply_tables(path, {"vertex": as_table(named), "face": faces}, overwrite)


def read_mesh(path: Path | str) -> Mesh:
    """Read a .glb, .usdz, .obj or PLY file as one mesh: all its parts where they stand, polygons cut into triangles.

    Materials of several parts are put side by side into one texture each of base colour, roughness, metallic and
    normals. Where that cannot be done, because a texture repeats often, vertices get the colours of the textures.
    Vertex colours, in 8 bits, multiply the base colour; parts that have none are white where others have some. What a
    `Material` has no place for is left out: transparency, emission, occlusion.

    Raises:
        FileNotFoundError: if there is no such file.
        ImportError: if it is a .usdz file, and usd-core is not installed.
        ValueError: if it is damaged, holds no faces or is of another kind.
    """
    path = Path(path)
    if path.suffix.lower() not in MESH_SUFFIXES:
        raise ValueError(f"{path} is no mesh file; accepted are {', '.join(MESH_SUFFIXES)}")
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; give a mesh file ({', '.join(MESH_SUFFIXES)})")
    if path.suffix.lower() == ".ply":
        # finds files that are cut off, and headers that ask for more memory than there is
        read_ply_tables(path)
    try:
        mesh = read_usdz(path) if path.suffix.lower() == ".usdz" else _load(path)
        return mesh.validate()
    except ImportError:
        raise
    # whatever a damaged file makes the library raise
    except Exception as error:
        raise ValueError(f"{path} cannot be read as a mesh: {error or type(error).__name__}") from error


def _load(path: Path) -> Mesh:
    import trimesh

    gltf = path.suffix.lower() == ".glb"
    # vertices stay as they are in the file, also where two are equal
    if gltf:
        scene = trimesh.load_scene(_glb_parts(path), process=False)
    else:
        scene = trimesh.load_scene(path, process=False, maintain_order=True)
        if any(part.visual.kind == "texture" for part in scene.geometry.values()):
            # kept in order, a vertex on a seam of the texture would get one coordinate in place of two
            scene = trimesh.load_scene(path, process=False)
    nodes = [scene.graph[node] for node in scene.graph.nodes_geometry]
    placed = [(scene.geometry[name], place) for place, name in nodes if hasattr(scene.geometry[name], "faces")]
    if not placed:
        raise ValueError("the file has no faces")
    # parts that share a material share its textures
    sources = {id(part): getattr(part.visual, "material", None) for part, _ in placed}
    materials = {id(source): material_from_trimesh(source, path.parent, gltf) for source in sources.values()}
    return join_meshes([_part(part, place, materials[id(sources[id(part)])]) for part, place in placed])


def _part(part: Any, place: np.ndarray, material: Material | None) -> Mesh:
    """One of trimesh's meshes where it stands in the scene."""
    turn = place[:3, :3]
    faces = np.asarray(part.faces, np.int64)
    colors, normals, coordinates = _vertex_colors(part), None, None
    # asked for the normals of a file that has none, trimesh would compute some
    if "vertex_normals" in part._cache:
        normals = part.vertex_normals @ np.linalg.inv(turn)
        normals = torch.from_numpy(normals / np.linalg.norm(normals, axis=1, keepdims=True).clip(min=1e-12)).float()
    uv = getattr(part.visual, "uv", None)
    if uv is not None and len(uv) == len(part.vertices):
        # trimesh turns v upwards
        coordinates = torch.from_numpy(np.stack([uv[:, 0], 1 - uv[:, 1]], axis=1)).float()
    elif material is not None and not material.is_uniform:
        material = None
    return Mesh(
        torch.from_numpy(part.vertices @ turn.T + place[:3, 3]).float(),
        # a mirror turns faces inside out
        torch.from_numpy(faces[:, ::-1].copy() if np.linalg.det(turn) < 0 else faces),
        None if colors is None else torch.from_numpy(colors[:, :3].astype(np.float32)) / 255,
        normals,
        coordinates,
        material,
    )


def _vertex_colors(part: Any) -> np.ndarray | None:
    """The 8-bit colours of a part's vertices; trimesh would invent a grey."""
    if part.visual.kind in ("vertex", "face"):
        return part.visual.vertex_colors
    if part.visual.kind != "texture":
        return None
    return part.visual.vertex_attributes.get("color")


def _glb_parts(path: Path) -> dict[str, Any]:
    """What trimesh reads from a .glb, with its linear colours as 8-bit sRGB, which trimesh takes them for."""
    from trimesh.exchange.gltf import load_glb

    with path.open("rb") as file:
        scene = load_glb(file)
    for edge in scene["graph"]:
        # turned for viewers only
        if UP_KEY in (edge.get("metadata") or {}):
            edge["matrix"] = np.eye(4)
    for part in scene["geometry"].values():
        attributes = getattr(part.get("visual"), "vertex_attributes", {})
        for holder, name in ((part, "vertex_colors"), (attributes, "color")):
            if holder.get(name) is not None:
                linear = np.asarray(holder[name])[:, :3]
                whole = np.iinfo(linear.dtype).max if linear.dtype.kind in "iu" else 1
                holder[name] = to_uint8(srgb_from_linear(torch.from_numpy(linear / np.float32(whole))))
    return scene


def _columns(values: Tensor) -> np.ndarray:
    return values.detach().float().cpu().numpy().T
