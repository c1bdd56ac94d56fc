"""Procedural textures: one formula whose parameters make stripes, checks, dots, tiles, bricks and smooth noise.

Every texture is a function of two phases (u, v), linear in the world point, so that one evaluation serves all
surfaces and types. It is filtered analytically: a pattern fades to its mean as a pixel covers more of its period.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from .uniforms import Uniforms


# Each row: weights of sin u, sin v, sin u sin v and max(sin u, sin v); threshold; warp; brick offset; the mean of
# the pattern, that is the part of the surface above the threshold.
PATTERNS = torch.tensor(
    [
        [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.50],  # stripes
        [0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.50],  # checks
        [1.0, 1.0, 0.0, 0.0, 0.7, 0.0, 0.0, 0.29],  # dots
        [0.0, 0.0, 0.0, 1.0, 0.96, 0.0, 0.0, 0.17],  # tiles
        [0.0, 0.0, 0.0, 1.0, 0.95, 0.0, 1.0, 0.19],  # bricks
        [1.0, 0.0, 0.0, 0.0, 0.0, 1.2, 0.0, 0.50],  # waves
        [0.6, 0.6, 0.5, 0.0, 0.0, 1.9, 0.0, 0.50],  # blotches
        [0.3, 0.0, 0.9, 0.0, 0.0, 2.6, 0.0, 0.50],  # marble
    ]
)

COLUMNS = ("sin_u", "sin_v", "product", "maximum", "threshold", "warp", "brick", "mean")


@dataclass(frozen=True)
class Materials:
    """Texture parameters of M materials per scene.

    Args:
        pattern: [B, M, 8], the columns of PATTERNS.
        softness: [B, M], width of the edges of a pattern.
        wavelengths: [B, M, 2], periods along the two texture axes in room units.
        angle: [B, M], rotation of the texture axes in radians.
        offset: [B, M, 2], phases at the origin.
        colors: [B, M, 3, 3], two colours of the pattern, and a third that is mixed in at large scale.
        blend: [B, M], how much of the third colour.
        grain: [B, M], strength of fine brightness noise.
    """

    pattern: Float[Tensor, "scenes materials 8"]
    softness: Float[Tensor, "scenes materials"]
    wavelengths: Float[Tensor, "scenes materials 2"]
    angle: Float[Tensor, "scenes materials"]
    offset: Float[Tensor, "scenes materials 2"]
    colors: Float[Tensor, "scenes materials 3 3"]
    blend: Float[Tensor, "scenes materials"]
    grain: Float[Tensor, "scenes materials"]


def random_colors(uniforms: Uniforms, *shape: int) -> Float[Tensor, "scenes ... 3"]:
    """Colours of any hue, from greyish to saturated and from dark to bright."""
    hue = uniforms.take(*shape, 1) + torch.tensor([0.0, 1 / 3, 2 / 3], device=uniforms.values.device)
    pure = (0.5 + 0.75 * torch.cos(2 * torch.pi * hue)).clamp(0, 1)
    # most things in rooms are muted
    saturation = uniforms.take(*shape, 1) ** 1.7 * 0.85
    value = uniforms.between(0.3, 1.0, *shape, 1)
    return value * (1 - saturation + saturation * pure)


def random_materials(uniforms: Uniforms, count: int, finest: float, coarsest: float) -> Materials:
    """Draw materials whose periods are log-uniform between `finest` and `coarsest` in room units."""
    pattern = uniforms.pick(PATTERNS, count)
    smooth = (pattern[..., COLUMNS.index("warp")] > 0).float()
    softness = 0.06 + smooth * uniforms.between(0.1, 1.4, count)
    wavelength = uniforms.log_between(finest, coarsest, count)[..., None]
    aspect = uniforms.log_between(0.6, 1.7, count)[..., None]
    straight = uniforms.chance(0.6, count)
    angle = (1 - straight) * uniforms.between(0, torch.pi, count)
    offset = uniforms.between(0, 2 * torch.pi, count, 2)
    first, second, third = random_colors(uniforms, count, 3).unbind(2)
    contrast = uniforms.between(0.25, 1.0, count)[..., None]
    second = first + contrast * (second - first)
    colors = torch.stack([first, second, third], dim=2)
    blend = uniforms.take(count) ** 2 * 0.8
    grain = uniforms.between(0, 0.18, count)
    wavelengths = torch.cat([wavelength * aspect, wavelength / aspect], dim=-1)
    return Materials(pattern, softness, wavelengths, angle, offset, colors, blend, grain)


def texture_rows(
    materials: Materials, tangents: Float[Tensor, "scenes surfaces 2 3"], owner: Tensor
) -> dict[str, Tensor]:
    """The table of texture parameters per surface.

    Args:
        materials: M materials per scene.
        tangents: unit vectors in each surface along which its texture runs before it is rotated.
        owner: [S], the material of each surface.

    Returns:
        Columns [B, S] by name, as `albedo` reads them.
    """
    angle = materials.angle[:, owner, None]
    first, second = tangents.unbind(2)
    u = (angle.cos() * first + angle.sin() * second) * (2 * torch.pi / materials.wavelengths[:, owner, :1])
    v = (angle.cos() * second - angle.sin() * first) * (2 * torch.pi / materials.wavelengths[:, owner, 1:])
    rows = {f"u{k}": u[..., k] for k in range(3)} | {f"v{k}": v[..., k] for k in range(3)}
    rows |= {"u_offset": materials.offset[:, owner, 0], "v_offset": materials.offset[:, owner, 1]}
    rows |= {name: materials.pattern[:, owner, k] for k, name in enumerate(COLUMNS)}
    rows |= {name: getattr(materials, name)[:, owner] for name in ("softness", "blend", "grain")}
    # the highest frequency decides how soon a texture fades with the size of a pixel
    rows["frequency"] = torch.maximum(u.norm(dim=-1), v.norm(dim=-1))
    for c, color in enumerate(materials.colors[:, owner].unbind(2)):
        rows |= {f"color{c}{k}": color[..., k] for k in range(3)}
    return rows


def albedo(
    surface: dict[str, Tensor], points: tuple[Tensor, Tensor, Tensor], footprint: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Display-referred red, green and blue of surface points.

    Args:
        surface: texture parameters of each point by column name.
        points: x, y and z in room units.
        footprint: width of a pixel on the surface in room units.
    """
    u = torch.addcmul(surface["u_offset"], surface["u0"], points[0])
    u.addcmul_(surface["u1"], points[1]).addcmul_(surface["u2"], points[2])
    v = torch.addcmul(surface["v_offset"], surface["v0"], points[0])
    v.addcmul_(surface["v1"], points[1]).addcmul_(surface["v2"], points[2])
    coarse = torch.sin(0.19 * u + 0.23 * v)
    # the second and later rows of bricks are shifted by half a brick
    row = torch.floor(v * (0.5 / torch.pi))
    u, v = (
        u + surface["warp"] * torch.sin(0.63 * v + 1.0) + surface["brick"] * torch.pi * row,
        v + surface["warp"] * torch.sin(0.71 * u + 2.0),
    )
    sin_u, sin_v = torch.sin(u), torch.sin(v)
    level = surface["sin_u"] * sin_u - surface["threshold"]
    level.addcmul_(surface["sin_v"], sin_v).addcmul_(surface["product"], sin_u * sin_v)
    level.addcmul_(surface["maximum"], torch.maximum(sin_u, sin_v))
    phase = footprint * surface["frequency"]
    pattern = (level / (surface["softness"] + 0.35 * phase)).clamp_(-1, 1).mul_(0.5).add_(0.5)
    fade = torch.exp(phase * phase * -0.06)
    pattern = torch.lerp(surface["mean"], pattern, fade)
    # bent phases keep the fine noise from lining up in a grid
    grain = torch.sin(3.1 * u + 1.9 * v + 2.3 * coarse + 2.0 * sin_v)
    grain = grain.mul_(torch.sin(2.9 * v - 1.3 * u + 2.6 * sin_u)).mul_(surface["grain"])
    grain = grain.mul_(torch.exp(phase * phase * -0.8)).add_(1)
    mix = coarse.mul_(0.5).add_(0.5).mul_(surface["blend"])
    colors = []
    for k in range(3):
        color = torch.lerp(surface[f"color0{k}"], surface[f"color1{k}"], pattern)
        colors.append(torch.lerp(color, surface[f"color2{k}"], mix).mul_(grain))
    return tuple(colors)
