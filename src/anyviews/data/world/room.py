"""Kind "room": furnished box rooms, rendered in batches."""

from dataclasses import replace

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from ...cameras import Cameras, rigid
from ...color import linear_from_srgb
from .primitives import NO_HIT, intersect
from .random_scene import RandomScene, random_room
from .shading import irradiance, surface_normals
from .surfaces import PICTURES, PICTURES_PER_WALL
from .textures import albedo
from .views import WorldViews


# Rays per pass: intermediate results stay in a CPU's cache, and within a few gigabytes of an accelerator's memory.
CPU_RAYS_PER_PASS = 1 << 15
ACCELERATOR_RAYS_PER_PASS = 1 << 22

FRAME_WIDTH = 0.05

NORMAL_COLUMNS = ("n0", "n1", "n2", "n00", "n01", "n02", "n11", "n12", "n22")

# Rays that miss are shaded at this depth and then replaced: far points would make sines slow.
FARTHEST = 20.0


def render_rooms(
    seeds: Int[Tensor, "scenes"],
    views: int,
    height: int,
    width: int,
    device: torch.device | str = "cpu",
    samples: int = 2,
    maps: bool = True,
) -> WorldViews:
    """Furnished box rooms; `render_world` has the arguments.

    They are Lambertian and shaded as displayed, so that their radiance is that of the images and ends at 1, and their
    base colours are the textures before light. What shines (some pictures on the walls, as windows) is in both.
    """
    scene = random_room(seeds, views, device)
    limit = CPU_RAYS_PER_PASS if scene.centers.device.type == "cpu" else ACCELERATOR_RAYS_PER_PASS
    rays_per_row = views * width * samples**2
    # several small scenes per pass, or bands of rows of a large one
    chunk = max(1, limit // (rays_per_row * height))
    band = min(height, max(1, limit // rays_per_row))
    bands = [(top, min(top + band, height)) for top in range(0, height, band)]
    passes = [
        torch.cat([render(part, height, width, samples, top, bottom, maps) for top, bottom in bands], dim=3)
        for part in (select(scene, slice(i, i + chunk)) for i in range(0, len(seeds), chunk))
    ]
    images, depths, *surface = (part.contiguous() for part in torch.cat(passes).split([3, 1, 3, 3][: 2 + 2 * maps], 2))
    depths = depths * scene.scale[:, :, None, None, None]
    masks = (depths > 0).float()
    # scenes are made with y down; half a turn about x sets them upright
    upright = torch.tensor([1.0, -1.0, -1.0], device=device)
    poses = rigid(upright[:, None] * scene.rotations, upright * scene.centers * scene.scale[..., None])
    cameras = pinholes(scene.tangent, poses, height, width)
    if not maps:
        return WorldViews(images, depths, masks, cameras)
    base_colors, normals = surface
    return WorldViews(
        images,
        depths,
        masks,
        cameras,
        radiance=linear_from_srgb(images),
        normals=normals * upright[:, None, None] * masks,
        base_colors=base_colors,
        roughness=torch.ones_like(depths),
        metallic=torch.zeros_like(depths),
    )


def pinholes(
    tangent: Float[Tensor, "scenes 1"], poses: Float[Tensor, "scenes views 4 4"], height: int, width: int
) -> Cameras:
    """Cameras of square pixels with a centred principal point, whose half width at unit depth is `tangent`."""
    intrinsics = torch.zeros(*poses.shape[:2], 3, 3, device=poses.device)
    intrinsics[..., 0, 0] = intrinsics[..., 1, 1] = width / (2 * tangent)
    intrinsics[..., :2, 2] = intrinsics.new_tensor([width / 2, height / 2])
    intrinsics[..., 2, 2] = 1
    return Cameras.create(intrinsics, poses, height, width)


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
    scene: RandomScene, height: int, width: int, samples: int, top: int, bottom: int, maps: bool
) -> Float[Tensor, "scenes views channels rows width"]:
    """Red, green, blue and depth in room units of rows [top, bottom), then base colours and normals for the maps."""
    fine = ray_directions(scene.tangent, height * samples, width * samples, top * samples, bottom * samples)
    depth, surface = intersect(scene.solids, scene.room, scene.centers, scene.rotations, fine)
    colors, base_colors, normals = shade(scene, fine, depth, surface, 2 * scene.tangent / width)
    averaged = torch.stack([*colors, *(color.clamp_(0, 1) for color in base_colors)] if maps else colors, dim=2)
    if samples > 1:
        # averaged as displayed, which is what resizing a photo does
        fine_rows = averaged.flatten(0, 2).unflatten(-1, ((bottom - top) * samples, width * samples))
        averaged = F.avg_pool2d(fine_rows, samples).flatten(1).unflatten(0, averaged.shape[:3])
        coarse = ray_directions(scene.tangent, height, width, top, bottom)
        depth, surface = intersect(scene.solids, scene.room, scene.centers, scene.rotations, coarse)
        if maps:
            normals = normals_of(scene, coarse, depth, surface)
    depth = (depth * (depth < NO_HIT))[:, :, None]
    parts = [averaged[:, :, :3], depth]
    if maps:
        parts += [averaged[:, :, 3:], torch.stack(normals, dim=2)]
    return torch.cat(parts, dim=2).unflatten(-1, (bottom - top, width))


def world_rays(
    scene: RandomScene, directions: Float[Tensor, "scenes 2 pixels"], depth: Float[Tensor, "scenes views pixels"]
) -> tuple[list[Tensor], tuple[Tensor, ...]]:
    """The rays' directions and the points that they hit, x, y and z of each."""
    x, y = directions[:, None, 0], directions[:, None, 1]
    along = [
        scene.rotations[:, :, k, 0, None] * x
        + scene.rotations[:, :, k, 1, None] * y
        + scene.rotations[:, :, k, 2, None]
        for k in range(3)
    ]
    return along, tuple(torch.addcmul(scene.centers[:, :, k, None], depth, along[k]) for k in range(3))


def normals_of(scene: RandomScene, directions: Tensor, depth: Tensor, surface: Tensor) -> tuple[Tensor, ...]:
    """x, y and z of the unit normals where rays hit surfaces."""
    along, points = world_rays(scene, directions, depth.clamp(max=FARTHEST))
    columns = {name: column for name, column in scene.surfaces.items() if name in NORMAL_COLUMNS}
    normals, _ = surface_normals(look_up(columns, surface), points, tuple(-component for component in along))
    return normals


def shade(
    scene: RandomScene,
    directions: Float[Tensor, "scenes 2 pixels"],
    depth: Float[Tensor, "scenes views pixels"],
    surface: Float[Tensor, "scenes views pixels"],
    pixel: Float[Tensor, "scenes 1"],
) -> tuple[list[Tensor], list[Tensor], tuple[Tensor, ...]]:
    """Colours, base colours and normals [B, V, P] of what each ray hits; `pixel` is a pixel's width at unit depth."""
    depth = depth.clamp(max=FARTHEST)
    along, points = world_rays(scene, directions, depth)
    first_picture = scene.surfaces["u0"].shape[1] - 2 * PICTURES
    surface = hang_pictures(scene.pictures, points, surface, first_picture)
    looked_up = look_up(scene.surfaces, surface)
    normals, cosine = surface_normals(looked_up, points, tuple(-component for component in along))
    # seen at a slant a pixel covers more of the surface: the geometric mean of its two widths
    footprint = depth * pixel[..., None] * (cosine + 0.05).rsqrt()
    base_colors = list(albedo(looked_up, points, footprint))
    light = irradiance(scene.lights, points, normals, looked_up, scene.room)
    tint = scene.lights.tint[..., None, None]
    colors = [(color * light * tint[:, k]).clamp_(0, 1) for k, color in enumerate(base_colors)]
    return colors, base_colors, normals


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
