"""Meshes with materials through .glb, .obj, .usdz and PLY, read back by the library and by others."""

import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import trimesh
from PIL import Image
from strategies import random_similarity

from anyviews.color import linear_from_srgb
from anyviews.formats import load_scene
from anyviews.formats.glb import write_glb
from anyviews.formats.mesh_files import read_mesh, write_mesh_ply
from anyviews.formats.obj import write_obj
from anyviews.formats.texture_atlas import merge_materials
from anyviews.formats.usdz import write_usdz
from anyviews.mesh import Material, Mesh


HALF_A_STEP = 0.51 / 255
UPS = [(0.0, -1.0, 0.0), (0.0, 0.0, 1.0), (1.0, 0.0, 0.0), (0.3, 0.9, -0.2)]


def eight_bits(*shape: int) -> torch.Tensor:
    """Values that 8 bits hold exactly."""
    return torch.randint(0, 256, shape).float() / 255


@pytest.fixture
def mesh() -> Mesh:
    """A ball with textures of different sizes, normals off the faces', and texture coordinates with seams."""
    ball = trimesh.creation.icosphere(subdivisions=1)
    vertices = torch.from_numpy(ball.vertices).float()
    normals = F.normalize(vertices + 0.1 * torch.randn_like(vertices), dim=-1)
    bent = torch.randn(3, 8, 8) * 0.3
    bent[2] = 1
    bent = F.normalize(bent, dim=0)
    material = Material(eight_bits(3, 16, 32), eight_bits(1, 8, 16), eight_bits(1, 8, 16), bent)
    places = torch.rand(len(vertices), 2)
    return Mesh(vertices, torch.from_numpy(ball.faces.copy()), None, normals, places, material)


def assert_same_textures(found: Material, expected: Material):
    for name in ("base_color", "roughness", "metallic"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), atol=1e-6, rtol=0)
    torch.testing.assert_close(found.normals, expected.normals, atol=0.02, rtol=0)


@pytest.mark.parametrize("write, ending", [(write_glb, ".glb"), (write_obj, ".obj")])
def test_round_trip(tmp_path, mesh, write, ending):
    write(mesh, tmp_path / f"a b{ending}")
    found = read_mesh(tmp_path / f"a b{ending}")
    assert_same_textures(found.material, mesh.material)
    assert found.vertex_colors is None
    # vertices may be doubled; corners stay
    for name in ("vertices", "vertex_normals", "texture_coordinates"):
        corners, expected = getattr(found, name)[found.faces], getattr(mesh, name)[mesh.faces]
        torch.testing.assert_close(corners, expected, atol=1e-6, rtol=0)
    with pytest.raises(ValueError, match="exists already"):
        write(mesh, tmp_path / f"a b{ending}")
    write(mesh, tmp_path / f"a b{ending}", overwrite=True)


@pytest.mark.parametrize("write, ending", [(write_glb, ".glb"), (write_obj, ".obj")])
def test_materials_without_textures(tmp_path, mesh, write, ending):
    plain = Material(
        torch.tensor([0.8, 0.4, 0.2])[:, None, None], torch.full((1, 1, 1), 0.3), torch.full((1, 1, 1), 1.0)
    )
    bare = replace(mesh, material=plain, texture_coordinates=None)
    write(bare, tmp_path / f"a{ending}")
    found = read_mesh(tmp_path / f"a{ending}")
    assert found.material.is_uniform and found.texture_coordinates is None
    # the reader keeps linear factors in 8 bits
    torch.testing.assert_close(found.material.base_color, plain.base_color, atol=0.01, rtol=0)
    assert float(found.material.roughness) == pytest.approx(0.3) and float(found.material.metallic) == 1
    assert [path.suffix for path in sorted(tmp_path.iterdir())] == ([".mtl", ".obj"] if ending == ".obj" else [".glb"])


