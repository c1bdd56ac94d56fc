"""The metallic-roughness material of glTF 2.0 (appendix B): GGX specular over Lambert, and its split-sum tables."""

import math
from functools import cache

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


DIELECTRIC_REFLECTANCE = 0.04
TABLE = 32
TABLE_SAMPLES = 512
# the squared roughness below which highlights cannot be told apart, and divisions stay finite
SMALLEST_ALPHA = 1e-3


def gltf_brdf(
    base_colors: Float[Tensor, "*batch 3"],
    roughness: Float[Tensor, "*batch 1"],
    metallic: Float[Tensor, "*batch 1"],
    normals: Float[Tensor, "*batch 3"],
    to_camera: Float[Tensor, "*batch 3"],
    to_light: Float[Tensor, "*batch 3"],
) -> Float[Tensor, "*batch 3"]:
    """Reflected radiance per irradiance: glTF 2.0, B.3, with the height-correlated visibility of Smith.

    Args:
        base_colors: linear.
        roughness: alpha is its square.
        metallic: 0 for dielectrics, 1 for metals.
        normals: unit.
        to_camera: unit.
        to_light: unit.
    """
    alpha_squared = roughness.pow(4).clamp(min=SMALLEST_ALPHA**2)
    half = F.normalize(to_camera + to_light, dim=-1)
    n_v, n_l, n_h, v_h = (
        (a * b).sum(-1, keepdim=True).clamp(min=0)
        for a, b in ((normals, to_camera), (normals, to_light), (normals, half), (to_camera, half))
    )
    distribution = alpha_squared / (math.pi * (n_h * n_h * (alpha_squared - 1) + 1).square())
    visibility = _smith_visibility(n_v, n_l, alpha_squared)
    reflectance = torch.lerp(torch.full_like(base_colors, DIELECTRIC_REFLECTANCE), base_colors, metallic)
    fresnel = reflectance + (1 - reflectance) * (1 - v_h).pow(5)
    diffuse = (1 - metallic) * base_colors / math.pi * (1 - fresnel)
    return torch.where((n_l > 0) & (n_v > 0), diffuse + fresnel * distribution * visibility, 0)


def _smith_visibility(n_v: Tensor, n_l: Tensor, alpha_squared: Tensor) -> Tensor:
    """Smith's height-correlated masking and shadowing over 4 n.v n.l (Heitz 2014)."""
    seen = n_l * (n_v * n_v * (1 - alpha_squared) + alpha_squared).sqrt()
    lit = n_v * (n_l * n_l * (1 - alpha_squared) + alpha_squared).sqrt()
    return 0.5 / (seen + lit).clamp(min=1e-6)


@cache
def _tables(device: torch.device) -> tuple[Tensor, Tensor]:
    """Split-sum scale and bias [1, 2, roughness, cosine] (Karis 2013), and the diffuse Fresnel loss [1, 1, 1, cosine].

    The loss is the cosine-weighted mean of (1 - v.h)^5 over directions of light, which depends on the view alone.
    """
    cosine = torch.linspace(0, 1, TABLE, dtype=torch.float64).clamp(min=1e-3)[:, None]
    alpha = torch.linspace(0, 1, TABLE, dtype=torch.float64).square().clamp(min=SMALLEST_ALPHA)[:, None, None]
    index = torch.arange(TABLE_SAMPLES, dtype=torch.float64)
    first, second = (index + 0.5) / TABLE_SAMPLES, (index * 0.6180339887498949) % 1
    # half vectors distributed as the normals that the microfacets show: tan^2 = alpha^2 u / (1 - u)
    n_h = ((1 - first) / (1 + (alpha * alpha - 1) * first)).sqrt()
    sine = (1 - n_h * n_h).clamp(min=0).sqrt()
    v_h = (1 - cosine * cosine).sqrt() * sine * (2 * math.pi * second).cos() + cosine * n_h
    n_l = 2 * v_h * n_h - cosine
    weight = 4 * _smith_visibility(cosine, n_l.clamp(min=0), alpha * alpha) * n_l * v_h / n_h
    weight = torch.where((n_l > 0) & (v_h > 0), weight, 0)
    fresnel = (1 - v_h.clamp(min=0)).pow(5)
    split_sum = torch.stack([(weight * (1 - fresnel)).mean(-1), (weight * fresnel).mean(-1)])

    polar = first.sqrt()
    v_l = (1 - cosine * cosine).sqrt() * polar * (2 * math.pi * second).cos() + cosine * (1 - first).sqrt()
    loss = (1 - ((1 + v_l).clamp(min=0) / 2).sqrt()).pow(5).mean(-1)
    return split_sum[None].float().to(device), loss[None, None, None].float().to(device)


def environment_reflectance(
    roughness: Float[Tensor, "scenes points"], cosine: Float[Tensor, "scenes points"]
) -> tuple[Float[Tensor, "scenes points"], Float[Tensor, "scenes points"], Float[Tensor, "scenes points"]]:
    """Of light from everywhere: specular scale and bias of the reflectance at normal incidence, and diffuse loss.

    Args:
        roughness: in [0, 1].
        cosine: between normal and view, in [0, 1].
    """
    split_sum, loss = _tables(roughness.device)
    place = torch.stack([cosine, roughness], dim=-1)[:, None] * 2 - 1
    options = {"padding_mode": "border", "align_corners": True}
    scale, bias = F.grid_sample(split_sum.expand(len(roughness), -1, -1, -1), place, **options)[:, :, 0].unbind(1)
    lost = F.grid_sample(loss.expand(len(roughness), -1, -1, -1), place * place.new_tensor([1, 0]), **options)
    return scale, bias, lost[:, 0, 0]


def dominant_directions(
    normals: Float[Tensor, "*batch 3"],
    to_camera: Float[Tensor, "*batch 3"],
    cosine: Float[Tensor, "*batch"],
    roughness: Float[Tensor, "*batch"],
) -> Float[Tensor, "*batch 3"]:
    """Where most of the specular light comes from (S. Lagarde and C. de Rousiers, "Moving Frostbite to PBR", 2014).

    Args:
        normals: unit.
        to_camera: unit.
        cosine: between the two, above 0.
        roughness: in [0, 1].
    """
    mirrored = 2 * cosine[..., None] * normals - to_camera
    smooth = 1 - roughness
    toward = (smooth * (smooth.sqrt() + roughness))[..., None]
    return F.normalize(torch.lerp(normals, mirrored, toward), dim=-1)


def tangents(
    normals: Float[Tensor, "*batch 3"],
) -> tuple[Float[Tensor, "*batch 3"], Float[Tensor, "*batch 3"]]:
    """Two unit vectors across each normal (T. Duff et al., "Building an orthonormal basis, revisited", 2017)."""
    x, y, z = normals.unbind(-1)
    sign = torch.where(z < 0, -1.0, 1.0)
    a = -1 / (sign + z)
    b = x * y * a
    first = torch.stack([1 + sign * x * x * a, sign * b, -sign * x], dim=-1)
    return first, torch.stack([b, sign + y * y * a, -y], dim=-1)
