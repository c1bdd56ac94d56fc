"""A .usdz file gives the mesh of the .glb file of the same asset, and files of other programs are understood."""

import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import trimesh
from PIL import Image

from anyviews.formats import load_scene
from anyviews.formats.glb import write_glb
from anyviews.formats.mesh_files import read_mesh
from anyviews.formats.usdz import write_usdz
from anyviews.mesh import Material, Mesh


pytest.importorskip("pxr", reason="needs usd-core (the extra usdz)")

from pxr import Gf, Sdf, Usd, UsdGeom, UsdShade


def eight_bits(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, shape).float() / 255


@pytest.fixture
def mesh() -> Mesh:
    """A ball with textures of different sizes and a normal map."""
    ball = trimesh.creation.icosphere(subdivisions=1)
    vertices = torch.from_numpy(ball.vertices).float()
    bent = torch.randn(3, 8, 8) * 0.3
    bent[2] = 1
    material = Material(eight_bits(3, 16, 32), eight_bits(1, 8, 16), eight_bits(1, 8, 16), F.normalize(bent, dim=0))
    normals = F.normalize(vertices + 0.1 * torch.randn_like(vertices), dim=-1)
    return Mesh(vertices, torch.from_numpy(ball.faces.copy()), None, normals, torch.rand(len(vertices), 2), material)


def kinds_of(mesh: Mesh) -> dict[str, Mesh]:
    plain = Material(
        torch.tensor([0.8, 0.4, 0.2])[:, None, None], torch.full((1, 1, 1), 0.3), torch.full((1, 1, 1), 1.0)
    )
    bare = replace(mesh, material=None, texture_coordinates=None)
    return {
        "textured": mesh,
        "uniform": replace(bare, material=plain),
        "colored": replace(bare, vertex_colors=eight_bits(len(mesh.vertices), 3)),
        "bare": replace(bare, vertex_normals=None),
    }


@pytest.mark.parametrize("up", [(0.0, 1.0, 0.0), (0.0, -1.0, 0.0), (0.3, 0.9, -0.2)])
@pytest.mark.parametrize("kind", ["textured", "uniform", "colored", "bare"])
def test_it_is_the_mesh_of_the_glb(tmp_path, mesh, kind, up):
    given = kinds_of(mesh)[kind]
    write_glb(given, tmp_path / "a.glb", up=up)
    write_usdz(given, tmp_path / "a.usdz", up=up)
    expected, found = read_mesh(tmp_path / "a.glb"), load_scene(tmp_path / "a.usdz").mesh
    assert len(found.vertices) <= len(mesh.vertices)
    for name in ("vertices", "vertex_colors", "vertex_normals", "texture_coordinates"):
        values, wanted = getattr(found, name), getattr(expected, name)
        assert (values is None) == (wanted is None), name
        if wanted is not None:
            torch.testing.assert_close(values[found.faces], wanted[expected.faces], atol=1e-5, rtol=0)
    assert (found.material is None) == (expected.material is None)
    if expected.material is not None:
        for name, texture in vars(expected.material).items():
            if texture is None:
                assert getattr(found.material, name) is None
            else:
                # trimesh keeps linear factors in 8 bits
                torch.testing.assert_close(getattr(found.material, name), texture, atol=0.01, rtol=0)


