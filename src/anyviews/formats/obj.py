"""Meshes as .obj: colours behind the positions, materials in an .mtl file with textures beside it.

Base colour is `map_Kd`, roughness, metallic and normals are `map_Pr`, `map_Pm` and `norm`, which Blender and others
read (the PBR extension of .mtl files by Exocortex); programs that do not know them show the base colour.
"""

from pathlib import Path

import numpy as np

from ..mesh import Mesh
from .files import new_file
from .mesh_materials import pictures_of, uniform_values


MAPS = {"base_color": "map_Kd", "roughness": "map_Pr", "metallic": "map_Pm", "normals": "norm"}


def write_obj(mesh: Mesh, path: Path | str, overwrite: bool = False) -> None:
    """Write a mesh as .obj, with colours behind the positions as MeshLab, Blender and trimesh read them.

    A material becomes NAME.mtl and NAME_base_color.png, NAME_roughness.png and so on, beside NAME.obj; white space in
    NAME becomes _.

    Args:
        mesh: a valid mesh.
        path: a file name ending in .obj.
        overwrite: whether existing files may be replaced.

    Raises:
        ValueError: if the mesh is not valid, or one of the files exists and may not be replaced.
    """
    mesh.validate()
    path = Path(path)
    columns = [mesh.vertices] if mesh.vertex_colors is None else [mesh.vertices, mesh.vertex_colors]
    vertices = np.concatenate([values.detach().float().cpu().numpy() for values in columns], axis=1)
    with new_file(path, overwrite) as temporary:
        if mesh.material is not None:
            _write_material(mesh, path, overwrite)
        with temporary.open("w", encoding="utf-8") as file:
            if mesh.material is not None:
                file.write(f"mtllib {_name(path)}.mtl\nusemtl {_name(path)}\n")
            # nine digits tell all 32-bit numbers apart
            np.savetxt(file, vertices, " ".join(["v", *["%.9g"] * vertices.shape[1]]))
            if mesh.texture_coordinates is not None:
                places = mesh.texture_coordinates.detach().cpu().double().numpy()
                np.savetxt(file, np.stack([places[:, 0], 1 - places[:, 1]], axis=1), "vt %.9g %.9g")
            if mesh.vertex_normals is not None:
                np.savetxt(file, mesh.vertex_normals.detach().float().cpu().numpy(), "vn %.9g %.9g %.9g")
            corner, repeats = _corner(mesh)
            indices = (mesh.faces.cpu().numpy() + 1).repeat(repeats, axis=1)
            np.savetxt(file, indices, f"f {corner} {corner} {corner}")


def _corner(mesh: Mesh) -> tuple[str, int]:
    """How a face names the position, texture coordinates and normal of a corner, and how many these are."""
    has_places, has_normals = mesh.texture_coordinates is not None, mesh.vertex_normals is not None
    if has_places:
        return ("%d/%d/%d", 3) if has_normals else ("%d/%d", 2)
    return ("%d//%d", 2) if has_normals else ("%d", 1)


def _write_material(mesh: Mesh, path: Path, overwrite: bool) -> None:
    base, roughness, metallic = [1.0, 1.0, 1.0], 1.0, 0.0
    lines = []
    if mesh.texture_coordinates is None:
        base, roughness, metallic = uniform_values(mesh.material)
    else:
        for name, picture in pictures_of(mesh.material).items():
            file = path.with_name(f"{_name(path)}_{name}.png")
            with new_file(file, overwrite) as temporary:
                picture.save(temporary, "PNG", compress_level=4)
            lines.append(f"{MAPS[name]} {file.name}")
    values = [f"Kd {' '.join(f'{value:.9g}' for value in base)}", f"Pr {roughness:.9g}", f"Pm {metallic:.9g}"]
    with new_file(path.with_name(f"{_name(path)}.mtl"), overwrite) as temporary:
        temporary.write_text("\n".join([f"newmtl {_name(path)}", *values, *lines, ""]), encoding="utf-8")


def _name(path: Path) -> str:
    """Names in .obj and .mtl files have no white space."""
    return "_".join(path.stem.split())
