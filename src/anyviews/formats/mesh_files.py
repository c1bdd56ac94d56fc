"""Meshes as .obj and PLY, and the reader of all mesh files. Colours in .obj and PLY are sRGB; for .glb see glb.py."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..color import srgb_from_linear
from ..mesh import Mesh
from .files import new_file
from .image_folder import to_uint8
from .ply import as_table
from .ply_table import read_ply_tables, write_ply_tables


MESH_SUFFIXES = (".glb", ".obj", ".ply")


def write_mesh_ply(mesh: Mesh, path: Path | str, overwrite: bool = False) -> None:
    """Write a mesh as little-endian binary PLY, with normals where known and colours in 8 bits.

    Args:
        mesh: a valid mesh.
        path: a file name ending in .ply.
        overwrite: whether an existing file may be replaced.

    Raises:
        ValueError: if the mesh is not valid.
    """
    columns = {name: values.T for name, values in _arrays(mesh).items() if name != "colors"}
    named = dict(zip("xyz", columns["vertices"], strict=True))
    if "normals" in columns:
        named.update(zip(("nx", "ny", "nz"), columns["normals"], strict=True))
    if mesh.vertex_colors is not None:
        named.update(zip(("red", "green", "blue"), to_uint8(mesh.vertex_colors).T, strict=True))
    faces = np.empty(len(mesh), [("vertex_indices", "<i4", 3)])
    faces["vertex_indices"] = mesh.faces.cpu().numpy()
    write_ply_tables(path, {"vertex": as_table(named), "face": faces}, overwrite)


def write_obj(mesh: Mesh, path: Path | str, overwrite: bool = False) -> None:
    """Write a mesh as .obj, with colours behind the positions as MeshLab, Blender and trimesh read them.

    Args:
        mesh: a valid mesh.
        path: a file name ending in .obj.
        overwrite: whether an existing file may be replaced.

    Raises:
        ValueError: if the mesh is not valid.
    """
    arrays = _arrays(mesh)
    vertices = np.concatenate([arrays[name] for name in ("vertices", "colors") if name in arrays], axis=1)
    indices = mesh.faces.cpu().numpy() + 1
    corner = "%d//%d" if "normals" in arrays else "%d"
    with new_file(path, overwrite) as temporary, temporary.open("w", encoding="ascii") as file:
        # nine digits tell all 32-bit numbers apart
        np.savetxt(file, vertices, " ".join(["v", *["%.9g"] * vertices.shape[1]]))
        if "normals" in arrays:
            np.savetxt(file, arrays["normals"], "vn %.9g %.9g %.9g")
            indices = indices.repeat(2, axis=1)
        np.savetxt(file, indices, f"f {corner} {corner} {corner}")


def read_mesh(path: Path | str) -> Mesh:
    """Read a .glb, .obj or PLY file as one mesh: all its parts where they stand, polygons cut into triangles.

    Colours are those of the vertices, or of a texture at the vertices, in 8 bits; parts that have none are white where
    others have some.

    Raises:
        FileNotFoundError: if there is no such file.
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
        mesh = _load(path)
        return mesh.validate()
    # whatever a damaged file makes the library raise
    except Exception as error:
        raise ValueError(f"{path} cannot be read as a mesh: {error or type(error).__name__}") from error


def _load(path: Path) -> Mesh:
    import trimesh

    # vertices stay as they are in the file, also where two are equal
    if path.suffix.lower() == ".glb":
        scene = trimesh.load_scene(_glb_parts(path), process=False)
    else:
        scene = trimesh.load_scene(path, process=False, maintain_order=True)
        if any(part.visual.kind == "texture" for part in scene.geometry.values()):
            # kept in order, a vertex on a seam of the texture would get one coordinate in place of two
            scene = trimesh.load_scene(path, process=False)
    nodes = [scene.graph[node] for node in scene.graph.nodes_geometry]
    parts = [_part(scene.geometry[name], place) for place, name in nodes if hasattr(scene.geometry[name], "faces")]
    if not parts:
        raise ValueError("the file has no faces")
    starts = np.cumsum([0, *(len(part.vertices) for part in parts[:-1])]).tolist()
    colors, normals = [part.vertex_colors for part in parts], [part.vertex_normals for part in parts]
    if any(color is not None for color in colors):
        # glTF's colour of what has none
        colors = [
            torch.ones_like(part.vertices) if color is None else color
            for part, color in zip(parts, colors, strict=True)
        ]
    return Mesh(
        torch.cat([part.vertices for part in parts]),
        torch.cat([part.faces + start for part, start in zip(parts, starts, strict=True)]),
        None if colors[0] is None else torch.cat(colors),
        None if any(normal is None for normal in normals) else torch.cat(normals),
    )


def _part(part: Any, place: np.ndarray) -> Mesh:
    """One of trimesh's meshes where it stands in the scene."""
    turn = place[:3, :3]
    faces = np.asarray(part.faces, np.int64)
    colors, normals = _vertex_colors(part), None
    # asked for the normals of a file that has none, trimesh would compute some
    if "vertex_normals" in part._cache:
        normals = part.vertex_normals @ np.linalg.inv(turn)
        normals = torch.from_numpy(normals / np.linalg.norm(normals, axis=1, keepdims=True).clip(min=1e-12)).float()
    return Mesh(
        torch.from_numpy(part.vertices @ turn.T + place[:3, 3]).float(),
        # a mirror turns faces inside out
        torch.from_numpy(faces[:, ::-1].copy() if np.linalg.det(turn) < 0 else faces),
        None if colors is None else torch.from_numpy(colors[:, :3].astype(np.float32)) / 255,
        normals,
    )


def _vertex_colors(part: Any) -> np.ndarray | None:
    """The 8-bit colours of a part's vertices, from its texture where it has one; trimesh would invent a grey."""
    if part.visual.kind in ("vertex", "face"):
        return part.visual.vertex_colors
    if part.visual.kind != "texture":
        return None
    if "color" in part.visual.vertex_attributes:
        return part.visual.vertex_attributes["color"]
    material = part.visual.material
    textured = any(getattr(material, name, None) is not None for name in ("baseColorTexture", "image"))
    return part.visual.to_color().vertex_colors if textured and part.visual.uv is not None else None


def _glb_parts(path: Path) -> dict[str, Any]:
    """What trimesh reads from a .glb, with its linear colours as 8-bit sRGB, which trimesh takes them for."""
    from trimesh.exchange.gltf import load_glb

    with path.open("rb") as file:
        scene = load_glb(file)
    for part in scene["geometry"].values():
        attributes = getattr(part.get("visual"), "vertex_attributes", {})
        for holder, name in ((part, "vertex_colors"), (attributes, "color")):
            if holder.get(name) is not None:
                linear = np.asarray(holder[name])[:, :3]
                whole = np.iinfo(linear.dtype).max if linear.dtype.kind in "iu" else 1
                holder[name] = to_uint8(srgb_from_linear(torch.from_numpy(linear / np.float32(whole))))
    return scene


def _arrays(mesh: Mesh) -> dict[str, np.ndarray]:
    """What a valid mesh knows about its vertices, [V, 3] each."""
    mesh.validate()
    values = {"vertices": mesh.vertices, "colors": mesh.vertex_colors, "normals": mesh.vertex_normals}
    return {name: value.detach().float().cpu().numpy() for name, value in values.items() if value is not None}
