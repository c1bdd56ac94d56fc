"""From signed distances to an asset: a closed surface of few faces with smooth normals, and its textures."""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ...mesh import Mesh
from ..shading.materials import SurfaceMaterials
from .cavities import fill_cavities
from .isosurface import isosurface
from .mesh_cleaning import drop_small_parts
from .texturing import texture_mesh


# Parts with less than this fraction of the faces of the largest part are left out.
SMALLEST_PART = 0.02
# Points that are asked for at once.
POINTS_PER_CALL = 1 << 18

DistanceField = Callable[[Float[Tensor, "points 3"]], Float[Tensor, "points"]]
MaterialField = Callable[[Float[Tensor, "points 3"]], SurfaceMaterials]


@torch.no_grad()
def extract_asset(
    distance: DistanceField,
    materials: MaterialField,
    low: Float[Tensor, "3"],
    high: Float[Tensor, "3"],
    resolution: int = 256,
    texture_size: int = 1024,
    max_faces: int = 20_000,
    smoothing: int = 10,
) -> Mesh:
    """Turn fields into a mesh with textures that other programs can light.

    Args:
        distance: signed distances [N] of world points [N, 3], positive outside.
        materials: of world points [N, 3].
        low: [3], corner of the box that holds the object, on the device that the fields want.
        high: [3], the opposite corner.
        resolution: cells along the longest side of the box.
        texture_size: texels along a side.
        max_faces: of the mesh; texture coordinates take longer than in proportion to it.
        smoothing: passes over the surface.

    Raises:
        ValueError: if there is no surface in the box, or it leaves the box at all corners.
    """
    values, voxel_size = sample_distances(distance, low, high, resolution)
    surface = extract_surface(values, low, voxel_size, max_faces, smoothing)
    return texture_mesh(surface, materials, texture_size)


@torch.no_grad()
def sample_distances(
    distance: DistanceField, low: Float[Tensor, "3"], high: Float[Tensor, "3"], resolution: int
) -> tuple[Float[Tensor, "x y z"], float]:
    """Signed distances [X, Y, Z] on a grid that begins at `low`, on the CPU, and the size of its cells.

    Args:
        distance: signed distances [N] of world points [N, 3].
        low: [3], corner of the box.
        high: [3], the opposite corner, to which the grid reaches.
        resolution: cells along the longest side.
    """
    if resolution < 2 or not (high > low).all():
        raise ValueError(
            f"resolution is {resolution} in a box from {low.tolist()} to {high.tolist()}; accepted are 2 "
            "and more, in a box whose high corner is above its low one"
        )
    voxel_size = float((high - low).max()) / resolution
    counts = [round(side / voxel_size) + 1 for side in (high - low).tolist()]
    x, y, z = (low[axis] + voxel_size * torch.arange(count, device=low.device) for axis, count in enumerate(counts))
    values = torch.empty(counts)
    rows = max(1, POINTS_PER_CALL // (counts[1] * counts[2]))
    for first in range(0, counts[0], rows):
        points = torch.cartesian_prod(x[first : first + rows], y, z)
        parts = [distance(part) for part in points.split(POINTS_PER_CALL)]
        values[first : first + rows] = torch.cat(parts).reshape(-1, *counts[1:]).cpu()
    return values, voxel_size


def extract_surface(
    distances: Float[Tensor, "x y z"],
    origin: Float[Tensor, "3"],
    voxel_size: float,
    max_faces: int = 20_000,
    smoothing: int = 10,
) -> Mesh:
    """The surface where signed distances are 0: without cavities and crumbs, smoothed, with few faces.

    Marching cubes, then Taubin's smoothing (SIGGRAPH 1995), which does not shrink, then edges are collapsed by their
    quadric error (M. Garland and P. Heckbert, 1997).

    Args:
        distances: [X, Y, Z], positive outside.
        origin: [3], world position of the first value.
        voxel_size: in world units.
        max_faces: a mesh with fewer is left as it is.
        smoothing: passes of smoothing, 0 for none.

    Raises:
        ValueError: if there is no surface.
    """
    mesh = isosurface(fill_cavities(distances), origin, voxel_size)
    mesh = drop_small_parts(mesh, SMALLEST_PART)
    vertices, faces = mesh.vertices.cpu().numpy(), mesh.faces.cpu().numpy()
    if smoothing:
        vertices = _smoothed(vertices, faces, smoothing)
    if len(faces) > max_faces:
        import fast_simplification

        vertices, faces = fast_simplification.simplify(
            np.ascontiguousarray(vertices, np.float32), faces.astype(np.int32), target_count=max_faces
        )
    device = mesh.vertices.device
    vertices = torch.from_numpy(np.asarray(vertices)).float().to(device)
    faces = torch.from_numpy(np.asarray(faces)).long().to(device)
    return Mesh(vertices, faces, vertex_normals=smooth_normals(vertices, faces))


def smooth_normals(vertices: Float[Tensor, "vertices 3"], faces: Tensor) -> Float[Tensor, "vertices 3"]:
    """Unit normals of vertices: means over their faces, weighted by angle and area.

    By angle alone (G. Thuermer and C. Wuethrich, 1998), slivers would count, whose own normals may be anything.

    Args:
        vertices: [V, 3].
        faces: [F, 3], counter-clockwise seen from outside.
    """
    corners = vertices[faces].double()
    across = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0], dim=-1)
    normals = torch.zeros_like(vertices, dtype=torch.float64)
    for corner in range(3):
        first, second = (F.normalize(corners[:, (corner + k) % 3] - corners[:, corner], dim=-1) for k in (1, 2))
        angle = (first * second).sum(-1).clamp(-1, 1).acos()
        normals.index_add_(0, faces[:, corner], across * angle[:, None])
    return F.normalize(normals, dim=-1).to(vertices)


def _smoothed(vertices: np.ndarray, faces: np.ndarray, passes: int) -> np.ndarray:
    import trimesh

    mesh = trimesh.Trimesh(vertices, faces, process=False)
    trimesh.smoothing.filter_taubin(mesh, iterations=passes)
    return mesh.vertices