@pytest.mark.parametrize("up", UPS)
def test_worlds_with_another_up_stand_upright_in_viewers_and_come_back(tmp_path, mesh, up):
    write_glb(mesh, tmp_path / "a.glb", up=up)
    found = read_mesh(tmp_path / "a.glb")
    assert torch.equal(found.vertices, mesh.vertices)
    torch.testing.assert_close(found.vertex_normals, mesh.vertex_normals, atol=1e-6, rtol=0)
    viewed = trimesh.load_scene(tmp_path / "a.glb", process=False)
    place, name = viewed.graph[viewed.graph.nodes_geometry[0]]
    shown = viewed.geometry[name].vertices @ place[:3, :3].T
    direction = np.array(up) / np.linalg.norm(up)
    np.testing.assert_allclose(shown[:, 1], mesh.vertices.numpy() @ direction, atol=1e-6)
    # rotated, not mirrored
    assert np.linalg.det(place[:3, :3]) == pytest.approx(1)


@pytest.mark.parametrize("up", [(0.0, 0.0, 0.0), (float("nan"), 1.0, 0.0), (1.0, 0.0)])
def test_ups_that_are_no_direction_are_refused(tmp_path, mesh, up):
    with pytest.raises(ValueError, match="accepted is a direction"):
        write_glb(mesh, tmp_path / "a.glb", up=up)
    assert not list(tmp_path.iterdir())


def test_trimesh_reads_the_textures_as_gltf_has_them(tmp_path, mesh):
    write_glb(mesh, tmp_path / "a.glb")
    (part,) = trimesh.load_scene(tmp_path / "a.glb", process=False).geometry.values()
    material = part.visual.material
    pixels = np.asarray(material.baseColorTexture.convert("RGB")).transpose(2, 0, 1) / 255
    np.testing.assert_allclose(pixels, mesh.material.base_color, atol=1e-6)
    surface = np.asarray(material.metallicRoughnessTexture.convert("RGB")).transpose(2, 0, 1) / 255
    np.testing.assert_allclose(surface[1:2], mesh.material.roughness, atol=1e-6)
    np.testing.assert_allclose(surface[2:3], mesh.material.metallic, atol=1e-6)
    assert (surface[0] == 1).all()
    normals = np.asarray(material.normalTexture.convert("RGB")).transpose(2, 0, 1) / 255 * 2 - 1
    np.testing.assert_allclose(normals, mesh.material.normals, atol=0.01)
    # trimesh turns v upwards
    np.testing.assert_allclose(part.visual.uv * [1, -1] + [0, 1], mesh.texture_coordinates, atol=1e-6)
    assert material.metallicFactor in (None, 1) and material.roughnessFactor in (None, 1)


@pytest.fixture(scope="session")
def validator(repository):
    """Khronos' validator, where node and the npm package gltf-validator are found."""
    folders = [os.environ.get("NODE_PATH"), repository / "node_modules", "/usr/lib/node_modules"]
    found = [Path(folder) for folder in folders if folder and (Path(folder) / "gltf-validator").is_dir()]
    if shutil.which("node") is None or not found:
        pytest.skip("needs node and gltf-validator: npm install gltf-validator, or NODE_PATH=its node_modules")

    def issues(path: Path) -> dict:
        script = Path(__file__).with_name("gltf_validator.cjs")
        environment = {**os.environ, "NODE_PATH": str(found[0])}
        done = subprocess.run(
            ["node", str(script), str(path)], capture_output=True, text=True, check=True, env=environment
        )
        return json.loads(done.stdout)

    return issues


def test_the_validator_of_khronos_finds_nothing(tmp_path, mesh, validator):
    kinds = {
        "full": mesh,
        "colored": replace(mesh, vertex_colors=torch.rand(len(mesh.vertices), 3)),
        "flat": replace(mesh, vertex_normals=None),
        "plain": replace(mesh, material=None, texture_coordinates=None),
        "without_map": replace(mesh, material=replace(mesh.material, normals=None)),
    }
    for name, kind in kinds.items():
        write_glb(kind, tmp_path / f"{name}.glb", up=(0, -1, 0))
        found = validator(tmp_path / f"{name}.glb")
        # texture coordinates that nothing uses are told, and are no fault
        assert found["numErrors"] == found["numWarnings"] == 0, found


