"""Rendering batches of apartments."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from ....cameras import rigid
from ....color import srgb_from_linear
from ....environment import Environment
from ..primitives import NO_HIT
from ..room import pinholes
from ..shading import surface_normals
from ..views import WorldViews
from .cameras import apartment_cameras
from .light import dot, from_all_sides, lamp_light, reflected
from .materials import MATERIAL_COLUMNS
from .scenes import LAMP_COLUMNS, LAMPS, Apartments, pack, random_apartment
from .texture import material_columns, surface_material
from .tiles import TILE, Frames, image_from_tiles, in_frustum, tile_counts, tile_directions
from .trace import camera_frames, darkening, nearest, unblocked


# Rays per pass: intermediate results stay in a CPU's cache, and within a few gigabytes of an accelerator's memory.
CPU_RAYS_PER_PASS = 1 << 17
ACCELERATOR_RAYS_PER_PASS = 1 << 21

GEOMETRY_COLUMNS = ["u0", "u1", "u2", "u_offset", "v0", "v1", "v2", "v_offset"]
GEOMETRY_COLUMNS += ["n00", "n01", "n02", "n11", "n12", "n22", "n0", "n1", "n2"]
TRAJECTORIES = ("any", "walk", "star", "tree")


def render_apartments(
    seeds: Int[Tensor, "scenes"],
    views: int,
    height: int,
    width: int,
    device: torch.device | str = "cpu",
    samples: int = 2,
    maps: bool = True,
    trajectory: str = "any",
    metric: bool = False,
) -> WorldViews:
    """Apartments; `render_world` has the arguments.

    Raises:
        ValueError: for an unknown trajectory.
    """
    if trajectory not in TRAJECTORIES:
        raise ValueError(f"trajectory is {trajectory!r}; accepted are {', '.join(map(repr, TRAJECTORIES))}")
    made = [random_apartment(seed) for seed in seeds.tolist()]
    apartments = pack(made, device)
    frames, scale = apartment_cameras(seeds, made, apartments, views, trajectory)
    if metric:
        scale = torch.ones_like(scale)
    fields = render_frames(apartments, frames, height, width, samples, maps)
    fields = {name: value.unflatten(0, (len(seeds), views)) for name, value in fields.items()}
    fields["depths"] = fields["depths"] * scale[:, None, None, None, None]
    poses = rigid(frames.rotations, frames.centers).unflatten(0, (len(seeds), views))
    poses[..., :3, 3] *= scale[:, None, None]
    cameras = pinholes(frames.tangent.unflatten(0, (len(seeds), views))[:, :1], poses, height, width)
    environments = apartments.skies if maps else None
    return WorldViews(cameras=cameras, environments=environments, **fields)


def render_frames(
    apartments: Apartments, frames: Frames, height: int, width: int, samples: int, maps: bool
) -> dict[str, Tensor]:
    """Images [F, C, H, W] by name of the fields of WorldViews, in metres."""
    on_cpu = frames.centers.device.type == "cpu"
    limit = CPU_RAYS_PER_PASS if on_cpu else ACCELERATOR_RAYS_PER_PASS
    rows, columns = tile_counts(height, width)
    rays_per_tile = (TILE * samples) ** 2
    chunk = max(1, limit // (rays_per_tile * rows * columns))
    passes = [
        render_pass(apartments, frames[i : i + chunk], height, width, samples, maps, max(1, limit // rays_per_tile))
        for i in range(0, len(frames.scene), chunk)
    ]
    return {name: torch.cat([part[name] for part in passes]) for name in passes[0]}


def render_pass(
    apartments: Apartments, frames: Frames, height: int, width: int, samples: int, maps: bool, tiles: int
) -> dict[str, Tensor]:
    """As `render_frames`, at most so many tiles at once."""
    seen, near = in_frustum(apartments.solids, apartments.used, frames, height, width)
    local = camera_frames(apartments.solids, frames)
    per_frame = seen.shape[1]
    frame = torch.arange(len(seen), device=seen.device).repeat_interleave(per_frame)
    fine = tile_directions(frames.tangent, height, width, samples).flatten(0, 1)
    coarse = fine if samples == 1 else tile_directions(frames.tangent, height, width, 1).flatten(0, 1)
    seen, pixel = seen.flatten(0, 1), 2 * frames.tangent / (width * samples)
    parts = []
    for start in range(0, len(frame), tiles):
        some = slice(start, start + tiles)
        visible = (frame[some], seen[some], near[frame[some]])
        hits = nearest(apartments, local, fine[some], *visible)
        values, normals = shade(apartments, frames, frame[some], fine[some], *hits, pixel[frame[some]], maps)
        if samples > 1:
            side = TILE * samples
            values = F.avg_pool2d(values.unflatten(-1, (side, side)), samples).flatten(-2)
            hits = nearest(apartments, local, coarse[some], *visible)
            if maps:
                normals = surface_hits(apartments, frames, frame[some], coarse[some], *hits)[0]["normals"]
        depth = hits[0] * (hits[0] < NO_HIT)
        parts.append(torch.cat([values, depth[None], *([torch.stack(normals)] if maps else [])]))
    whole = image_from_tiles(torch.cat(parts, dim=1), height, width).transpose(0, 1)
    return named_fields(whole, maps)


def named_fields(whole: Float[Tensor, "frames channels height width"], maps: bool) -> dict[str, Tensor]:
    """The channels of a pass as fields of WorldViews."""
    sizes, names = [3, 1], ["radiance", "depths"]
    if maps:
        sizes, names = [3, 3, 1, 1, 1, 3], ["radiance", "base_colors", "roughness", "metallic", "depths", "normals"]
    fields = {name: part.contiguous() for name, part in zip(names, whole.split(sizes, dim=1), strict=True)}
    fields["images"] = srgb_from_linear(fields["radiance"])
    fields["masks"] = (fields["depths"] > 0).float()
    if maps:
        fields["normals"] = fields["normals"] * fields["masks"]
        fields["base_colors"] = srgb_from_linear(fields["base_colors"])
    else:
        del fields["radiance"]
    return fields


def surface_hits(
    apartments: Apartments, frames: Frames, frame: Tensor, directions: Tensor, depth: Tensor, surface: Tensor
) -> tuple[dict[str, Tensor], tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Geometry where rays hit, the points and the world directions of the rays (z = 1 in the camera).

    The geometry holds the columns by name, and `normals` (on the camera's side), `cosine` (with the vector to the
    camera, not normalised), `row` (scene * solids + solid) and `face`.
    """
    rotations, centers = frames.rotations[frame, :, :, None], frames.centers[frame, :, None]
    x, y = directions[:, 0], directions[:, 1]
    along = tuple(rotations[:, k, 0] * x + rotations[:, k, 1] * y + rotations[:, k, 2] for k in range(3))
    # rays that leave through a window are kept near, for far points would make bounds wide and sines slow
    depth = torch.where(depth < NO_HIT, depth, depth.amin(1, keepdim=True).clamp(max=1.0))
    points = tuple(torch.addcmul(centers[:, k], depth, along[k]) for k in range(3))
    index = surface.long() + (frames.scene[frame] * apartments.geometry.shape[2])[:, None]
    table = apartments.geometry.flatten(1).index_select(1, index.flatten()).unflatten(1, index.shape)
    geometry = dict(zip(GEOMETRY_COLUMNS, table, strict=True))
    normals, cosine = surface_normals(geometry, points, tuple(-component for component in along))
    axis = surface % 3
    face = 2 * axis + (sum(n * geometry[f"n{k}"] for k, n in enumerate(normals)) > 0)
    geometry |= {"normals": normals, "cosine": cosine, "face": face, "depth": depth}
    geometry["row"] = index // 3
    return geometry, points, along


