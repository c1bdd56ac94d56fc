"""Meshes as .glb (glTF 2.0, Khronos): one primitive with positions and, where known, normals, colours and a material.

Vertex colours are linear light in glTF, and 32-bit numbers here: 8 bits of linear light would lose the dark shades.
Textures are PNG: base colour in sRGB, roughness in green and metallic in blue of one picture, normals in tangent space
with the tangents that they were made for.

glTF has +Y up. A world with another up is turned by the node that holds the mesh, not in its numbers; the node says so
in its `extras`, by which `read_mesh` knows to give back the world as it was.
"""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ..color import linear_from_srgb
from ..mesh import Mesh
from .files import new_file
from .mesh_materials import metallic_roughness_picture, pictures_of, uniform_values
from .world_up import Y_UP, quaternion_to_y_up


FLOAT, UNSIGNED_INT = 5126, 5125
VERTICES, INDICES = 34962, 34963
KINDS = {2: "VEC2", 3: "VEC3", 4: "VEC4"}
# linear with mipmaps, and repeating
SAMPLER = {"magFilter": 9729, "minFilter": 9987, "wrapS": 10497, "wrapT": 10497}
JSON_CHUNK, BINARY_CHUNK = b"JSON", b"BIN\0"
UP_KEY = "anyviews_world_up"


def write_glb(mesh: Mesh, path: Path | str, overwrite: bool = False, up: Sequence[float] = Y_UP) -> None:
    """Write a mesh as .glb: numbers of vertices as exact 32-bit numbers, textures in 8 bits.

    Args:
        mesh: a valid mesh.
        path: a file name ending in .glb.
        overwrite: whether an existing file may be replaced.
        up: the direction (x, y, z) in the mesh's world that viewers show upwards; OpenCV-like worlds have (0, -1, 0).

    Raises:
        ValueError: if the mesh is not valid, or `up` is no direction.
    """
    mesh.validate()
    node: dict[str, Any] = {"mesh": 0}
    rotation = quaternion_to_y_up(up)
    if rotation != (0, 0, 0, 1):
        node.update(rotation=list(rotation), extras={UP_KEY: [float(value) for value in up]})
    vectors = {name: values.detach().cpu().numpy().astype("<f4") for name, values in _attributes(mesh).items()}
    faces = mesh.faces.detach().cpu().numpy().astype("<u4").reshape(-1)
    accessors = [
        {"bufferView": index, "componentType": FLOAT, "count": len(values), "type": KINDS[values.shape[1]]}
        for index, values in enumerate(vectors.values())
    ]
    accessors[0].update(min=vectors["POSITION"].min(0).tolist(), max=vectors["POSITION"].max(0).tolist())
    accessors.append(
        {"bufferView": len(vectors), "componentType": UNSIGNED_INT, "count": len(faces), "type": "SCALAR"}
    )
    material, pictures = _material(mesh)
    blocks = [values.tobytes() for values in (*vectors.values(), faces)] + [_png(picture) for picture in pictures]
    views = _views([len(block) for block in blocks], len(vectors))
    tree = {
        "asset": {"version": "2.0", "generator": "anyviews"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [node],
        "meshes": [{"primitives": [_primitive(list(vectors))]}],
        "materials": [material],
        "accessors": accessors,
        "bufferViews": views,
    }
    if pictures:
        tree["images"] = [{"bufferView": len(vectors) + 1 + i, "mimeType": "image/png"} for i in range(len(pictures))]
        tree["samplers"] = [SAMPLER]
        tree["textures"] = [{"source": index, "sampler": 0} for index in range(len(pictures))]
    with new_file(path, overwrite) as temporary:
        temporary.write_bytes(_container(tree, blocks))


def _attributes(mesh: Mesh) -> dict[str, torch.Tensor]:
    """The numbers of vertices under glTF's names, positions first."""
    vectors = {"POSITION": mesh.vertices}
    if mesh.vertex_normals is not None:
        vectors["NORMAL"] = mesh.vertex_normals
    if mesh.vertex_colors is not None:
        vectors["COLOR_0"] = linear_from_srgb(mesh.vertex_colors.clamp(0, 1))
    if mesh.texture_coordinates is not None:
        vectors["TEXCOORD_0"] = mesh.texture_coordinates
    has_normal_texture = mesh.material is not None and mesh.material.normals is not None
    if has_normal_texture and mesh.vertex_normals is not None and mesh.texture_coordinates is not None:
        vectors["TANGENT"] = mesh.vertex_tangents()
    return vectors


def _material(mesh: Mesh) -> tuple[dict[str, Any], list[Image.Image]]:
    """glTF's material and its pictures, seen from both sides: reconstructed surfaces have borders."""
    surface: dict[str, Any] = {"metallicFactor": 0, "roughnessFactor": 1}
    tree: dict[str, Any] = {"pbrMetallicRoughness": surface, "doubleSided": True}
    if mesh.material is None:
        return tree, []
    if mesh.texture_coordinates is None:
        base, roughness, metallic = uniform_values(mesh.material)
        surface.update(baseColorFactor=[*base, 1], roughnessFactor=roughness, metallicFactor=metallic)
        return tree, []
    named = pictures_of(mesh.material)
    pictures = [named["base_color"], metallic_roughness_picture(mesh.material)]
    surface.update(metallicFactor=1, baseColorTexture={"index": 0}, metallicRoughnessTexture={"index": 1})
    if "normals" in named and mesh.vertex_normals is not None:
        tree["normalTexture"] = {"index": 2}
        pictures.append(named["normals"])
    return tree, pictures


def _primitive(attributes: list[str]) -> dict[str, Any]:
    return {
        "attributes": {name: index for index, name in enumerate(attributes)},
        "indices": len(attributes),
        "material": 0,
    }


def _views(sizes: list[int], attributes: int) -> list[dict[str, int]]:
    """Buffer views one after the other, of vertices, indices and pictures, each beginning at a multiple of 4."""
    starts = np.cumsum([0, *(size + -size % 4 for size in sizes)]).tolist()
    views = [
        {"buffer": 0, "byteOffset": start, "byteLength": size} for start, size in zip(starts, sizes, strict=False)
    ]
    for index, view in enumerate(views[: attributes + 1]):
        view["target"] = VERTICES if index < attributes else INDICES
    return views


def _png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG", compress_level=4)
    return file.getvalue()


def _container(tree: dict[str, Any], blocks: list[bytes]) -> bytes:
    binary = b"".join(block + bytes(-len(block) % 4) for block in blocks)
    tree["buffers"] = [{"byteLength": len(binary)}]
    text = json.dumps(tree, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    chunks = _integers(len(text)) + JSON_CHUNK + text + _integers(len(binary)) + BINARY_CHUNK + binary
    return b"glTF" + _integers(2, 12 + len(chunks)) + chunks


def _integers(*values: int) -> bytes:
    return np.array(values, "<u4").tobytes()
