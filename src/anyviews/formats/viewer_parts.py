"""What the viewer's page can show, each as a description and blocks: Gaussians, points, a mesh, cameras with photos.

A Gaussian takes 32 bytes plus 3 per harmonic above degree 0, a point 15, a vertex of a mesh up to 35 and a face 12.
"""

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ..gaussians import Gaussians
from ..mesh import Material, Mesh
from ..scene import PointCloud
from .image_folder import to_uint8
from .viewer_page import Blocks


# One Gaussian: log_scale and opacity in 1/65535 of their range, rotation as modified Rodrigues parameters in 1/32767.
RECORD = np.dtype(
    [("mean", "<f4", 3), ("log_scale", "<u2", 3), ("opacity", "<u2"), ("rotation", "<i2", 3), ("color", "<f2", 3)]
)

# Photos of the frusta are shrunk to so many pixels on the longer side.
THUMBNAIL = 160
# Larger textures are shrunk: browsers refuse more on many phones.
LARGEST_TEXTURE = 4096
# Points without colours are of this grey.
GRAY = 205


def gaussian_part(gaussians: Gaussians, blocks: Blocks) -> dict[str, Any]:
    """Gaussians, about the page's origin, in 32-bit numbers on the CPU."""
    records, log_scales = _records(gaussians)
    harmonics, limits = _harmonics(gaussians)
    return {
        "degree": gaussians.degree,
        "logScales": log_scales,
        "harmonicLimits": limits,
        "blocks": {"records": blocks.add(records), "harmonics": blocks.add(harmonics)},
    }


def point_part(points: PointCloud, size: float, blocks: Blocks) -> dict[str, Any]:
    """Points, about the page's origin; the surest first where their confidence is known.

    Args:
        points: on the CPU.
        size: diameter in world units.
        blocks: of the page.
    """
    positions = points.positions.numpy().astype("<f4")
    colors = np.full((len(points), 3), GRAY, np.uint8) if points.colors is None else to_uint8(points.colors)
    if points.confidence is not None:
        order = points.confidence.argsort(descending=True, stable=True).numpy()
        positions, colors = positions[order], colors[order]
    return {"size": size, "blocks": {"positions": blocks.add(positions), "colors": blocks.add(colors)}}


def mesh_part(mesh: Mesh, blocks: Blocks) -> dict[str, Any]:
    """A mesh about the page's origin, on the CPU, with its textures as pictures."""
    kept = {"positions": mesh.vertices.numpy().astype("<f4"), "faces": mesh.faces.numpy().astype("<u4")}
    if mesh.vertex_normals is not None:
        kept["normals"] = mesh.vertex_normals.numpy().astype("<f4")
    if mesh.vertex_colors is not None:
        kept["colors"] = to_uint8(mesh.vertex_colors)
    if mesh.texture_coordinates is not None:
        kept["places"] = mesh.texture_coordinates.numpy().astype("<f4")
    pictures = {} if mesh.material is None else _pictures(mesh.material)
    return {
        "blocks": {name: blocks.add(values) for name, values in kept.items()},
        "pictures": {name: blocks.add_picture(picture) for name, picture in pictures.items()},
    }


def frusta_part(
    count: int,
    length: float,
    images: Float[Tensor, "views 3 height width"] | None,
    depths: Float[Tensor, "views 3 depth_height depth_width"] | None,
    blocks: Blocks,
) -> dict[str, Any]:
    """Pyramids of the page's cameras, with their pictures in mosaics.

    Args:
        count: of cameras.
        length: of a pyramid in world units.
        images: photos, or None.
        depths: depth in colours, or None.
        blocks: of the page.
    """
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    pictures = {
        name: blocks.add_picture(_mosaic(values, columns, rows), "JPEG")
        for name, values in (("photos", images), ("depths", depths))
        if values is not None
    }
    return {"columns": columns, "rows": rows, "length": length, "pictures": pictures}


