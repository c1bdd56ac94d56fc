"""What the photos show at the points of a grid in the box: evidence of shape and colour for the tokens of the planes.

The paper has no such input (`sweep_size` 0). Attention alone finds out where rays of several photos meet only after
long training; here a point's own pixels are handed to the tokens that stand for it.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from .configuration_lirm import LIRMConfig


# mean and variance of the colour, the largest whiteness, the largest change by the mask, and the share of photos
CHANNELS = 9


class LIRMSweep(nn.Module):
    """Evidence of one set of photos for every token of the planes.

    A token stands for a column of points behind its square of the plane, on its side of the axis. The features of
    these points, ordered from the centre outwards, enter one linear layer per pair of planes.
    """

    def __init__(self, config: LIRMConfig):
        super().__init__()
        self.config = config
        self.signs = config.num_planes // 3
        column = config.sweep_size**2 * (config.sweep_resolution // self.signs)
        self.pairs = nn.ModuleList(nn.Linear(column * CHANNELS, config.hidden_size) for _ in range(3))
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(
        self,
        images: Float[Tensor, "batch views 3 height width"],
        origins: Float[Tensor, "batch views 3 height width"],
        directions: Float[Tensor, "batch views 3 height width"],
        backgrounds: Float[Tensor, "batch views 3 height width"] | None,
    ) -> Float[Tensor, "batch tokens channels"]:
        """Tokens in the order of the planes' own, see `LIRMModel.encode_images` for the arguments."""
        size = self.config.sweep_resolution
        with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
            points = grid_points(self.config.box_radius, size, images.device)
            features = point_features(points, images.float(), origins.float(), directions.float(), backgrounds)
        x, y, z = 1, 2, 3
        volume = features.unflatten(1, (size, size, size))
        # the dropped axis, the rows and the columns of each pair of planes, as in planes_lirm.py
        tokens = [
            linear(self._columns(volume.permute(0, *axes, 4)).to(linear.weight.dtype))
            for linear, axes in zip(self.pairs, ((z, y, x), (y, z, x), (x, z, y)), strict=True)
        ]
        return self.norm(torch.cat(tokens, dim=1))

    def _columns(
        self, volume: Float[Tensor, "batch depth rows columns channels"]
    ) -> Float[Tensor, "batch tokens values"]:
        """The points behind each token of the planes of one pair."""
        if self.signs == 2:
            negative, positive = volume.chunk(2, dim=1)
            volume = torch.stack([positive, negative.flip(1)], dim=1)
        else:
            volume = volume[:, None]
        side = self.config.sweep_size
        columns = volume.unflatten(4, (-1, side)).unflatten(3, (-1, side))
        # [batch, signs, depth, token rows, rows, token columns, columns, channels]
        return columns.permute(0, 1, 3, 5, 2, 4, 6, 7).flatten(4).flatten(1, 3)


def grid_points(radius: float, size: int, device: torch.device) -> Float[Tensor, "points 3"]:
    """The middles of the cells of a grid of `size` per side in the box, x slowest."""
    axis = ((torch.arange(size, device=device) + 0.5) / size * 2 - 1) * radius
    return torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1).flatten(0, 2)


def point_features(
    points: Float[Tensor, "points 3"],
    images: Float[Tensor, "batch views 3 height width"],
    origins: Float[Tensor, "batch views 3 height width"],
    directions: Float[Tensor, "batch views 3 height width"],
    backgrounds: Float[Tensor, "batch views 3 height width"] | None,
) -> Float[Tensor, "batch points channels"]:
    """What all photos show at points.

    Where a photo shows white, or where masking changed it, the object is not: one such photo is enough, hence the
    largest value over the photos.
    """
    batch, views, _, height, width = images.shape
    pixels, seen = project_points(points, origins, directions)
    grid = pixels / pixels.new_tensor([width, height]) * 2 - 1
    maps = images if backgrounds is None else torch.cat([images, backgrounds.float()], dim=2)
    found = F.grid_sample(maps.flatten(0, 1), grid.flatten(0, 1)[:, None], padding_mode="border", align_corners=False)
    found = found[:, :, 0].unflatten(0, (batch, views)).mT  # [batch, views, points, 3 or 6]
    colors, shown = found[..., :3], seen[..., None].float()
    count = shown.sum(1)
    mean = (colors * shown).sum(1) / count.clamp(min=1)
    variance = ((colors - mean[:, None]).square() * shown).sum(1) / count.clamp(min=1)
    white = torch.where(seen, colors.amin(-1), -1.0).amax(1)[..., None]
    if backgrounds is None:
        changed = torch.zeros_like(white)
    else:
        changed = torch.where(seen, (colors - found[..., 3:]).abs().amax(-1), 0.0).amax(1)[..., None]
    return torch.cat([mean, variance, white, changed, count / views], dim=-1)


def project_points(
    points: Float[Tensor, "points 3"],
    origins: Float[Tensor, "batch views 3 height width"],
    directions: Float[Tensor, "batch views 3 height width"],
) -> tuple[Float[Tensor, "batch views points 2"], Bool[Tensor, "batch views points"]]:
    """Pixels (x, y) in which pinhole cameras, known by their rays alone, see points, and whether they do.

    The pixels' rays meet any plane across the viewing direction in a grid of parallelograms, which the rays of the
    four corners determine up to its size.
    """
    height, width = directions.shape[-2:]
    top_left, top_right = directions[..., 0, 0], directions[..., 0, -1]
    bottom_left, bottom_right = directions[..., -1, 0], directions[..., -1, -1]
    # lengths of the corners' rays up to that plane, where the last is 1: top right + bottom left - top left = it
    corners = torch.stack([-top_left, top_right, bottom_left], dim=-1)
    lengths = torch.linalg.solve(corners, bottom_right)
    first = top_left * lengths[..., :1]
    right = (top_right * lengths[..., 1:2] - first) / (width - 1)
    down = (bottom_left * lengths[..., 2:] - first) / (height - 1)
    to_world = torch.stack([right, down, first - (right + down) / 2], dim=-1)  # of (x, y, 1), pixel centres at .5
    relative = points - origins[..., 0, 0][..., None, :]
    homogeneous = relative @ torch.linalg.inv(to_world).mT
    scale = homogeneous[..., 2:]
    pixels = homogeneous[..., :2] / torch.where(scale > 0, scale, 1.0)
    inside = (pixels >= 0) & (pixels <= pixels.new_tensor([width, height]))
    return pixels, (scale[..., 0] > 0) & inside.all(-1)
