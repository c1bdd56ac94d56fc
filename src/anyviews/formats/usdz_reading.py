"""Reading .usdz files as meshes, by the optional package usd-core: what `usdz` writes, and assets of other programs.

The world is glTF's: metres, +Y up. Of a material (UsdPreviewSurface) what a `Material` has a place for is taken: base
colour, roughness, metallic and normals. Transforms of texture coordinates, opacity, emission and animation are left
out; textures repeat.
"""

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from ..color import linear_from_srgb, srgb_from_linear
from ..mesh import Material, Mesh
from .image_folder import to_uint8
from .mesh_parts import join_meshes
from .usdz import UP_KEY, require_usd


# What a UsdPreviewSurface has where nothing is said.
GREY, ROUGH, DIELECTRIC = (0.18, 0.18, 0.18), 0.5, 0.0
CHANNELS = {"r": 0, "g": 1, "b": 2}
Z_UP = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])


@dataclass(frozen=True)
class Corners:
    """A mesh with everything at the corners of its triangles.

    Args:
        points: [T, 3, 3].
        polygons: [T], the polygon that each triangle was cut from.
        named: further values, [T, 3, C], of "normals", "st" and "displayColor" that there are.
    """

    points: np.ndarray
    polygons: np.ndarray
    named: dict[str, np.ndarray]


def read_usdz(path: Path | str) -> Mesh:
    """Read a .usdz file as one mesh, with one material.

    Raises:
        ImportError: if the package usd-core is not installed.
        ValueError: if the file is damaged, or holds no faces.
    """
    path = Path(path)
    usd = require_usd(path)
    with zipfile.ZipFile(path) as package:
        stage = usd.Stage.Open(str(path))
        parts = [part for prim in _meshes(stage) for part in _parts(prim, package, _place(stage, prim))]
    if not parts:
        raise ValueError("the file has no faces")
    return _welded(join_meshes(parts))


def _meshes(stage: Any) -> Iterator[Any]:
    from pxr import Usd, UsdGeom

    for prim in stage.Traverse(Usd.TraverseInstanceProxies()):
        imageable = UsdGeom.Imageable(prim)
        hidden = imageable.ComputeVisibility() == UsdGeom.Tokens.invisible
        if prim.IsA(UsdGeom.Mesh) and not hidden and imageable.ComputePurpose() != UsdGeom.Tokens.guide:
            yield UsdGeom.Mesh(prim)


def _place(stage: Any, shape: Any) -> np.ndarray:
    """[4, 4], from the mesh's own coordinates to the world, for column vectors."""
    from pxr import UsdGeom

    cache = UsdGeom.XformCache()
    place = np.array(cache.GetLocalToWorldTransform(shape.GetPrim())).T
    root = stage.GetDefaultPrim()
    if root and root.GetCustomDataByKey(UP_KEY) is not None:
        # turned for viewers only
        return np.linalg.inv(np.array(cache.GetLocalToWorldTransform(root)).T) @ place
    world = np.eye(4)
    turn = Z_UP if UsdGeom.GetStageUpAxis(stage) == UsdGeom.Tokens.z else np.eye(3)
    world[:3, :3] = turn * UsdGeom.GetStageMetersPerUnit(stage)
    return world @ place


def _parts(shape: Any, package: zipfile.ZipFile, place: np.ndarray) -> Iterator[Mesh]:
    """A mesh where it stands, one for each material of its faces."""
    from pxr import UsdShade

    corners = _corners(shape)
    left = np.ones(len(corners.polygons), bool)
    for subset in UsdShade.MaterialBindingAPI(shape).GetMaterialBindSubsets():
        chosen = np.isin(corners.polygons, np.array(subset.GetIndicesAttr().Get(), np.int64)) & left
        left &= ~chosen
        if chosen.any():
            yield _part(corners, chosen, subset.GetPrim(), package, place)
    if left.any():
        yield _part(corners, left, shape.GetPrim(), package, place)


