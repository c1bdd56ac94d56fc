"""LIRM: posed photos of an object to shape, materials and radiance, refined by further photos."""

from transformers import AutoConfig, AutoModel

from ...diffusers_registry import register_with_diffusers
from .configuration_lirm import LIRM_SIZES, LIRMConfig
from .decoders_lirm import LIRMFields
from .deferred_lirm import deferred_loss
from .image_processing_lirm import LIRMImageProcessor, ObjectFrame
from .modeling_lirm import LIRMModel, LIRMOutput
from .occupancy_lirm import LIRMOccupancy
from .planes_lirm import LIRMPlanes
from .rendering_lirm import LIRMRender
from .state_lirm import LIRMState


__all__ = [
    "LIRM_SIZES",
    "LIRMConfig",
    "LIRMFields",
    "LIRMImageProcessor",
    "LIRMModel",
    "LIRMOccupancy",
    "LIRMOutput",
    "LIRMPlanes",
    "LIRMRender",
    "LIRMState",
    "ObjectFrame",
    "deferred_loss",
]

AutoConfig.register(LIRMConfig.model_type, LIRMConfig, exist_ok=True)
AutoModel.register(LIRMConfig, LIRMModel, exist_ok=True)
register_with_diffusers()
