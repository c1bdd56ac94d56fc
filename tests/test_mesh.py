"""Meshes: what fits together and what is refused."""

from dataclasses import replace

import pytest
import torch
from strategies import unchecked_shapes

from anyviews.mesh import Mesh


def tetrahedron() -> Mesh:
    vertices = torch.cat([torch.zeros(1, 3), torch.eye(3)])
    faces = torch.tensor([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
    return Mesh(vertices, faces, torch.rand(4, 3), torch.nn.functional.normalize(vertices - 0.25, dim=-1))


def test_a_mesh_is_as_long_as_it_has_faces():
    mesh = tetrahedron()
    assert len(mesh) == 4 and mesh.validate() is mesh
    bare = Mesh(mesh.vertices, mesh.faces[:2])
    assert len(bare) == 2 and bare.validate().vertex_colors is None


@pytest.mark.parametrize(
    "field, values",
    [
        ("vertices", torch.zeros(4, 2)),
        ("vertices", torch.zeros(5, 3)),
        ("faces", torch.zeros(4, 4, dtype=torch.long)),
        ("faces", torch.zeros(3, dtype=torch.long)),
        ("vertex_colors", torch.zeros(4, 4)),
        ("vertex_colors", torch.zeros(3, 3)),
        ("vertex_normals", torch.zeros(1, 3)),
    ],
)
def test_shapes_that_do_not_fit_are_refused(field, values):
    mesh = tetrahedron()
    with pytest.raises(ValueError, match="shapes of a mesh do not fit together: vertices"), unchecked_shapes():
        replace(mesh, **{field: values})


@pytest.mark.parametrize("field", ["vertices", "vertex_colors", "vertex_normals"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_numbers_must_be_finite(field, value):
    mesh = tetrahedron()
    values = getattr(mesh, field).clone()
    values[2, 1] = value
    with pytest.raises(ValueError, match=f"{field} of the mesh hold NaN or infinity"):
        replace(mesh, **{field: values}).validate()


@pytest.mark.parametrize("vertex", [-1, 4])
def test_faces_must_name_vertices(vertex):
    mesh = tetrahedron()
    faces = mesh.faces.clone()
    faces[1, 2] = vertex
    with pytest.raises(ValueError, match=r"faces name vertices .*; accepted are 0 to 3"):
        replace(mesh, faces=faces).validate()


def test_an_empty_mesh_is_refused():
    mesh = tetrahedron()
    with pytest.raises(ValueError, match="no faces; give at least one triangle"):
        replace(mesh, faces=mesh.faces[:0]).validate()
    with pytest.raises(ValueError, match="faces name vertices 0 to 3"):
        Mesh(torch.zeros(0, 3), mesh.faces).validate()