def _corners(shape: Any) -> Corners:
    """All polygons cut into triangles, as fans."""
    from pxr import UsdGeom

    counts = np.array(shape.GetFaceVertexCountsAttr().Get(), np.int64).reshape(-1)
    indices = np.array(shape.GetFaceVertexIndicesAttr().Get(), np.int64).reshape(-1)
    points = np.array(shape.GetPointsAttr().Get(), np.float64).reshape(-1, 3)
    if counts.sum() != len(indices) or (len(indices) and not 0 <= indices.min() <= indices.max() < len(points)):
        raise ValueError(f"the faces of {shape.GetPath()} do not fit its {len(points)} points")
    holes = np.isin(np.arange(len(counts)), np.array(shape.GetHoleIndicesAttr().Get() or [], np.int64))
    fans = np.where(holes, 0, np.maximum(counts - 2, 0))
    polygons = np.repeat(np.arange(len(counts)), fans)
    starts = np.repeat(np.cumsum(counts) - counts, fans)
    step = np.arange(fans.sum()) - np.repeat(np.cumsum(fans) - fans, fans)
    corners = np.stack([starts, starts + step + 1, starts + step + 2], axis=1)
    if shape.GetOrientationAttr().Get() == UsdGeom.Tokens.leftHanded:
        corners = corners[:, ::-1]
    api, named = UsdGeom.PrimvarsAPI(shape), {}
    for name, channels in (("normals", 3), ("st", 2), ("displayColor", 3)):
        primvar = api.GetPrimvar(name)
        if primvar and primvar.HasValue():
            values, kind = primvar.ComputeFlattened(), primvar.GetInterpolation()
        elif name == "normals" and shape.GetNormalsAttr().HasValue():
            values, kind = shape.GetNormalsAttr().Get(), shape.GetNormalsInterpolation()
        else:
            continue
        values = np.array(values, np.float64).reshape(-1, channels)
        chosen = {"constant": np.zeros_like(corners), "uniform": np.repeat(polygons[:, None], 3, axis=1),
                  "faceVarying": corners}.get(kind, indices[corners])  # fmt: skip
        if chosen.size and chosen.max() >= len(values):
            raise ValueError(f"{name} of {shape.GetPath()} are {len(values)}, which does not fit its faces")
        named[name] = values[chosen]
    return Corners(points[indices[corners]], polygons, named)


def _part(corners: Corners, chosen: np.ndarray, prim: Any, package: zipfile.ZipFile, place: np.ndarray) -> Mesh:
    from pxr import UsdShade

    bound, _ = UsdShade.MaterialBindingAPI(prim).ComputeBoundMaterial()
    surface = bound.ComputeSurfaceSource()[0] if bound else None
    material, colored = _material(surface, package) if surface else (None, True)
    flat = {name: values[chosen].reshape(-1, values.shape[-1]) for name, values in corners.named.items()}
    points = corners.points[chosen].reshape(-1, 3) @ place[:3, :3].T + place[:3, 3]
    faces = np.arange(len(points)).reshape(-1, 3)
    if np.linalg.det(place[:3, :3]) < 0:
        # a mirror turns faces inside out
        faces = faces[:, ::-1].copy()
    colors = _tensor(flat.get("displayColor")) if colored else None
    normals = flat.get("normals")
    if normals is not None:
        normals = F.normalize(_tensor(normals @ np.linalg.inv(place[:3, :3])), dim=-1)
    places = _tensor(flat.get("st"))
    if places is not None:
        # USD counts v upwards
        places = torch.stack([places[:, 0], 1 - places[:, 1]], dim=1)
    elif material is not None and not material.is_uniform:
        material = None
    # 8 bits, as of the vertices of other files
    colors = None if colors is None else torch.from_numpy(to_uint8(srgb_from_linear(colors.clamp(0, 1)))).float() / 255
    return Mesh(_tensor(points), torch.from_numpy(faces), colors, normals, places, material)


def _material(surface: Any, package: zipfile.ZipFile) -> tuple[Material | None, bool]:
    """A surface's material, None if it is white, rough and no metal, and whether colours of vertices belong to it."""
    base, colored = _values(surface, "diffuseColor", GREY, package)
    roughness, _ = _values(surface, "roughness", (ROUGH,), package)
    metallic, _ = _values(surface, "metallic", (DIELECTRIC,), package)
    normals, _ = _values(surface, "normal", None, package)
    if normals is not None:
        lengths = normals.norm(dim=0, keepdim=True)
        # texels that nothing was written to
        flat = torch.tensor([0.0, 0.0, 1.0])[:, None, None]
        normals = torch.where(lengths > 0.1, normals / lengths.clamp(min=1e-6), flat)
    material = Material(base.clamp(0, 1), roughness.clamp(0, 1), metallic.clamp(0, 1), normals)
    plain = material.is_uniform and normals is None and bool((material.base_color > 0.999).all())
    return (None if plain and bool(roughness.min() > 0.999) and not metallic.any() else material), colored