def thumbnails(images: Float[Tensor, "views 3 height width"]) -> Float[Tensor, "views 3 height_now width_now"]:
    """Small copies of images, on the CPU."""
    height, width = images.shape[-2:]
    shrink = min(1.0, THUMBNAIL / max(height, width))
    size = (max(1, round(height * shrink)), max(1, round(width * shrink)))
    return F.interpolate(images.detach().float().cpu(), size, mode="bilinear", antialias=True).clamp(0, 1)


def _mosaic(
    images: Float[Tensor, "views 3 height width"], columns: int, rows: int
) -> Float[Tensor, "3 all_height all_width"]:
    """Small copies of images, one beside the other."""
    small = thumbnails(images)
    small = F.pad(small, [0, 0, 0, 0, 0, 0, 0, columns * rows - len(small)])
    return small.unflatten(0, (rows, columns)).permute(2, 0, 3, 1, 4).flatten(3, 4).flatten(1, 2)


def _pictures(material: Material) -> dict[str, Tensor]:
    """The textures of a material as pictures: roughness and metallic in green and blue of one, as in glTF."""
    surface = [material.roughness, material.metallic]
    size = tuple(max(sides) for sides in zip(*(texture.shape[-2:] for texture in surface), strict=True))
    green, blue = (F.interpolate(texture[None].float(), size, mode="bilinear")[0] for texture in surface)
    pictures = {"baseColors": material.base_color, "surfaces": torch.cat([torch.ones_like(green), green, blue])}
    if material.normals is not None:
        pictures["normalMap"] = material.normals * 0.5 + 0.5
    return {name: _limited(picture.float()).clamp(0, 1) for name, picture in pictures.items()}


def _limited(texture: Float[Tensor, "3 height width"]) -> Float[Tensor, "3 height_now width_now"]:
    shrink = LARGEST_TEXTURE / max(texture.shape[-2:])
    if shrink >= 1:
        return texture
    return F.interpolate(texture[None], scale_factor=shrink, mode="bilinear", antialias=True)[0]


def _records(gaussians: Gaussians) -> tuple[np.ndarray, list[float]]:
    """The Gaussians as RECORDs, and the lowest and the highest logarithm of a scale."""
    logarithms = gaussians.log_scales.double()
    low, high = float(logarithms.min()), float(logarithms.max())
    # a quaternion and its negative are the same rotation: with w >= 0 the parameters stay within [-1, 1]
    quaternions = F.normalize(gaussians.rotations.double(), dim=-1)
    quaternions = torch.where(quaternions[:, :1] < 0, -quaternions, quaternions)
    records = np.empty(len(gaussians), RECORD)
    records["mean"] = gaussians.means.numpy()
    records["log_scale"] = ((logarithms - low) / max(high - low, 1e-9) * 65535).round().numpy()
    records["opacity"] = (gaussians.opacities.double() * 65535).round().numpy()
    records["rotation"] = (quaternions[:, 1:] / (1 + quaternions[:, :1]) * 32767).round().numpy()
    records["color"] = gaussians.colors.clamp(-65504, 65504).numpy()
    return records, [low, max(high, low + 1e-9)]


def _harmonics(gaussians: Gaussians) -> tuple[np.ndarray, list[float]]:
    """Harmonics above degree 0 as bytes [N, K - 1, 3], and the largest magnitude of each degree.

    The bytes are finer near 0, where most harmonics of a photographed scene are: v = limit * s * abs(s) with
    s = (byte - 128) / 127.
    """
    packed = torch.empty(len(gaussians), gaussians.spherical_harmonics.shape[1] - 1, 3, dtype=torch.uint8)
    limits = []
    for degree in range(1, gaussians.degree + 1):
        band = gaussians.spherical_harmonics[:, degree**2 : (degree + 1) ** 2]
        limit = max(float(band.abs().max()), 1e-9)
        magnitude = (band.abs() / limit).sqrt()
        packed[:, degree**2 - 1 : (degree + 1) ** 2 - 1] = (magnitude * band.sign() * 127 + 128).round()
        limits.append(limit)
    return packed.numpy(), limits
