import json
import struct
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import trimesh
from damaged_files import assert_refused, truncations
from PIL import Image

from anyviews.color import linear_from_srgb
from anyviews.formats.glb import write_glb
from anyviews.formats.mesh_files import read_mesh, write_mesh_ply, write_obj
from anyviews.mesh import Mesh


WRITERS = {".glb": write_glb, ".obj": write_obj, ".ply": write_mesh_ply}
every_format = pytest.mark.parametrize("ending", list(WRITERS))


@pytest.fixture
def mesh() -> Mesh:
    """A small bumpy ball with two equal vertices, shades down to black, and normals that are not the faces'."""
    ball = trimesh.creation.icosphere(subdivisions=1)
    vertices = torch.from_numpy(ball.vertices).float() * (1 + 0.1 * torch.rand(len(ball.vertices), 1))
    vertices[5] = vertices[6]
    colors = torch.rand(len(vertices), 3) ** 4
    normals = F.normalize(vertices + 0.2 * torch.randn_like(vertices), dim=-1)
    return Mesh(vertices, torch.from_numpy(ball.faces.copy()), colors, normals)


@every_format
def test_round_trip(tmp_path, mesh, ending):
    for given in (mesh, replace(mesh, vertex_colors=None), replace(mesh, vertex_normals=None)):
        path = tmp_path / f"a{ending}"
        WRITERS[ending](given, path, overwrite=True)
        found = read_mesh(path)
        assert torch.equal(found.vertices, mesh.vertices) and torch.equal(found.faces, mesh.faces)
        if given.vertex_colors is None:
            assert found.vertex_colors is None
        else:
            torch.testing.assert_close(found.vertex_colors, mesh.vertex_colors, atol=0.51 / 255, rtol=0)
        if given.vertex_normals is None:
            assert found.vertex_normals is None
        else:
            torch.testing.assert_close(found.vertex_normals, mesh.vertex_normals, atol=1e-6, rtol=0)


@every_format
def test_scenes_of_any_unit(tmp_path, mesh, ending):
    for unit in (1e-6, 1e6):
        WRITERS[ending](replace(mesh, vertices=mesh.vertices * unit), tmp_path / f"{unit}{ending}")
        assert torch.equal(read_mesh(tmp_path / f"{unit}{ending}").vertices, mesh.vertices * unit)


@pytest.mark.parametrize("ending", [".obj", ".ply"])
def test_trimesh_reads_it(tmp_path, mesh, ending):
    WRITERS[ending](mesh, tmp_path / f"a{ending}")
    loaded = trimesh.load_mesh(tmp_path / f"a{ending}", process=False)
    np.testing.assert_array_equal(loaded.faces, mesh.faces)
    np.testing.assert_allclose(loaded.vertices, mesh.vertices, rtol=1e-7)
    np.testing.assert_allclose(loaded.visual.vertex_colors[:, :3] / 255, mesh.vertex_colors, atol=0.51 / 255)


def glb_parts(content: bytes) -> tuple[dict, bytes]:
    """The tree and the binary chunk of a .glb file, checked as the specification asks."""
    magic, version, length = struct.unpack_from("<4sII", content)
    assert (magic, version, length) == (b"glTF", 2, len(content))
    size, kind = struct.unpack_from("<I4s", content, 12)
    assert kind == b"JSON" and size % 4 == 0
    binary, kind = struct.unpack_from("<I4s", content, 20 + size)
    assert kind == b"BIN\0" and binary % 4 == 0 and 28 + size + binary == len(content)
    return json.loads(content[20 : 20 + size]), content[28 + size :]


def test_glb_colors_are_linear_light(tmp_path, mesh):
    write_glb(mesh, tmp_path / "a.glb")
    tree, binary = glb_parts((tmp_path / "a.glb").read_bytes())
    primitive = tree["meshes"][0]["primitives"][0]
    accessor = tree["accessors"][primitive["attributes"]["COLOR_0"]]
    start = tree["bufferViews"][accessor["bufferView"]]["byteOffset"]
    colors = np.frombuffer(binary, "<f4", 3 * accessor["count"], start).reshape(-1, 3)
    np.testing.assert_array_equal(colors, linear_from_srgb(mesh.vertex_colors))
    bounds = tree["accessors"][primitive["attributes"]["POSITION"]]
    assert bounds["min"] == mesh.vertices.amin(0).tolist() and bounds["max"] == mesh.vertices.amax(0).tolist()
    assert tree["materials"][primitive["material"]]["pbrMetallicRoughness"]["metallicFactor"] == 0


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_glb_of_others_with_whole_numbers_as_colors(tmp_path, mesh, kind):
    """The same file with linear colours as normalised 8- or 16-bit numbers."""
    write_glb(mesh, tmp_path / "a.glb")
    tree, binary = glb_parts((tmp_path / "a.glb").read_bytes())
    linear, whole = linear_from_srgb(mesh.vertex_colors).numpy(), np.iinfo(kind).max
    values = np.concatenate([linear, np.ones((len(linear), 1))], axis=1)
    accessor = next(a for i, a in enumerate(tree["accessors"]) if i == 2)
    accessor.update(componentType={1: 5121, 2: 5123}[np.dtype(kind).itemsize], type="VEC4", normalized=True)
    added = (values * whole).round().astype(kind).tobytes()
    tree["bufferViews"].append({"buffer": 0, "byteOffset": len(binary), "byteLength": len(added)})
    accessor["bufferView"] = len(tree["bufferViews"]) - 1
    binary += added
    tree["buffers"][0]["byteLength"] = len(binary)
    text = json.dumps(tree).encode()
    text += b" " * (-len(text) % 4)
    head = struct.pack("<4sIII4s", b"glTF", 2, 28 + len(text) + len(binary), len(text), b"JSON")
    (tmp_path / "b.glb").write_bytes(head + text + struct.pack("<I4s", len(binary), b"BIN\0") + binary)
    # eight bits of linear light are coarse in the dark
    coarse = 0.026 if kind is np.uint8 else 0.51 / 255
    torch.testing.assert_close(read_mesh(tmp_path / "b.glb").vertex_colors, mesh.vertex_colors, atol=coarse, rtol=0)


