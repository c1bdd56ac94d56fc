"""Artists' meshes: what a .glb, .obj or PLY file holds, with its materials, in the frame that objects are rendered in.

The box around the object is centred at the origin and the farthest vertex lies at distance 1; +Y is up, as in glTF.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ...formats.mesh_files import MESH_SUFFIXES
from .materials import Material, material_of, vertex_colors_of
from .problems import UnusableObjectError


# A triangle is degenerate when it is thinner than this part of its longest edge.
THINNEST = 1e-7


@dataclass(frozen=True)
class Part:
    """A triangle mesh of one material, in world space.

    Args:
        vertices: float32 [V, 3].
        faces: uint32 [F, 3], counter-clockwise seen from outside.
        material: how it reflects light.
        normals: float32 [V, 3], unit length, or None for flat triangles.
        uv: float32 [V, 2], v downwards as in glTF, or None.
        colors: float32 [V, 3], linear base colour of each vertex, or None for that of the material.
    """

    vertices: np.ndarray
    faces: np.ndarray
    material: Material
    normals: np.ndarray | None = None
    uv: np.ndarray | None = None
    colors: np.ndarray | None = None


@dataclass(frozen=True)
class Asset:
    """A mesh file, ready to be rendered.

    Args:
        parts: what there is to see.
        notices: what of the file was repaired or left out, a sentence each.
    """

    parts: tuple[Part, ...]
    notices: tuple[str, ...] = ()

    @property
    def triangles(self) -> int:
        return sum(len(part.faces) for part in self.parts)


def load_asset(path: Path | str, up: Literal["y", "z"] = "y") -> Asset:
    """Read a mesh file with its materials and bring it into the unit ball.

    Args:
        path: .glb, .obj or PLY.
        up: the axis of the file that points up; glTF says y.

    Raises:
        FileNotFoundError: if there is no such file.
        UnusableObjectError: if nothing faithful can be rendered; its `reason` is one word.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; give a mesh file ({', '.join(MESH_SUFFIXES)})")
    notices: list[str] = []
    try:
        placed = _read(path, notices)
    except UnusableObjectError:
        raise
    # whatever a damaged file makes the library raise
    except Exception as error:
        raise UnusableObjectError("unreadable", f"{path}: {error or type(error).__name__}") from error
    parts = [part for part in (_repaired(part, notices) for part in placed) if part is not None]
    if not parts:
        raise UnusableObjectError("empty", f"{path} holds no triangle that could be seen")
    return Asset(_normalized(parts, up, path), tuple(dict.fromkeys(notices)))


def _read(path: Path, notices: list[str]) -> list[Part]:
    """All triangle meshes of a file where they stand."""
    import trimesh

    linear_colors: dict[str, np.ndarray] = {}
    gltf = path.suffix.lower() == ".glb"
    if gltf:
        from .gltf import read_glb

        scene, linear_colors = read_glb(path, notices)
    else:
        # maintain_order would give a vertex one texture coordinate where the texture has a seam
        scene = trimesh.load_scene(path, process=False)
    materials: dict[int, Material] = {}
    parts = []
    for node in scene.graph.nodes_geometry:
        place, name = scene.graph[node]
        mesh = scene.geometry[name]
        if not hasattr(mesh, "faces") or len(mesh.faces) == 0:
            notices.append("points and lines were left out")
            continue
        uv = _texture_coordinates(mesh)
        source = getattr(mesh.visual, "material", None)
        if id(source) not in materials:
            materials[id(source)] = material_of(source, gltf, notices)
        material = materials[id(source)]
        material.check_opaque(mesh, uv, path)
        colors = vertex_colors_of(mesh, linear_colors.get(name), material, notices)
        parts.append(_placed(mesh, place, material, uv, colors))
    return parts


def _texture_coordinates(mesh: Any) -> np.ndarray | None:
    uv = getattr(mesh.visual, "uv", None)
    if uv is None or len(uv) != len(mesh.vertices):
        return None
    # trimesh turns v upwards
    return np.stack([uv[:, 0], 1 - uv[:, 1]], axis=1).astype(np.float32)


def _placed(
    mesh: Any, place: np.ndarray, material: Material, uv: np.ndarray | None, colors: np.ndarray | None
) -> Part:
    """One of trimesh's meshes in the world."""
    turn = place[:3, :3]
    vertices = np.asarray(mesh.vertices, np.float64) @ turn.T + place[:3, 3]
    faces = np.asarray(mesh.faces, np.int64)
    normals = None
    # asked for the normals of a file that has none, trimesh would compute some
    if "vertex_normals" in mesh._cache and np.linalg.det(turn) != 0:
        normals = np.asarray(mesh.vertex_normals, np.float64) @ np.linalg.inv(turn)
    if np.linalg.det(turn) < 0:
        # a mirror turns faces inside out
        faces = faces[:, ::-1]
    return Part(vertices, faces, material, normals, uv, colors)


def _repaired(part: Part, notices: list[str]) -> Part | None:
    """The part without triangles and attributes that cannot be used; None if nothing is left."""
    inside = ((part.faces >= 0) & (part.faces < len(part.vertices))).all(axis=1)
    finite = inside.copy()
    finite[inside] = np.isfinite(part.vertices[part.faces[inside]]).all(axis=(1, 2))
    if not finite.all():
        notices.append("triangles at vertices that are NaN, infinite or missing were left out")
    faces = part.faces[finite]
    corners = part.vertices[faces]
    edges = corners - np.roll(corners, 1, axis=1)
    area = np.linalg.norm(np.cross(edges[:, 0], edges[:, 1]), axis=1)
    solid = area > THINNEST * (edges**2).sum(axis=2).max(axis=1, initial=0)
    if not solid.all():
        notices.append("degenerate triangles were left out")
    faces = faces[solid]
    if len(faces) == 0:
        return None
    used, faces = np.unique(faces, return_inverse=True)
    attributes = {
        name: None if values is None else values[used]
        for name, values in (("normals", part.normals), ("uv", part.uv), ("colors", part.colors))
    }
    if attributes["normals"] is not None:
        length = np.linalg.norm(attributes["normals"], axis=1, keepdims=True)
        if not (np.isfinite(length).all() and length.min() > 1e-12):
            notices.append("normals that are zero or NaN: triangles are shown flat")
            attributes["normals"] = None
        else:
            attributes["normals"] = attributes["normals"] / length
    uv = attributes["uv"]
    if uv is not None and not np.isfinite(uv).all():
        notices.append("texture coordinates that are NaN were set to 0")
        attributes["uv"] = np.nan_to_num(uv, nan=0, posinf=0, neginf=0)
    return replace(part, vertices=part.vertices[used], faces=faces.reshape(-1, 3), **attributes)


def _normalized(parts: Sequence[Part], up: str, path: Path) -> tuple[Part, ...]:
    """The parts together in the unit ball, +Y up, in the types of the renderer."""
    everything = np.concatenate([part.vertices for part in parts])
    center = (everything.min(axis=0) + everything.max(axis=0)) / 2
    radius = np.linalg.norm(everything - center, axis=1).max()
    if not 0 < radius < np.inf:
        raise UnusableObjectError("empty", f"{path} has a radius of {radius:g}")
    # y up, -z where the file's y was
    turn = np.eye(3) if up == "y" else np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
    return tuple(
        replace(
            part,
            vertices=((part.vertices - center) / radius @ turn.T).astype(np.float32),
            faces=part.faces.astype(np.uint32),
            normals=None if part.normals is None else (part.normals @ turn.T).astype(np.float32),
        )
        for part in parts
    )
