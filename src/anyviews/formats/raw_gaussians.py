"""What files of Gaussians keep: logarithms of scales and logits of opacities, in 32 bits."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..gaussians import Gaussians


# The smallest scale and opacity that are written, and the largest opacity: their logarithms and logits are finite,
# and come back as the same 32-bit numbers.
SMALLEST = torch.finfo(torch.float32).tiny
LARGEST_OPACITY = 1 - 2**-24


class RawGaussians(NamedTuple):
    """Gaussians as optimisers and files keep them, float32 on the CPU.

    Args:
        means: [N, 3] in world units.
        rotations: [N, 4], quaternions (w, x, y, z).
        log_scales: [N, 3].
        opacity_logits: [N].
        spherical_harmonics: [N, K, 3].
    """

    means: Float[Tensor, "gaussians 3"]
    rotations: Float[Tensor, "gaussians 4"]
    log_scales: Float[Tensor, "gaussians 3"]
    opacity_logits: Float[Tensor, "gaussians"]
    spherical_harmonics: Float[Tensor, "gaussians coefficients 3"]


def to_raw(gaussians: Gaussians) -> RawGaussians:
    """The values to write; those of what `from_raw` makes of them are the same, bit for bit.

    Logarithms and logits are taken in 64 bits: with those of 32 bits, files would change at each saving.

    Raises:
        ValueError: if there is more than one set of Gaussians, or `validate` finds a fault.
    """
    gaussians = writable(gaussians)
    return RawGaussians(
        gaussians.means,
        gaussians.rotations,
        gaussians.scales.clamp(min=SMALLEST).double().log().float(),
        gaussians.opacities.clamp(SMALLEST, LARGEST_OPACITY).double().logit().float(),
        gaussians.spherical_harmonics,
    )


def from_raw(raw: RawGaussians, path: Path | str) -> Gaussians:
    """The Gaussians that were read from a file.

    Raises:
        ValueError: if `validate` finds a fault; the message names the file.
    """
    scales = raw.log_scales.double().exp().float()
    opacities = raw.opacity_logits.double().sigmoid().float()
    return readable(Gaussians(raw.means, raw.rotations, scales, opacities, raw.spherical_harmonics), path)


def writable(gaussians: Gaussians) -> Gaussians:
    """One valid set of Gaussians in 32 bits on the CPU.

    Raises:
        ValueError: if there is more than one set, or `validate` finds a fault.
    """
    if gaussians.batch_shape:
        raise ValueError(
            f"a file holds one set of Gaussians but the batch shape is {gaussians.batch_shape}; index it first, as "
            "gaussians[0]"
        )
    return gaussians.detach().to("cpu", torch.float32).validate()


def readable(gaussians: Gaussians, path: Path | str) -> Gaussians:
    """The same Gaussians.

    Raises:
        ValueError: if `validate` finds a fault; the message names the file.
    """
    try:
        return gaussians.validate()
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def as_numpy(raw: RawGaussians) -> dict[str, np.ndarray]:
    """The values as arrays."""
    return {name: values.numpy() for name, values in raw._asdict().items()}
