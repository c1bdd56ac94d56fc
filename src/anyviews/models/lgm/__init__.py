"""LGM: four posed images of an object to 3D Gaussians in one pass."""

from transformers import AutoConfig, AutoModel

from ...diffusers_registry import register_with_diffusers
from .cameras_lgm import INPUT_AZIMUTHS, LARGEST_JITTER, first_camera_frame, jitter_cameras, lgm_cameras, lgm_frame
from .configuration_lgm import LGM_SIZES, LGMConfig
from .conversion_lgm import check_lgm_weights, config_of_lgm_checkpoint
from .lora_lgm import lgm_lora_config
from .modeling_lgm import LGMModel, LGMOutput, gaussians_from_maps
from .processing_lgm import distort_images, draw_grid, prepare_images


__all__ = [
    "INPUT_AZIMUTHS",
    "LARGEST_JITTER",
    "LGM_SIZES",
    "LGMConfig",
    "LGMModel",
    "LGMOutput",
    "check_lgm_weights",
    "config_of_lgm_checkpoint",
    "distort_images",
    "draw_grid",
    "first_camera_frame",
    "gaussians_from_maps",
    "jitter_cameras",
    "lgm_cameras",
    "lgm_frame",
    "lgm_lora_config",
    "prepare_images",
]

AutoConfig.register(LGMConfig.model_type, LGMConfig, exist_ok=True)
AutoModel.register(LGMConfig, LGMModel, exist_ok=True)
register_with_diffusers()