def foreign_asset(folder: Path) -> Path:
    """Centimetres, +Z up, quads, corners with their own coordinates, two materials, a part that is mirrored."""
    stage = Usd.Stage.CreateNew(str(folder / "asset.usda"))
    UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.z)
    UsdGeom.SetStageMetersPerUnit(stage, 0.01)
    root = UsdGeom.Xform.Define(stage, "/Root")
    stage.SetDefaultPrim(root.GetPrim())
    root.AddTranslateOp().Set(Gf.Vec3d(0, 0, 100))
    # two unit squares (of metres) side by side in x, seen from -y
    shape = UsdGeom.Mesh.Define(stage, "/Root/Squares")
    shape.CreatePointsAttr([(x, 0, z) for z in (0, 100) for x in (0, 100, 200)])
    shape.CreateFaceVertexCountsAttr([4, 4])
    shape.CreateFaceVertexIndicesAttr([0, 1, 4, 3, 1, 2, 5, 4])
    corners = [(0, 0), (1, 0), (1, 1), (0, 1)] * 2
    st = UsdGeom.PrimvarsAPI(shape).CreatePrimvar("st", Sdf.ValueTypeNames.TexCoord2fArray, "faceVarying")
    st.Set(corners)
    for index, color in enumerate([(1.0, 0, 0), None]):
        material = UsdShade.Material.Define(stage, f"/Root/M{index}")
        surface = UsdShade.Shader.Define(stage, f"/Root/M{index}/S")
        surface.CreateIdAttr("UsdPreviewSurface")
        material.CreateSurfaceOutput().ConnectToSource(surface.ConnectableAPI(), "surface")
        base = surface.CreateInput("diffuseColor", Sdf.ValueTypeNames.Color3f)
        if color is None:
            texture = UsdShade.Shader.Define(stage, f"/Root/M{index}/T")
            texture.CreateIdAttr("UsdUVTexture")
            texture.CreateInput("file", Sdf.ValueTypeNames.Asset).Set(Sdf.AssetPath("textures/base.png"))
            base.ConnectToSource(texture.CreateOutput("rgb", Sdf.ValueTypeNames.Float3))
        else:
            base.Set(Gf.Vec3f(*color))
        subset = UsdShade.MaterialBindingAPI.Apply(shape.GetPrim()).CreateMaterialBindSubset(f"S{index}", [index])
        UsdShade.MaterialBindingAPI.Apply(subset.GetPrim()).Bind(material)
    copy = UsdGeom.Mesh.Define(stage, "/Root/Mirrored")
    copy.CreatePointsAttr([(0, 0, 0), (100, 0, 0), (0, 100, 0)])
    copy.CreateFaceVertexCountsAttr([3])
    copy.CreateFaceVertexIndicesAttr([0, 1, 2])
    copy.AddScaleOp().Set(Gf.Vec3f(-1, 1, 1))
    hidden = UsdGeom.Mesh.Define(stage, "/Root/Hidden")
    hidden.CreatePointsAttr([(0, 0, 0), (900, 0, 0), (0, 900, 0)])
    hidden.CreateFaceVertexCountsAttr([3])
    hidden.CreateFaceVertexIndicesAttr([0, 1, 2])
    hidden.CreateVisibilityAttr(UsdGeom.Tokens.invisible)
    stage.Save()
    picture = np.zeros((4, 4, 3), np.uint8)
    picture[:2, :, 2] = 255  # blue above, black below
    (folder / "textures").mkdir()
    Image.fromarray(picture).save(folder / "textures" / "base.png")
    with Sdf.ZipFileWriter.CreateNew(str(folder / "foreign.usdz")) as package:
        package.AddFile(str(folder / "asset.usda"), "asset.usda")
        package.AddFile(str(folder / "textures" / "base.png"), "textures/base.png")
    return folder / "foreign.usdz"


