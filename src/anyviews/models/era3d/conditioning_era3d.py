"""What pipeline and training do alike to a condition image, its views and their weights in the loss."""

import torch
from diffusers import DDPMScheduler
from diffusers.models.embeddings import get_timestep_embedding
from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import StableUnCLIPImageNormalizer
from jaxtyping import Float, Shaped
from torch import Tensor


def noised_embeddings(
    embeddings: Float[Tensor, "rows dim"],
    noise: Float[Tensor, "rows dim"],
    normalizer: StableUnCLIPImageNormalizer,
    scheduler: DDPMScheduler,
) -> Float[Tensor, "rows twice_dim"]:
    """Image embeddings with noise of level 0, and the code of that level beside them.

    Args:
        embeddings: of the condition image, per row.
        noise: standard normal numbers.
        normalizer: noise is added to normalised embeddings.
        scheduler: of this noise.
    """
    level = torch.zeros(len(embeddings), dtype=torch.long, device=embeddings.device)
    mean, std = (value.to(embeddings.device, torch.float32) for value in (normalizer.mean, normalizer.std))
    noised = scheduler.add_noise((embeddings.float() - mean) / std, noise, level) * std + mean
    code = get_timestep_embedding(level, embeddings.shape[-1], flip_sin_to_cos=True, downscale_freq_shift=0)
    return torch.cat([noised, code], dim=1)


def in_rows(values: Shaped[Tensor, "objects ..."], views: int) -> Shaped[Tensor, "rows ..."]:
    """One value per object, for the rows (domain, object, view) of a batch."""
    return torch.cat([values.repeat_interleave(views, dim=0)] * 2)


def encode_normals(
    normals: Float[Tensor, "*batch 3 height width"], known: Float[Tensor, "*batch 1 height width"]
) -> Float[Tensor, "*batch 3 height width"]:
    """Normal maps as pictures on white.

    Args:
        normals: unit, in the frame of the front camera (OpenCV: x right, y down, z forward).
        known: 1 where there is a surface.
    """
    upright = normals * normals.new_tensor([1.0, -1.0, -1.0])[:, None, None]
    return (0.5 + 0.5 * upright) * known + 1 - known


def min_snr_weights(alphas_cumprod: Float[Tensor, "batch"], gamma: float | None) -> Float[Tensor, "batch"]:
    """Weights of the squared error of v-predictions, min(SNR, gamma) / (SNR + 1) (arXiv 2303.09556); 1 without gamma.

    Args:
        alphas_cumprod: share of the signal's variance, per sample.
        gamma: where the weight stops to grow with the signal; None weights all noise levels alike.
    """
    if gamma is None:
        return torch.ones_like(alphas_cumprod)
    # SNR = a / (1 - a), so SNR + 1 = 1 / (1 - a)
    return torch.minimum(alphas_cumprod, gamma * (1 - alphas_cumprod))
