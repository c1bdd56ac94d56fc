"""Mesh files become assets: materials, repairs, and failures that are named."""

import json
import struct

import numpy as np
import pytest
import torch
import trimesh
from mesh_makers import ball, picture, quad, save
from PIL import Image
from trimesh.visual.material import PBRMaterial

from anyviews.color import linear_from_srgb
from anyviews.data.path_tracing import UnusableObjectError, load_asset
from anyviews.data.path_tracing.materials import LARGEST_TEXTURE, SMOOTHEST


def reason(path):
    with pytest.raises(UnusableObjectError, match=path.name) as caught:
        load_asset(path)
    return caught.value.reason


def edited_glb(path, edit):
    """Change the JSON of a .glb file."""
    data = path.read_bytes()
    length = struct.unpack_from("<I", data, 12)[0]
    tree = json.loads(data[20 : 20 + length])
    edit(tree)
    text = json.dumps(tree).encode()
    text += b" " * (-len(text) % 4)
    rest = data[20 + length :]
    head = b"glTF" + struct.pack("<III", 2, 20 + len(text) + len(rest), len(text)) + b"JSON"
    path.write_bytes(head + text + rest)
    return path


def test_object_lies_in_the_unit_ball_of_gltf(tmp_path):
    box = trimesh.creation.box(extents=(2, 6, 4))
    box.apply_translation([10, 20, 30])
    (part,) = load_asset(save(box, tmp_path / "box.glb")).parts
    radius = np.linalg.norm([1, 3, 2])
    np.testing.assert_allclose(part.vertices.max(axis=0), np.array([1, 3, 2]) / radius, atol=1e-6)
    np.testing.assert_allclose(part.vertices.min(axis=0), -np.array([1, 3, 2]) / radius, atol=1e-6)
    (turned,) = load_asset(save(box, tmp_path / "box.ply"), up="z").parts
    np.testing.assert_allclose(turned.vertices.max(axis=0), np.array([1, 2, 3]) / radius, atol=1e-6)


def test_z_up_files_are_turned_not_mirrored(tmp_path):
    mesh = quad()
    mesh.vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 3.0]])
    mesh.faces = [[0, 1, 2], [0, 2, 3], [0, 3, 1]]
    (part,) = load_asset(save(mesh, tmp_path / "corner.ply"), up="z").parts
    edges = part.vertices[1:] - part.vertices[0]
    assert np.linalg.det(edges.astype(float)) > 0
    assert edges[2, 1] > 0 and np.allclose(edges[2, [0, 2]], 0, atol=1e-6)


def test_nodes_are_placed_and_a_mirror_keeps_the_outside_outside(tmp_path):
    scene = trimesh.Scene()
    mirror = np.diag([-1.0, 1, 1, 1])
    mirror[0, 3] = 5
    scene.add_geometry(ball(subdivisions=2), geom_name="ball", node_name="here")
    scene.add_geometry(ball(subdivisions=2), geom_name="ball2", node_name="there", transform=mirror)
    asset = load_asset(save(scene, tmp_path / "two.glb"))
    assert len(asset.parts) == 2 and asset.triangles == 640
    for part in asset.parts:
        corners = part.vertices[part.faces].astype(float)
        outward = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        middle = corners.mean(axis=1) - part.vertices.mean(axis=0)
        assert ((outward * middle).sum(axis=1) > 0).all()
        centered = part.vertices - part.vertices.mean(axis=0)
        assert ((part.normals * centered).sum(axis=1) > 0.99 * np.linalg.norm(centered, axis=1)).all()


def test_material_is_factor_times_texture(tmp_path):
    material = PBRMaterial(
        baseColorTexture=picture((255, 0, 128), (0, 255, 0)),
        baseColorFactor=[128, 255, 255, 255],
        metallicRoughnessTexture=picture((0, 0, 255), (0, 255, 0)),
        roughnessFactor=0.5,
        metallicFactor=0.5,
    )
    (part,) = load_asset(save(quad(material), tmp_path / "quad.glb")).parts
    left = [128 / 255, 0, linear_from_srgb(torch.tensor(128 / 255)).item()]
    np.testing.assert_allclose(part.material.base_color[0, 0], left, atol=1e-6)
    assert part.material.roughness[0, 0, 0] == np.float32(SMOOTHEST) and part.material.roughness[0, -1, 0] == 0.5
    assert part.material.metallic[0, 0, 0] == 0.5 and part.material.metallic[0, -1, 0] == 0
    # the first row of the picture is at v = 0
    np.testing.assert_allclose(part.uv, [[0, 1], [1, 1], [1, 0], [0, 0]])


def test_factors_that_a_file_does_not_say(tmp_path):
    glb = save(quad(PBRMaterial(baseColorFactor=[255, 0, 0, 255])), tmp_path / "quad.glb")
    edited_glb(glb, lambda tree: tree["materials"][0].update(pbrMetallicRoughness={}))
    material = load_asset(glb).parts[0].material
    assert material.metallic == 1 and material.roughness == 1 and (material.base_color == 1).all()
    bare = load_asset(save(quad(), tmp_path / "bare.ply")).parts[0].material
    assert bare.metallic == 0 and 0.3 < bare.roughness < 0.9


