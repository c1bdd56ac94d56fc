"""Image-based light: random environments."""

from .random_environments import fitted_environments, random_environments


__all__ = ["fitted_environments", "random_environments"]
