"""Mesh: triangles with colours or a material, what surface extraction returns and every mesh exporter takes."""

from dataclasses import dataclass, fields, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from .color import linear_from_srgb, srgb_from_linear
from .geometry.similarity import Similarity


# Tangent-space normals are unit vectors; pictures of them, n * 0.5 + 0.5 in 8 bits, are told apart by their length.
LENGTH_TOLERANCE = 0.1


@dataclass(frozen=True)
class Material:
    """The metallic-roughness material of glTF 2.0, as textures whose first row is the top one; 1x1 for one value.

    The textures may differ in size; they share the mesh's texture coordinates, and repeat outside [0, 1].

    Args:
        base_color: [3, H, W], sRGB in [0, 1].
        roughness: [1, H, W] in [0, 1].
        metallic: [1, H, W] in [0, 1], 0 for dielectrics, 1 for metals.
        normals: [3, H, W], unit vectors in tangent space (x along u, y against v, z outwards), or None.
    """

    base_color: Float[Tensor, "3 base_height base_width"]
    roughness: Float[Tensor, "1 roughness_height roughness_width"]
    metallic: Float[Tensor, "1 metallic_height metallic_width"]
    normals: Float[Tensor, "3 normals_height normals_width"] | None = None

    @property
    def is_uniform(self) -> bool:
        """Whether it is the same everywhere, so that no texture coordinates are needed."""
        return all(texture.shape[-2:] == (1, 1) for texture in self._textures().values())

    def to(self, device: torch.device | str | None = None) -> "Material":
        return replace(self, **{name: texture.to(device) for name, texture in self._textures().items()})

    def validate(self) -> "Material":
        """Raise ValueError that says what is unusable; return self otherwise."""
        for name, texture in self._textures().items():
            if texture.numel() == 0 or not texture.isfinite().all():
                raise ValueError(f"{name} of the material is empty or holds NaN or infinity; give finite numbers")
            if name == "normals":
                length = texture.square().sum(0).sqrt()  # norm(dim=0) takes many times as long
                if not ((length - 1).abs() <= LENGTH_TOLERANCE).all():
                    raise ValueError(
                        f"normals of the material have lengths from {length.min():.3g} to {length.max():.3g}; "
                        "accepted are unit vectors in [-1, 1] (of a picture: 2 * value - 1, normalised)"
                    )
            elif texture.min() < -1e-3 or texture.max() > 1 + 1e-3:
                raise ValueError(
                    f"{name} of the material spans [{texture.min():.3g}, {texture.max():.3g}]; accepted is [0, 1] "
                    "(divide 8-bit values by 255)"
                )
        return self

    def _textures(self) -> dict[str, Tensor]:
        textures = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: texture for name, texture in textures.items() if texture is not None}


