"""Image-based light: random environments, and GGX materials lit by them without noise."""

from .ggx import gltf_brdf
from .light import Light
from .random_environments import fitted_environments, random_environments


__all__ = ["Light", "fitted_environments", "gltf_brdf", "random_environments"]