@pytest.mark.parametrize("up", [(0.0, 1.0, 0.0), (0.0, -1.0, 0.0)])
def test_usdz_is_valid_and_pixar_reads_it(tmp_path, mesh, up):
    pytest.importorskip("pxr", reason="needs usd-core: pip install anyviews[usdz]")
    from pxr import Ar, Usd, UsdGeom, UsdShade, UsdValidation

    write_usdz(mesh, tmp_path / "a.usdz", up=up)
    stage = Usd.Stage.Open(str(tmp_path / "a.usdz"))
    validators = UsdValidation.ValidationRegistry().GetOrLoadAllValidators()
    problems = UsdValidation.ValidationContext(validators).Validate(stage)
    assert len(validators) > 5 and not [problem.GetErrorAsString() for problem in problems]

    shape = UsdGeom.Mesh(stage.GetPrimAtPath("/Asset/Mesh"))
    np.testing.assert_array_equal(np.array(shape.GetPointsAttr().Get()), mesh.vertices)
    np.testing.assert_array_equal(np.array(shape.GetFaceVertexIndicesAttr().Get()).reshape(-1, 3), mesh.faces)
    np.testing.assert_array_equal(np.array(shape.GetNormalsAttr().Get()), mesh.vertex_normals)
    places = np.array(UsdGeom.PrimvarsAPI(shape).GetPrimvar("st").Get())
    np.testing.assert_allclose(places * [1, -1] + [0, 1], mesh.texture_coordinates, atol=1e-6)
    place = np.array(UsdGeom.XformCache().GetLocalToWorldTransform(shape.GetPrim()))
    np.testing.assert_allclose(np.array([*up, 1]) @ place, [0, 1, 0, 1], atol=1e-9)

    material, _ = UsdShade.MaterialBindingAPI(shape.GetPrim()).ComputeBoundMaterial()
    surface, _, _ = material.ComputeSurfaceSource()
    expected = {"diffuseColor": ("rgb", mesh.material.base_color), "roughness": ("g", mesh.material.roughness)}
    expected["metallic"] = ("b", mesh.material.metallic)
    for name, (channel, texture) in expected.items():
        source, output, _ = surface.GetInput(name).GetConnectedSource()
        assert output == channel
        asset = UsdShade.Shader(source.GetPrim()).GetInput("file").Get()
        content = Ar.GetResolver().OpenAsset(Ar.ResolvedPath(asset.resolvedPath)).GetBuffer()
        (tmp_path / "texture.png").write_bytes(bytes(content))
        pixels = np.asarray(Image.open(tmp_path / "texture.png")).transpose(2, 0, 1) / 255
        pixels = pixels if channel == "rgb" else pixels[{"g": slice(1, 2), "b": slice(2, 3)}[channel]]
        np.testing.assert_allclose(pixels, texture, atol=1e-6)


def test_usdz_of_meshes_without_textures(tmp_path, mesh):
    pytest.importorskip("pxr", reason="needs usd-core: pip install anyviews[usdz]")
    from pxr import Usd, UsdShade

    colored = replace(mesh, material=None, texture_coordinates=None, vertex_colors=torch.rand(len(mesh.vertices), 3))
    write_usdz(colored, tmp_path / "a.usdz")
    stage = Usd.Stage.Open(str(tmp_path / "a.usdz"))
    reader = UsdShade.Shader(stage.GetPrimAtPath("/Asset/Material/Surface")).GetInput("diffuseColor")
    assert UsdShade.Shader(reader.GetConnectedSource()[0].GetPrim()).GetIdAttr().Get() == "UsdPrimvarReader_float3"
    colors = np.array(stage.GetPrimAtPath("/Asset/Mesh").GetAttribute("primvars:displayColor").Get())
    np.testing.assert_allclose(colors, linear_from_srgb(colored.vertex_colors), atol=1e-6)
    with pytest.raises(ValueError, match="exists already"):
        write_usdz(colored, tmp_path / "a.usdz")


def test_ply_gets_the_base_colours_at_the_vertices(tmp_path, mesh):
    write_mesh_ply(mesh, tmp_path / "a.ply")
    found = read_mesh(tmp_path / "a.ply")
    places, texture = mesh.texture_coordinates, mesh.material.base_color
    row, column = (places[:, 1] * 16).long(), (places[:, 0] * 32).long()
    torch.testing.assert_close(found.vertex_colors, texture[:, row, column].mT, atol=HALF_A_STEP, rtol=0)
    assert found.material is None


