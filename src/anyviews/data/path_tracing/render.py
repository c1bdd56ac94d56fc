"""Views of an asset: path-traced light, and exact maps of the surfaces that are seen."""

from collections.abc import Sequence
from types import ModuleType
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from ...cameras import Cameras
from ...color import linear_from_srgb, srgb_from_linear
from ...environment import Environment
from ...views import Views
from .denoise import denoised
from .meshes import Asset, Part
from .problems import UnusableObjectError
from .scene import build_scene, sensor, shown, split_by_handedness, texture_lookup


Background = Literal["environment", "white", "black"]
BACKGROUNDS: tuple[Background, ...] = ("environment", "white", "black")

# Maps have this many rays per pixel along each axis; odd, so that one of them goes through the pixel's centre.
MAP_RAYS = 3
# light is followed over this many segments, the one from the camera included
SEGMENTS = 5
AOVS = "position:position,normal:sh_normal,along:dp_du,uv:uv,albedo:albedo,shape:shape_index"
CHANNELS = (3, 3, 3, 2, 3, 1)


@torch.no_grad()
def render_views(
    mitsuba: ModuleType,
    asset: Asset,
    environment: Environment,
    cameras: Cameras,
    *,
    samples: int = 64,
    seed: int = 0,
    background: Background = "environment",
    denoise: bool = False,
) -> Views:
    """Render an asset with all the maps that `Views` has.

    Colours, masks, base colours, roughness, metallic and normals are means over a pixel; the last four over its
    covered part. Depth is that of the ray through the pixel's centre.

    Args:
        mitsuba: the module, as `load_mitsuba` gives it.
        asset: what to render.
        environment: the only light.
        cameras: of batch shape [V], all of one size, with square pixels.
        samples: paths per pixel.
        seed: of the paths; the same seed gives the same pictures.
        background: what is seen beside the object.
        denoise: whether to remove the noise of few samples with Open Image Denoise.

    Raises:
        UnusableObjectError: if some view does not see the object, or light overflows.
    """
    parts = split_by_handedness(asset)
    scene = build_scene(mitsuba, parts, environment)
    views = [
        _view(mitsuba, scene, parts, environment, camera, samples, (seed + index) % 2**32, background, denoise)
        for index, camera in enumerate(cameras)
    ]
    fields = {name: torch.stack([view[name] for view in views]) for name in views[0]}
    return Views(srgb_from_linear(fields["radiance"]), cameras, **fields)


def _view(
    mitsuba: ModuleType,
    scene: Any,
    parts: Sequence[Part],
    environment: Environment,
    camera: Cameras,
    samples: int,
    seed: int,
    background: Background,
    denoise: bool,
) -> dict[str, Tensor]:
    """All fields of one view, [C, H, W] each."""
    path = mitsuba.load_dict({"type": "path", "max_depth": SEGMENTS, "hide_emitters": True})
    picture = _rendered(path, scene, sensor(mitsuba, camera, samples), seed)
    maps = _maps(mitsuba, scene, parts, camera)
    # premultiplied by alpha
    light, alpha = picture[:3], picture[3:4].clamp(0, 1)
    if not light.isfinite().all():
        raise UnusableObjectError("light", "the light of a view is not finite; is the environment too bright?")
    if not (maps["depths"] > 0).any():
        raise UnusableObjectError("invisible", "a view does not see the object: its surface is thinner than a pixel")
    if denoise:
        light = denoised(light, linear_from_srgb(maps["base_colors"]) * alpha, maps["normals"])
    behind = _background(environment, camera, background)
    return {"radiance": light + (1 - alpha) * behind, "masks": alpha, **maps}


def _rendered(integrator: Any, scene: Any, sensor: Any, seed: int) -> Float[Tensor, "channels height width"]:
    image = integrator.render(scene, sensor=sensor, seed=seed, develop=True)
    return torch.from_numpy(np.array(image, dtype=np.float32)).permute(2, 0, 1).contiguous()


