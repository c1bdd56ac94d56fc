"""Mitsuba scenes: an asset with `principled` materials under an environment."""

import math
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ...cameras import Cameras
from ...environment import Environment
from .meshes import Asset, Part


# The reflectance at normal incidence of dielectrics in glTF (0.04) in the parameter of Burley's model.
SPECULAR = 0.5
COLOR_ATTRIBUTE = "vertex_color"


def build_scene(mitsuba: ModuleType, parts: tuple[Part, ...], environment: Environment) -> Any:
    """A scene of all parts, each as one shape in their order, without a sensor.

    Args:
        mitsuba: the module, its variant set.
        parts: from `split_by_handedness`.
        environment: the light.
    """
    shapes = {f"part{index:05d}": _shape(mitsuba, part) for index, part in enumerate(parts)}
    light = {"type": "envmap", "bitmap": mitsuba.Bitmap(environment_picture(environment)), "scale": 1.0}
    return mitsuba.load_dict({"type": "scene", "environment": light, **shapes})


def split_by_handedness(asset: Asset) -> tuple[Part, ...]:
    """The parts, those with a normal map cut in two where the texture lies mirrored on the surface.

    The y axis of a normal map follows the texture (glTF 2.0, section 3.7.2.1), but Mitsuba always takes the third axis
    of a right-handed frame: the mirrored half gets a map with y turned around.
    """
    cut = []
    for part in asset.parts:
        if part.material.normal_map is None or part.uv is None:
            cut.append(part)
            continue
        mirrored = _mirrored(part)
        turned = part.material.normal_map * np.float32([1, -1, 1]) + np.float32([0, 1, 0])
        for chosen, normal_map in ((~mirrored, part.material.normal_map), (mirrored, turned)):
            if chosen.any():
                material = replace(part.material, normal_map=normal_map)
                cut.append(replace(part, faces=part.faces[chosen], material=material))
    return tuple(cut)


def environment_picture(environment: Environment) -> np.ndarray:
    """[2 H + 1, W, 3] float32, which Mitsuba interpolates to the same light as `Environment.look_up`.

    The first and last row of Mitsuba's pictures are the poles, those of an `Environment` end there.
    """
    radiance = environment.radiance.detach().float().cpu()
    padded = torch.cat([radiance[:, :1], radiance, radiance[:, -1:]], dim=1)
    between = (padded[:, 1:] + padded[:, :-1]) / 2
    rows = torch.empty(3, 2 * environment.height + 1, environment.width)
    rows[:, 0::2], rows[:, 1::2] = between, radiance
    return np.ascontiguousarray(rows.permute(1, 2, 0).numpy())


def sensor(mitsuba: ModuleType, camera: Cameras, samples: int, supersampled: int = 0) -> Any:
    """A sensor for one camera.

    Args:
        mitsuba: the module, its variant set.
        camera: of batch shape [], with square pixels.
        samples: random rays per pixel.
        supersampled: if not 0, rays go through the centres of this many sub-pixels along each axis instead, each a
            pixel of the picture.

    Raises:
        ValueError: if pixels are not square, or skewed.
    """
    intrinsics = camera.intrinsics.double()
    if abs(intrinsics[0, 0] / intrinsics[1, 1] - 1) > 1e-4 or abs(intrinsics[0, 1]) > 1e-6:
        raise ValueError(f"intrinsics {intrinsics.tolist()} have oblong or skewed pixels; accepted are square ones")
    width, height = int(camera.image_sizes[1]), int(camera.image_sizes[0])
    # Mitsuba's axes: x left, y up, z forward
    pose = camera.camera_to_world.double() * torch.tensor([-1.0, -1.0, 1.0, 1.0], dtype=torch.float64)
    sampler = {"type": "stratified", "sample_count": 1, "jitter": False}
    if not supersampled:
        sampler = {"type": "multijitter", "sample_count": samples}
    finer = max(1, supersampled)
    return mitsuba.load_dict(
        {
            "type": "perspective",
            "fov": math.degrees(2 * math.atan(width / 2 / intrinsics[0, 0].item())),
            "fov_axis": "x",
            "principal_point_offset_x": 0.5 - intrinsics[0, 2].item() / width,
            "principal_point_offset_y": 0.5 - intrinsics[1, 2].item() / height,
            "near_clip": 1e-3,
            "far_clip": 1e4,
            "to_world": mitsuba.ScalarTransform4f(pose.numpy()),
            "film": {
                "type": "hdrfilm",
                "width": width * finer,
                "height": height * finer,
                "pixel_format": "rgba",
                "component_format": "float32",
                "rfilter": {"type": "box"},
            },
            "sampler": sampler,
        }
    )


