"""Pixels as bytes: how each kind of picture is stored in a row of the sample schema.

Images, masks, base colours, roughness and metallic are 8-bit: a value that is a multiple of 1/255 comes back exactly
(from PNG; JPEG is lossy), any other within 1/510. Normals are 8-bit too, within a third of a degree. Depth is a 16-bit
PNG of log2(depth) over [2**-16, 2**16] world units, so that it needs no scale of its own: the relative error is at
most DEPTH_RELATIVE_ERROR, and 0 (unknown) stays 0. On rendered rooms of 256 pixels this takes less than a tenth of the
bytes of deflated float32, and half of float16's, which is three times less precise. Radiance is a Radiance .hdr file,
within 1/256 of each pixel's largest channel.
"""

import io

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from ..formats.hdr import decode_hdr, encode_hdr


DEPTH_LOG2_RANGE = (-16.0, 16.0)
DEPTH_LEVELS = 65534  # levels above the first; the value 0 is kept for unknown depth

# half a level, and the rounding of float32 on top
DEPTH_RELATIVE_ERROR = 2 ** (32 / DEPTH_LEVELS / 2) - 1 + 1e-6

# A normal shorter than this before it is stored, or after it is read, is unknown.
SHORTEST_NORMAL = 0.5


def encode_picture(values: Float[Tensor, "channels height width"], format: str = "PNG", **options) -> bytes:
    """8-bit PNG or JPEG of 1 or 3 channels in [0, 1]."""
    pixels = values.mul(255).round().clamp(0, 255).byte().cpu().numpy()
    return _file(pixels[0] if len(pixels) == 1 else np.moveaxis(pixels, 0, -1), format=format, **options)


def decode_levels(data: bytes) -> UInt8[Tensor, "channels height width"]:
    """The levels 0 to 255 of an 8-bit picture of 1 or 3 channels; as in the file, channels lie innermost in memory.

    Raises:
        ValueError: for a picture of another kind, such as one with 16 bits or a palette.
    """
    pixels = torch.from_numpy(_opened(data, ("L", "RGB")))
    return pixels[None] if pixels.ndim == 2 else pixels.movedim(-1, 0)


def encode_depth(depth: Float[Tensor, "1 height width"]) -> bytes:
    """16-bit PNG of the logarithm of depth.

    Raises:
        ValueError: for depths that are negative, not finite, or out of range.
    """
    low, high = DEPTH_LOG2_RANGE
    known = depth > 0
    wrong = (depth < 0) | ~depth.isfinite() | (known & ((depth < 2**low) | (depth > 2**high)))
    if wrong.any():
        raise ValueError(
            f"a depth of {depth[wrong][0].item():g} cannot be stored; accepted are 0 (unknown) and "
            f"{2**low:.3g} to {2**high:g} world units (rescale the world with Cameras.scaled)"
        )
    level = torch.log2(torch.where(known, depth, 1).double()).sub(low).mul(DEPTH_LEVELS / (high - low)).round() + 1
    return _file(torch.where(known, level, 0)[0].cpu().numpy().astype(np.uint16), format="PNG")


def decode_depth(data: bytes) -> Float[Tensor, "1 height width"]:
    """Depth in world units, 0 where unknown.

    Raises:
        ValueError: for a picture that is not one of 16-bit grey values.
    """
    low, high = DEPTH_LOG2_RANGE
    level = torch.from_numpy(_opened(data, ("I;16",)).astype(np.int32))[None]
    depth = torch.exp2((level - 1).double() * ((high - low) / DEPTH_LEVELS) + low).float()
    return torch.where(level > 0, depth, 0)


def encode_normals(normals: Float[Tensor, "3 height width"]) -> bytes:
    """8-bit PNG of n * 0.5 + 0.5; black where the normal is unknown."""
    known = normals.norm(dim=0) > SHORTEST_NORMAL
    return encode_picture(torch.where(known, F.normalize(normals, dim=0) * 0.5 + 0.5, 0))


def decode_normals(data: bytes) -> Float[Tensor, "3 height width"]:
    """Unit normals, 0 where unknown."""
    stored = decode_levels(data).float() / 255
    # only the unknown is black: a unit vector never has three components of -1
    return torch.where(stored.amax(0) > 0, F.normalize(stored * 2 - 1, dim=0), 0)


def encode_radiance(radiance: Float[Tensor, "3 height width"]) -> bytes:
    """A Radiance .hdr file of linear light."""
    return encode_hdr(radiance.float().cpu())


def decode_radiance(data: bytes) -> Float[Tensor, "3 height width"]:
    """Linear light of a Radiance .hdr file."""
    return decode_hdr(data)


def _file(pixels: np.ndarray, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, **options)
    return buffer.getvalue()


def _opened(data: bytes, modes: tuple[str, ...]) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as picture:
        if picture.mode not in modes:
            raise ValueError(f"it is a picture of mode {picture.mode}; accepted are {' and '.join(modes)}")
        return np.array(picture)
