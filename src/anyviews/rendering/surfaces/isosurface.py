"""From signed distances on a grid to triangles, by marching cubes (Lewiner et al., 2003)."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from ...mesh import Mesh


def isosurface(
    distances: Float[Tensor, "x y z"],
    origin: Float[Tensor, "3"],
    voxel_size: float,
    known: Bool[Tensor, "x y z"] | None = None,
) -> Mesh:
    """The surface where signed distances are 0, with normals along their gradient.

    Args:
        distances: in any unit, positive outside.
        origin: [3], world position of the first value.
        voxel_size: between values, in world units.
        known: values that count, or None for all; the surface is open where it meets unknown ones.

    Returns:
        A mesh in single precision, on the device of `origin`.

    Raises:
        ValueError: if there is no surface between known values.
    """
    from skimage.measure import marching_cubes

    mask = None if known is None else _known_cells(known).numpy()
    try:
        # scikit-image calls "descent" what orients faces towards larger values, and negates the normals
        vertices, faces, normals, _ = marching_cubes(
            distances.detach().float().cpu().numpy(), 0.0, mask=mask, gradient_direction="descent"
        )
    except (RuntimeError, ValueError) as error:
        values = distances if known is None else distances[known]
        raise ValueError(
            f"the signed distances have no surface: {int((values > 0).sum())} are positive and "
            f"{int((values <= 0).sum())} are not, and a surface is where neighbouring known ones differ"
        ) from error
    vertices = origin.double() + voxel_size * torch.from_numpy(vertices.copy()).to(origin.device)
    normals = F.normalize(-torch.from_numpy(normals.copy()), dim=-1).to(origin.device)
    return Mesh(vertices.float(), torch.from_numpy(faces.copy()).long().to(origin.device), vertex_normals=normals)


def _known_cells(known: Bool[Tensor, "x y z"]) -> Bool[Tensor, "x y z"]:
    """Whether all corners of each cell are known; a cell is named by its last corner, as scikit-image does."""
    cells = known.cpu().clone()
    for axis in range(3):
        size = cells.shape[axis] - 1
        cells.narrow(axis, 1, size).copy_(cells.narrow(axis, 1, size) & cells.narrow(axis, 0, size))
        cells.narrow(axis, 0, 1).zero_()
    return cells