def test_parts_stand_where_the_scene_places_them(tmp_path, mesh):
    """A part moved, a part mirrored: positions, outward faces and normals follow."""
    part = trimesh.Trimesh(mesh.vertices, mesh.faces, vertex_normals=mesh.vertex_normals, process=False)
    part.visual.vertex_colors = (mesh.vertex_colors.numpy() * 255).round().astype(np.uint8)
    scene = trimesh.Scene()
    scene.add_geometry(part, transform=trimesh.transformations.translation_matrix([5, 0, 0]))
    bare = trimesh.Trimesh(mesh.vertices, mesh.faces, vertex_normals=mesh.vertex_normals, process=False)
    scene.add_geometry(bare, transform=np.diag([2.0, 1.0, -1.0, 1.0]))
    scene.export(tmp_path / "a.glb")
    found = read_mesh(tmp_path / "a.glb")
    count, stretch = len(mesh.vertices), torch.tensor([2.0, 1.0, -1.0])
    # the order of the parts is trimesh's
    starts = {bool(found.vertices[start, 0] > 3): start for start in (0, count)}
    moved, mirrored = slice(starts[True], starts[True] + count), slice(starts[False], starts[False] + count)
    torch.testing.assert_close(found.vertices[moved], mesh.vertices + torch.tensor([5.0, 0.0, 0.0]))
    torch.testing.assert_close(found.vertices[mirrored], mesh.vertices * stretch)
    assert found.vertex_colors[moved].std() > 0.1 and (found.vertex_colors[mirrored] == 1).all()
    normals = F.normalize(mesh.vertex_normals / stretch, dim=-1)
    torch.testing.assert_close(found.vertex_normals[mirrored], normals, atol=1e-5, rtol=0)
    corners = found.vertices[found.faces]
    corners = corners[(corners[:, 0, 0] < 3)]
    outwards = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert ((outwards * corners.mean(1)).sum(-1) > 0).float().mean() > 0.9


def test_textured_objects(shared_data):
    """The textures of an artist's shoe, and its base colours at the vertices."""
    shoe = read_mesh(shared_data / "pbr_objects" / "shoe" / "object.glb")
    assert len(shoe) > 10_000 and shoe.vertex_normals is not None and shoe.vertex_colors is None
    assert shoe.material.base_color.shape == (3, 1024, 1024) and shoe.material.normals is not None
    colors = shoe.base_colors_at_vertices()
    assert 0.1 < colors.mean() < 0.9 and colors.std() > 0.05
    torch.testing.assert_close(shoe.vertices.abs().amax(0), torch.tensor([1.0, 0.514, 0.3887]), atol=1e-3, rtol=0)


@every_format
def test_unusable_meshes_leave_no_file(tmp_path, mesh, ending):
    for wrong, message in (
        (replace(mesh, faces=mesh.faces[:0]), "no faces"),
        (replace(mesh, vertices=mesh.vertices * torch.nan), "NaN"),
        (replace(mesh, faces=mesh.faces + 1), "faces name vertices"),
    ):
        with pytest.raises(ValueError, match=message):
            WRITERS[ending](wrong, tmp_path / f"a{ending}")
    assert not list(tmp_path.iterdir())


@every_format
def test_damage_is_found(tmp_path, mesh, ending):
    WRITERS[ending](mesh, tmp_path / f"a{ending}")
    content = (tmp_path / f"a{ending}").read_bytes()
    cut = list(truncations(content, 20))
    # text that stops after a whole face cannot be told from a smaller mesh
    assert_refused(read_mesh, tmp_path / f"bad{ending}", iter(cut[:5] if ending == ".obj" else cut))
    for kind, message in (
        ("gone.glb", "does not exist"),
        ("a.stl", "is no mesh file; accepted are .glb, .usdz, .obj, .ply"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            read_mesh(tmp_path / kind)


def test_a_seam_of_a_texture_keeps_both_colors(tmp_path):
    Image.fromarray(np.array([[[255, 0, 0], [0, 0, 255]]], np.uint8)).resize((64, 32), 0).save(tmp_path / "map.png")
    (tmp_path / "box.mtl").write_text("newmtl paint\nmap_Kd map.png\n")
    corners = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvt 0.2 0.5\nvt 0.8 0.5\n"
    faces = "usemtl paint\nf 1/1 2/1 3/1\nf 1/2 3/2 4/2\n"
    (tmp_path / "box.obj").write_text("mtllib box.mtl\n" + corners + faces)
    mesh = read_mesh(tmp_path / "box.obj")
    red, blue = mesh.base_colors_at_vertices()[mesh.faces]
    assert torch.equal(red, torch.tensor([1.0, 0.0, 0.0]).expand(3, 3))
    assert torch.equal(blue, torch.tensor([0.0, 0.0, 1.0]).expand(3, 3))
