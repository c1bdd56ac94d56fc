"""Mesh: triangles with colours, what surface extraction returns and every mesh exporter takes."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Mesh:
    """A triangle mesh in the world frame.

    Args:
        vertices: [V, 3] in world units.
        faces: [F, 3], indices of vertices, counter-clockwise seen from outside.
        vertex_colors: [V, 3], sRGB in [0, 1], or None.
        vertex_normals: [V, 3], unit length, outwards, or None.

    Raises:
        ValueError: if the shapes do not fit together. Values are checked by `validate`.
    """

    vertices: Float[Tensor, "vertices 3"]
    faces: Int[Tensor, "faces 3"]
    vertex_colors: Float[Tensor, "vertices 3"] | None = None
    vertex_normals: Float[Tensor, "vertices 3"] | None = None

    def __post_init__(self):
        per_vertex = [values for values in (self.vertex_colors, self.vertex_normals) if values is not None]
        shapes = [tuple(values.shape) for values in (self.vertices, self.faces, *per_vertex)]
        if any(len(shape) != 2 or shape[1] != 3 for shape in shapes) or len({shapes[0], *shapes[2:]}) > 1:
            raise ValueError(
                f"the shapes of a mesh do not fit together: vertices {shapes[0]}, faces {shapes[1]}, colors and "
                f"normals {shapes[2:]}; accepted are [V, 3] for all but the faces, and [F, 3] for these"
            )

    def __len__(self) -> int:
        """The number of faces."""
        return len(self.faces)

    def validate(self) -> "Mesh":
        """Raise ValueError that says what is unusable; return self otherwise."""
        if len(self.faces) == 0:
            raise ValueError("the mesh has no faces; give at least one triangle")
        for name in ("vertices", "vertex_colors", "vertex_normals"):
            values = getattr(self, name)
            if values is not None and not values.isfinite().all():
                raise ValueError(f"{name} of the mesh hold NaN or infinity; accepted are finite numbers")
        low, high = (int(bound) for bound in torch.aminmax(self.faces))
        if low < 0 or high >= len(self.vertices):
            raise ValueError(f"faces name vertices {low} to {high}; accepted are 0 to {len(self.vertices) - 1}")
        return self
