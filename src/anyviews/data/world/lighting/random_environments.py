"""Random environments: skies, studios, rooms and blobs of light; and given ones turned and fitted."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ....environment import Environment
from ....rendering.shading.light import luminance
from .draw import Draw
from .noise import fractal_noise


HEIGHT, WIDTH = 64, 128


def random_environments(draws: Sequence[Draw], device: torch.device | str) -> Float[Tensor, "scenes 3 64 128"]:
    """One random environment for each draw of numbers."""
    layout = Environment(torch.ones(3, HEIGHT, WIDTH))
    directions = layout.directions()
    made = []
    for draw in draws:
        kind = draw.unit()
        if kind < 0.42:
            radiance = sky(draw, directions)
        elif kind < 0.66:
            radiance = room(draw, directions)
        elif kind < 0.84:
            radiance = studio(draw, directions)
        elif kind < 0.95:
            radiance = blobs(draw, directions)
        else:
            radiance = torch.ones(HEIGHT, WIDTH, 1) * _tint(draw, 0.1)
        made.append(radiance.permute(2, 0, 1))
    return _exposed(torch.stack(made).float(), draws).to(device)


def fitted_environments(
    environments: Sequence[Environment], draws: Sequence[Draw], device: torch.device | str
) -> Float[Tensor, "scenes 3 64 128"]:
    """For each draw one of the given environments, turned about the vertical, averaged to 64 x 128, and exposed."""
    made = []
    for draw in draws:
        chosen = draw.pick(environments)
        turned = chosen.radiance.float().cpu().roll(draw.integer(0, chosen.width - 1), dims=-1)
        # rows near the poles count less where several are averaged
        weights = chosen.solid_angles().cpu()[:, :1]
        total = F.interpolate((turned * weights)[None], size=(HEIGHT, WIDTH), mode="area")
        made.append(total[0] / F.interpolate(weights.expand(turned.shape)[None], size=(HEIGHT, WIDTH), mode="area")[0])
    return _exposed(torch.stack(made), draws).to(device)


def _exposed(radiance: Tensor, draws: Sequence[Draw]) -> Tensor:
    """Scaled to a mean luminance that shows a grey surface neither black nor white."""
    weights = Environment(radiance[0]).solid_angles() / (4 * math.pi)
    mean = (luminance(radiance) * weights).sum((1, 2))
    wanted = torch.tensor([draw.log_between(0.55, 1.25) for draw in draws])
    return radiance * (wanted / mean)[:, None, None, None]


def _tint(draw: Draw, strength: float) -> Tensor:
    """A colour between warm and cool, of luminance about 1."""
    warm = draw.between(-1, 1) * strength
    return torch.tensor([1 + warm, 1 + 0.1 * draw.between(-1, 1) * strength, 1 - warm])


def _direction(draw: Draw, low: float, high: float) -> Tensor:
    """A random unit direction at an elevation between these degrees."""
    elevation, azimuth = math.radians(draw.between(low, high)), draw.between(0, 2 * math.pi)
    return torch.tensor(
        [
            math.cos(elevation) * math.sin(azimuth),
            math.sin(elevation),
            -math.cos(elevation) * math.cos(azimuth),
        ]
    )


def sky(draw: Draw, directions: Tensor) -> Tensor:
    """A sky with a sun, haze, clouds, a skyline and ground."""
    height = directions[..., 1:2]
    hazy = draw.between(0, 1)
    zenith = torch.tensor([0.18, 0.32, 0.75]) * draw.between(0.5, 1.3) * (1 - 0.6 * hazy) + 0.5 * hazy
    horizon = torch.tensor([0.85, 0.9, 1.0]) * draw.between(0.7, 1.4) * (1 + 0.4 * _tint(draw, 0.5) * draw.unit())
    radiance = torch.lerp(horizon.expand_as(directions), zenith, height.clamp(0, 1).pow(draw.between(0.35, 0.8)))

    sun = _direction(draw, 6, 75)
    cosine = (directions * sun).sum(-1, keepdim=True)
    color = torch.lerp(torch.tensor([1.0, 0.55, 0.25]), torch.tensor([1.0, 0.95, 0.88]), min(1.0, sun[1].item() * 2))
    glow = draw.between(0.2, 2.0) * torch.exp((cosine - 1) * draw.log_between(5, 40))
    radiance = radiance + glow * color
    # overcast skies have no disc; a clear sun gives a few times the light of the sky
    disc = torch.sigmoid((cosine - math.cos(math.radians(draw.between(1.5, 3.0)))) * 4000)
    strength = draw.log_between(60, 900) if draw.chance(0.75) else 0.0
    if draw.chance(0.65):
        frequency = draw.between(1.0, 2.5)
        flat = directions / (height.clamp(min=0.08) + 0.15)
        cover = fractal_noise(flat * frequency * 0.35 + draw.between(0, 9), 4)[..., None]
        cover = ((cover - draw.between(-0.1, 0.3)) * draw.between(2, 5)).clamp(0, 1) * (height * 8).clamp(0, 1)
        bright = draw.between(0.9, 1.8)
        radiance = torch.lerp(radiance, bright * (0.7 + 0.5 * glow.clamp(max=1)) * color.sqrt(), cover * 0.9)
        disc = disc * (1 - 0.9 * cover)
    radiance = radiance + strength * disc * color

    ground = torch.tensor([draw.between(0.15, 0.5) for _ in range(3)]) * 0.5 + draw.between(0.05, 0.35)
    flat = directions / (-height).clamp(min=0.05)
    texture = 1 + 0.5 * fractal_noise(flat * draw.between(0.3, 1.0) + draw.between(0, 9), 4)[..., None]
    lit = 0.35 + 0.65 * max(0.2, sun[1].item()) * min(1.0, strength / 200 + 0.4)
    return _with_skyline(draw, directions, radiance, ground * texture.clamp(0.3, 1.7) * lit * 1.5)


def _with_skyline(draw: Draw, directions: Tensor, radiance: Tensor, ground: Tensor) -> Tensor:
    """Hills or houses along the horizon, and the ground below."""
    height = directions[..., 1:2]
    azimuth = F.normalize(directions * torch.tensor([1.0, 0.0, 1.0]), dim=-1)
    rough = fractal_noise(azimuth * draw.between(0.8, 3.0) + draw.between(0, 9), 4)[..., None]
    tall = draw.between(0.0, 0.35)
    if draw.chance(0.5):
        # steps of equal height are houses
        rough = (rough * 5).floor() / 4
    edge = tall * (0.4 + rough)
    dark = torch.tensor([draw.between(0.1, 0.5) for _ in range(3)]) * 0.4 + draw.between(0.05, 0.3)
    windows = 1 + 0.35 * fractal_noise(directions * draw.between(5, 9) + 3, 2)[..., None]
    radiance = torch.lerp(radiance, dark * windows, torch.sigmoid((edge - height) * 60))
    return torch.lerp(radiance, ground, torch.sigmoid(-height * 60))


def studio(draw: Draw, directions: Tensor) -> Tensor:
    """A dim backdrop with soft boxes."""
    low, high = draw.between(0.02, 0.3), draw.between(0.05, 0.6)
    radiance = torch.lerp(torch.tensor(low), torch.tensor(high), directions[..., 1:2] * 0.5 + 0.5) * _tint(draw, 0.2)
    for _ in range(draw.integer(2, 5)):
        radiance = radiance + _panel(draw, directions, _direction(draw, -5, 85)) * _tint(draw, 0.3) * draw.log_between(
            2, 25
        )
    if draw.chance(0.5):
        floor = torch.sigmoid((-directions[..., 1:2] - 0.15) * 20)
        radiance = torch.lerp(radiance, draw.between(0.2, 1.2) * _tint(draw, 0.2), floor)
    return radiance


def _panel(draw: Draw, directions: Tensor, center: Tensor) -> Tensor:
    """1 inside a rectangle that faces the origin, with soft edges."""
    across = F.normalize(torch.linalg.cross(torch.tensor([0.03, 1.0, 0.02]), center, dim=-1), dim=-1)
    upward = torch.linalg.cross(center, across, dim=-1)
    depth = (directions @ center).clamp(min=1e-3)
    x, y = (directions @ across) / depth, (directions @ upward) / depth
    beyond = torch.maximum(x.abs() - draw.log_between(0.12, 0.7), y.abs() - draw.log_between(0.12, 0.7))
    return (torch.sigmoid(-beyond * draw.log_between(15, 80)) * (depth > 0.05))[..., None]


def room(draw: Draw, directions: Tensor) -> Tensor:
    """The inside of a box room: walls of a few colours, windows and lamps."""
    size = torch.tensor([draw.between(1.5, 4), draw.between(0.8, 1.6), draw.between(1.5, 4)])
    turned = draw.between(0, 2 * math.pi)
    c, s = math.cos(turned), math.sin(turned)
    local = directions @ torch.tensor([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])
    reach = (size / local.abs().clamp(min=1e-6)).amin(-1, keepdim=True)
    points = local * reach
    axis = (points.abs() / size).argmax(-1)
    side = torch.gather(points, -1, axis[..., None])[..., 0] > 0
    face = axis * 2 + side
    radiance = torch.zeros_like(directions)
    for index in range(6):
        color = torch.tensor([draw.between(0.3, 0.9) for _ in range(3)])
        color = torch.lerp(color.mean(), color, draw.unit()) * draw.between(0.15, 0.7) * (0.5 if index == 2 else 1)
        radiance = torch.where((face == index)[..., None], color, radiance)
    radiance = radiance * (1 + 0.4 * fractal_noise(points * draw.between(0.4, 1.2), 3)[..., None])
    # furniture: blocks of colour in the lower half
    blocks = fractal_noise((points * draw.between(0.6, 1.4)).floor() * 0.37 + draw.between(0, 9), 1)[..., None]
    low = torch.sigmoid((-0.1 - points[..., 1:2]) * 12)
    radiance = torch.lerp(radiance, radiance * (0.4 + 1.2 * (blocks + 0.5).clamp(0, 1)), low)
    # corners are darker
    close = ((size - points.abs()).sort(-1).values[..., 1:2]).clamp(0, 0.6) / 0.6
    radiance = radiance * (0.55 + 0.45 * close)
    for _ in range(draw.integer(1, 3)):
        wall = draw.pick((0, 1, 4, 5, 3))
        along = points[..., (2, 0, 0)[wall // 2]] - draw.between(-1, 1)
        other = points[..., 2 if wall == 3 else 1] - (draw.between(-1, 1) if wall == 3 else draw.between(-0.1, 0.4))
        beyond = torch.maximum(along.abs() - draw.between(0.2, 0.9), other.abs() - draw.between(0.15, 0.6))
        light = torch.sigmoid(-beyond * 40) * (face == wall)
        radiance = radiance + light[..., None] * _tint(draw, 0.35) * draw.log_between(3, 30)
    return radiance


def blobs(draw: Draw, directions: Tensor) -> Tensor:
    """Coloured Gaussian lobes of many sizes on dim ambient light."""
    radiance = torch.ones_like(directions) * draw.between(0.03, 0.4) * _tint(draw, 0.4)
    for _ in range(draw.integer(3, 12)):
        color = torch.tensor([draw.unit() for _ in range(3)])
        color = torch.lerp(color, color.mean(), draw.unit())
        lobe = torch.exp(
            ((directions * _direction(draw, -70, 90)).sum(-1, keepdim=True) - 1) * draw.log_between(4, 400)
        )
        radiance = radiance + lobe * color * draw.log_between(0.5, 20)
    return radiance