def _values(
    surface: Any, name: str, default: tuple[float, ...] | None, package: zipfile.ZipFile
) -> tuple[Float[Tensor, "channels height width"] | None, bool]:
    """A surface's input as a texture, colours in sRGB, and whether it is the colours of the vertices."""
    from pxr import UsdShade

    found = surface.GetInput(name)
    sources = found.GetConnectedSources()[0] if found else []
    if sources:
        shader = UsdShade.Shader(sources[0].source.GetPrim())
        kind = shader.GetIdAttr().Get() or ""
        if kind == "UsdUVTexture":
            return _texture(shader, name, sources[0].sourceName, package), False
        if kind.startswith("UsdPrimvarReader"):
            return torch.ones(3 if default is None else len(default), 1, 1), True
    value = found.Get() if found and not sources else None
    if value is None and default is None:
        return None, False
    if name == "normal":
        return None, False
    linear = torch.tensor(np.atleast_1d(np.array(default if value is None else value, np.float32)))[:, None, None]
    return (srgb_from_linear(linear.clamp(0, 1)) if len(linear) == 3 else linear), False


def _texture(
    shader: Any, name: str, output: str, package: zipfile.ZipFile
) -> Float[Tensor, "channels height width"] | None:
    """What a texture gives to an input of the surface."""
    pixels = _pixels(shader, package)
    if pixels is None:
        return None if name == "normal" else torch.ones(3 if name == "diffuseColor" else 1, 1, 1)
    raw = shader.GetInput("sourceColorSpace")
    if name == "diffuseColor" and not (raw and raw.Get() == "raw"):
        pixels = linear_from_srgb(pixels)
    scale, bias = (
        torch.tensor(list(shader.GetInput(key).Get() or (default,) * 4))[:3, None, None]
        if shader.GetInput(key)
        else torch.full((3, 1, 1), default)
        for key, default in (("scale", 1.0), ("bias", 0.0))
    )
    pixels = pixels * scale + bias
    if output in CHANNELS:
        pixels = pixels[CHANNELS[output]][None]
    if name == "diffuseColor":
        return srgb_from_linear(pixels.clamp(0, 1)).expand(3, -1, -1)
    return pixels.expand(3, -1, -1) if name == "normal" else pixels[:1]


def _pixels(shader: Any, package: zipfile.ZipFile) -> Float[Tensor, "3 height width"] | None:
    """The picture of a texture, from inside the package: names of files elsewhere are no reason to read them."""
    asset = shader.GetInput("file").Get() if shader.GetInput("file") else None
    inside = (asset.resolvedPath or asset.path) if asset else ""
    # a path in a package is written package[path]
    inside = inside.rpartition("[")[2].rstrip("]").removeprefix("./")
    if inside not in package.namelist():
        return None
    with package.open(inside) as file, Image.open(file) as picture:
        return torch.from_numpy(np.asarray(picture.convert("RGB"), np.float32) / 255).movedim(-1, 0).contiguous()


def _welded(mesh: Mesh) -> Mesh:
    """The mesh with each different corner once."""
    values = [mesh.vertices, mesh.vertex_colors, mesh.vertex_normals, mesh.texture_coordinates]
    table = torch.cat([value for value in values if value is not None], dim=1)
    _, first, inverse = np.unique(table.numpy(), axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    kept = torch.from_numpy(first[order])
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    picked = [None if value is None else value[kept] for value in values]
    faces = torch.from_numpy(rank[inverse.reshape(-1)])[mesh.faces]
    return Mesh(picked[0], faces, *picked[1:], mesh.material)


def _tensor(values: np.ndarray | None) -> Tensor | None:
    return None if values is None else torch.from_numpy(np.ascontiguousarray(values)).float()