def _maps(mitsuba: ModuleType, scene: Any, parts: Sequence[Part], camera: Cameras) -> dict[str, Tensor]:
    """Depth, normals and materials of a view."""
    aov = mitsuba.load_dict({"type": "aov", "aovs": AOVS})
    channels = _rendered(aov, scene, sensor(mitsuba, camera, 1, supersampled=MAP_RAYS), 0)
    height, width = channels.shape[1:]
    rays = channels.flatten(1).T
    hit = rays[:, -1] > 0
    surface = rays.new_zeros(len(rays), 8)  # normal, base colour, roughness, metallic
    surface[hit] = _surfaces(rays[hit], parts, shape_numbers(mitsuba, scene), camera)
    surface, covered = _pixel_means(surface, hit, height, width)
    depth = torch.where(hit, (rays[:, :3] - camera.centers) @ camera.rotation[:, 2], 0)
    centre = slice(MAP_RAYS // 2, None, MAP_RAYS)
    normals = F.normalize(surface[:3], dim=0)
    return {
        "depths": depth.reshape(1, height, width)[:, centre, centre].contiguous(),
        "normals": torch.where(covered, normals, 0),
        "base_colors": srgb_from_linear(surface[3:6]),
        "roughness": surface[6:7].clamp(0, 1),
        "metallic": surface[7:8].clamp(0, 1),
    }


def shape_numbers(mitsuba: ModuleType, scene: Any) -> list[int]:
    """What the AOV shape_index holds for each shape of a scene, in their order."""
    if mitsuba.variant().startswith("scalar"):
        return [index + 1 for index in range(len(scene.shapes()))]
    import drjit

    # just-in-time compiled variants number all shapes that were ever made in the process
    return np.array(drjit.reinterpret_array(mitsuba.UInt32, scene.shapes_dr())).tolist()


def _surfaces(
    rays: Float[Tensor, "rays channels"], parts: Sequence[Part], numbers: Sequence[int], camera: Cameras
) -> Float[Tensor, "rays 8"]:
    """Normal, linear base colour, roughness and metallic where rays meet a surface."""
    position, normal, along, uv, albedo, shape = rays.split(CHANNELS, dim=1)
    tangent_normal = normal.new_tensor([0.0, 0.0, 1.0]).repeat(len(rays), 1)
    material = normal.new_full((len(rays), 2), float("nan"))
    owners = shape[:, 0].round().long()
    for part, number in zip(parts, numbers, strict=True):
        mine = owners == number
        if not mine.any():
            continue
        for column, texture in enumerate((part.material.roughness, part.material.metallic)):
            material[mine, column] = texture_lookup(shown(texture, part), uv[mine])[:, 0]
        if part.material.normal_map is not None and part.uv is not None:
            tangent_normal[mine] = F.normalize(texture_lookup(part.material.normal_map, uv[mine]) * 2 - 1, dim=1)
    first = F.normalize(along - normal * (normal * along).sum(1, keepdim=True), dim=1)
    second = torch.linalg.cross(normal, first)
    # the back of a surface is its mirror image
    toward = camera.centers - position
    side = (normal * toward).sum(1, keepdim=True).sign()
    side = torch.where(side == 0, 1, side)
    x, y, z = tangent_normal.split(1, dim=1)
    return torch.cat([first * x + second * y + normal * (z * side), albedo, material], dim=1)


def _pixel_means(
    values: Float[Tensor, "rays columns"], hit: Bool[Tensor, "rays"], height: int, width: int
) -> tuple[Float[Tensor, "columns pixel_height pixel_width"], Bool[Tensor, "1 pixel_height pixel_width"]]:
    """Means over the rays of a pixel that met something, 0 where none did; and where any did."""
    planes = torch.cat([values * hit[:, None], hit[:, None].float()], dim=1).T.reshape(1, -1, height, width)
    means = F.avg_pool2d(planes, MAP_RAYS)[0]
    return means[:-1] / means[-1:].clamp(min=0.5 / MAP_RAYS**2), means[-1:] > 0


def _background(environment: Environment, camera: Cameras, background: Background) -> Tensor:
    """Linear light [3, H, W] behind the object."""
    height, width = camera.image_sizes.tolist()
    if background != "environment":
        return torch.full((3, height, width), float(background == "white"))
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    pixels = torch.stack([x, y], dim=-1).reshape(-1, 2)
    directions = camera.unproject(pixels, torch.ones(len(pixels))) - camera.centers
    return environment.look_up(directions).T.reshape(3, height, width)
