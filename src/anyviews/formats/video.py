"""Video: frames as mp4 (H.264, yuv420p), which every player and browser shows."""

from fractions import Fraction
from pathlib import Path

import av
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from .files import new_file
from .image_folder import to_uint8


# Constant rate factor of x264: 18 is visually close to lossless.
QUALITY = "18"


def write_video(
    images: Float[Tensor, "frames 3 height width"], path: Path | str, fps: float = 24, overwrite: bool = False
) -> None:
    """Write frames as mp4; an odd height or width is padded by one repeated row or column, as yuv420p needs.

    Args:
        images: [T, 3, H, W], sRGB in [0, 1], at least one.
        path: a file name ending in .mp4.
        fps: frames per second.
        overwrite: whether an existing file may be replaced.
    """
    if len(images) == 0:
        raise ValueError("there are no frames to write")
    if not fps > 0:
        raise ValueError(f"fps is {fps}; a positive number of frames per second is accepted")
    height, width = images.shape[-2:]
    with new_file(path, overwrite) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000))
        stream.width, stream.height = width + width % 2, height + height % 2
        stream.pix_fmt, stream.options = "yuv420p", {"crf": QUALITY}
        for image in images:
            padded = F.pad(image[None], (0, width % 2, 0, height % 2), mode="replicate")[0]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(to_uint8(padded.movedim(0, -1)), format="rgb24")))
        container.mux(stream.encode())