def test_assets_of_other_programs(tmp_path):
    found = read_mesh(foreign_asset(tmp_path))
    assert len(found) == 5 and found.material is not None
    # metres, +Y up, one metre above the ground; the mirrored part reaches to -1
    low, high = found.vertices.aminmax(dim=0)
    torch.testing.assert_close(low, torch.tensor([-1.0, 1, -1]), atol=1e-6, rtol=0)
    torch.testing.assert_close(high, torch.tensor([2.0, 2, 0]), atol=1e-6, rtol=0)
    triangles = found.vertices[found.faces]
    across = torch.linalg.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    squares = triangles[:, :, 2].abs().amax(1) < 1e-6
    assert squares.sum() == 4 and float(across[squares].norm(dim=1).sum() / 2) == pytest.approx(2)
    # seen from -y there, which is +z here; the mirrored triangle was seen from above
    assert (across[squares][:, 2] > 0).all() and (across[~squares][:, 1] > 0).all()
    # a texture goes up with v: blue above
    colors = found.base_colors_at_vertices()
    red = squares.clone()
    red[squares] = triangles[squares][:, :, 0].amax(1) < 1.5
    torch.testing.assert_close(colors[found.faces[red]].mean((0, 1)), torch.tensor([1.0, 0, 0]), atol=0.02, rtol=0)
    for corner in found.faces[squares & ~red].flatten().unique().tolist():
        blue = float(found.vertices[corner, 1]) > 1.5
        assert (colors[corner, 2] > 0.9) == blue and colors[corner, 0] < 0.1


def test_textures_are_tinted_in_linear_light(tmp_path):
    with zipfile.ZipFile(foreign_asset(tmp_path)) as package:
        text = package.read("asset.usda").decode()
    tint = "float4 inputs:scale = (1, 1, 0.5, 1)"
    (tmp_path / "asset.usda").write_text(text.replace("asset inputs:file", f"{tint}\n asset inputs:file"))
    with Sdf.ZipFileWriter.CreateNew(str(tmp_path / "tinted.usdz")) as package:
        package.AddFile(str(tmp_path / "asset.usda"), "asset.usda")
        package.AddFile(str(tmp_path / "textures" / "base.png"), "textures/base.png")
    found = read_mesh(tmp_path / "tinted.usdz").base_colors_at_vertices()
    blue = found[(found[:, 2] > 0.5) & (found[:, 0] < 0.5)]
    assert len(blue) and (blue[:, 2] - 0.735).abs().max() < 0.02  # sRGB of a half


def test_textures_elsewhere_are_not_read(tmp_path):
    file = foreign_asset(tmp_path)
    with zipfile.ZipFile(file) as package:
        text = package.read("asset.usda").decode()
    (tmp_path / "asset.usda").write_text(text.replace("textures/base.png", str(tmp_path / "textures" / "base.png")))
    with Sdf.ZipFileWriter.CreateNew(str(tmp_path / "naming.usdz")) as package:
        package.AddFile(str(tmp_path / "asset.usda"), "asset.usda")
    found = read_mesh(tmp_path / "naming.usdz")
    assert (found.base_colors_at_vertices()[:, 2] < 0.1).sum() < len(found.vertices)
    assert not ((found.material.base_color[2] > 0.9) & (found.material.base_color[0] < 0.1)).any()


@pytest.mark.parametrize("damage", ["cut", "text", "empty", "no faces"])
def test_damaged_files_are_named(tmp_path, mesh, damage):
    file = tmp_path / "a.usdz"
    write_usdz(mesh, file)
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:2000])
    elif damage == "text":
        file.write_text("not a package")
    elif damage == "empty":
        file.write_bytes(b"")
    else:
        stage = Usd.Stage.CreateNew(str(tmp_path / "b.usdc"))
        UsdGeom.Mesh.Define(stage, "/Empty")
        stage.Save()
        file.unlink()
        with Sdf.ZipFileWriter.CreateNew(str(file)) as package:
            package.AddFile(str(tmp_path / "b.usdc"), "b.usdc")
    with pytest.raises(ValueError, match=r"a\.usdz cannot be read as a mesh"):
        read_mesh(file)


def test_without_usd_the_message_says_how_to_get_it(tmp_path, mesh, monkeypatch):
    write_usdz(mesh, tmp_path / "a.usdz")
    monkeypatch.setitem(sys.modules, "pxr", None)
    with pytest.raises(ImportError, match=r'pip install "anyviews\[usdz\]"'):
        read_mesh(tmp_path / "a.usdz")
