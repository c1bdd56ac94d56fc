"""Materials of meshes: base colour, roughness and metallic as glTF 2.0 defines them, as arrays for the renderer."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ...color import linear_from_srgb
from ...formats.mesh_materials import phong_roughness
from .problems import UnusableObjectError


# Larger textures are reduced: a picture of 512 pixels shows no more of them.
LARGEST_TEXTURE = 2048
# A mirror smoother than this would show light only by chance.
SMOOTHEST = 0.05
# What has no material at all; glTF's default, a rough metal, is meant for nothing real.
BARE_COLOR, BARE_ROUGHNESS = 0.5, 0.6

OPACITY_SAMPLES = 4096
# an object with more transparent surface than this is not rendered
MOST_TRANSPARENT = 0.005
ALPHA_CUT = 0.5


@dataclass(frozen=True)
class Material:
    """Textures are [H, W, C] float32 in [0, 1], top row first; without texture [C].

    Args:
        base_color: linear.
        roughness: of one channel.
        metallic: of one channel.
        normal_map: tangent space, n * 0.5 + 0.5, y upwards in the picture, or None.
        alpha: [H, W] or a number where the material is not declared opaque, or None.
    """

    base_color: np.ndarray
    roughness: np.ndarray
    metallic: np.ndarray
    normal_map: np.ndarray | None = None
    alpha: np.ndarray | float | None = None

    def check_opaque(self, mesh: Any, uv: np.ndarray | None, path: Path) -> None:
        """Raise UnusableObjectError if a surface lets light through: maps of what is behind glass do not exist."""
        if self.alpha is None:
            return
        alpha = self.alpha
        if isinstance(alpha, np.ndarray):
            if uv is None:
                return
            # texels outside of the surface count for nothing
            random = np.random.default_rng(0)
            corners = uv[np.asarray(mesh.faces)[random.integers(len(mesh.faces), size=OPACITY_SAMPLES)]]
            places = (corners * random.dirichlet((1, 1, 1), OPACITY_SAMPLES)[..., None]).sum(axis=1)
            height, width = alpha.shape
            column, row = (np.nan_to_num(places) % 1 * (width, height)).astype(int).T
            alpha = alpha[np.minimum(row, height - 1), np.minimum(column, width - 1)]
        share = float((np.asarray(alpha) < ALPHA_CUT).mean())
        if share > MOST_TRANSPARENT:
            raise UnusableObjectError("transparent", f"{path}: {share:.1%} of a surface is transparent")


def material_of(source: Any, gltf: bool, notices: list[str]) -> Material:
    """The material of one of trimesh's meshes.

    Args:
        source: a PBRMaterial, a SimpleMaterial, or None.
        gltf: whether it is of a glTF file, where what is not said has glTF's default.
        notices: gets a sentence for everything that is not rendered as the file says.
    """
    if source is None or not (hasattr(source, "baseColorFactor") or hasattr(source, "diffuse")):
        return _plain(np.full(3, BARE_COLOR, np.float32), BARE_ROUGHNESS, 0.0)
    if not gltf:
        return _of_obj(source, notices)
    if getattr(source, "emissiveTexture", None) is not None or np.any(source.emissiveFactor):
        notices.append("light that the surface emits was left out")
    factor = _unit(source.baseColorFactor, 4)
    picture = _texture(source.baseColorTexture, notices)
    base = factor[:3] if picture is None else _linear(picture[..., :3]) * factor[:3]
    alpha = None
    if source.alphaMode in ("BLEND", "MASK"):
        alpha = float(factor[3]) if picture is None or picture.shape[-1] < 4 else picture[..., 3] * factor[3]
    surface = _texture(source.metallicRoughnessTexture, notices)
    roughness = np.float32([1.0 if source.roughnessFactor is None else source.roughnessFactor])
    metallic = np.float32([1.0 if source.metallicFactor is None else source.metallicFactor])
    if surface is not None:
        roughness, metallic = surface[..., 1:2] * roughness, surface[..., 2:3] * metallic
    normal_map = _texture(source.normalTexture, notices)
    return Material(
        np.clip(base, 0, 1),
        np.clip(roughness, SMOOTHEST, 1),
        np.clip(metallic, 0, 1),
        None if normal_map is None else normal_map[..., :3],
        alpha,
    )


def vertex_colors_of(
    mesh: Any, linear: np.ndarray | None, material: Material, notices: list[str]
) -> np.ndarray | None:
    """Linear base colours [V, 3] of the vertices, or None where the material alone says them.

    Args:
        mesh: one of trimesh's.
        linear: the colours of a glTF file, [V, 3 or 4], of any type.
        material: its factor multiplies them.
        notices: gets a sentence if they cannot be shown.
    """
    if linear is None and mesh.visual.kind in ("vertex", "face"):
        # in .obj and PLY files colours are sRGB
        linear = _linear(np.asarray(mesh.visual.vertex_colors)[:, :3].astype(np.float32) / 255)
    if linear is None or len(linear) != len(mesh.vertices):
        return None
    whole = np.iinfo(linear.dtype).max if linear.dtype.kind in "iu" else 1
    colors = np.nan_to_num(linear[:, :3].astype(np.float32) / whole).clip(0, 1)
    if material.base_color.ndim == 3:
        if colors.min(initial=1) < 1:
            notices.append("vertex colours on top of a texture were left out")
        return None
    bare = getattr(mesh.visual, "material", None) is None
    return colors if bare else colors * material.base_color


def _of_obj(source: Any, notices: list[str]) -> Material:
    """A Phong material of a .mtl file, a dielectric; newer files say roughness and metallic too, as Pr and Pm."""
    if hasattr(source, "baseColorFactor"):
        simple, picture, factor, roughness = (
            {},
            source.baseColorTexture,
            source.baseColorFactor,
            source.roughnessFactor,
        )
    else:
        simple, picture, factor = source.kwargs, source.image, source.diffuse
        roughness = None if source.glossiness is None else phong_roughness(float(source.glossiness))
    roughness = _number(simple.get("pr"), BARE_ROUGHNESS if roughness is None else roughness)
    texture = _texture(picture, notices)
    # exporters leave any grey beside a texture, which then does not multiply it
    color = _unit(factor, 4)[:3] if texture is None else _linear(texture[..., :3])
    return _plain(color, roughness, _number(simple.get("pm"), 0.0))


def _plain(color: np.ndarray, roughness: float, metallic: float) -> Material:
    return Material(
        np.asarray(color, np.float32),
        np.float32([roughness]).clip(SMOOTHEST, 1),
        np.float32([metallic]).clip(0, 1),
    )


def _number(words: list[str] | None, default: float) -> float:
    try:
        return float(words[0]) if words else default
    except ValueError:
        return default


def _unit(color: Any, channels: int) -> np.ndarray:
    """A factor in [0, 1], which trimesh keeps in 8 bits; white if it is not said."""
    if color is None:
        return np.ones(channels, np.float32)
    color = np.asarray(color)
    color = color.astype(np.float32) / (255 if color.dtype.kind in "iu" else 1)
    return np.ones(channels, np.float32) if len(color) < 3 else np.r_[color, np.ones(channels, np.float32)][:channels]


def _texture(picture: Image.Image | None, notices: list[str]) -> np.ndarray | None:
    """[H, W, 3 or 4] in [0, 1], reduced if it is large."""
    if picture is None:
        return None
    if max(picture.size) > LARGEST_TEXTURE:
        notices.append(f"textures larger than {LARGEST_TEXTURE} pixels were reduced")
        scale = LARGEST_TEXTURE / max(picture.size)
        picture = picture.resize([max(1, round(side * scale)) for side in picture.size], Image.Resampling.BOX)
    if picture.mode.startswith(("I;16", "I", "F")):
        values = np.asarray(picture, np.float32)
        values = values / (65535 if values.max() > 255 else 255)
        return np.repeat(values[..., None], 3, axis=-1)
    alpha = "A" in picture.getbands() or "transparency" in picture.info
    return np.asarray(picture.convert("RGBA" if alpha else "RGB"), np.float32) / 255


def _linear(srgb: np.ndarray) -> np.ndarray:
    return linear_from_srgb(torch.from_numpy(np.ascontiguousarray(srgb))).numpy()
