"""WorldViews: what every kind of procedural world gives."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from ...cameras import Cameras
from ...environment import Environment
from ...views import Views


@dataclass(frozen=True)
class WorldViews:
    """Views of several scenes, all of one size, in worlds where +Y is up.

    Args:
        images: [B, V, 3, H, W], sRGB in [0, 1].
        depths: [B, V, 1, H, W], z-depth in world units, 0 where nothing was hit.
        masks: [B, V, 1, H, W], 1 on the object; in rooms 1 wherever there is a surface.
        cameras: of batch shape [B, V].
        radiance: [B, V, 3, H, W], linear light without an upper bound; `images` is its display, or None.
        normals: [B, V, 3, H, W], unit surface normals in the world frame, 0 where nothing was hit, or None.
        base_colors: [B, V, 3, H, W], base colour of the surface, sRGB in [0, 1], or None.
        roughness: [B, V, 1, H, W] in [0, 1], the glTF roughness, or None.
        metallic: [B, V, 1, H, W] in [0, 1], or None.
        environments: [B, 3, He, We], equirectangular linear radiance as in `Environment`, or None.
    """

    images: Float[Tensor, "scenes views 3 height width"]
    depths: Float[Tensor, "scenes views 1 height width"]
    masks: Float[Tensor, "scenes views 1 height width"]
    cameras: Cameras
    radiance: Float[Tensor, "scenes views 3 height width"] | None = None
    normals: Float[Tensor, "scenes views 3 height width"] | None = None
    base_colors: Float[Tensor, "scenes views 3 height width"] | None = None
    roughness: Float[Tensor, "scenes views 1 height width"] | None = None
    metallic: Float[Tensor, "scenes views 1 height width"] | None = None
    environments: Float[Tensor, "scenes 3 environment_height environment_width"] | None = None

    def __len__(self) -> int:
        return len(self.images)

    def scene(self, index: int) -> Views:
        """The views of one scene, with all maps that there are."""
        names = ("images", "cameras", "masks", "depths", "radiance", "normals", "base_colors", "roughness", "metallic")
        fields = {name: getattr(self, name) for name in names}
        return Views(**{name: None if value is None else value[index] for name, value in fields.items()})

    def environment(self, index: int) -> Environment | None:
        """The light around one scene, where it is known."""
        return None if self.environments is None else Environment(self.environments[index])
