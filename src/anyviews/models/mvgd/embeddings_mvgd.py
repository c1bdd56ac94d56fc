"""Ray and noise-level codes of MVGD."""

import math

import torch
from diffusers.models.embeddings import TimestepEmbedding, get_timestep_embedding
from jaxtyping import Float
from torch import Tensor, nn


# Bands and frequency range of the code of points along a ray.
POINT_BANDS = 4
POINT_MAX_RESOLUTION = 8.0


def count_ray_features(origin_bands: int, direction_bands: int, sine_only: bool, footprint: bool, points: int) -> int:
    """Number of features of a ray; the arguments are those of `RayEncoding`."""
    bands = origin_bands + direction_bands
    code = 3 * (bands + 1) if sine_only else 3 * (2 * bands + 2)
    return code + 6 * footprint + points * 3 * (2 * POINT_BANDS + 1)


def fourier_features(
    values: Float[Tensor, "*batch channels"],
    bands: int,
    max_resolution: float,
    sine_only: bool = False,
    raw: bool = True,
) -> Float[Tensor, "*batch features"]:
    """Fourier code with bands linear from 1 to max_resolution / 2 (Perceiver's convention).

    Args:
        values: coordinates, about in [-1, 1].
        bands: number of frequencies.
        max_resolution: twice the highest frequency.
        sine_only: leave out the cosines.
        raw: append the values themselves.
    """
    frequencies = torch.linspace(1.0, max_resolution / 2, bands, device=values.device) * math.pi
    angles = (values.float()[..., None] * frequencies).flatten(-2)
    waves = [angles.sin()] if sine_only else [angles.sin(), angles.cos()]
    return torch.cat([*waves, values.float()] if raw else waves, dim=-1)


def contract(points: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
    """Map space into the ball of radius 2, identity inside the unit ball (mip-NeRF 360, Eq. 10)."""
    norm = points.norm(dim=-1, keepdim=True).clamp(min=1.0)
    return points / norm * (2 - 1 / norm)


class RayEncoding(nn.Module):
    """Features of rays: Fourier codes of origin and direction, and optionally of points along the ray.

    The points let one linear map tell whether two rays meet: the inner product of two codes is a smooth kernel of the
    distance between their points. The paper codes origin and direction only.

    Args:
        origin_bands, direction_bands, max_resolution: see `fourier_features`.
        sine_only: no cosines and no raw direction, the literal feature count 3 * (origin_bands + direction_bands + 1)
            of the MVGD paper.
        footprint: also give the change of direction across a token.
        points: number of points along the ray, at depths spaced logarithmically over `depth_range`.
        depth_range: nearest and farthest depth in units of the scene scale.
    """

    def __init__(
        self,
        origin_bands: int,
        direction_bands: int,
        max_resolution: float,
        sine_only: bool,
        footprint: bool,
        points: int,
        depth_range: tuple[float, float],
    ):
        super().__init__()
        self.origin_bands, self.direction_bands = origin_bands, direction_bands
        self.max_resolution, self.sine_only = max_resolution, sine_only
        self.footprint, self.points, self.depth_range = footprint, points, depth_range
        self.features = count_ray_features(origin_bands, direction_bands, sine_only, footprint, points)

    def forward(self, rays: Float[Tensor, "*batch channels"]) -> Float[Tensor, "*batch features"]:
        origin, direction, footprint = rays.float().split([3, 3, 6], dim=-1)
        codes = [
            fourier_features(origin, self.origin_bands, self.max_resolution, self.sine_only),
            fourier_features(direction, self.direction_bands, self.max_resolution, self.sine_only, not self.sine_only),
        ]
        if self.footprint:
            codes.append(footprint * 4)  # a token spans some tenths of a radian; bring it near unit size
        if self.points:
            near, far = self.depth_range
            depths = torch.logspace(math.log10(near), math.log10(far), self.points, device=rays.device)
            points = contract(origin[..., None, :] + direction[..., None, :] * depths[:, None])
            codes.append(fourier_features(points, POINT_BANDS, POINT_MAX_RESOLUTION).flatten(-2))
        return torch.cat(codes, dim=-1)


class NoiseLevelEmbedding(nn.Module):
    """Code of the noise level (gamma of the diffusion, sigma of the flow), not of the step index.

    The sinusoid is standardised before the two-layer MLP, as in the Recurrent Interface Network.
    """

    sinusoid_dim = 256

    def __init__(self, width: int):
        super().__init__()
        self.mlp = TimestepEmbedding(self.sinusoid_dim, width)

    def forward(self, noise_level: Float[Tensor, "batch"]) -> Float[Tensor, "batch width"]:
        sinusoid = get_timestep_embedding(noise_level.float() * 1000, self.sinusoid_dim)
        sinusoid = (sinusoid - sinusoid.mean(-1, keepdim=True)) / sinusoid.std(-1, keepdim=True, unbiased=False)
        return self.mlp(sinusoid.to(self.mlp.linear_1.weight.dtype))