def shade(
    apartments: Apartments,
    frames: Frames,
    frame: Int[Tensor, "tiles"],
    directions: Float[Tensor, "tiles 2 rays"],
    depth: Float[Tensor, "tiles rays"],
    surface: Float[Tensor, "tiles rays"],
    pixel: Float[Tensor, "tiles"],
    maps: bool,
) -> tuple[Float[Tensor, "channels tiles rays"], tuple[Tensor, ...]]:
    """Radiance (3 channels) and for the maps linear base colour, roughness and metallic; and the normals.

    `pixel` is the width of a ray's share of the image at unit depth.
    """
    geometry, points, along = surface_hits(apartments, frames, frame, directions, depth, surface)
    normals = geometry["normals"]
    scene = frames.scene[frame]
    length = dot(along, along).rsqrt_()
    to_camera, cosine = tuple(-a * length for a in along), geometry["cosine"] * length
    u, v = (
        torch.addcmul(geometry[f"{c}_offset"], geometry[f"{c}0"], points[0])
        .addcmul_(geometry[f"{c}1"], points[1])
        .addcmul_(geometry[f"{c}2"], points[2])
        for c in "uv"
    )
    footprint = geometry["depth"] * pixel[:, None] * (cosine + 0.05).rsqrt()
    owner = apartments.owners.flatten()[geometry["row"] * 6 + geometry["face"].long()]
    numbers = apartments.materials.shape[2]
    material = material_columns(apartments.materials, MATERIAL_COLUMNS, owner + (scene * numbers)[:, None])
    colors, roughness = surface_material(material, u, v, footprint)
    metallic, glows = material["metallic"], (material["emission"] > 0).float()
    emitted = [color * material["emission"] for color in colors]
    colors = [color * (1 - glows) for color in colors]
    reflects = (colors, roughness, metallic)
    light = illuminate(apartments, scene, points, normals, to_camera, cosine, geometry["row"], reflects)
    light = [a + b for a, b in zip(light, emitted, strict=True)]
    missed = depth >= NO_HIT
    light = see_sky(apartments, scene, along, missed, light)
    if not maps:
        return torch.stack(light), normals
    there = (~missed).float()
    values = [*light, *(c * there for c in colors), roughness * there, metallic * there]
    return torch.stack(values), normals