@dataclass(frozen=True)
class Mesh:
    """A triangle mesh in the world frame.

    Args:
        vertices: [V, 3] in world units.
        faces: [F, 3], indices of vertices, counter-clockwise seen from outside.
        vertex_colors: [V, 3], sRGB in [0, 1], or None; with a material, they multiply its base colour in linear light.
        vertex_normals: [V, 3], unit length, outwards, or None for flat triangles.
        texture_coordinates: [V, 2], u to the right and v down from the top row of the textures, or None.
        material: how the surface reflects light, or None.

    Raises:
        ValueError: if the shapes do not fit together. Values are checked by `validate`.
    """

    vertices: Float[Tensor, "vertices 3"]
    faces: Int[Tensor, "faces 3"]
    vertex_colors: Float[Tensor, "vertices 3"] | None = None
    vertex_normals: Float[Tensor, "vertices 3"] | None = None
    texture_coordinates: Float[Tensor, "vertices 2"] | None = None
    material: Material | None = None

    def __post_init__(self):
        per_vertex = [values for values in (self.vertex_colors, self.vertex_normals) if values is not None]
        shapes = [tuple(values.shape) for values in (self.vertices, self.faces, *per_vertex)]
        wrong = any(len(shape) != 2 or shape[1] != 3 for shape in shapes) or len({shapes[0], *shapes[2:]}) > 1
        coordinates = None if self.texture_coordinates is None else tuple(self.texture_coordinates.shape)
        if wrong or coordinates not in (None, (shapes[0][0], 2)):
            raise ValueError(
                f"the shapes of a mesh do not fit together: vertices {shapes[0]}, faces {shapes[1]}, colors and "
                f"normals {shapes[2:]}, texture coordinates {coordinates}; accepted are [V, 3], [F, 3] for the faces "
                "and [V, 2] for the texture coordinates"
            )

    def __len__(self) -> int:
        """The number of faces."""
        return len(self.faces)

    def validate(self) -> "Mesh":
        """Raise ValueError that says what is unusable; return self otherwise."""
        if len(self.faces) == 0:
            raise ValueError("the mesh has no faces; give at least one triangle")
        for name in ("vertices", "vertex_colors", "vertex_normals", "texture_coordinates"):
            values = getattr(self, name)
            if values is not None and not values.isfinite().all():
                raise ValueError(f"{name} of the mesh hold NaN or infinity; accepted are finite numbers")
        low, high = (int(bound) for bound in torch.aminmax(self.faces))
        if low < 0 or high >= len(self.vertices):
            raise ValueError(f"faces name vertices {low} to {high}; accepted are 0 to {len(self.vertices) - 1}")
        if self.material is not None:
            self.material.validate()
            if self.texture_coordinates is None and not self.material.is_uniform:
                raise ValueError("the material has textures but the mesh has no texture_coordinates; give [V, 2]")
        return self

    def to(self, device: torch.device | str | None = None) -> "Mesh":
        moved = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: value.to(device) for name, value in moved.items() if value is not None})

    def transform(self, similarity: Similarity) -> "Mesh":
        """The mesh in another world.

        Args:
            similarity: of batch shape [], from this world to the other.
        """
        normals = self.vertex_normals
        return replace(
            self,
            vertices=similarity.apply(self.vertices),
            vertex_normals=None if normals is None else normals @ similarity.rotation.mT,
        )

    def base_colors_at_vertices(self) -> Float[Tensor, "vertices 3"] | None:
        """[V, 3], sRGB: the vertex colours, or those of the nearest texels of the material; None if there are none."""
        if self.material is None:
            return self.vertex_colors
        texture = self.material.base_color.clamp(0, 1)
        if self.texture_coordinates is None:
            colors = texture.flatten().expand(len(self.vertices), 3)
        else:
            height, width = texture.shape[-2:]
            # textures repeat
            column, row = (self.texture_coordinates % 1).unbind(-1)
            texels = (row * height).long().clamp(max=height - 1), (column * width).long().clamp(max=width - 1)
            colors = texture[:, texels[0], texels[1]].mT
        if self.vertex_colors is None:
            return colors
        return srgb_from_linear(linear_from_srgb(colors) * linear_from_srgb(self.vertex_colors.clamp(0, 1)))

    def vertex_tangents(self) -> Float[Tensor, "vertices 4"]:
        """Where u grows at each vertex: a unit vector across the normal, and 1 or -1 for the side of the bitangent.

        The mean over the corners at the vertex, weighted by their angles, as glTF 2.0 asks of whoever makes tangents
        (section 3.7.2.1, MikkTSpace), but that vertices are as many as the mesh has: one where u is mirrored has the
        tangent of its larger side. The bitangent, along which v falls, is cross(normal, tangent) * side.

        Raises:
            ValueError: if the mesh has no normals or no texture coordinates.
        """
        if self.vertex_normals is None or self.texture_coordinates is None:
            raise ValueError("tangents need vertex_normals and texture_coordinates; the mesh lacks one of them")
        corners, places = self.vertices[self.faces].double(), self.texture_coordinates[self.faces].double()
        edges = corners[:, 1:] - corners[:, :1]
        (du1, dv1), (du2, dv2) = (places[:, 1] - places[:, 0]).T, (places[:, 2] - places[:, 0]).T
        area = du1 * dv2 - du2 * dv1
        along_u = (edges[:, 0] * dv2[:, None] - edges[:, 1] * dv1[:, None]) * area.sign()[:, None]
        along_u = F.normalize(along_u, dim=-1)
        normals = F.normalize(self.vertex_normals.double(), dim=-1)
        tangents = torch.zeros_like(normals)
        # pictures count v downwards: y of tangent space is against v
        sides = torch.zeros_like(normals[:, 0])
        for corner in range(3):
            ahead, behind = corners[:, (corner + 1) % 3], corners[:, (corner + 2) % 3]
            ahead, behind = (F.normalize(other - corners[:, corner], dim=-1) for other in (ahead, behind))
            angle = (ahead * behind).sum(-1).clamp(-1, 1).acos()
            tangents.index_add_(0, self.faces[:, corner], along_u * angle[:, None])
            sides.index_add_(0, self.faces[:, corner], -area.sign() * angle)
        tangents = tangents - normals * (normals * tangents).sum(-1, keepdim=True)
        # any direction where none is said
        least = torch.eye(3, dtype=normals.dtype, device=normals.device)[normals.abs().argmin(-1)]
        unsaid = torch.linalg.cross(normals, least, dim=-1)
        tangents = torch.where(tangents.norm(dim=-1, keepdim=True) > 1e-9, tangents, unsaid)
        sides = torch.where(sides < 0, -1.0, 1.0)[:, None]
        return torch.cat([F.normalize(tangents, dim=-1), sides], dim=-1).to(self.vertices)
