"""Meshes as .usdz (Universal Scene Description, for Apple's viewers and others), by the optional package usd-core.

One mesh with a UsdPreviewSurface; textures are PNG inside the package. The stage has +Y up; a world with another up is
turned by the transform of its root, which says so in its `customData`, as in .glb files. A world unit is written as a
metre.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..mesh import Mesh
from .files import new_file
from .glb import UP_KEY
from .mesh_materials import metallic_roughness_picture, pictures_of, uniform_values
from .world_up import Y_UP, quaternion_to_y_up


ROOT = "/Asset"
STAGE = "asset.usdc"


def write_usdz(mesh: Mesh, path: Path | str, overwrite: bool = False, up: Sequence[float] = Y_UP) -> None:
    """Write a mesh as .usdz.

    Args:
        mesh: a valid mesh.
        path: a file name ending in .usdz.
        overwrite: whether an existing file may be replaced.
        up: the direction (x, y, z) in the mesh's world that viewers show upwards; OpenCV-like worlds have (0, -1, 0).

    Raises:
        ImportError: if the package usd-core is not installed.
        ValueError: if the mesh is not valid, or `up` is no direction.
    """
    require_usd(path)
    from pxr import Sdf

    mesh.validate()
    rotation = quaternion_to_y_up(up)
    with new_file(path, overwrite) as temporary, tempfile.TemporaryDirectory() as folder:
        _write_stage(mesh, Path(folder, STAGE), rotation, up)
        with Sdf.ZipFileWriter.CreateNew(str(temporary)) as package:
            # viewers open the first file
            for file in (Path(folder, STAGE), *sorted(Path(folder).glob("*.png"))):
                package.AddFile(str(file), file.name)


def require_usd(path: Path | str) -> Any:
    """The library of .usdz files.

    Args:
        path: the file that needs it.

    Raises:
        ImportError: if it is not installed, with the pip line.
    """
    try:
        from pxr import Usd
    except ImportError as error:
        raise ImportError(f'{path}: .usdz files need usd-core: pip install "anyviews[usdz]"') from error
    return Usd


def _write_stage(mesh: Mesh, path: Path, rotation: tuple[float, float, float, float], up: Sequence[float]) -> None:
    from pxr import Gf, Usd, UsdGeom

    stage = Usd.Stage.CreateNew(str(path))
    UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.y)
    UsdGeom.SetStageMetersPerUnit(stage, 1.0)
    root = UsdGeom.Xform.Define(stage, ROOT)
    stage.SetDefaultPrim(root.GetPrim())
    if rotation != (0, 0, 0, 1):
        x, y, z, w = rotation
        root.AddOrientOp(UsdGeom.XformOp.PrecisionDouble).Set(Gf.Quatd(w, x, y, z))
        root.GetPrim().SetCustomDataByKey(UP_KEY, Gf.Vec3d(*map(float, up)))
    shape = UsdGeom.Mesh.Define(stage, f"{ROOT}/Mesh")
    vertices = _columns(mesh.vertices)
    shape.CreatePointsAttr(vertices)
    shape.CreateExtentAttr(np.stack([vertices.min(0), vertices.max(0)]))
    shape.CreateFaceVertexCountsAttr(np.full(len(mesh), 3, np.int32))
    shape.CreateFaceVertexIndicesAttr(mesh.faces.cpu().numpy().astype(np.int32).reshape(-1))
    # USD would round the triangles off
    shape.CreateSubdivisionSchemeAttr(UsdGeom.Tokens.none)
    shape.CreateDoubleSidedAttr(True)
    if mesh.vertex_normals is not None:
        shape.CreateNormalsAttr(_columns(mesh.vertex_normals))
        shape.SetNormalsInterpolation(UsdGeom.Tokens.vertex)
    _write_primvars(mesh, shape)
    _write_material(mesh, stage, shape, path.parent)
    stage.Save()


def _write_primvars(mesh: Mesh, shape: Any) -> None:
    from pxr import Sdf, UsdGeom

    from ..color import linear_from_srgb

    primvars = UsdGeom.PrimvarsAPI(shape)
    if mesh.vertex_colors is not None:
        colors = primvars.CreatePrimvar("displayColor", Sdf.ValueTypeNames.Color3fArray, UsdGeom.Tokens.vertex)
        colors.Set(_columns(linear_from_srgb(mesh.vertex_colors.clamp(0, 1))))
    if mesh.texture_coordinates is not None:
        places = _columns(mesh.texture_coordinates)
        # USD counts v upwards
        places = np.stack([places[:, 0], 1 - places[:, 1]], axis=1)
        primvars.CreatePrimvar("st", Sdf.ValueTypeNames.TexCoord2fArray, UsdGeom.Tokens.vertex).Set(places)


def _write_material(mesh: Mesh, stage: Any, shape: Any, folder: Path) -> None:
    from pxr import Gf, Sdf, UsdShade

    material = UsdShade.Material.Define(stage, f"{ROOT}/Material")
    surface = UsdShade.Shader.Define(stage, f"{ROOT}/Material/Surface")
    surface.CreateIdAttr("UsdPreviewSurface")
    material.CreateSurfaceOutput().ConnectToSource(surface.ConnectableAPI(), "surface")
    UsdShade.MaterialBindingAPI.Apply(shape.GetPrim()).Bind(material)
    inputs = {
        name: surface.CreateInput(name, kind)
        for name, kind in (
            ("diffuseColor", Sdf.ValueTypeNames.Color3f),
            ("roughness", Sdf.ValueTypeNames.Float),
            ("metallic", Sdf.ValueTypeNames.Float),
        )
    }
    if mesh.material is None or mesh.texture_coordinates is None:
        base, roughness, metallic = ([1.0] * 3, 1.0, 0.0) if mesh.material is None else uniform_values(mesh.material)
        inputs["diffuseColor"].Set(Gf.Vec3f(*base))
        inputs["roughness"].Set(roughness)
        inputs["metallic"].Set(metallic)
        if mesh.vertex_colors is not None:
            reader = _shader(stage, "Colors", "UsdPrimvarReader_float3", varname="displayColor")
            source = reader.CreateOutput("result", Sdf.ValueTypeNames.Float3)
            inputs["diffuseColor"].ConnectToSource(source)
        return
    pictures = pictures_of(mesh.material)
    reader = _shader(stage, "Places", "UsdPrimvarReader_float2", varname="st")
    places = reader.CreateOutput("result", Sdf.ValueTypeNames.Float2)
    base = _texture(stage, folder, "base_color", pictures["base_color"], places, "sRGB")
    inputs["diffuseColor"].ConnectToSource(base.CreateOutput("rgb", Sdf.ValueTypeNames.Float3))
    picture = metallic_roughness_picture(mesh.material)
    rough = _texture(stage, folder, "metallic_roughness", picture, places, "raw")
    inputs["roughness"].ConnectToSource(rough.CreateOutput("g", Sdf.ValueTypeNames.Float))
    inputs["metallic"].ConnectToSource(rough.CreateOutput("b", Sdf.ValueTypeNames.Float))
    if "normals" in pictures and mesh.vertex_normals is not None:
        normals = _texture(stage, folder, "normals", pictures["normals"], places, "raw")
        # from [0, 1] to [-1, 1]
        normals.CreateInput("scale", Sdf.ValueTypeNames.Float4).Set(Gf.Vec4f(2, 2, 2, 1))
        normals.CreateInput("bias", Sdf.ValueTypeNames.Float4).Set(Gf.Vec4f(-1, -1, -1, 0))
        wanted = surface.CreateInput("normal", Sdf.ValueTypeNames.Normal3f)
        wanted.ConnectToSource(normals.CreateOutput("rgb", Sdf.ValueTypeNames.Float3))


def _shader(stage: Any, name: str, kind: str, varname: str) -> Any:
    from pxr import Sdf, UsdShade

    shader = UsdShade.Shader.Define(stage, f"{ROOT}/Material/{name}")
    shader.CreateIdAttr(kind)
    shader.CreateInput("varname", Sdf.ValueTypeNames.String).Set(varname)
    return shader


def _texture(stage: Any, folder: Path, name: str, picture: Any, places: Any, color_space: str) -> Any:
    """A shader that reads a picture, which is written beside the stage."""
    from pxr import Sdf, UsdShade

    picture.save(folder / f"{name}.png", "PNG", compress_level=4)
    shader = UsdShade.Shader.Define(stage, f"{ROOT}/Material/{name}")
    shader.CreateIdAttr("UsdUVTexture")
    shader.CreateInput("file", Sdf.ValueTypeNames.Asset).Set(Sdf.AssetPath(f"{name}.png"))
    shader.CreateInput("st", Sdf.ValueTypeNames.Float2).ConnectToSource(places)
    shader.CreateInput("sourceColorSpace", Sdf.ValueTypeNames.Token).Set(color_space)
    for side in ("wrapS", "wrapT"):
        shader.CreateInput(side, Sdf.ValueTypeNames.Token).Set("repeat")
    return shader


def _columns(values: Any) -> np.ndarray:
    return np.ascontiguousarray(values.detach().float().cpu().numpy())
