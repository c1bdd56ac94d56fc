"""relight: images of a mesh with its materials under an environment."""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ...cameras import Cameras
from ...color import linear_from_srgb, srgb_from_linear
from ...environment import Environment
from ...mesh import Mesh
from ...views import Views
from ..meshes.rasterize import rasterize
from .mesh_surface import MeshSurface
from .shaders import prefiltered_light, shade, shade_prefiltered


Method = Literal["sampled", "prefiltered"]


@torch.no_grad()
def relight(
    mesh: Mesh,
    environment: Environment,
    cameras: Cameras,
    method: Method = "sampled",
    samples: int = 64,
    supersampling: int = 2,
    seed: int = 0,
    near: float | None = None,
) -> Views:
    """Render a mesh under distant light. What hides the light is not traced: no shadows, no interreflections.

    Args:
        mesh: a valid mesh; without a material it is rough and takes its vertex colours, or is grey.
        environment: in the mesh's world frame.
        cameras: [V], of one image size.
        method: "sampled" tends to the exact integral as samples grow; "prefiltered" is an approximation without noise,
            many times faster.
        samples: directions of light per point, of "sampled".
        supersampling: points along each side of a pixel, which are averaged.
        seed: of the directions.
        near: of `rasterize`.

    Returns:
        Views in front of black: `images` (sRGB, light above 1 clipped), `radiance` (linear, unbounded), `masks` (how
        much of the pixel is covered), world normals, base colours, roughness and metallic as means over the covered
        part, and z-depth at the pixels' centres.

    Raises:
        ValueError: if an argument is not valid.
    """
    if method not in ("sampled", "prefiltered"):
        raise ValueError(f"method is {method!r}; accepted are 'sampled' and 'prefiltered'")
    if supersampling < 1:
        raise ValueError(f"supersampling is {supersampling}; accepted are 1 and more")
    surface, environment = MeshSurface(mesh), environment.to(mesh.vertices.device).validate()
    light = prefiltered_light(environment) if method == "prefiltered" else None
    cameras = cameras.to(mesh.vertices.device, mesh.vertices.dtype)
    finer = cameras.resize(cameras.height * supersampling, cameras.width * supersampling)
    found = []
    # one at a time, to bound the memory
    for camera in finer:
        camera = camera.reshape(1)
        fragments = rasterize(mesh, camera, near)
        positions, materials = surface.look_up(fragments, camera)
        to_camera = F.normalize(camera.centers - positions, dim=-1)
        if light is None:
            radiance = shade(materials, to_camera, environment, samples, seed)
        else:
            radiance = shade_prefiltered(materials, to_camera, light)
        covered = fragments.faces >= 0
        # light is averaged, not its display
        colors = linear_from_srgb(materials.base_colors)
        values = [radiance, colors, materials.normals, materials.roughness, materials.metallic]
        found.append(_averaged(torch.cat(values, dim=-1), covered[0], supersampling))
    return _views(torch.stack(found), rasterize(mesh, cameras, near).depths, cameras)


def _averaged(values: Float[Tensor, "pixels channels"], covered: Tensor, factor: int) -> Tensor:
    """Sums of covered points [C, H, W] over those of a pixel, and last the covered part."""
    image = values.new_zeros(*covered.shape, values.shape[1] + 1)
    image[covered] = F.pad(values, (0, 1), value=1.0)
    return F.avg_pool2d(image.movedim(-1, 0)[None], factor)[0]


def _views(
    sums: Float[Tensor, "views 12 height width"], depths: Float[Tensor, "views 1 height width"], cameras: Cameras
) -> Views:
    radiance, colors, normals, roughness, metallic, masks = sums.split([3, 3, 3, 1, 1, 1], dim=1)
    share = masks.clamp(min=1e-6)
    return Views(
        images=srgb_from_linear(radiance),
        cameras=cameras,
        masks=masks,
        depths=depths,
        radiance=radiance,
        normals=F.normalize(normals, dim=1),
        base_colors=srgb_from_linear(colors / share),
        roughness=(roughness / share).clamp(0, 1),
        metallic=(metallic / share).clamp(0, 1),
    )
