"""Sizes and schedules of Era3D, the fields of its U-Net that the released configurations hold, and their checks."""

from typing import Any

from ..configuration import check_positive


# The order of views everywhere: azimuth in degrees, counter-clockwise seen from above; 90 is the viewer's right.
VIEW_AZIMUTHS = {"front": 0, "front_right": 45, "right": 90, "back": 180, "left": 270, "front_left": 315}

# Share of the picture's side that the object's longer side takes in a condition image.
FOREGROUND_SHARE = 420 / 512

ATTENTION_DOWN_BLOCK, PLAIN_DOWN_BLOCK = "CrossAttnDownBlockMV2D", "DownBlock2D"
ATTENTION_UP_BLOCK, PLAIN_UP_BLOCK = "CrossAttnUpBlockMV2D", "UpBlock2D"

# tiny: for tests and a CPU; small: one GPU; base: the released model.
ERA3D_SIZES = {
    "tiny": {
        "sample_size": 16,
        "in_channels": 24,
        "out_channels": 12,
        "block_out_channels": (32, 64, 128),
        "down_block_types": (PLAIN_DOWN_BLOCK, ATTENTION_DOWN_BLOCK, ATTENTION_DOWN_BLOCK),
        "up_block_types": (ATTENTION_UP_BLOCK, ATTENTION_UP_BLOCK, PLAIN_UP_BLOCK),
        "layers_per_block": 1,
        "attention_head_dim": (2, 2, 4),
        "norm_num_groups": 8,
        "cross_attention_dim": 32,
        "projection_class_embeddings_input_dim": 128,
        "regress_elevation": False,
        "regress_focal_length": False,
    },
    "small": {
        "sample_size": 32,
        "in_channels": 24,
        "out_channels": 12,
        "block_out_channels": (128, 256, 512),
        "down_block_types": (ATTENTION_DOWN_BLOCK, ATTENTION_DOWN_BLOCK, PLAIN_DOWN_BLOCK),
        "up_block_types": (PLAIN_UP_BLOCK, ATTENTION_UP_BLOCK, ATTENTION_UP_BLOCK),
        "attention_head_dim": (2, 4, 8),
        "cross_attention_dim": 64,
        "projection_class_embeddings_input_dim": 256,
        "regress_elevation": False,
        "regress_focal_length": False,
    },
    "base": {},
}

# The scheduler that the released checkpoints hold.
RELEASED_SCHEDULER = {
    "num_train_timesteps": 1000,
    "beta_schedule": "linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "prediction_type": "v_prediction",
    "timestep_spacing": "leading",
    "steps_offset": 1,
    "clip_sample": False,
    "set_alpha_to_one": False,
}

# The same noise for models that are trained from nothing, rescaled so that the last step is pure noise (Lin et al.,
# arXiv 2305.08891): else pictures on white start from noise that is darker than any that was seen in training.
ZERO_SNR_SCHEDULER = {**RELEASED_SCHEDULER, "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}

POSITIVE = ("sample_size", "in_channels", "out_channels", "layers_per_block", "norm_num_groups", "num_views")

# Fields of released configurations that change nothing here, whatever their value.
_NO_EFFECT = {
    "sparse_mv_attention", "cd_attention_last", "use_dino", "upcast_attention", "num_attention_heads",
    "addition_downsample", "addition_channels", "addition_embed_type_num_heads",
    "projection_camera_embeddings_input_dim",
    # bookkeeping of the averaged weights
    "decay", "inv_gamma", "min_decay", "optimization_step", "power", "update_after_step", "use_ema_warmup",
}  # fmt: skip

# Fields with a single supported value.
_FIXED = {
    "mid_block_type": "UNetMidBlockMV2DCrossAttn",
    "selfattn_block": "self_rowwise",
    "multiview_attention": True,
    "mvcd_attention": True,
    "cd_attention_mid": False,
    "use_linear_projection": True,
    "class_embed_type": "projection",
    "class_embeddings_concat": False,
    "act_fn": "silu",
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "time_embedding_type": "positional",
    "resnet_time_scale_shift": "default",
    "resnet_skip_time_act": False,
    "resnet_out_scale_factor": 1.0,
    "mid_block_scale_factor": 1,
    "downsample_padding": 1,
    "conv_in_kernel": 3,
    "conv_out_kernel": 3,
    "center_input_sample": False,
    "only_cross_attention": False,
    "dual_cross_attention": False,
}


def supported_fields(config: dict[str, Any]) -> dict[str, Any]:
    """A released configuration without the fields that have no effect or a single supported value.

    Args:
        config: of a U-Net, released or saved by this package.

    Raises:
        ValueError: naming a field whose value is not supported.
    """
    kept = {}
    for name, value in config.items():
        if name in _NO_EFFECT:
            continue
        if name not in _FIXED:
            # what the released configurations do not use is null there
            if value is not None:
                kept[name] = value
        elif value != _FIXED[name]:
            raise ValueError(f"{name}={value!r} is not supported by Era3DUNetModel; accepted is {_FIXED[name]!r}")
    return kept


def validate_config(config: Any) -> None:
    """Raise ValueError that names the first field of an `Era3DUNetModel` configuration with an impossible value."""
    check_positive(config, POSITIVE)
    levels = len(config.block_out_channels)
    accepted = {
        "down_block_types": (ATTENTION_DOWN_BLOCK, PLAIN_DOWN_BLOCK),
        "up_block_types": (ATTENTION_UP_BLOCK, PLAIN_UP_BLOCK),
    }
    for field, names in accepted.items():
        unknown = set(config[field]) - set(names)
        if unknown:
            raise ValueError(f"{field} holds {sorted(unknown)}; accepted are {', '.join(names)}")
    for field in (*accepted, "attention_head_dim"):
        if len(config[field]) != levels:
            raise ValueError(f"{field}={config[field]} must have one entry per level, {levels} as block_out_channels")
    for channels, heads in zip(config.block_out_channels, config.attention_head_dim, strict=True):
        if channels % heads or channels % config.norm_num_groups:
            raise ValueError(
                f"block_out_channels holds {channels}, which must be a multiple of its {heads} heads "
                f"(attention_head_dim) and of norm_num_groups={config.norm_num_groups}"
            )
    if config.sample_size % 2 ** (levels - 1):
        raise ValueError(f"sample_size={config.sample_size} must be a multiple of {2 ** (levels - 1)}")
    if config.regress_elevation != config.regress_focal_length:
        raise ValueError("regress_elevation and regress_focal_length must be equal: both regressors, or none")