def texture_lookup(texture: np.ndarray, uv: Float[Tensor, "points 2"]) -> Float[Tensor, "points channels"]:
    """Bilinearly interpolated texture [H, W, C] or constant [C] at places that repeat, as Mitsuba shows it."""
    if texture.ndim == 1:
        return torch.from_numpy(texture).expand(len(uv), -1)
    picture = torch.from_numpy(texture).permute(2, 0, 1)
    height, width = picture.shape[1:]
    padded = F.pad(picture[None], (1, 1, 1, 1), mode="circular")
    places = (uv % 1 * uv.new_tensor([width, height]) + 1) * uv.new_tensor([2 / (width + 2), 2 / (height + 2)]) - 1
    return F.grid_sample(padded, places[None, None], align_corners=False)[0, :, 0].mT


def _shape(mitsuba: ModuleType, part: Part) -> Any:
    """One of Mitsuba's meshes."""
    properties = mitsuba.Properties()
    properties["bsdf"] = mitsuba.load_dict(_bsdf(mitsuba, part))
    mesh = mitsuba.Mesh(
        "part",
        len(part.vertices),
        len(part.faces),
        has_vertex_normals=part.normals is not None,
        has_vertex_texcoords=part.uv is not None,
        props=properties,
    )
    if part.colors is not None:
        mesh.add_attribute(COLOR_ATTRIBUTE, 3, np.ascontiguousarray(part.colors, np.float32).ravel())
    values = mitsuba.traverse(mesh)
    values["faces"] = np.ascontiguousarray(part.faces).ravel()
    if part.normals is not None:
        values["vertex_normals"] = np.ascontiguousarray(part.normals).ravel()
    if part.uv is not None:
        values["vertex_texcoords"] = np.ascontiguousarray(part.uv).ravel()
    values["vertex_positions"] = np.ascontiguousarray(part.vertices).ravel()
    values.update()
    return mesh


def _bsdf(mitsuba: ModuleType, part: Part) -> dict:
    material = part.material
    base = {"type": "mesh_attribute", "name": COLOR_ATTRIBUTE}
    bsdf = {
        "type": "principled",
        "base_color": _texture(mitsuba, material.base_color, part) if part.colors is None else base,
        "roughness": _texture(mitsuba, material.roughness, part),
        "metallic": _texture(mitsuba, material.metallic, part),
        "specular": SPECULAR,
    }
    if material.normal_map is not None and part.uv is not None:
        bsdf = {"type": "normalmap", "normalmap": _texture(mitsuba, material.normal_map, part), "bsdf": bsdf}
    return {"type": "twosided", "bsdf": bsdf}


def _texture(mitsuba: ModuleType, values: np.ndarray, part: Part) -> Any:
    values = shown(values, part)
    if values.ndim == 3:
        # raw: these are linear already
        return {"type": "bitmap", "bitmap": mitsuba.Bitmap(np.ascontiguousarray(values)), "raw": True}
    return float(values[0]) if len(values) == 1 else {"type": "rgb", "value": values.tolist()}


def shown(values: np.ndarray, part: Part) -> np.ndarray:
    """A texture, or its mean [C] on a part that has no texture coordinates."""
    return values.mean(axis=(0, 1)) if values.ndim == 3 and part.uv is None else values


def _mirrored(part: Part) -> np.ndarray:
    """Of each face, whether (u, upward v, shading normal) is left-handed."""
    corners, places = part.vertices[part.faces].astype(np.float64), part.uv[part.faces].astype(np.float64)
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    (u1, v1), (u2, v2) = (places[:, 1] - places[:, 0]).T, (places[:, 2] - places[:, 0]).T
    area = u1 * v2 - u2 * v1
    if part.normals is not None:
        area = area * (part.normals[part.faces].sum(axis=1) * np.cross(first, second)).sum(axis=1)
    # with v downwards, a picture that is seen the right way has a negative area
    return area > 0
