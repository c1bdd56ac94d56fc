"""How surfaces of an apartment reflect its lamps, windows and the light from all sides (glTF 2.0, Appendix B)."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from ....rendering.shading.ggx import DIELECTRIC_REFLECTANCE, environment_reflectance


Vector = tuple[Tensor, Tensor, Tensor]


def dot(a: Vector, b: Vector) -> Tensor:
    """Scalar product per point."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def from_all_sides(
    colors: list[Tensor], roughness: Tensor, metallic: Tensor, cosine: Tensor, ambient: list[Tensor]
) -> list[Tensor]:
    """Radiance under equal light from all sides.

    What a dielectric does not reflect as gloss it scatters, so that a white one gives back all light.
    """
    scale, bias, _ = environment_reflectance(roughness, cosine)
    lost = (1 - DIELECTRIC_REFLECTANCE * scale - bias) * (1 - metallic)
    return [
        light * (color * lost + (DIELECTRIC_REFLECTANCE + (color - DIELECTRIC_REFLECTANCE) * metallic) * scale + bias)
        for color, light in zip(colors, ambient, strict=True)
    ]


def reflected(
    colors: list[Tensor], roughness: Tensor, metallic: Tensor, normals: Vector, to_camera: Vector, to_lamp: Vector
) -> list[Tensor]:
    """Radiance per irradiance at right angles (times the cosine): glTF's metallic-roughness with GGX.

    As `lighting.gltf_brdf` (a test holds them together), several times faster with colours as separate tensors.

    Args:
        colors: linear base colours.
        roughness: its square is GGX's alpha.
        metallic: 1 for metals.
        normals: unit normals.
        to_camera: unit vectors.
        to_lamp: unit vectors.
    """
    middle = tuple(a + b for a, b in zip(to_camera, to_lamp, strict=True))
    inverse = dot(middle, middle).clamp_(min=1e-8).rsqrt_()
    cos_lamp, cos_camera = dot(normals, to_lamp).clamp_(min=0), dot(normals, to_camera).clamp_(min=1e-3)
    cos_middle = (dot(normals, middle) * inverse).clamp_(0, 1)
    cos_half = (dot(to_camera, middle) * inverse).clamp_(0, 1)
    squared = roughness.clamp(min=0.045) ** 4
    base = cos_middle * cos_middle * (squared - 1) + 1
    visible = cos_lamp * (cos_camera * cos_camera * (1 - squared) + squared).sqrt()
    visible += cos_camera * (cos_lamp * cos_lamp * (1 - squared) + squared).sqrt()
    # distribution times visibility; the pi of both parts is taken out
    gloss = squared / (base * base * visible.clamp_(min=1e-6)) * 0.5
    fresnel = (1 - cos_half) ** 5
    lit = cos_lamp / math.pi
    results = []
    for color in colors:
        f0 = DIELECTRIC_REFLECTANCE + (color - DIELECTRIC_REFLECTANCE) * metallic
        mirrored = f0 + (1 - f0) * fresnel
        results.append(lit * (color * (1 - metallic) * (1 - mirrored) + mirrored * gloss))
    return results


def lamp_light(
    lamp: dict[str, Float[Tensor, "tiles rays"]], points: Vector
) -> tuple[Vector, Vector, Tensor, list[Tensor]]:
    """Vectors and unit vectors to a lamp, its width over its distance, and irradiance at right angles per colour."""
    to_lamp = tuple(lamp[name] - p for name, p in zip("xyz", points, strict=True))
    squared = dot(to_lamp, to_lamp)
    inverse = squared.clamp(min=1e-6).rsqrt_()
    unit = tuple(component * inverse for component in to_lamp)
    facing = -dot(unit, (lamp["facing_x"], lamp["facing_y"], lamp["facing_z"]))
    emitted = torch.lerp(torch.ones_like(facing), facing.clamp_(min=0), lamp["directed"])
    # as from a disc of that size, so that near lamps do not blind
    falloff = emitted / (squared + lamp["size"] ** 2).clamp_(min=1e-6)
    return to_lamp, unit, 2 * lamp["size"] * inverse, [lamp[name] * falloff for name in ("red", "green", "blue")]
