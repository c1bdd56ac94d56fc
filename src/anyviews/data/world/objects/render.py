"""Rendering batches of random objects."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ....cameras import Cameras, rigid
from ....color import srgb_from_linear
from ....environment import Environment
from ....rendering.shading.light import Light
from ..lighting import fitted_environments, random_environments
from ..lighting.draw import Draw
from ..uniforms import Uniforms
from ..views import WorldViews
from .cameras import ObjectCameras, object_cameras
from .designs import random_design
from .field import distance, normals
from .grid import Grid, compacted, normalized, sampled
from .materials import Appearance, appearance, evaluate
from .parts import Parts, pack
from .shading import shade
from .trace import Rays, gathered, trace


# Rays per pass: intermediate results stay in a CPU's cache, and within a few gigabytes of an accelerator's memory.
CPU_RAYS_PER_PASS = 1 << 15
ACCELERATOR_RAYS_PER_PASS = 1 << 21
UNIFORMS_PER_DESIGN = 2500
UNIFORMS_PER_LIGHT = 400
UNIFORMS_PER_SCENE = 64
UNIFORMS_PER_VIEW = 16


@dataclass(frozen=True)
class Scenes:
    """A batch of objects with their light and cameras.

    Args:
        parts: the objects' exact fields.
        grid: the same, sampled.
        looks: their materials.
        environments: [B, 3, 64, 128].
        light: the same, made ready to light surfaces.
        cameras: in units of the object.
        background_blur: [B, 1], roughness of the lobe through which the environment shows behind the object.
        background_color: [B, 3], shown instead of the environment where `plain`.
        plain: [B, 1], 0 or 1.
        scale: [B, 1], world units per unit of the object.
    """

    parts: Parts
    grid: Grid
    looks: Appearance
    environments: Float[Tensor, "scenes 3 height width"]
    light: Light
    cameras: ObjectCameras
    background_blur: Float[Tensor, "scenes 1"]
    background_color: Float[Tensor, "scenes 3"]
    plain: Float[Tensor, "scenes 1"]
    scale: Float[Tensor, "scenes 1"]


@torch.no_grad()
def render_objects(
    seeds: Int[Tensor, "scenes"],
    views: int,
    height: int,
    width: int,
    device: torch.device | str = "cpu",
    samples: int = 2,
    maps: bool = True,
    environments: Sequence[Environment] | None = None,
) -> WorldViews:
    """Render random objects around the origin; each depends on its seed (and the number of views) alone.

    Args:
        seeds: [B], one object per seed.
        views: cameras per object.
        height: of the images in pixels.
        width: of the images in pixels.
        device: where to render.
        samples: rays per pixel along each axis for colours, masks and materials; depth and normals are those of the
            ray through the pixel's centre.
        maps: whether to give radiance, normals and materials too.
        environments: light to choose from instead of random environments; each object has one of them, turned about
            the vertical.

    Raises:
        ValueError: if `environments` is empty.
    """
    if environments is not None and not environments:
        raise ValueError("environments is empty; give at least one, or None for random ones")
    device = torch.device(device)
    rays_per_scene = views * height * width * samples**2
    # on a CPU one at a time, so that the same numbers come out whatever else is in the batch
    together = 1 if device.type == "cpu" else max(1, ACCELERATOR_RAYS_PER_PASS // rays_per_scene)
    batches = (make_scenes(chosen, views, height / width, device, environments) for chosen in seeds.split(together))
    with torch.autocast(device.type, enabled=False):
        return render_scenes(batches, height, width, samples, maps)


@torch.no_grad()
def render_scenes(
    batches: Iterable[Scenes], height: int, width: int, samples: int = 2, maps: bool = True
) -> WorldViews:
    """Render scenes of `make_scenes`, whose cameras, background or scale may have been replaced.

    Args:
        batches: of any number of scenes each, made and rendered one after the other.
        height: of the images in pixels.
        width: of the images in pixels.
        samples: rays per pixel along each axis, as in `render_objects`.
        maps: whether to give radiance, normals and materials too.
    """
    rendered = [_rendered(scenes, height, width, samples, maps) for scenes in batches]
    fields = {name: torch.cat([batch[name] for batch in rendered]) for name in rendered[0]}
    intrinsics, poses = fields.pop("intrinsics"), fields.pop("poses")
    return WorldViews(cameras=Cameras.create(intrinsics, poses, height, width), **fields)


def make_scenes(
    seeds: Int[Tensor, "scenes"],
    views: int,
    aspect: float,
    device: torch.device,
    environments: Sequence[Environment] | None = None,
) -> Scenes:
    """Everything that is rendered, from random numbers that belong to each seed."""
    counts = [UNIFORMS_PER_DESIGN, UNIFORMS_PER_LIGHT, UNIFORMS_PER_SCENE + views * UNIFORMS_PER_VIEW]
    values = Uniforms(seeds, sum(counts), "cpu").values.split(counts, dim=1)
    design_draws, light_draws, draws = ([Draw(row) for row in part.tolist()] for part in values)
    designs = [random_design(draw) for draw in design_draws]
    object_parts, materials = [design.parts for design in designs], [design.materials for design in designs]
    parts = normalized(pack(object_parts, device))
    grid = sampled(parts)
    if environments:
        radiance = fitted_environments(environments, light_draws, device)
    else:
        radiance = random_environments(light_draws, device)
    rows = torch.tensor([_background(draw) for draw in draws]).to(device)
    return Scenes(
        parts=parts,
        grid=grid,
        looks=appearance(object_parts, materials, parts),
        environments=radiance,
        light=Light.from_environments(radiance),
        cameras=object_cameras(draws, views, grid, aspect),
        background_blur=rows[:, :1],
        background_color=rows[:, 1:4],
        plain=rows[:, 4:5],
        scale=rows[:, 5:],
    )


def _background(draw: Draw) -> list[float]:
    """Blur, colour, whether the colour is shown, and the scale of the world."""
    scale, blur = draw.log_between(0.5, 4.0), 0.4 * draw.unit() ** 2
    kind, grey = draw.unit(), draw.unit()
    color = [draw.unit() * 0.8 for _ in range(3)]
    if kind < 0.08:
        color = [1.0, 1.0, 1.0]
    elif kind < 0.2:
        color = [grey, grey, grey]
    return [blur, *color, float(kind < 0.3), scale]


def _rendered(scenes: Scenes, height: int, width: int, samples: int, maps: bool) -> dict[str, Tensor]:
    """All fields of WorldViews, with the two parts of its cameras."""
    cameras = scenes.cameras
    count, views = cameras.tangents.shape
    device = cameras.tangents.device
    pixels = torch.arange(views * height * width, device=device)
    limit = CPU_RAYS_PER_PASS if device.type == "cpu" else ACCELERATOR_RAYS_PER_PASS // count
    passes = [
        _render_pixels(scenes, chosen, height, width, samples) for chosen in pixels.split(max(1, limit // samples**2))
    ]
    channels = torch.cat(passes, dim=1).unflatten(1, (views, height, width)).permute(0, 1, 4, 2, 3)
    radiance, cover, depth, normal, base, roughness, metallic = (
        part.contiguous() for part in channels.split([3, 1, 1, 3, 3, 1, 1], dim=2)
    )
    scale = scenes.scale[:, :, None]
    intrinsics = torch.zeros(count, views, 3, 3, device=device)
    intrinsics[..., 0, 0] = intrinsics[..., 1, 1] = width / (2 * cameras.tangents)
    intrinsics[..., :2, 2] = intrinsics.new_tensor([width / 2, height / 2])
    intrinsics[..., 2, 2] = 1
    fields = {
        "images": srgb_from_linear(radiance),
        "depths": depth * scale[..., None, None],
        "masks": cover,
        "intrinsics": intrinsics,
        "poses": rigid(cameras.rotations, cameras.centers * scale),
        "environments": scenes.environments,
    }
    if maps:
        fields |= {"radiance": radiance, "normals": normal, "base_colors": srgb_from_linear(base)}
        fields |= {"roughness": roughness, "metallic": metallic}
    return fields


def _render_pixels(scenes: Scenes, pixels: Tensor, height: int, width: int, samples: int) -> Tensor:
    """[B, P, 13] of some pixels: radiance, cover, depth, normal, linear base colour, roughness, metallic."""
    rays, forward, spread = camera_rays(scenes.cameras, pixels, height, width, samples)
    found, colors, geometry = _surfaces(scenes, rays, spread)
    plain = scenes.plain[..., None]
    behind = scenes.light.reflected(rays.directions, scenes.background_blur.expand(-1, rays.directions.shape[1]))
    behind = torch.lerp(behind, scenes.background_color[:, None].expand_as(behind), plain)
    radiance = torch.where(found[..., None], colors[..., :3], behind)
    fine = torch.cat([radiance, found[..., None].float(), colors[..., 3:] * found[..., None]], dim=-1)
    fine = fine.unflatten(1, (-1, samples**2)).mean(2)
    cover = fine[..., 3:4]
    # materials are means over the covered part of a pixel
    materials = fine[..., 4:] / cover.clamp(min=1e-6)
    if samples > 1:
        rays, forward, _ = camera_rays(scenes.cameras, pixels, height, width, 1)
        found, _, geometry = _surfaces(scenes, rays, None)
    depth = geometry[..., :1] * (rays.directions * forward).sum(-1, keepdim=True)
    geometry = torch.cat([depth, geometry[..., 1:]], dim=-1) * found[..., None]
    return torch.cat([fine[..., :4], geometry, materials], dim=-1)


def camera_rays(
    cameras: ObjectCameras, pixels: Int[Tensor, "pixels"], height: int, width: int, samples: int
) -> tuple[Rays, Tensor, Tensor]:
    """Rays through some pixels of all views, samples^2 for each one after the other.

    Returns:
        The rays, the optical axis of each [B, P, 3], and the width of a pixel at unit distance [B, P].
    """
    view = pixels // (height * width)
    row, column = pixels // width % height, pixels % width
    inside = (torch.arange(samples, device=pixels.device) + 0.5) / samples
    x = (column[:, None, None] + inside)[..., :].expand(-1, samples, -1).flatten()
    y = (row[:, None, None] + inside[:, None]).expand(-1, -1, samples).flatten()
    view = view.repeat_interleave(samples**2)
    tangent = cameras.tangents[:, view]
    across, down = (x * (2 / width) - 1) * tangent, (y * (2 / width) - height / width) * tangent
    rotations = cameras.rotations[:, view]
    forward = rotations[..., 2]
    toward = rotations[..., 0] * across[..., None] + rotations[..., 1] * down[..., None] + forward
    directions = torch.nn.functional.normalize(toward, dim=-1)
    return Rays(cameras.centers[:, view], directions), forward, tangent * (2 / width)


def _surfaces(scenes: Scenes, rays: Rays, spread: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """What rays meet.

    Args:
        scenes: the objects.
        rays: through all pixels.
        spread: width of a pixel at unit distance [B, P]; None skips colours.

    Returns:
        Whether anything [B, P]; radiance, base colour, roughness, metallic [B, P, 8]; distance and normal [B, P, 4].
    """
    hits = trace(scenes.parts, scenes.grid, rays)
    chosen = compacted(hits.found)
    colors, geometry = hits.distances.new_zeros(*hits.found.shape, 8), hits.distances.new_zeros(*hits.found.shape, 4)
    if not chosen.shape[1]:
        return hits.found, colors, geometry
    some, reach = rays.select(chosen), gathered(hits.distances, chosen)
    points = some.at(reach)
    normal = normals(scenes.parts, points)
    to_camera = -some.directions
    cosine = (normal * to_camera).sum(-1)
    index = chosen[..., None]
    geometry = geometry.scatter(1, index.expand(-1, -1, 4), torch.cat([reach[..., None], normal], dim=-1))
    if spread is not None:
        _, owners = distance(scenes.parts, points, owners=True)
        # seen at a slant a pixel covers more of the surface: the geometric mean of its two widths
        footprint = reach * gathered(spread, chosen) / cosine.clamp(min=0.1).sqrt()
        materials = evaluate(scenes.looks, scenes.parts, points, normal, owners, footprint)
        radiance = shade(scenes.light, scenes.grid, points, normal, to_camera, materials)
        colors = colors.scatter(1, index.expand(-1, -1, 8), torch.cat([radiance, materials], dim=-1))
    return hits.found, colors, geometry
