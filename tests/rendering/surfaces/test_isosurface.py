import pytest
import torch
import trimesh

from anyviews.mesh import Mesh
from anyviews.rendering.surfaces.isosurface import isosurface
from anyviews.rendering.surfaces.mesh_cleaning import drop_small_parts


def sphere_distances(size: int = 24, radius: float = 8.3) -> torch.Tensor:
    grid = torch.stack(torch.meshgrid(*[torch.arange(size) - (size - 1) / 2] * 3, indexing="ij"), dim=-1)
    return grid.norm(dim=-1) - radius


def test_sphere_in_world_units():
    mesh = isosurface(sphere_distances(), torch.tensor([1.0, 2.0, 3.0]) - 0.1 * 11.5, 0.1)
    offset = mesh.vertices - torch.tensor([1.0, 2.0, 3.0])
    torch.testing.assert_close(offset.norm(dim=-1), torch.full((len(offset),), 0.83), atol=0.004, rtol=0)
    solid = trimesh.Trimesh(mesh.vertices.numpy(), mesh.faces.numpy(), process=False)
    assert solid.is_watertight and solid.volume > 0
    assert ((mesh.vertex_normals * offset).sum(-1) / offset.norm(dim=-1) > 0.99).all()


def test_axes_are_not_exchanged():
    distances = torch.arange(10.0)[:, None, None].expand(10, 7, 5) - 3.25
    mesh = isosurface(distances, torch.zeros(3), 1.0)
    torch.testing.assert_close(mesh.vertices[:, 0], torch.full((len(mesh.vertices),), 3.25))
    assert mesh.vertices[:, 1:].amax(0).tolist() == [6, 4]


def test_surface_ends_at_unknown_values_whatever_they_are():
    distances, known = sphere_distances(), torch.ones(24, 24, 24, dtype=torch.bool)
    known[:, :, 14:] = False
    distances[~known] = -5.0
    mesh = isosurface(distances, torch.zeros(3), 1.0, known)
    assert mesh.vertices[:, 2].max() == 13
    torch.testing.assert_close(
        (mesh.vertices - 11.5).norm(dim=-1), torch.full((len(mesh.vertices),), 8.3), atol=0.04, rtol=0
    )
    whole = isosurface(sphere_distances(), torch.zeros(3), 1.0)
    below = (whole.vertices[whole.faces][..., 2] <= 13).all(-1)
    assert len(mesh) == below.sum()


@pytest.mark.parametrize(
    "known", [None, torch.ones(4, 4, 4, dtype=torch.bool), torch.zeros(4, 4, 4, dtype=torch.bool)]
)
def test_no_surface(known):
    with pytest.raises(ValueError, match="no surface"):
        isosurface(torch.ones(4, 4, 4), torch.zeros(3), 1.0, known)


def strip(faces: int, first: int) -> torch.Tensor:
    """A strip of connected triangles that starts at a vertex."""
    return torch.arange(first, first + faces)[:, None] + torch.arange(3)


def test_small_parts_are_dropped_with_their_vertices():
    faces = torch.cat([strip(3, 0), strip(10, 5), strip(4, 17)])
    vertices = torch.arange(23.0)[:, None].expand(23, 3)
    mesh = Mesh(vertices, faces, vertex_colors=vertices / 23)
    kept = drop_small_parts(mesh, 0.4)
    assert len(kept) == 14 and kept.vertices[:, 0].tolist() == list(range(5, 23))
    assert torch.equal(kept.vertex_colors, kept.vertices / 23) and kept.vertex_normals is None
    assert torch.equal(kept.vertices[kept.faces], vertices[faces[3:]])
    assert len(drop_small_parts(mesh, 1.0)) == 10
    everything = drop_small_parts(mesh, 0.0)
    assert torch.equal(everything.faces, faces) and torch.equal(everything.vertices, vertices)
    with pytest.raises(ValueError, match="min_fraction is -0"):
        drop_small_parts(mesh, -0.1)
