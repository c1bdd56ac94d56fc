"""MeshSurface: positions, normals and materials of a mesh where pixels show it."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ...cameras import Cameras
from ...color import linear_from_srgb, srgb_from_linear
from ...mesh import Mesh
from ..meshes.rasterize import MeshFragments
from ..meshes.textures import Texture, texture_areas
from .materials import SurfaceMaterials


# Of a mesh that says nothing about itself: a light grey, neither metal nor mirror.
BARE_COLOR, BARE_ROUGHNESS = 0.7, 1.0


class MeshSurface:
    """What is looked up of a mesh, made ready once for any number of images.

    Args:
        mesh: a valid mesh.
    """

    def __init__(self, mesh: Mesh):
        self.mesh = mesh.validate()
        self.textures: dict[str, Texture] = {}
        self.tangents = None
        material = mesh.material
        if material is None:
            return
        # light is averaged, not its display
        self.textures["base_color"] = Texture(linear_from_srgb(material.base_color.clamp(0, 1)))
        self.textures["roughness"] = Texture(material.roughness)
        self.textures["metallic"] = Texture(material.metallic)
        if material.normals is not None and mesh.texture_coordinates is not None and mesh.vertex_normals is not None:
            self.textures["normals"] = Texture(material.normals)
            self.tangents = mesh.vertex_tangents()

    def look_up(self, fragments: MeshFragments, camera: Cameras) -> tuple[Float[Tensor, "pixels 3"], SurfaceMaterials]:
        """World positions and materials of the pixels with a face, in the order of `faces[faces >= 0]`.

        Base colours, roughness and metallic are means over about the pixel. Normals are those of the surface, with
        the normal texture, on the camera's side of the face.

        Args:
            fragments: of one view.
            camera: [1], of that view.
        """
        covered = fragments.faces >= 0
        faces = self.mesh.faces[fragments.faces[covered]]  # [pixels, 3]
        barycentrics = fragments.barycentrics[covered]
        corners = self.mesh.vertices[faces]
        positions = (corners * barycentrics[..., None]).sum(1)
        areas = None
        if self.mesh.texture_coordinates is not None:
            in_camera = (corners - camera.centers[0]) @ camera.rotation[0]
            focal_area = float(camera.intrinsics[0, 0, 0] * camera.intrinsics[0, 1, 1])
            areas = texture_areas(in_camera, self.mesh.texture_coordinates[faces], barycentrics, 1 / focal_area)
        normals = self._normals(faces, barycentrics, corners, areas)
        across = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0], dim=-1)
        away = ((camera.centers - positions) * across).sum(-1, keepdim=True) < 0
        return positions, self._materials(faces, barycentrics, areas, torch.where(away, -normals, normals))

    def _materials(self, faces: Tensor, barycentrics: Tensor, areas: Tensor | None, normals: Tensor):
        """Materials of pixels with given normals."""
        count = len(faces)
        if self.mesh.material is None:
            linear, rough = normals.new_ones(count, 3), normals.new_full((count, 1), BARE_ROUGHNESS)
            metallic = torch.zeros_like(rough)
            if self.mesh.vertex_colors is None:
                linear *= BARE_COLOR
        else:
            values = [
                self._texture(name, faces, barycentrics, areas) for name in ("base_color", "roughness", "metallic")
            ]
            linear, rough, metallic = values
        if self.mesh.vertex_colors is not None:
            colors = linear_from_srgb(self.mesh.vertex_colors.clamp(0, 1))[faces]
            linear = linear * (colors * barycentrics[..., None]).sum(1)
        return SurfaceMaterials(srgb_from_linear(linear), rough, metallic, normals)

    def _texture(self, name: str, faces: Tensor, barycentrics: Tensor, areas: Tensor | None) -> Tensor:
        texture = self.textures[name]
        if self.mesh.texture_coordinates is None:
            # validated: it is the same everywhere
            return texture.levels[0].flatten().expand(len(faces), -1)
        places = (self.mesh.texture_coordinates[faces] * barycentrics[..., None]).sum(1)
        return texture.look_up(places, areas)

    def _normals(self, faces: Tensor, barycentrics: Tensor, corners: Tensor, areas: Tensor | None) -> Tensor:
        """Unit normals on the outer side."""
        if self.mesh.vertex_normals is None:
            across = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0], dim=-1)
            return F.normalize(across, dim=-1)
        if self.tangents is None:
            return F.normalize((self.mesh.vertex_normals[faces] * barycentrics[..., None]).sum(1), dim=-1)
        frames = tangent_frames(self.mesh.vertex_normals, self.tangents, faces, barycentrics)
        bent = self._texture("normals", faces, barycentrics, areas)
        return F.normalize((frames @ bent[..., None])[..., 0], dim=-1)


def tangent_frames(
    vertex_normals: Float[Tensor, "vertices 3"],
    vertex_tangents: Float[Tensor, "vertices 4"],
    faces: Tensor,
    barycentrics: Float[Tensor, "pixels 3"],
) -> Float[Tensor, "pixels 3 3"]:
    """Tangent, bitangent and normal as columns, orthonormal, where textures of normals are read and written.

    Args:
        vertex_normals: [V, 3].
        vertex_tangents: [V, 4], of `Mesh.vertex_tangents`.
        faces: [N, 3], the vertices around each pixel.
        barycentrics: [N, 3], of each pixel.
    """
    normals = F.normalize((vertex_normals[faces] * barycentrics[..., None]).sum(1), dim=-1)
    tangents = (vertex_tangents[faces] * barycentrics[..., None]).sum(1)
    along = tangents[:, :3]
    along = F.normalize(along - normals * (normals * along).sum(-1, keepdim=True), dim=-1)
    sides = torch.where(tangents[:, 3:] < 0, -1.0, 1.0)
    return torch.stack([along, torch.linalg.cross(normals, along, dim=-1) * sides, normals], dim=-1)
