"""Environments made ready to light surfaces: blurred for every roughness, with the brightest spots set apart."""

import math
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ...environment import Environment


# roughnesses that environments are blurred for; between them is interpolated
LEVELS = (0.0, 0.15, 0.25, 0.4, 0.55, 0.75, 1.0)
BROAD_LEVEL = 0.75
KEY_LIGHTS = 2
KEY_COSINE = math.cos(math.radians(9))
RING_COSINE = math.cos(math.radians(18))
LUMINANCE = (0.2126, 0.7152, 0.0722)


@dataclass(frozen=True)
class Light:
    """The light of a batch of scenes.

    Args:
        specular: [B, 3, L, H, W + 2], radiance blurred by the GGX lobe of each of LEVELS; columns wrap around.
        diffuse: [B, 3, H, W + 2], irradiance over pi by surface normal, without the key lights.
        broad: [B, 3, H, W + 2], radiance without the key lights, averaged over wide cones.
        key_directions: [B, K, 3], towards the brightest spots.
        key_irradiance: [B, K, 3], over pi, on a surface that faces them.
    """

    specular: Float[Tensor, "scenes 3 levels height padded_width"]
    diffuse: Float[Tensor, "scenes 3 height padded_width"]
    broad: Float[Tensor, "scenes 3 height padded_width"]
    key_directions: Float[Tensor, "scenes lights 3"]
    key_irradiance: Float[Tensor, "scenes lights 3"]

    @classmethod
    def from_environments(cls, radiance: Float[Tensor, "scenes 3 height width"]) -> "Light":
        """Blur environments and find their key lights."""
        rest, directions, irradiance = _without_key_lights(radiance)
        specular = torch.stack([_blurred(radiance, level) if level else radiance for level in LEVELS], dim=2)
        broad, diffuse = _blurred(rest, BROAD_LEVEL), _blurred(rest, None)
        return cls(_wrapped(specular), _wrapped(diffuse), _wrapped(broad), directions, irradiance)

    def reflected(
        self, directions: Float[Tensor, "scenes points 3"], roughness: Float[Tensor, "scenes points"]
    ) -> Float[Tensor, "scenes points 3"]:
        """Radiance around unit directions, averaged over the lobe of this roughness."""
        level = torch.zeros_like(roughness)
        for low, high in pairwise(LEVELS):
            level += ((roughness - low) / (high - low)).clamp_(0, 1)
        level = level * (2 / (len(LEVELS) - 1)) - 1
        place = torch.cat([_places(directions, self.specular), level[..., None]], dim=-1)[:, None, None]
        # rows end half a pixel before the poles, levels at their first and last one
        place = place * place.new_tensor([1, 1, (len(LEVELS) - 1) / len(LEVELS)])
        found = F.grid_sample(self.specular, place, padding_mode="border", align_corners=False)
        return found[:, :, 0, 0].mT

    def irradiance(self, normals: Float[Tensor, "scenes points 3"]) -> Float[Tensor, "scenes points 3"]:
        """Irradiance over pi on surfaces with these normals, without the key lights."""
        return look_up(self.diffuse, normals)


def look_up(
    maps: Float[Tensor, "scenes 3 height padded_width"], directions: Float[Tensor, "scenes points 3"]
) -> Float[Tensor, "scenes points 3"]:
    """Interpolated values of wrapped equirectangular maps in unit directions."""
    found = F.grid_sample(maps, _places(directions, maps)[:, None], padding_mode="border", align_corners=False)
    return found[:, :, 0].mT


def luminance(radiance: Float[Tensor, "scenes 3 height width"]) -> Float[Tensor, "scenes height width"]:
    """Luminance of linear sRGB primaries."""
    return (radiance * radiance.new_tensor(LUMINANCE)[:, None, None]).sum(1)


def _places(directions: Tensor, maps: Tensor) -> Tensor:
    """Columns and rows of wrapped maps in [-1, 1], in the layout of `Environment`."""
    x, y, z = directions.unbind(-1)
    width = maps.shape[-1] - 2
    column = torch.atan2(-x, z).mul_(width / (width + 2) / math.pi)
    return torch.stack([column, y.clamp(-1, 1).acos_().mul_(2 / math.pi).sub_(1)], dim=-1)


def _wrapped(maps: Tensor) -> Tensor:
    return torch.cat([maps[..., -1:], maps, maps[..., :1]], dim=-1)


@cache
def _layout(height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Directions [H, W, 3] and solid angles [H, W] of the pixels of environments."""
    layout = Environment(torch.ones(3, height, width, device=device))
    return layout.directions(), layout.solid_angles()


@cache
def _kernel(level: float | None, height: int, width: int, device: torch.device) -> Tensor:
    """Fourier transform over azimuth, [rows out, rows in, W/2 + 1], of the weights that blur an environment.

    Args:
        level: roughness of a GGX lobe seen head on (Karis 2013), or None for the cosine lobe of diffuse surfaces.
        height: of the environments, in pixels.
        width: of the environments, in pixels.
        device: where it is used.
    """
    polar = (torch.arange(height, dtype=torch.float64) + 0.5) * (math.pi / height)
    azimuth = torch.arange(width, dtype=torch.float64) * (2 * math.pi / width)
    out, into = polar[:, None, None], polar[:, None]
    cosine = out.sin() * into.sin() * azimuth.cos() + out.cos() * into.cos()
    weights = cosine.clamp(min=0)
    if level is not None:
        alpha_squared = level**4
        # the half vector lies midway between the lobe's axis and the light
        weights = weights / ((1 + cosine) / 2 * (alpha_squared - 1) + 1).square()
    edges = torch.linspace(0, math.pi, height + 1, dtype=torch.float64).cos()
    weights = weights * (edges[:-1] - edges[1:])[:, None]
    weights = weights / weights.sum((1, 2), keepdim=True)
    return torch.fft.rfft(weights).to(torch.complex64).to(device)


def _blurred(radiance: Tensor, level: float | None) -> Tensor:
    """Environments convolved with a lobe: a matrix over rows at each frequency of the azimuth."""
    spectrum = torch.fft.rfft(radiance)
    kernel = _kernel(level, *radiance.shape[-2:], radiance.device)
    mixed = torch.einsum("oif,bcif->bcof", kernel, spectrum)
    return torch.fft.irfft(mixed, n=radiance.shape[-1]).clamp_(min=0)


def _without_key_lights(radiance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Environments less what their brightest spots exceed the ring around them by, and the spots' light."""
    directions, solid_angles = _layout(*radiance.shape[-2:], radiance.device)
    found_directions, found_irradiance = [], []
    for _ in range(KEY_LIGHTS):
        bright = luminance(radiance).flatten(1).argmax(dim=1)
        center = directions.flatten(0, 1)[bright]
        cosine = (directions * center[:, None, None]).sum(-1)
        spot = (cosine > KEY_COSINE).float()
        ring = (cosine > RING_COSINE).float() * (1 - spot)
        level = (radiance * ring[:, None]).sum((2, 3)) / ring.sum((1, 2))[:, None]
        excess = (radiance - level[..., None, None]).clamp(min=0) * spot[:, None]
        power = excess * solid_angles
        weights = luminance(power)
        mean = (weights[..., None] * directions).sum((1, 2)) + 1e-9 * center
        found_directions.append(F.normalize(mean, dim=-1))
        found_irradiance.append(power.sum((2, 3)) / math.pi)
        radiance = radiance - excess
    return radiance, torch.stack(found_directions, 1), torch.stack(found_irradiance, 1)
