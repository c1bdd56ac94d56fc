"""What LGM sees: normalised images with the rays of their pixels, and the distortion of training images."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ...cameras import Cameras
from ...geometry.rays import camera_rays, pixel_centers, pluecker
from .cameras_lgm import lgm_cameras


# Mean and standard deviation of ImageNet's channels.
MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)

# Grid distortion of the authors' training: lines per axis, and how far each may move, in distances between them.
GRID_LINES = (8, 16)
GRID_STRENGTH = 0.5


def prepare_images(
    images: Float[Tensor, "*batch views 3 height width"], cameras: Cameras | None = None, size: int = 256
) -> Float[Tensor, "*batch views 9 {size} {size}"]:
    """Inputs of `LGMModel`: colours normalised as for ImageNet, then moments and directions of rays (spec B.3).

    Args:
        images: square, sRGB in [0, 1], the object on white; resized bilinearly, without anti-aliasing.
        cameras: of batch shape [*batch, V], in LGM's frame (`lgm_cameras`, `first_camera_frame`), in pixels of any
            size; by default the four inputs of the released model.
        size: config.input_size of the model.

    Raises:
        ValueError: if images are not square, or cameras do not fit them.
    """
    height, width = images.shape[-2:]
    if height != width:
        raise ValueError(
            f"images have {height}x{width} pixels; accepted are square ones, with the object in the middle (pad them "
            "with white, or use Views.fit, which changes cameras too)"
        )
    leading = tuple(images.shape[:-3])
    if cameras is None:
        four = lgm_cameras(size=size).to(images.device, images.dtype)
        if leading[-1] != len(four):
            raise ValueError(f"{leading[-1]} images without cameras; give {len(four)}, or their cameras")
        cameras = four.reshape(*[1] * (len(leading) - 1), len(four))
    elif cameras.batch_shape != leading:
        raise ValueError(f"cameras of batch shape {cameras.batch_shape} for images of batch shape {leading}")
    resized = F.interpolate(images.flatten(0, -4), (size, size), mode="bilinear", align_corners=False)
    mean, deviation = (images.new_tensor(values)[:, None, None] for values in (MEAN, DEVIATION))
    colors = ((resized - mean) / deviation).unflatten(0, leading)

    pixels = pixel_centers(size, size, images.device, images.dtype).flatten(0, 1)
    origins, directions = camera_rays(cameras.resize(size, size), pixels.expand(*cameras.batch_shape, -1, 2))
    rays = pluecker(origins, directions).mT.unflatten(-1, (size, size))  # [*batch, V, 6, size, size]
    return torch.cat([colors, rays.expand(*leading, -1, -1, -1)], dim=-3)


def distort_images(
    images: Float[Tensor, "views channels height width"],
    columns: Float[Tensor, "views lines"],
    rows: Float[Tensor, "views lines"],
) -> Float[Tensor, "views channels height width"]:
    """Stretch and squeeze images between the lines of a grid, so that views no longer agree (spec B.3).

    Args:
        images: [V, C, H, W].
        columns: [V, L], where L equally spaced vertical lines go, 0 at the left border and 1 at the right; sorted. The
            first and the last stay at the borders whatever is given.
        rows: [V, L], where the horizontal lines go.
    """
    height, width = images.shape[-2:]
    x, y = _sources(columns, width), _sources(rows, height)
    grid = torch.stack(
        [x[:, None, :].expand(-1, height, -1), y[:, :, None].expand(-1, -1, width)], dim=-1
    )  # [V, H, W, 2]
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def draw_grid(views: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Random lines for `distort_images`, columns and rows, as the authors draw them."""
    low, high = GRID_LINES
    lines = int(torch.randint(low, high + 1, (), generator=generator))
    at_rest = torch.linspace(0, 1, lines)
    moved = GRID_STRENGTH * (torch.rand(2, views, lines, generator=generator) - 0.5) / (lines - 1)
    columns, rows = (at_rest + moved).clamp(0, 1)
    return columns, rows


def _sources(lines: Float[Tensor, "views lines"], size: int) -> Float[Tensor, "views {size}"]:
    """Where each pixel of an axis is taken from, in [-1, 1]: linear between lines, which lie between pixels."""
    borders = (lines * size).long()
    borders[:, 0], borders[:, -1] = 0, size
    pixels = torch.arange(size, device=lines.device).expand(len(lines), -1).contiguous()
    cell = torch.searchsorted(borders, pixels, right=True) - 1
    start, end = borders.gather(1, cell), borders.gather(1, cell + 1)
    # both ends of a cell are pixels of it
    inside = (pixels - start) / (end - start - 1).clamp(min=1)
    return (cell + inside) * (2 / (lines.shape[1] - 1)) - 1
