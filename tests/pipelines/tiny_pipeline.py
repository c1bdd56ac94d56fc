"""The smallest MVGD pipeline with random weights everywhere, and photos for it."""

import math

import torch
from torch import Tensor, nn

from anyviews.cameras import Cameras, rigid
from anyviews.models.mvgd import MVGDImageEncoder, MVGDTransformerModel, default_scheduler
from anyviews.pipelines import MVGDPipeline


TINY = {
    "image_size": 16,
    "patch_size": 2,
    "num_blocks": 1,
    "num_layers_per_block": 1,
    "num_latents": 4,
    "latent_dim": 32,
    "num_attention_heads": 2,
    "token_dim": 16,
    "token_mlp_ratio": 2.0,
    "latent_mlp_ratio": 2.0,
    "image_feature_dim": 8,
    "image_embed_dim": 8,
    "origin_bands": 2,
    "direction_bands": 2,
    "ray_max_resolution": 4.0,
    "task_embed_dim": 4,
    "prediction_type": "sample",
    "depth_min": 0.5,
    "depth_max": 32.0,
}
FLOW = {"noise_parametrization": "flow_sigma", "prediction_type": "flow"}


def tiny_pipeline(**overrides) -> MVGDPipeline:
    """A pipeline whose output depends on all inputs: parts that start at zero or with little effect are enlarged."""
    torch.manual_seed(1)
    transformer = MVGDTransformerModel(**{**TINY, **overrides})
    for head in transformer.heads.values():
        nn.init.normal_(head.weight, std=0.3)
    transformer.image_embed.weight.data *= 3
    for name, parameter in transformer.named_parameters():
        if name.endswith(("to_q.weight", "to_k.weight", "to_v.weight", "to_out.0.weight")):
            parameter.data *= 3
    if transformer.config.latent_self_conditioning:
        nn.init.normal_(transformer.norm_previous_out.weight)
    encoder = MVGDImageEncoder("conv_stem", transformer.config.image_feature_dim)
    pipe = MVGDPipeline(encoder.eval(), transformer.eval(), default_scheduler(transformer.config))
    pipe.set_progress_bar_config(disable=True)
    return pipe


def arc_cameras(count: int, height: int = 16, width: int = 16, start: float = 0.0) -> Cameras:
    """Cameras on an arc of 40 degrees and radius 4 that look at the origin."""
    angles = torch.linspace(-0.35, 0.35, count) + start
    sine, cosine, zero, one = angles.sin(), angles.cos(), torch.zeros(count), torch.ones(count)
    rotation = torch.stack([cosine, zero, -sine, zero, one, zero, sine, zero, cosine], dim=-1).unflatten(-1, (3, 3))
    pose = rigid(rotation, torch.stack([4 * sine, zero, -4 * cosine], dim=-1))
    focal = 1.2 * max(height, width)
    intrinsics = torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    return Cameras.create(intrinsics.expand(count, 3, 3), pose, height, width)


def photos(count: int, height: int = 16, width: int = 16) -> Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(2))


def scene(views: int = 3, targets: int = 2) -> dict:
    """Arguments of a call: photos, their cameras, and target cameras between them."""
    return {
        "images": photos(views),
        "cameras": arc_cameras(views),
        "target_cameras": arc_cameras(targets, start=math.radians(3)),
        "num_inference_steps": 2,
        "ensemble_size": 1,
        "output_type": "pt",
    }


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