@pytest.mark.parametrize("suffix", [".glb", ".ply", ".obj"])
def test_vertex_colors_are_linear_light(tmp_path, suffix):
    mesh = quad()
    stored = np.uint8([[255, 0, 0, 255], [0, 128, 0, 255], [0, 0, 64, 255], [10, 10, 10, 255]])
    mesh.visual = trimesh.visual.ColorVisuals(mesh, vertex_colors=stored)
    (part,) = load_asset(save(mesh, tmp_path / f"colors{suffix}")).parts
    expected = stored[:, :3] / 255
    if suffix != ".glb":
        expected = np.where(expected <= 0.04045, expected / 12.92, ((expected + 0.055) / 1.055) ** 2.4)
    np.testing.assert_allclose(part.colors, expected, atol=2e-3 if suffix == ".obj" else 1e-6)


def test_obj_of_polygons_with_a_texture(tmp_path):
    picture((255, 0, 0), (0, 0, 255)).save(tmp_path / "paint.png")
    (tmp_path / "quad.mtl").write_text("newmtl paint\nKd 0.1 0.1 0.1\nNs 100\nPm 0.75\nmap_Kd paint.png\n")
    (tmp_path / "quad.obj").write_text(
        "mtllib quad.mtl\nv -1 -1 0\nv 1 -1 0\nv 1 1 0\nv 0 2 0\nv -1 1 0\n"
        "vt 0 0\nvt 1 0\nvt 1 1\nvt .5 1\nvt 0 1\nusemtl paint\nf 1/1 2/2 3/3 4/4 5/5\n"
    )
    (part,) = load_asset(tmp_path / "quad.obj").parts
    assert len(part.faces) == 3 and part.normals is None
    right, left = part.vertices[:, 0] > 0.1, part.vertices[:, 0] < -0.1
    assert (part.uv[right, 0] == 1).all() and (part.uv[left, 0] == 0).all()
    np.testing.assert_allclose(part.material.base_color[0, [0, -1]], [[1, 0, 0], [0, 0, 1]], atol=1e-6)
    assert part.material.metallic == np.float32(0.75)
    assert part.material.roughness == pytest.approx((2 / 102) ** 0.25)


def test_obj_with_a_seam_keeps_both_texture_coordinates(tmp_path):
    picture((255, 0, 0), (0, 0, 255)).save(tmp_path / "paint.png")
    (tmp_path / "roof.mtl").write_text("newmtl paint\nmap_Kd paint.png\n")
    (tmp_path / "roof.obj").write_text(
        "mtllib roof.mtl\nv 0 0 0\nv 0 1 0\nv 1 0 0\nv -1 0 0\nvt .1 0\nvt .1 1\nvt .2 0\nvt .9 0\nvt .9 1\nvt .8 0\n"
        "usemtl paint\nf 1/1 3/3 2/2\nf 1/4 2/5 4/6\n"
    )
    (part,) = load_asset(tmp_path / "roof.obj").parts
    found = part.uv[part.faces][..., 0]
    np.testing.assert_allclose(np.sort(found.ravel()), [0.1, 0.1, 0.2, 0.8, 0.9, 0.9], atol=1e-6)
    # each triangle stays on its own side of the picture
    assert np.ptp(found, axis=1).max() < 0.2


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "I;16", "1", "LA"])
def test_textures_of_any_mode(tmp_path, mode):
    gray = Image.fromarray(np.full((4, 4), 255, np.uint8))
    image = Image.fromarray(np.full((4, 4), 65535, np.uint16)) if mode == "I;16" else gray.convert(mode)
    image.save(tmp_path / "paint.tiff" if mode in ("CMYK", "I;16") else tmp_path / "paint.png")
    name = next(path.name for path in tmp_path.iterdir())
    (tmp_path / "q.mtl").write_text(f"newmtl m\nmap_Kd {name}\n")
    (tmp_path / "q.obj").write_text(
        "mtllib q.mtl\nv 0 0 0\nv 1 0 0\nv 1 1 0\nvt 0 0\nvt 1 0\nvt 1 1\nusemtl m\nf 1/1 2/2 3/3\n"
    )
    (part,) = load_asset(tmp_path / "q.obj").parts
    assert part.material.base_color.shape == (4, 4, 3)
    np.testing.assert_allclose(part.material.base_color, 1, atol=0.01)


def test_large_textures_are_reduced_and_said(tmp_path):
    large = picture((200, 200, 200), size=8).resize((LARGEST_TEXTURE * 2, 64))
    asset = load_asset(save(quad(PBRMaterial(baseColorTexture=large)), tmp_path / "large.glb"))
    assert asset.parts[0].material.base_color.shape == (32, LARGEST_TEXTURE, 3)
    assert any("reduced" in notice for notice in asset.notices)


