"""Cleaning of extracted surfaces."""

from dataclasses import replace

import numpy as np
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from ...mesh import Mesh


def drop_small_parts(mesh: Mesh, min_fraction: float) -> Mesh:
    """Leave out connected parts with less than a fraction of the largest part's faces, and vertices without faces.

    Args:
        mesh: with shared vertices; parts that share none are different parts.
        min_fraction: in [0, 1]; 0 keeps all parts, 1 only the largest (and equally large ones).

    Raises:
        ValueError: if the fraction is outside [0, 1].
    """
    if not 0 <= min_fraction <= 1:
        raise ValueError(f"min_fraction is {min_fraction}; accepted are 0 (keep every part) to 1 (only the largest)")
    faces = mesh.faces.cpu().numpy()
    first, second = faces[:, [0, 1]].T.reshape(2, -1)
    edges = coo_matrix((np.ones(len(faces), bool), (first, second)), shape=(len(mesh.vertices),) * 2)
    edges = edges + coo_matrix((np.ones(len(faces), bool), (second, faces[:, 2])), shape=edges.shape)
    _, part = connected_components(edges, directed=False)
    part_of_face = part[faces[:, 0]]
    sizes = np.bincount(part_of_face)
    kept = torch.from_numpy(sizes[part_of_face] >= min_fraction * sizes.max()).to(mesh.faces.device)
    return _compact(mesh, kept)


def _compact(mesh: Mesh, kept: torch.Tensor) -> Mesh:
    """The faces that are kept, and their vertices."""
    used, faces = mesh.faces[kept].unique(return_inverse=True)
    per_vertex = ("vertices", "vertex_colors", "vertex_normals", "texture_coordinates")
    picked = {name: getattr(mesh, name)[used] for name in per_vertex if getattr(mesh, name) is not None}
    return replace(mesh, faces=faces, **picked)
