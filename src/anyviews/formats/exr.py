"""OpenEXR pictures, through the optional package OpenEXR."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


def read_exr(path: Path, channels: Sequence[Sequence[str]]) -> Float[Tensor, "channels height width"]:
    """Channels of an .exr file.

    Args:
        path: the file.
        channels: names of channels; the first group that the file has is read.

    Raises:
        ImportError: if the optional package OpenEXR is not installed.
        ValueError: if the file is broken, or has none of the groups.
    """
    try:
        import OpenEXR
    except ImportError as error:
        raise ImportError(
            f'{path}: .exr files need OpenEXR: pip install "anyviews[data]", or convert to .hdr'
        ) from error
    try:
        found = OpenEXR.File(str(path), separate_channels=True).channels()
    except (RuntimeError, ValueError, TypeError, OSError) as error:
        raise ValueError(f"{path} cannot be read as .exr: {error}") from error
    for group in channels:
        if all(name in found for name in group):
            return torch.from_numpy(np.stack([np.asarray(found[name].pixels, dtype=np.float32) for name in group]))
    accepted = " or ".join(" ".join(group) for group in channels)
    raise ValueError(f"{path} has the channels {sorted(found)}; accepted are {accepted}")
