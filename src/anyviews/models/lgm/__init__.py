"""LGM: four posed images of an object to 3D Gaussians in one pass."""

from .configuration_lgm import LGM_SIZES, LGMConfig
from .modeling_lgm import LGMModel, LGMOutput, gaussians_from_maps


__all__ = ["LGM_SIZES", "LGMConfig", "LGMModel", "LGMOutput", "gaussians_from_maps"]
