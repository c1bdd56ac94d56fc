"""texture_mesh: texture coordinates, and textures of what a field says about the surface."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from scipy import ndimage
from torch import Tensor

from ...mesh import Material, Mesh
from ..meshes.rasterize import rasterize_texture
from ..shading.materials import SurfaceMaterials
from ..shading.mesh_surface import tangent_frames


# Texels between islands, so that interpolation and small mipmaps do not mix them.
PADDING = 4
# Points that the field is asked for at once.
POINTS_PER_CALL = 1 << 18
# Normals that leave the surface farther than this are laid onto it: a texture of normals points outwards.
LEAST_COSINE = 0.05


@torch.no_grad()
def texture_mesh(mesh: Mesh, field: Callable[[Float[Tensor, "points 3"]], SurfaceMaterials], size: int = 1024) -> Mesh:
    """Give a mesh a material whose textures hold what a field says about the points of its surface.

    The mesh is cut into islands that lie flat in the texture (xatlas); vertices on cuts are doubled and keep their
    normals, so that shading shows no seams. Texels outside of the islands repeat the nearest one inside.

    Args:
        mesh: without texture coordinates; those it has are replaced. Without normals its faces are shaded flat, and a
            field's normals are left out.
        field: the materials of world points [N, 3], on the mesh's device; asked in parts.
        size: of the textures, in texels.

    Raises:
        ValueError: if the mesh or the size is not valid, or the field returns another number of points.
    """
    if size < 16:
        raise ValueError(f"the texture size is {size}; accepted are 16 texels and more")
    mesh = unwrap(mesh.validate(), size)
    fragments = rasterize_texture(mesh, size)
    covered = fragments.faces[0] >= 0
    faces, barycentrics = mesh.faces[fragments.faces[0][covered]], fragments.barycentrics[0][covered]
    points = (mesh.vertices[faces] * barycentrics[..., None]).sum(1)
    materials = SurfaceMaterials.cat([_checked(field(part), len(part)) for part in points.split(POINTS_PER_CALL)])
    values = {
        "base_color": materials.base_colors,
        "roughness": materials.roughness,
        "metallic": materials.metallic,
    }
    if materials.normals is not None and mesh.vertex_normals is not None:
        frames = tangent_frames(mesh.vertex_normals, mesh.vertex_tangents(), faces, barycentrics)
        values["normals"] = _in_tangent_space(materials.normals, frames)
    nearest = _nearest_covered(covered)
    material = Material(**{name: _texture(columns, nearest, covered.shape) for name, columns in values.items()})
    return replace(mesh, material=material, vertex_colors=None)


def unwrap(mesh: Mesh, size: int) -> Mesh:
    """The mesh with texture coordinates in [0, 1], each part of the texture used once; vertices on cuts are doubled.

    Islands may be mirrored, which tangents tell.

    Args:
        mesh: of which everything but texture coordinates and material is kept.
        size: of the texture, in texels, which decides how far islands must be apart.
    """
    import xatlas

    atlas = xatlas.Atlas()
    atlas.add_mesh(mesh.vertices.detach().float().cpu().numpy(), mesh.faces.cpu().numpy().astype(np.uint32))
    options = xatlas.PackOptions()
    options.resolution, options.padding, options.bilinear = size, PADDING, True
    atlas.generate(pack_options=options)
    originals, faces, places = atlas[0]
    device = mesh.vertices.device
    originals, faces = (torch.from_numpy(values.astype(np.int64)).to(device) for values in (originals, faces))
    return Mesh(
        mesh.vertices[originals],
        faces,
        None if mesh.vertex_colors is None else mesh.vertex_colors[originals],
        None if mesh.vertex_normals is None else mesh.vertex_normals[originals],
        torch.from_numpy(places).to(device).clamp(0, 1),
    )


def _checked(materials: SurfaceMaterials, count: int) -> SurfaceMaterials:
    if len(materials) != count:
        raise ValueError(f"the field gave materials of {len(materials)} points for {count}; accepted is one each")
    return materials


def _in_tangent_space(
    normals: Float[Tensor, "texels 3"], frames: Float[Tensor, "texels 3 3"]
) -> Float[Tensor, "texels 3"]:
    local = (F.normalize(normals, dim=-1)[:, None] @ frames)[:, 0]
    return F.normalize(torch.cat([local[:, :2], local[:, 2:].clamp(min=LEAST_COSINE)], dim=-1), dim=-1)


def _nearest_covered(covered: Tensor) -> Int[Tensor, "texels"]:
    """For every texel the nearest one that is covered, as its place among the covered ones."""
    mask = covered.cpu().numpy()
    row, column = ndimage.distance_transform_edt(~mask, return_distances=False, return_indices=True)
    place = np.cumsum(mask.reshape(-1)) - 1
    return torch.from_numpy(place[(row * mask.shape[1] + column).reshape(-1)]).to(covered.device)


def _texture(
    columns: Float[Tensor, "texels channels"], nearest: Int[Tensor, "all_texels"], shape: torch.Size
) -> Float[Tensor, "channels height width"]:
    return columns.float()[nearest].mT.reshape(-1, *shape).contiguous()
