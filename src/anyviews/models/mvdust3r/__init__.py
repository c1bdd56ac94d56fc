"""MV-DUSt3R+: unposed photos of a scene to points, cameras and Gaussians in one pass."""

from transformers import AutoConfig, AutoImageProcessor, AutoModel

from ...diffusers_registry import register_with_diffusers
from .configuration_mvdust3r import MVDUST3R_SIZES, MVDust3rPlusConfig
from .conversion_mvdust3r import config_of_checkpoint, convert_mvdust3r_state_dict, unused_weights
from .memory_mvdust3r import peak_bytes, plan_head_views
from .modeling_mvdust3r import MVDust3rPlusModel, MVDust3rPlusOutput
from .processing_mvdust3r import MVDust3rPlusImageProcessor, pixel_gaussians, spread_references


__all__ = [
    "MVDUST3R_SIZES",
    "MVDust3rPlusConfig",
    "MVDust3rPlusImageProcessor",
    "MVDust3rPlusModel",
    "MVDust3rPlusOutput",
    "config_of_checkpoint",
    "convert_mvdust3r_state_dict",
    "peak_bytes",
    "pixel_gaussians",
    "plan_head_views",
    "spread_references",
    "unused_weights",
]

AutoConfig.register(MVDust3rPlusConfig.model_type, MVDust3rPlusConfig, exist_ok=True)
AutoImageProcessor.register(MVDust3rPlusConfig, MVDust3rPlusImageProcessor, exist_ok=True)
AutoModel.register(MVDust3rPlusConfig, MVDust3rPlusModel, exist_ok=True)
register_with_diffusers()
