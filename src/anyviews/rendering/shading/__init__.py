"""Light on surfaces: materials of glTF under an environment."""

from .materials import SurfaceMaterials
from .relight import relight
from .shaders import prefiltered_light, shade, shade_prefiltered


__all__ = ["SurfaceMaterials", "prefiltered_light", "relight", "shade", "shade_prefiltered"]
