"""Open Image Denoise, through the optional package pyoidn."""

import importlib.util

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


def require_denoiser() -> None:
    """Raise ImportError with the line that installs it, if there is no denoiser; it is not loaded."""
    if importlib.util.find_spec("pyoidn") is None:
        raise ImportError("denoising needs pyoidn, which is not installed: pip install pyoidn; or render without it")


def denoised(
    light: Float[Tensor, "3 height width"],
    base_color: Float[Tensor, "3 height width"],
    normals: Float[Tensor, "3 height width"],
) -> Float[Tensor, "3 height width"]:
    """Linear light without the noise of few samples.

    Args:
        light: noisy, 0 or more.
        base_color: linear, free of noise; tells texture from noise.
        normals: world space, free of noise; tell edges from noise.

    Raises:
        ImportError: if pyoidn is not installed.
    """
    require_denoiser()
    import pyoidn

    color, albedo, normal = (
        np.ascontiguousarray(values.permute(1, 2, 0).numpy(), np.float32) for values in (light, base_color, normals)
    )
    clean = pyoidn.denoise(color, albedo=albedo, normal=normal, hdr=True, clean_aux=True)
    return torch.from_numpy(np.array(clean)).permute(2, 0, 1).clamp(min=0)
