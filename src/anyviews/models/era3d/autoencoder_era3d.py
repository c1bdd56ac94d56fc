"""Pixels as latents: what small checkpoints have in the place of a trained autoencoder."""

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.autoencoders.vae import DecoderOutput, IdentityDistribution
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from diffusers.models.modeling_utils import ModelMixin
from diffusers.utils.accelerate_utils import apply_forward_hook
from jaxtyping import Float
from torch import Tensor

from ..strict_loading import StrictLoadingMixin


class Era3DPixelAutoencoder(StrictLoadingMixin, ModelMixin, ConfigMixin):
    """Takes the part of `AutoencoderKL` without loss: blocks of pixels become channels, centred and scaled.

    Args:
        block: pixels along the side of a block.
        scaling_factor: as in `AutoencoderKL`; latents are multiplied by it.
    """

    @register_to_config
    def __init__(self, block: int = 2, scaling_factor: float = 1.0):
        super().__init__()
        # of pictures on white in [-1, 1]: mostly white, and the rest widely spread
        self.register_buffer("mean", torch.tensor(0.5))
        self.register_buffer("std", torch.tensor(0.6))

    @apply_forward_hook
    def encode(self, images: Float[Tensor, "batch 3 height width"]) -> AutoencoderKLOutput:
        """Latents [batch, 3 * block**2, height / block, width / block] of images in [-1, 1]."""
        latents = F.pixel_unshuffle((images - self.mean) / self.std, self.config.block)
        return AutoencoderKLOutput(latent_dist=IdentityDistribution(latents))

    @apply_forward_hook
    def decode(self, latents: Float[Tensor, "batch channels height width"]) -> DecoderOutput:
        """The inverse of `encode`."""
        return DecoderOutput(sample=F.pixel_shuffle(latents, self.config.block) * self.std + self.mean)
