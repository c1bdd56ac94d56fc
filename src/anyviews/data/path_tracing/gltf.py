"""What the reader of meshes does not tell about a .glb file: linear colours, and what it passes over in silence."""

import io
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .problems import UnusableObjectError


# Extensions that change nothing that is rendered here, or that trimesh applies.
KNOWN_EXTENSIONS = {
    "EXT_texture_webp",
    "KHR_draco_mesh_compression",
    "KHR_materials_pbrSpecularGlossiness",
    "KHR_materials_specular",
    "KHR_materials_ior",
    "KHR_mesh_quantization",
    "KHR_lights_punctual",
    "KHR_materials_variants",
    "KHR_xmp_json_ld",
}
TEXTURE_SOURCES = ("EXT_texture_webp",)


def read_glb(path: Path, notices: list[str]) -> tuple[Any, dict[str, np.ndarray]]:
    """A .glb file as trimesh's scene, and the linear colours of the vertices by the name of their mesh.

    Raises:
        UnusableObjectError: if a texture cannot be decoded; trimesh would show the object without it.
    """
    import trimesh
    from trimesh.exchange.gltf import load_glb
    from trimesh.resolvers import FilePathResolver

    _check(path, notices)
    with path.open("rb") as file:
        scene = load_glb(file, resolver=FilePathResolver(str(path)))
    colors = {}
    for name, part in scene["geometry"].items():
        attributes = getattr(part.get("visual"), "vertex_attributes", {})
        found = part.get("vertex_colors") if part.get("vertex_colors") is not None else attributes.get("color")
        if found is not None:
            colors[name] = np.array(found)
    return trimesh.load_scene(scene, process=False), colors


def _check(path: Path, notices: list[str]) -> None:
    """Look at the textures and extensions that the file names."""
    header, binary = _chunks(path)
    ignored = sorted(set(header.get("extensionsUsed", ())) - KNOWN_EXTENSIONS)
    if ignored:
        notices.append(f"glTF extensions were left out: {', '.join(ignored)}")
    for texture in header.get("textures", ()):
        if "source" not in texture and not any(name in texture.get("extensions", {}) for name in TEXTURE_SOURCES):
            raise UnusableObjectError("textures", f"{path} has textures in a format that is not read (KTX2, Basis)")
    for image in header.get("images", ()):
        if "bufferView" not in image:
            continue
        view = header["bufferViews"][image["bufferView"]]
        start = view.get("byteOffset", 0)
        try:
            Image.open(io.BytesIO(binary[start : start + view["byteLength"]])).load()
        except (OSError, SyntaxError, Image.DecompressionBombError) as error:
            raise UnusableObjectError("textures", f"{path} has a texture that cannot be decoded: {error}") from error


def _chunks(path: Path) -> tuple[dict, bytes]:
    """The JSON and the first buffer of a .glb file (glTF 2.0, section 4.4)."""
    data = path.read_bytes()
    if data[:4] != b"glTF" or len(data) < 20:
        raise UnusableObjectError("unreadable", f"{path} does not begin as a .glb file")
    whole, length = struct.unpack_from("<II", data, 8)
    if len(data) < whole:
        raise UnusableObjectError("unreadable", f"{path} is cut short: {len(data)} of {whole} bytes are there")
    return json.loads(data[20 : 20 + length]), data[20 + length + 8 :]
