"""Meshes as .glb (glTF 2.0, Khronos): one primitive with positions, and where known normals and colours.

Vertex colours are linear light in glTF, and 32-bit numbers here: 8 bits of linear light would lose the dark shades.
"""

import json
from pathlib import Path

import numpy as np

from ..color import linear_from_srgb
from ..mesh import Mesh
from .files import new_file


FLOAT, UNSIGNED_INT = 5126, 5125
VERTICES, INDICES = 34962, 34963
JSON_CHUNK, BINARY_CHUNK = b"JSON", b"BIN\0"

# Neither metal nor mirror, and seen from both sides: reconstructed surfaces have borders.
MATERIAL = {"pbrMetallicRoughness": {"metallicFactor": 0, "roughnessFactor": 1}, "doubleSided": True}


def write_glb(mesh: Mesh, path: Path | str, overwrite: bool = False) -> None:
    """Write a mesh as .glb, its positions, normals and colours as exact 32-bit numbers.

    Positions are written in the mesh's world; programs that read glTF take y as up.

    Args:
        mesh: a valid mesh.
        path: a file name ending in .glb.
        overwrite: whether an existing file may be replaced.

    Raises:
        ValueError: if the mesh is not valid.
    """
    mesh.validate()
    vectors = {"POSITION": mesh.vertices}
    if mesh.vertex_normals is not None:
        vectors["NORMAL"] = mesh.vertex_normals
    if mesh.vertex_colors is not None:
        vectors["COLOR_0"] = linear_from_srgb(mesh.vertex_colors.clamp(0, 1))
    arrays = [values.detach().cpu().numpy().astype("<f4") for values in vectors.values()]
    arrays.append(mesh.faces.detach().cpu().numpy().astype("<u4").reshape(-1))
    positions = arrays[0]
    accessors = [
        {"bufferView": index, "componentType": FLOAT, "count": len(values), "type": "VEC3"}
        for index, values in enumerate(arrays[:-1])
    ]
    accessors[0].update(min=positions.min(0).tolist(), max=positions.max(0).tolist())
    accessors.append(
        {"bufferView": len(vectors), "componentType": UNSIGNED_INT, "count": len(arrays[-1]), "type": "SCALAR"}
    )
    starts = np.cumsum([0, *(values.nbytes for values in arrays)]).tolist()
    views = [
        {"buffer": 0, "byteOffset": start, "byteLength": values.nbytes, "target": VERTICES}
        for start, values in zip(starts, arrays, strict=False)
    ]
    views[-1]["target"] = INDICES
    primitive = {"attributes": {name: i for i, name in enumerate(vectors)}, "indices": len(vectors), "material": 0}
    tree = {
        "asset": {"version": "2.0", "generator": "anyviews"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [primitive]}],
        "materials": [MATERIAL],
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"byteLength": starts[-1]}],
    }
    text = json.dumps(tree, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    total = 12 + 8 + len(text) + 8 + starts[-1]
    with new_file(path, overwrite) as temporary, temporary.open("wb") as file:
        file.write(b"glTF" + _integers(2, total))
        file.write(_integers(len(text)) + JSON_CHUNK + text)
        file.write(_integers(starts[-1]) + BINARY_CHUNK)
        for values in arrays:
            values.tofile(file)


def _integers(*values: int) -> bytes:
    return np.array(values, "<u4").tobytes()
