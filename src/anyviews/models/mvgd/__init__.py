"""MVGD: posed photos and target cameras to novel images and scale-consistent depth."""

from ...diffusers_registry import register_with_diffusers
from .attention_mvgd import MVGDExplicitAttentionProcessor
from .configuration_mvgd import MVGD_SIZES
from .image_encoder_mvgd import MVGDImageEncoder
from .memory_mvgd import MemoryPlan, Workload, plan_memory
from .modeling_mvgd import MVGDSceneContext, MVGDTransformerModel, MVGDTransformerOutput
from .processing_mvgd import (
    NormalizedCameras,
    decode_depth,
    decode_rgb,
    encode_depth,
    encode_rgb,
    limit_scale,
    normalize_cameras,
    patchify,
    ray_map,
    unpatchify,
)
from .scheduling_mvgd import (
    check_scheduler,
    default_scheduler,
    flow_scheduler,
    noise_levels,
    set_timesteps,
    sigmoid_ddim_scheduler,
)
from .sweep_mvgd import plane_sweep


__all__ = [
    "MVGD_SIZES",
    "MVGDExplicitAttentionProcessor",
    "MVGDImageEncoder",
    "MVGDSceneContext",
    "MVGDTransformerModel",
    "MVGDTransformerOutput",
    "MemoryPlan",
    "NormalizedCameras",
    "Workload",
    "check_scheduler",
    "decode_depth",
    "decode_rgb",
    "default_scheduler",
    "encode_depth",
    "encode_rgb",
    "flow_scheduler",
    "limit_scale",
    "noise_levels",
    "normalize_cameras",
    "patchify",
    "plan_memory",
    "plane_sweep",
    "ray_map",
    "set_timesteps",
    "sigmoid_ddim_scheduler",
    "unpatchify",
]

register_with_diffusers()
