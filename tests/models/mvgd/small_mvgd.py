"""The smallest MVGD that has every part, with random weights everywhere, and inputs for it."""

import torch
from torch import Tensor, nn

from anyviews.models.mvgd import MVGDSceneContext, MVGDTransformerModel


SMALL = {
    "image_size": 16,
    "patch_size": 1,
    "num_blocks": 2,
    "num_layers_per_block": 1,
    "num_latents": 6,
    "latent_dim": 32,
    "num_attention_heads": 2,
    "token_dim": 16,
    "token_mlp_ratio": 2.0,
    "latent_mlp_ratio": 1.0,
    "image_feature_dim": 8,
    "image_embed_dim": 8,
    "origin_bands": 4,
    "direction_bands": 4,
    "ray_max_resolution": 16.0,
    "task_embed_dim": 4,
}

ARCHITECTURES = [
    {"read_mode": read_mode, "token_scene_attention": direct}
    for read_mode in ("decoupled", "joint")
    for direct in (False, True)
]


def small_model(**overrides) -> MVGDTransformerModel:
    """A model whose output depends on everything: parts that start at zero are made random."""
    model = MVGDTransformerModel(**{**SMALL, **overrides}).eval()
    for head in model.heads.values():
        nn.init.normal_(head.weight, std=0.3)
        nn.init.normal_(head.bias, std=0.3)
    if model.config.latent_self_conditioning:
        nn.init.normal_(model.norm_previous_out.weight)
    return model


def random_rays(*shape: int) -> Tensor:
    rays = torch.randn(*shape, 12)
    rays[..., 3:6] = nn.functional.normalize(rays[..., 3:6], dim=-1)
    return rays


def random_scene(model: MVGDTransformerModel, scenes: int = 2, tokens: int = 12) -> MVGDSceneContext:
    features = torch.randn(scenes, tokens, model.config.image_feature_dim)
    return MVGDSceneContext(model.embed_scene(features, random_rays(scenes, tokens)))


def random_inputs(model: MVGDTransformerModel, batch: int = 2, rgb: int = 7, depth: int = 5) -> dict:
    """Arguments of `forward` beside the scene; depth at fewer tokens than colour."""
    pixels = model.config.patch_size**2
    return {
        "sample": {"rgb": torch.randn(batch, rgb, 3 * pixels), "depth": torch.randn(batch, depth, pixels)},
        "rays": {"rgb": random_rays(batch, rgb), "depth": random_rays(batch, depth)},
        "noise_level": torch.rand(batch),
        "previous_latents": torch.randn(batch, model.config.num_latents, model.config.latent_dim),
    }


def assert_outputs_close(actual, expected, atol: float = 1e-5):
    """Predictions of every task and latents are equal up to rounding."""
    for task, prediction in expected.predictions.items():
        torch.testing.assert_close(actual.predictions[task], prediction, atol=atol, rtol=1e-4)
    torch.testing.assert_close(actual.latents, expected.latents, atol=atol, rtol=1e-4)


def output_difference(actual, expected) -> float:
    """The largest difference of any prediction."""
    return max((actual.predictions[task] - p).abs().max().item() for task, p in expected.predictions.items())
