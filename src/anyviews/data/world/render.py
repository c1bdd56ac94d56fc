"""Rendering batches of random scenes."""

from dataclasses import replace
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from ...cameras import Cameras, rigid
from .primitives import NO_HIT, intersect
from .random_scene import RandomScene, random_object, random_room
from .shading import irradiance, surface_normals
from .surfaces import PICTURES, PICTURES_PER_WALL
from .textures import albedo
from .views import WorldViews


# Rays per pass: intermediate results stay in a CPU's cache, and within a few gigabytes of an accelerator's memory.
CPU_RAYS_PER_PASS = 1 << 15
ACCELERATOR_RAYS_PER_PASS = 1 << 22

FRAME_WIDTH = 0.05

# Rays that miss are shaded at this depth and then replaced: far points would make sines slow.
FARTHEST = 20.0


@torch.no_grad()
def render_world(
    seeds: Int[Tensor, "scenes"],
    views: int,
    height: int,
    width: int,
    kind: Literal["room", "object"] = "room",
    device: torch.device | str = "cpu",
    samples: int = 2,
) -> WorldViews:
    """Render the random scenes of given seeds; each scene depends on its seed (and the number of views) alone.

    Args:
        seeds: [B], one scene per seed, from 0 to 2**32 - 1.
        views: cameras per scene.
        height: of the images in pixels.
        width: of the images in pixels.
        kind: "room" for furnished rooms, "object" for single objects in front of a plain background.
        device: where to render.
        samples: rays per pixel along each axis for colours; depth and mask are those of the pixel's centre.

    Returns:
        Views whose world has y up and a unit that is random per scene, so that absolute scale tells nothing.

    Raises:
        ValueError: for an unknown kind, or a seed out of range.
    """
    if kind not in ("room", "object"):
        raise ValueError(f"kind is {kind!r}; accepted are 'room' and 'object'")
    # the CPU generator uses 32 bits of its seed, so that larger ones would silently repeat scenes
    outside = [seed for seed in seeds.tolist() if not 0 <= seed < 2**32]
    if outside:
        raise ValueError(f"seeds hold {outside[:8]}; accepted are 0 to 2**32 - 1 (take them modulo 2**32)")
    scene = (random_room if kind == "room" else random_object)(seeds, views, device)
    count = len(seeds)
    limit = CPU_RAYS_PER_PASS if scene.centers.device.type == "cpu" else ACCELERATOR_RAYS_PER_PASS
    rays_per_row = views * width * samples**2
    # several small scenes per pass, or bands of rows of a large one
    chunk = max(1, limit // (rays_per_row * height))
    band = min(height, max(1, limit // rays_per_row))
    passes = [
        torch.cat(
            [render(part, height, width, samples, top, min(top + band, height)) for top in range(0, height, band)], 3
        )
        for part in (select(scene, slice(i, i + chunk)) for i in range(0, count, chunk))
    ]
    images, depths = (part.contiguous() for part in torch.cat(passes).split([3, 1], dim=2))
    depths = depths * scene.scale[:, :, None, None, None]
    masks = (depths > 0).float()
    focal = width / (2 * scene.tangent[..., None])
    intrinsics = torch.zeros(count, views, 3, 3, device=device)
    intrinsics[..., 0, 0] = intrinsics[..., 1, 1] = focal[..., 0]
    intrinsics[..., :2, 2] = intrinsics.new_tensor([width / 2, height / 2])
    intrinsics[..., 2, 2] = 1
    # scenes are made with y down; half a turn about x sets them upright
    upright = torch.tensor([1.0, -1.0, -1.0], device=device)
    poses = rigid(upright[:, None] * scene.rotations, upright * scene.centers * scene.scale[..., None])
    return WorldViews(images, depths, masks, Cameras.create(intrinsics, poses, height, width))


def select(scene: RandomScene, chosen: slice) -> RandomScene:
    """Some of a batch of scenes."""

    def pick(value):
        if isinstance(value, Tensor):
            return value[chosen]
        if isinstance(value, dict):
            return {name: column[chosen] for name, column in value.items()}
        if hasattr(value, "__dataclass_fields__"):
            return replace(value, **{name: pick(getattr(value, name)) for name in value.__dataclass_fields__})
        return value

    return pick(scene)


def ray_directions(
    tangent: Float[Tensor, "scenes 1"], height: int, width: int, top: int, bottom: int
) -> Float[Tensor, "scenes 2 pixels"]:
    """x and y of the camera-frame directions (z = 1) through the pixel centres of rows [top, bottom)."""
    x = (torch.arange(width, device=tangent.device) + 0.5) * (2 / width) - 1
    y = (torch.arange(top, bottom, device=tangent.device) + 0.5) * (2 / width) - height / width
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy")).flatten(1)
    return grid * tangent[..., None]


def render(
    scene: RandomScene, height: int, width: int, samples: int, top: int, bottom: int
) -> Float[Tensor, "scenes views 4 rows width"]:
    """Red, green, blue and depth in room units of the rows [top, bottom) of all views."""
    fine = ray_directions(scene.tangent, height * samples, width * samples, top * samples, bottom * samples)
    depth, surface = intersect(scene.solids, scene.room, scene.centers, scene.rotations, fine)
    colors = torch.stack(shade(scene, fine, depth, surface, 2 * scene.tangent / width), dim=2)
    if samples > 1:
        # averaged as displayed, which is what resizing a photo does
        fine_rows = colors.flatten(0, 2).unflatten(-1, ((bottom - top) * samples, width * samples))
        colors = F.avg_pool2d(fine_rows, samples).flatten(1).unflatten(0, colors.shape[:3])
        coarse = ray_directions(scene.tangent, height, width, top, bottom)
        depth, _ = intersect(scene.solids, scene.room, scene.centers, scene.rotations, coarse)
    depth = depth * (depth < NO_HIT)
    return torch.cat([colors, depth[:, :, None]], dim=2).unflatten(-1, (bottom - top, width))


def shade(
    scene: RandomScene,
    directions: Float[Tensor, "scenes 2 pixels"],
    depth: Float[Tensor, "scenes views pixels"],
    surface: Float[Tensor, "scenes views pixels"],
    pixel: Float[Tensor, "scenes 1"],
) -> list[Float[Tensor, "scenes views pixels"]]:
    """Red, green and blue of what each ray hits; `pixel` is the width of a pixel at unit depth."""
    depth = depth.clamp(max=FARTHEST)
    x, y = directions[:, None, 0], directions[:, None, 1]
    along = [
        scene.rotations[:, :, k, 0, None] * x
        + scene.rotations[:, :, k, 1, None] * y
        + scene.rotations[:, :, k, 2, None]
        for k in range(3)
    ]
    points = tuple(torch.addcmul(scene.centers[:, :, k, None], depth, along[k]) for k in range(3))
    if scene.pictures:
        first_picture = scene.surfaces["u0"].shape[1] - 2 * PICTURES
        surface = hang_pictures(scene.pictures, points, surface, first_picture)
    looked_up = look_up(scene.surfaces, surface)
    normals, cosine = surface_normals(looked_up, points, tuple(-component for component in along))
    # seen at a slant a pixel covers more of the surface: the geometric mean of its two widths
    footprint = depth * pixel[..., None] * (cosine + 0.05).rsqrt()
    colors = albedo(looked_up, points, footprint)
    light = irradiance(scene.lights, points, normals, looked_up, scene.room)
    colors = [(color * light * scene.lights.tint[:, k, None, None]).clamp_(0, 1) for k, color in enumerate(colors)]
    if scene.room is None:
        missed = (depth >= FARTHEST).float()
        height = 0.5 + 0.5 * along[1] * (along[0] ** 2 + along[1] ** 2 + along[2] ** 2).rsqrt_()
        low, high = scene.background[:, :, :, None, None].unbind(1)
        colors = [
            torch.lerp(color, torch.lerp(low[:, k], high[:, k], height), missed) for k, color in enumerate(colors)
        ]
    return colors


def look_up(columns: dict[str, Tensor], index: Tensor) -> dict[str, Tensor]:
    """The entries of [B, S] columns at float indices [B, V, P], by name."""
    table = torch.stack(list(columns.values()))
    flat = index.flatten(1).long()[None].expand(len(table), -1, -1)
    return dict(zip(columns, table.gather(2, flat).unflatten(2, index.shape[1:]), strict=True))


def hang_pictures(
    pictures: dict[str, Tensor], points: tuple[Tensor, Tensor, Tensor], surface: Tensor, first_picture: int
) -> Tensor:
    """Replace the surface by a picture or its frame where a point of a wall lies within one."""
    padded = {name: F.pad(column, (0, 1), value=-1.0) for name, column in pictures.items()}
    here = look_up(padded, surface.clamp(max=len(pictures["picture0_along"][0])))
    # walls across x run along z
    across_x = (surface < 2).float()
    along = torch.lerp(points[0], points[2], across_x)
    # the walls are faces 0, 1, 4 and 5
    wall = torch.lerp(surface - 2, surface, across_x)
    for slot in range(PICTURES_PER_WALL):
        beyond = torch.maximum(
            (along - here[f"picture{slot}_along"]).abs_() - here[f"picture{slot}_half_width"],
            (points[1] - here[f"picture{slot}_height"]).abs_() - here[f"picture{slot}_half_height"],
        )
        picture = wall * PICTURES_PER_WALL + (first_picture + slot)
        picture += PICTURES * (beyond > -FRAME_WIDTH)
        surface = torch.lerp(surface, picture, (beyond < 0).float())
    return surface
