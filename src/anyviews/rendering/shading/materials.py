"""SurfaceMaterials: how points of surfaces reflect light."""

from dataclasses import dataclass, fields

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class SurfaceMaterials:
    """The metallic-roughness material of glTF 2.0 at points.

    Args:
        base_colors: [N, 3], sRGB in [0, 1].
        roughness: [N, 1] in [0, 1].
        metallic: [N, 1] in [0, 1], 0 for dielectrics, 1 for metals.
        normals: [N, 3], unit, in the world frame, or None.
    """

    base_colors: Float[Tensor, "points 3"]
    roughness: Float[Tensor, "points 1"]
    metallic: Float[Tensor, "points 1"]
    normals: Float[Tensor, "points 3"] | None = None

    def __len__(self) -> int:
        return len(self.base_colors)

    def __getitem__(self, index: Tensor | slice) -> "SurfaceMaterials":
        """Some of the points."""
        chosen = {field.name: getattr(self, field.name) for field in fields(self)}
        return SurfaceMaterials(**{name: None if value is None else value[index] for name, value in chosen.items()})

    @classmethod
    def cat(cls, parts: list["SurfaceMaterials"]) -> "SurfaceMaterials":
        """Concatenate points; normals are kept if all parts have them."""
        columns = {field.name: [getattr(part, field.name) for part in parts] for field in fields(cls)}
        known = {name: values for name, values in columns.items() if all(value is not None for value in values)}
        return cls(**{name: torch.cat(values) for name, values in known.items()})
