"""The smallest Era3D with random weights everywhere, and inputs for it."""

import torch
from diffusers import DDIMScheduler, DDPMScheduler
from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import StableUnCLIPImageNormalizer
from torch import Tensor
from transformers import CLIPImageProcessorPil, CLIPVisionConfig, CLIPVisionModelWithProjection

from anyviews.models.era3d import RELEASED_SCHEDULER, Era3DPixelAutoencoder, Era3DPrompts, Era3DUNetModel
from anyviews.models.era3d.configuration_era3d import (
    ATTENTION_DOWN_BLOCK,
    ATTENTION_UP_BLOCK,
    PLAIN_DOWN_BLOCK,
    PLAIN_UP_BLOCK,
)
from anyviews.pipelines.pipeline_era3d import Era3DPipeline


SMALL = {
    "sample_size": 8,
    "in_channels": 24,
    "out_channels": 12,
    "block_out_channels": (8, 16),
    "down_block_types": (ATTENTION_DOWN_BLOCK, PLAIN_DOWN_BLOCK),
    "up_block_types": (PLAIN_UP_BLOCK, ATTENTION_UP_BLOCK),
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "attention_head_dim": (2, 2),
    "cross_attention_dim": 6,
    "projection_class_embeddings_input_dim": 16,
    "regress_elevation": False,
    "regress_focal_length": False,
}
REGRESSING = {"regress_elevation": True, "regress_focal_length": True, "num_regress_blocks": 1}


def small_unet(**overrides) -> Era3DUNetModel:
    """A U-Net whose output depends on all inputs: what starts at zero is filled."""
    torch.manual_seed(1)
    unet = Era3DUNetModel(**{**SMALL, **overrides}).eval()
    for name, parameter in unet.named_parameters():
        if name.endswith("attn_mv.to_out.0.weight"):
            torch.nn.init.normal_(parameter, std=0.3)
    return unet


def unet_inputs(objects: int = 1, copies: int = 1, **overrides) -> dict[str, Tensor]:
    """Random arguments of the U-Net; rows are (domain, copy, object, view)."""
    rows = 12 * objects * copies
    generator = torch.Generator().manual_seed(2)
    inputs = {
        "sample": torch.randn(rows, 24, 8, 8, generator=generator),
        "timestep": torch.tensor(500),
        "encoder_hidden_states": torch.randn(12, 3, 6, generator=generator),
        "class_labels": torch.randn(rows, 16, generator=generator),
    }
    return {**inputs, **overrides}


def small_pipeline(**overrides) -> Era3DPipeline:
    """A pipeline that generates 16 pixels."""
    torch.manual_seed(1)
    clip = CLIPVisionConfig(
        image_size=16, patch_size=8, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        projection_dim=8,
    )  # fmt: skip
    pipe = Era3DPipeline(
        image_encoder=CLIPVisionModelWithProjection(clip).eval(),
        feature_extractor=CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}),
        image_normalizer=StableUnCLIPImageNormalizer(8),
        image_noising_scheduler=DDPMScheduler(beta_schedule="squaredcos_cap_v2"),
        vae=Era3DPixelAutoencoder(2),
        unet=small_unet(**overrides),
        prompts=Era3DPrompts(6, 2, 6),
        scheduler=DDIMScheduler(**RELEASED_SCHEDULER),
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def photo(size: int = 32, seed: int = 3) -> Tensor:
    """An image [4, size, size] with an opaque ellipse in front of nothing."""
    colors = torch.rand(3, size, size, generator=torch.Generator().manual_seed(seed))
    line = (torch.arange(size) + 0.5) / size * 2 - 1
    alpha = (line[:, None] ** 2 / 0.5 + line[None] ** 2 / 0.9 < 0.8).float()
    return torch.cat([colors, alpha[None]])


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
