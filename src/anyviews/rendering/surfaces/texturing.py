"""texture_mesh: texture coordinates, and textures of what a field says about the surface."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

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
# Islands are tried this many times larger than a first guess, then smaller and smaller.
ROOM, SHRINK, PACKINGS = 1.3, 0.94, 60
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
        size: of the square texture, in texels, which decides how far islands must be apart.

    Raises:
        ValueError: if the mesh is a single point, or its islands do not fit into so few texels.
    """
    vertices, faces = mesh.vertices.detach().cpu().double(), mesh.faces.cpu().numpy().astype(np.uint32)
    extent = (vertices.amax(0) - vertices.amin(0)).max()
    if extent == 0:
        raise ValueError("all vertices of the mesh are at one point; it has no surface to texture")
    # xatlas takes small triangles for nothing: a world of any unit is brought to 1
    scaled = ((vertices - vertices.amin(0)) / extent).float().numpy()
    originals, faces, flat, density = _flattened(scaled, faces, size)
    places = _packed(flat, faces, size, density)
    device = mesh.vertices.device
    originals, faces = (torch.from_numpy(values.astype(np.int64)).to(device) for values in (originals, faces))
    return Mesh(
        mesh.vertices[originals],
        faces,
        None if mesh.vertex_colors is None else mesh.vertex_colors[originals],
        None if mesh.vertex_normals is None else mesh.vertex_normals[originals],
        torch.from_numpy(places).to(device).clamp(0, 1),
    )


def _flattened(vertices: np.ndarray, faces: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Islands of faces laid flat: their vertices' originals, faces, places in units of the mesh, texels per unit."""
    import xatlas

    atlas = xatlas.Atlas()
    atlas.add_mesh(vertices, faces)
    atlas.generate(pack_options=_pack_options(size))
    originals, faces, places = atlas[0]
    page = np.array([atlas.width, atlas.height], np.float32)
    # its page is only about as large as was asked for, and not square
    density = atlas.texels_per_unit
    return originals, faces, places * page / density, density * size / float(page.max())


def _packed(flat: np.ndarray, faces: np.ndarray, size: int, density: float) -> np.ndarray:
    """Places [V, 2] of islands on one square page of exactly this size, as large as fits."""
    import xatlas

    density *= ROOM
    for _ in range(PACKINGS):
        atlas = xatlas.Atlas()
        atlas.add_uv_mesh(flat.astype(np.float32), faces)
        atlas.generate(pack_options=_pack_options(size, density))
        if atlas.atlas_count == 1:
            _, _, places = atlas[0]
            return places
        density *= SHRINK
    raise ValueError(
        f"the surface's islands do not fit into a texture of {size}x{size} texels; give a larger size, or fewer faces"
    )


def _pack_options(size: int, density: float = 0.0) -> Any:
    import xatlas

    options = xatlas.PackOptions()
    options.resolution, options.padding, options.bilinear, options.texels_per_unit = size, PADDING, True, density
    return options


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