def test_bad_triangles_are_left_out_and_said(tmp_path):
    mesh = trimesh.creation.icosphere(subdivisions=2)
    vertices = np.r_[mesh.vertices, [[np.nan, 0, 0], [1e30, 0, 0], [2, 2, 2]]]
    faces = np.r_[mesh.faces, [[0, 1, 162], [3, 3, 4], [5, 5, 5]]]
    broken = trimesh.Trimesh(vertices, faces, process=False)
    asset = load_asset(save(broken, tmp_path / "broken.ply"))
    assert asset.triangles == len(mesh.faces)
    assert {"degenerate" in notice or "NaN" in notice for notice in asset.notices} == {True}
    # vertices that belong to no triangle do not shrink the object
    assert np.linalg.norm(asset.parts[0].vertices, axis=1).max() == pytest.approx(1, abs=1e-5)


def test_zero_normals_make_flat_triangles(tmp_path):
    path = tmp_path / "flat.ply"
    mesh = trimesh.Trimesh(*_tetrahedron(), vertex_normals=np.zeros((4, 3)), process=False)
    save(mesh, path, vertex_normal=True)
    assert load_asset(path).parts[0].normals is None


def _tetrahedron():
    return np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1.0]]), np.array(
        [[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]]
    )


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_size_of_the_file_does_not_matter(tmp_path, scale):
    mesh = trimesh.creation.icosphere(subdivisions=2)
    mesh.vertices *= scale
    assert load_asset(save(mesh, tmp_path / "ball.glb")).triangles == len(mesh.faces)


def test_failures_have_names(tmp_path):
    (tmp_path / "garbage.glb").write_bytes(b"glTF" + bytes(100))
    (tmp_path / "empty.glb").write_bytes(b"")
    (tmp_path / "words.obj").write_text("this is no mesh")
    whole = save(ball(), tmp_path / "whole.glb").read_bytes()
    (tmp_path / "cut.glb").write_bytes(whole[: len(whole) // 2])
    save(trimesh.PointCloud(np.random.default_rng(0).random((9, 3))), tmp_path / "points.ply")
    save(trimesh.Trimesh(np.zeros((3, 3)), [[0, 1, 2]], process=False), tmp_path / "nothing.ply")
    found = {path.name: reason(path) for path in sorted(tmp_path.iterdir()) if path.name != "whole.glb"}
    assert found.pop("points.ply") == found.pop("nothing.ply") == "empty"
    assert found.pop("words.obj") in ("empty", "unreadable")
    assert set(found.values()) == {"unreadable"} and len(found) == 3
    with pytest.raises(FileNotFoundError, match=r"absent\.glb"):
        load_asset(tmp_path / "absent.glb")


@pytest.mark.parametrize("mode", ["BLEND", "MASK"])
def test_transparent_surfaces_are_refused(tmp_path, mode):
    half = picture((255, 255, 255, 255), (255, 255, 255, 0), mode="RGBA")
    glass = PBRMaterial(baseColorTexture=half, alphaMode=mode)
    assert reason(save(quad(glass), tmp_path / "half.glb")) == "transparent"
    # only what lies on the surface counts
    uv = ((0, 0), (0.4, 0), (0.4, 1), (0, 1))
    assert load_asset(save(quad(glass, uv), tmp_path / "left.glb")).triangles == 2
    opaque = PBRMaterial(baseColorTexture=half, alphaMode="OPAQUE")
    assert load_asset(save(quad(opaque), tmp_path / "opaque.glb")).triangles == 2
    thin = PBRMaterial(baseColorFactor=[255, 255, 255, 50], alphaMode="BLEND")
    assert reason(save(quad(thin), tmp_path / "thin.glb")) == "transparent"


def test_textures_that_are_not_read_are_refused(tmp_path):
    painted = save(quad(PBRMaterial(baseColorTexture=picture((9, 9, 9)))), tmp_path / "painted.glb")

    def basis(tree):
        for texture in tree["textures"]:
            texture["extensions"] = {"KHR_texture_basisu": {"source": texture.pop("source")}}

    assert reason(edited_glb(painted, basis)) == "textures"
    data = save(quad(PBRMaterial(baseColorTexture=picture((9, 9, 9)))), tmp_path / "torn.glb").read_bytes()
    (tmp_path / "torn.glb").write_bytes(data.replace(b"IDAT", b"XXXX"))
    assert reason(tmp_path / "torn.glb") == "textures"


def test_what_is_ignored_is_said(tmp_path):
    path = save(quad(PBRMaterial(emissiveFactor=[1, 0, 0])), tmp_path / "lamp.glb")
    edited_glb(path, lambda tree: tree.update(extensionsUsed=["KHR_materials_transmission", "KHR_materials_ior"]))
    notices = " ".join(load_asset(path).notices)
    assert "emits" in notices and "KHR_materials_transmission" in notices and "ior" not in notices
