"""Cameras around an asset, as near as it still fits into the picture."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from ...cameras import Cameras
from ...geometry.paths import look_at
from ..samples import derive_seed
from .meshes import Asset


FIELDS_OF_VIEW = (25.0, 60.0)  # degrees
ELEVATIONS = (-20.0, 80.0)  # degrees
# the object spans this part of the picture in the direction in which it spans most
FILL = (0.65, 0.95)
# no camera comes nearer to the unit ball's centre
NEAREST = 1.2
# as many vertices tell how much room the object takes
MOST_VERTICES = 20_000
# of the angle between neighbours on the sphere
JITTER = 0.4


def random_cameras(asset: Asset, key: str, views: int, size: int, seed: int) -> Cameras:
    """Cameras that look at the middle of an asset from all around.

    The first half, and one more if their number is odd, is spread evenly over the sphere between ELEVATIONS; the
    others follow an arc, as somebody walks who takes photos. One lens takes all pictures of an object, at distances of
    their own.

    Args:
        asset: inside the unit ball.
        key: the object's name; cameras depend on it, the seed and their number only.
        views: how many.
        size: of the square images, in pixels.
        seed: another one gives other cameras.

    Returns:
        Cameras of batch shape [views].
    """
    generator = torch.Generator().manual_seed(derive_seed("cameras", key, seed))
    uniform = torch.rand(4 + 3 * views, generator=generator, dtype=torch.float64)
    lens, common = uniform[0], uniform[1:4]
    jitter, fill = uniform[4:].reshape(views, 3)[:, :2], uniform[4:].reshape(views, 3)[:, 2]
    spread = (views + 1) // 2
    azimuth, elevation = _around(spread, jitter[:spread], common[0])
    along = _arc(jitter[spread:], common)
    azimuth, elevation = torch.cat([azimuth, along[0]]), torch.cat([elevation, along[1]])
    backward = torch.stack([elevation.cos() * azimuth.sin(), elevation.sin(), elevation.cos() * azimuth.cos()], dim=-1)
    low, high = FIELDS_OF_VIEW
    tangent = math.tan(math.radians(low + (high - low) * lens.item()) / 2)
    focal = size / 2 / tangent
    intrinsics = torch.tensor([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1]], dtype=torch.float64)
    up, middle = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    directions = look_at(backward, middle, up, intrinsics, size, size).rotation
    limit = tangent * (FILL[0] + (FILL[1] - FILL[0]) * fill)
    eyes = backward * _distances(asset, directions, limit)[:, None]
    return look_at(eyes, middle, up, intrinsics, size, size).to(dtype=torch.float32)


def _around(count: int, jitter: Float[Tensor, "count 2"], turn: Float[Tensor, ""]) -> tuple[Tensor, Tensor]:
    """Azimuths and elevations evenly over the sphere: a Fibonacci lattice, turned and shaken."""
    low, high = (math.sin(math.radians(degrees)) for degrees in ELEVATIONS)
    index = torch.arange(count, dtype=torch.float64)
    height = (index + 0.5 + JITTER * (jitter[:, 0] - 0.5)) / max(count, 1)
    golden = math.pi * (3 - math.sqrt(5))
    azimuth = index * golden + 2 * math.pi * turn + JITTER * (jitter[:, 1] - 0.5)
    return azimuth, torch.asin(low + (high - low) * height)


def _arc(jitter: Float[Tensor, "count 2"], common: Float[Tensor, "3"]) -> tuple[Tensor, Tensor]:
    """Azimuths and elevations one after the other along a quarter to a whole turn."""
    low, high = (math.radians(degrees) for degrees in ELEVATIONS)
    steps = torch.linspace(0, 1, len(jitter), dtype=torch.float64)
    sweep = math.pi * (0.5 + 1.5 * common[1])
    azimuth = 2 * math.pi * common[0] + sweep * steps + 0.1 * (jitter[:, 0] - 0.5)
    middle = math.radians(-5) + math.radians(45) * common[2]
    elevation = middle + 0.15 * torch.sin(2 * math.pi * steps + jitter[:, 0]) + 0.1 * (jitter[:, 1] - 0.5)
    return azimuth, elevation.clamp(low, high)


def _distances(
    asset: Asset, rotations: Float[Tensor, "views 3 3"], limit: Float[Tensor, "views"]
) -> Float[Tensor, "views"]:
    """How far away all vertices lie within this tangent of the optical axis."""
    vertices = torch.cat([torch.from_numpy(part.vertices) for part in asset.parts]).double()
    vertices = vertices[:: math.ceil(len(vertices) / MOST_VERTICES)]
    seen = vertices @ rotations  # [views, vertices, 3]
    across = seen[..., :2].abs().amax(-1)
    return (across / limit[:, None] - seen[..., 2]).amax(-1).clamp(min=NEAREST)
