"""Materials of mesh files: between `Material` and 8-bit pictures, and from what trimesh reads."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from ..color import linear_from_srgb, srgb_from_linear
from ..mesh import Material
from .image_folder import to_uint8


# Names of the textures beside an .obj file and in a .usdz file.
TEXTURE_NAMES = ("base_color", "roughness", "metallic", "normals")


def pictures_of(material: Material) -> dict[str, Image.Image]:
    """A material's textures as 8-bit pictures, by name: RGB for base colour and normals, grey for the others."""
    values = {name: getattr(material, name) for name in TEXTURE_NAMES if getattr(material, name) is not None}
    if "normals" in values:
        values["normals"] = values["normals"] * 0.5 + 0.5
    return {name: _picture(texture) for name, texture in values.items()}


def metallic_roughness_picture(material: Material) -> Image.Image:
    """One picture as glTF has it: roughness in green, metallic in blue; red is 1, which some take for no occlusion."""
    size = [max(sides) for sides in zip(material.roughness.shape[-2:], material.metallic.shape[-2:], strict=True)]
    roughness, metallic = (
        texture if list(texture.shape[-2:]) == size else F.interpolate(texture[None], size, mode="bilinear")[0]
        for texture in (material.roughness, material.metallic)
    )
    return _picture(torch.cat([torch.ones_like(roughness), roughness, metallic]))


def uniform_values(material: Material) -> tuple[list[float], float, float]:
    """Linear base colour, roughness and metallic of a material that is the same everywhere."""
    base = linear_from_srgb(material.base_color.flatten().clamp(0, 1)).tolist()
    return base, float(material.roughness.clamp(0, 1)), float(material.metallic.clamp(0, 1))


def phong_roughness(exponent: float) -> float:
    """The roughness whose GGX highlight is as wide as Phong's (Walter et al. 2007: alpha^2 = 2 / (exponent + 2))."""
    return (2 / (max(exponent, 0) + 2)) ** 0.25


def material_from_trimesh(source: Any, folder: Path, gltf: bool) -> Material | None:
    """The material of one of trimesh's meshes; None for glTF's that is white, rough and no metal, and for none.

    Transparency, occlusion and light that the surface emits are left out.

    Args:
        source: trimesh's PBRMaterial or SimpleMaterial, or None.
        folder: of the file, where an .mtl file's textures are.
        gltf: whether the file is a .glb.
    """
    if hasattr(source, "baseColorFactor"):
        return _from_gltf(source) if gltf else None
    if hasattr(source, "diffuse") and not gltf:
        return _from_mtl(source, folder)
    return None


def _from_gltf(source: Any) -> Material | None:
    factor = _unit_factor(source.baseColorFactor)
    factors = (1.0 if value is None else float(value) for value in (source.roughnessFactor, source.metallicFactor))
    roughness, metallic = factors
    base = _texture(source.baseColorTexture)
    surface = _texture(source.metallicRoughnessTexture)
    normals = _normals(source.normalTexture)
    if (
        base is None
        and surface is None
        and normals is None
        and (factor == 1).all()
        and (roughness, metallic) == (1, 0)
    ):
        return None
    if base is None:
        base = srgb_from_linear(factor)[:, None, None]
    elif (factor != 1).any():
        base = srgb_from_linear(linear_from_srgb(base) * factor[:, None, None])
    surface = torch.ones(3, 1, 1) if surface is None else surface
    return Material(base, surface[1:2] * roughness, surface[2:3] * metallic, normals)


def _from_mtl(source: Any, folder: Path) -> Material:
    """A Phong material, with the textures of roughness, metallic and normals that newer programs write beside it."""
    words = source.kwargs
    base = _texture(source.image)
    if base is None:
        base = srgb_from_linear(_unit_factor(source.diffuse))[:, None, None]
    highlight = 1.0 if source.glossiness is None else phong_roughness(float(source.glossiness))
    roughness = _linked(words, "map_pr", folder)
    metallic = _linked(words, "map_pm", folder)
    normals = _linked(words, "norm", folder)
    return Material(
        base,
        torch.full((1, 1, 1), _number(words, "pr", highlight)) if roughness is None else roughness[:1],
        torch.full((1, 1, 1), _number(words, "pm", 0.0)) if metallic is None else metallic[:1],
        None if normals is None else F.normalize(normals * 2 - 1, dim=0),
    )


def _linked(words: dict[str, Any], name: str, folder: Path) -> Tensor | None:
    """A texture that a line of an .mtl file names, last after any options."""
    if name not in words:
        return None
    path = folder / words[name][-1]
    # a material that names files elsewhere is no reason to read them
    if not path.resolve().is_relative_to(folder.resolve()) or not path.is_file():
        return None
    with Image.open(path) as picture:
        return _texture(picture)


def _number(words: dict[str, Any], name: str, default: float) -> float:
    try:
        return min(max(float(words[name][0]), 0.0), 1.0)
    except (KeyError, ValueError):
        return default


def _unit_factor(color: Any) -> Float[Tensor, "3"]:
    """A linear factor in [0, 1], which trimesh keeps in 8 bits; white if it is not said."""
    if color is None:
        return torch.ones(3)
    color = np.asarray(color)[:3]
    return torch.from_numpy(color.astype(np.float32) / (255 if color.dtype.kind in "iu" else 1)).clamp(0, 1)


def _texture(picture: Image.Image | None) -> Float[Tensor, "3 height width"] | None:
    if picture is None:
        return None
    if picture.mode.startswith("I;16") or picture.mode == "I":
        # 16 bits, which converting would cut off
        values = torch.from_numpy(np.asarray(picture, np.float32)) / 65535
        return values.expand(3, -1, -1).clamp(0, 1)
    return torch.from_numpy(np.asarray(picture.convert("RGB"), np.float32) / 255).movedim(-1, 0).contiguous()


def _normals(picture: Image.Image | None) -> Float[Tensor, "3 height width"] | None:
    values = _texture(picture)
    if values is None:
        return None
    values = values * 2 - 1
    # texels that nothing was written to
    flat = torch.tensor([0.0, 0.0, 1.0])[:, None, None]
    return F.normalize(torch.where(values.norm(dim=0) > 0.1, values, flat), dim=0)


def _picture(texture: Float[Tensor, "channels height width"]) -> Image.Image:
    pixels = to_uint8(texture.clamp(0, 1).movedim(0, -1))
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