def test_several_materials_become_one(tmp_path, mesh):
    """Two textured parts and one plain one: every corner keeps its base colour, roughness and metallic."""
    other = replace(mesh.material, base_color=eight_bits(3, 40, 24), normals=None)
    plain = Material(torch.tensor([1.0, 0.0, 0.5])[:, None, None], torch.full((1, 1, 1), 0.25), torch.ones(1, 1, 1))
    materials = [mesh.material, other, plain]
    parts = [
        replace(mesh.transform(random_similarity(i, dtype=torch.float32)), material=m) for i, m in enumerate(materials)
    ]
    scene = trimesh.Scene()
    for index, part in enumerate(parts):
        write_glb(part, tmp_path / "part.glb", overwrite=True)
        (loaded,) = trimesh.load_scene(tmp_path / "part.glb", process=False).geometry.values()
        scene.add_geometry(loaded, geom_name=str(index))
    scene.export(tmp_path / "all.glb")
    found = read_mesh(tmp_path / "all.glb")
    assert len(found) == 3 * len(mesh) and found.material.normals is not None
    assert found.texture_coordinates.min() > 0 and found.texture_coordinates.max() < 1
    colors = found.base_colors_at_vertices()
    for part in parts:
        nearest = torch.cdist(part.vertices, found.vertices, compute_mode="donot_use_mm_for_euclid_dist").argmin(1)
        torch.testing.assert_close(colors[nearest], part.base_colors_at_vertices(), atol=0.02, rtol=0)


def test_textures_that_repeat_are_repeated_in_the_atlas():
    texture = Material(torch.rand(3, 8, 8), torch.rand(1, 8, 8), torch.rand(1, 8, 8))
    other = Material(torch.rand(3, 4, 4), torch.rand(1, 4, 4), torch.rand(1, 4, 4))
    places = torch.rand(50, 2) * torch.tensor([3.0, 2.0]) - 1
    merged, (moved, _) = merge_materials([texture, other], [places, torch.rand(5, 2)])
    mesh = Mesh(torch.rand(50, 3), torch.tensor([[0, 1, 2]]), None, None, places, texture)
    joined = replace(mesh, texture_coordinates=moved, material=merged)
    torch.testing.assert_close(joined.base_colors_at_vertices(), mesh.base_colors_at_vertices())
    with pytest.raises(ValueError, match=r"repeats \d+ times"):
        merge_materials([texture, other], [places * 4, places])


def test_a_file_with_a_texture_that_repeats_often_gives_colours(tmp_path, mesh):
    scene = trimesh.Scene()
    for index, scale in enumerate((1, 30)):
        material = replace(mesh.material, base_color=eight_bits(3, 16, 16))
        given = replace(mesh, texture_coordinates=mesh.texture_coordinates * scale, material=material)
        write_glb(given, tmp_path / "part.glb", overwrite=True)
        (loaded,) = trimesh.load_scene(tmp_path / "part.glb", process=False).geometry.values()
        scene.add_geometry(loaded, geom_name=str(index))
    scene.export(tmp_path / "all.glb")
    found = read_mesh(tmp_path / "all.glb")
    assert found.material is None and found.vertex_colors.std() > 0.1


def test_artists_objects_survive_every_format(shared_data, tmp_path):
    car = load_scene(shared_data / "pbr_objects" / "toy_car" / "object.glb").mesh
    assert car.material.normals is not None and len(car) > 90_000
    write_glb(car, tmp_path / "car.glb")
    again = read_mesh(tmp_path / "car.glb")
    torch.testing.assert_close(again.material.base_color, car.material.base_color, atol=HALF_A_STEP, rtol=0)
    assert torch.equal(again.vertices, car.vertices) and torch.equal(again.faces, car.faces)


def test_materials_of_others_do_not_name_files_elsewhere(tmp_path, mesh):
    write_obj(mesh, tmp_path / "inside" / "a.obj")
    material = tmp_path / "inside" / "a.mtl"
    shutil.move(tmp_path / "inside" / "a_roughness.png", tmp_path / "secret.png")
    material.write_text(material.read_text().replace("a_roughness.png", "../secret.png"))
    found = read_mesh(tmp_path / "inside" / "a.obj")
    assert found.material.roughness.shape == (1, 1, 1)
