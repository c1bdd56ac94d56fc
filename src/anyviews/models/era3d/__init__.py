"""Era3D: one image of an object to six normal maps and six colour images around it."""

from ...diffusers_registry import register_with_diffusers
from .autoencoder_era3d import Era3DPixelAutoencoder
from .conditioning_era3d import encode_normals, in_rows, min_snr_weights, noised_embeddings
from .configuration_era3d import (
    ERA3D_SIZES,
    FOREGROUND_SHARE,
    RELEASED_SCHEDULER,
    VIEW_AZIMUTHS,
    ZERO_SNR_SCHEDULER,
)
from .modeling_era3d import Era3DUNetModel, Era3DUNetOutput
from .prompts_era3d import Era3DPrompts


__all__ = [
    "ERA3D_SIZES",
    "Era3DPixelAutoencoder",
    "Era3DPrompts",
    "Era3DUNetModel",
    "Era3DUNetOutput",
    "FOREGROUND_SHARE",
    "RELEASED_SCHEDULER",
    "VIEW_AZIMUTHS",
    "ZERO_SNR_SCHEDULER",
    "encode_normals",
    "in_rows",
    "min_snr_weights",
    "noised_embeddings",
]

register_with_diffusers()
