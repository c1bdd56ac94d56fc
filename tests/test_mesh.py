"""Meshes: what fits together and what is refused."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from strategies import property_settings, random_rotation, random_similarity, seeds, unchecked_shapes

from anyviews.mesh import Material, Mesh


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
        ("texture_coordinates", torch.zeros(4, 3)),
        ("texture_coordinates", torch.zeros(5, 2)),
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


def painted(size: int = 4) -> Material:
    flat = torch.tensor([0.0, 0.0, 1.0])[:, None, None].expand(3, size, size)
    return Material(torch.rand(3, size, size), torch.rand(1, size, size), torch.rand(1, 1, 1), flat)


@pytest.mark.parametrize(
    "field, values, message",
    [
        ("base_color", torch.full((3, 2, 2), 200.0), r"base_color of the material spans \[200, 200\]; accepted is"),
        ("roughness", torch.full((1, 2, 2), torch.nan), "roughness of the material is empty or holds NaN"),
        ("metallic", torch.zeros(1, 0, 2), "metallic of the material is empty"),
        ("normals", torch.tensor([0.5, 0.5, 1.0])[:, None, None], r"lengths from 1.22 to 1.22; .* 2 \* value - 1"),
    ],
)
def test_unusable_materials_are_refused(field, values, message):
    assert painted().validate().normals is not None
    with pytest.raises(ValueError, match=message):
        replace(painted(), **{field: values}).validate()


def test_textures_need_coordinates():
    mesh = tetrahedron()
    assert replace(mesh, material=painted(1)).validate().material.is_uniform
    with pytest.raises(ValueError, match=r"the mesh has no texture_coordinates; give \[V, 2\]"):
        replace(mesh, material=painted()).validate()
    textured = replace(mesh, material=painted(), texture_coordinates=torch.rand(4, 2)).validate()
    assert not textured.material.is_uniform
    moved = textured.to("meta")
    assert moved.vertices.is_meta and moved.texture_coordinates.is_meta and moved.material.normals.is_meta


@given(seeds)
@property_settings
def test_a_mesh_moves_with_its_world(seed):
    torch.manual_seed(seed)
    mesh, similarity = tetrahedron(), random_similarity(seed, dtype=torch.float32)
    moved = mesh.transform(similarity)
    torch.testing.assert_close(moved.vertices, similarity.apply(mesh.vertices))
    torch.testing.assert_close(moved.vertex_normals.norm(dim=-1), torch.ones(4))
    assert moved.transform(similarity.inverse()).vertices.sub(mesh.vertices).abs().max() < 1e-4
    # a vertex and the tip of its normal stay together
    tips = similarity.apply(mesh.vertices + mesh.vertex_normals)
    torch.testing.assert_close(moved.vertices + similarity.scale * moved.vertex_normals, tips)


@given(seeds)
@property_settings
def test_tangents_follow_u_and_bitangents_go_against_v(seed):
    """On a tilted square, with texture coordinates turned, stretched and mirrored."""
    generator = torch.Generator().manual_seed(seed)
    rotation = random_rotation(generator, dtype=torch.float32)
    angle, mirrored = torch.rand(2, generator=generator).tolist()
    turn = torch.tensor([[angle, 1.0], [-1.0, angle]]) * torch.tensor([1.0 if mirrored < 0.5 else -1.0, 1.0])
    square = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    vertices = torch.cat([square, torch.zeros(4, 1)], dim=1) @ rotation.T
    faces, normals = torch.tensor([[0, 1, 2], [0, 2, 3]]), rotation[:, 2].expand(4, 3)
    mesh = Mesh(vertices, faces, vertex_normals=normals, texture_coordinates=square @ turn)
    tangents = mesh.vertex_tangents()
    bitangents = torch.linalg.cross(normals, tangents[:, :3], dim=-1) * tangents[:, 3:]
    # in the plane of the square, places are linear in positions
    to_places = torch.linalg.lstsq(square, square @ turn).solution
    along = (tangents[:, :3] @ rotation)[:, :2] @ to_places
    against = (bitangents @ rotation)[:, :2] @ to_places
    assert (along[:, 0] > 0).all() and (against[:, 1] < 0).all()
    # turn is orthogonal up to scale: both are exact
    torch.testing.assert_close(along[:, 1], torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(against[:, 0], torch.zeros(4), atol=1e-5, rtol=0)


def test_tangents_are_unit_across_the_normal_also_where_coordinates_are_all_one():
    mesh = replace(tetrahedron(), texture_coordinates=torch.full((4, 2), 0.5))
    tangents = mesh.vertex_tangents()
    torch.testing.assert_close(tangents.norm(dim=-1), torch.full((4,), 2.0).sqrt())
    assert (tangents[:, :3] * mesh.vertex_normals).sum(-1).abs().max() < 1e-6
    with pytest.raises(ValueError, match="tangents need vertex_normals and texture_coordinates"):
        tetrahedron().vertex_tangents()
