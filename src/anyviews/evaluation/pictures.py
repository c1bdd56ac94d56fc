"""Contact sheets: what a person looks at beside the scores."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers.pipelines.marigold.marigold_image_processing import MarigoldImageProcessor
from jaxtyping import Float
from PIL import Image
from torch import Tensor


def color_depth(depths: Float[Tensor, "views 1 height width"]) -> Float[Tensor, "views 3 height width"]:
    """Depth in false colours, near is warm; the log of each map is stretched to its own 2nd to 98th percentile."""
    known = depths > 0
    logs = depths.clamp(min=1e-12).log()
    colored = []
    for log, mask in zip(logs, known, strict=True):
        values = log[mask] if mask.any() else log.flatten()
        low, high = torch.quantile(values, torch.tensor([0.02, 0.98], dtype=log.dtype))
        stretched = ((log - low) / (high - low).clamp(min=1e-6)).clamp(0, 1)
        picture = MarigoldImageProcessor.colormap(stretched[0].numpy(), cmap="Spectral", bytes=False)
        colored.append(torch.from_numpy(np.asarray(picture)).movedim(-1, 0).float() * mask)
    return torch.stack(colored)


def grid_picture(
    rows: Sequence[Float[Tensor, "views _ height width"]], path: Path, columns: int, zoom: int = 3
) -> None:
    """Write a PNG with one row per list of images or depth maps, one column per view, enlarged without smoothing."""
    colored = [color_depth(row[:columns]) if row.shape[1] == 1 else row[:columns] for row in rows]
    sheet = torch.cat([torch.cat(list(row), dim=-1) for row in colored], dim=-2)
    pixels = (sheet.clamp(0, 1).movedim(0, -1).numpy() * 255).round().astype(np.uint8)
    image = Image.fromarray(pixels)
    image.resize((image.width * zoom, image.height * zoom), Image.NEAREST).save(path)
