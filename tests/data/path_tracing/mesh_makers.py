"""Small meshes for the path tracer's tests."""

import numpy as np
import trimesh
from PIL import Image
from trimesh.visual.material import PBRMaterial


def picture(*colors, size=8, mode="RGB"):
    """Equal columns of 8-bit colours from left to right."""
    columns = np.repeat(np.uint8(colors)[None], size, axis=0)
    return Image.fromarray(np.repeat(columns, size // len(colors), axis=1), mode)


def quad(material=None, uv=((0, 0), (1, 0), (1, 1), (0, 1)), offset=(0, 0, 0)):
    """A square of side 2 that faces +Z; uv of its corners from the lower left on, v upwards as trimesh has it."""
    vertices = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], float) + offset
    mesh = trimesh.Trimesh(vertices, [[0, 1, 2], [0, 2, 3]], process=False)
    if material is not None:
        mesh.visual = trimesh.visual.TextureVisuals(uv=np.array(uv, float), material=material)
    return mesh


def ball(color=(255, 255, 255, 255), roughness=1.0, metallic=0.0, subdivisions=4):
    """A sphere of one material with vertex normals."""
    mesh = trimesh.creation.icosphere(subdivisions=subdivisions)
    material = PBRMaterial(baseColorFactor=color, roughnessFactor=roughness, metallicFactor=metallic)
    mesh.visual = trimesh.visual.TextureVisuals(uv=np.zeros((len(mesh.vertices), 2)), material=material)
    # asked for once, they are written
    assert len(mesh.vertex_normals)
    return mesh


def save(mesh, path, **options):
    """Write a mesh or a scene, and give the path back."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".glb":
        path.write_bytes(trimesh.exchange.gltf.export_glb(trimesh.Scene(mesh), include_normals=True, **options))
    else:
        mesh.export(path, **options)
    return path