def illuminate(
    apartments: Apartments,
    scene: Int[Tensor, "tiles"],
    points: tuple[Tensor, ...],
    normals: tuple[Tensor, ...],
    to_camera: tuple[Tensor, ...],
    cosine: Tensor,
    solid: Int[Tensor, "tiles rays"],
    reflects: tuple[list[Tensor], Tensor, Tensor],
) -> list[Tensor]:
    """Reflected radiance from the lamps and windows of each point's room, and from all sides."""
    rooms = apartments.ambient.shape[2]
    room = apartments.rooms.flatten()[solid]
    present = torch.zeros(len(scene), rooms, dtype=torch.bool, device=room.device).scatter_(1, room, True)
    room = room + (scene * rooms)[:, None]
    ambient = apartments.ambient.flatten(1).index_select(1, room.flatten()).unflatten(1, room.shape)
    open_sides = darkening(apartments, scene, points, normals)
    light = from_all_sides(*reflects, cosine, [a * open_sides for a in ambient])
    for slot in range(LAMPS):
        row = room * LAMPS + slot
        values = apartments.lamps.flatten(1).index_select(1, row.flatten()).unflatten(1, row.shape)
        lamp = dict(zip(LAMP_COLUMNS, values, strict=True))
        to_lamp, unit, softness, arriving = lamp_light(lamp, points)
        passed = unblocked(apartments, scene, present, points, to_lamp, softness)
        parts = reflected(*reflects, normals, to_camera, unit)
        light = [
            total + part * strength * passed for total, part, strength in zip(light, parts, arriving, strict=True)
        ]
    return light


def see_sky(
    apartments: Apartments, scene: Tensor, along: tuple[Tensor, ...], missed: Tensor, light: list[Tensor]
) -> list[Tensor]:
    """The sky where rays hit nothing."""
    tile, ray = missed.nonzero(as_tuple=True)
    if not len(tile):
        return light
    directions = torch.stack([component[tile, ray] for component in along], dim=-1)
    of_scene = scene[tile]
    sky = torch.zeros_like(directions)
    for index in of_scene.unique().tolist():
        here = of_scene == index
        sky[here] = Environment(apartments.skies[index]).look_up(directions[here])
    light = [component.clone() for component in light]
    for k, component in enumerate(light):
        component[tile, ray] = sky[:, k]
    return light
