"""What the photos show at the points of a grid in the box: evidence of shape and colour for planes and their tokens.

The paper has no such input (`sweep_size` 0). Attention alone finds out where rays of several photos meet only after
long training; here a point's own pixels are handed to the tokens and texels that stand for it. Evidence of several
sets of photos adds up to that of all of them, at the size of one.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from .configuration_lirm import LIRMConfig


# Gathered of a point: sums over the photos that see it of the colour, of its square and of 1, the largest whiteness,
# and the largest change by the mask; and where nothing was gathered yet.
GATHERED = 9
NOTHING = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0, 0.0)

POINT_CHANNELS = 8


class LIRMSweep(nn.Module):
    """Evidence to tokens and texels of the planes.

    A token or texel stands for the column of points behind it, on its side of the axis. What is gathered of a point
    becomes a few features, and those of a column, ordered from the centre outwards, enter one linear layer per pair of
    planes.
    """

    def __init__(self, config: LIRMConfig):
        super().__init__()
        self.config = config
        self.signs = config.num_planes // 3
        depth = config.sweep_resolution // self.signs * POINT_CHANNELS
        texels = (config.plane_upsample // config.sweep_size) ** 2 * config.plane_dim
        self.point = nn.Linear(GATHERED, POINT_CHANNELS)
        self.to_tokens = nn.ModuleList(nn.Linear(depth * config.sweep_size**2, config.hidden_size) for _ in range(3))
        self.to_texels = nn.ModuleList(nn.Linear(depth, texels) for _ in range(3))
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def tokens(self, evidence: Float[Tensor, "batch points channels"]) -> Float[Tensor, "batch tokens width"]:
        """To be added to the tokens of the planes, in their order."""
        volumes = self._volumes(evidence)
        side = self.config.sweep_size
        columns = [volume.unflatten(4, (-1, side)).unflatten(3, (-1, side)) for volume in volumes]
        # [batch, signs, depth, token rows, rows, token columns, columns, channels]
        columns = [column.permute(0, 1, 3, 5, 2, 4, 6, 7).flatten(4).flatten(1, 3) for column in columns]
        return self.norm(torch.cat([layer(part) for layer, part in zip(self.to_tokens, columns, strict=True)], dim=1))

    def texels(
        self, evidence: Float[Tensor, "batch points channels"]
    ) -> Float[Tensor, "batch planes size size plane_channels"]:
        """To be added to the planes."""
        columns = [
            volume.movedim(2, 4).flatten(4) for volume in self._volumes(evidence)
        ]  # [B, signs, rows, columns, C]
        found = torch.cat([layer(part) for layer, part in zip(self.to_texels, columns, strict=True)], dim=1)
        side = self.config.plane_upsample // self.config.sweep_size
        squares = found.unflatten(-1, (side, side, -1)).transpose(3, 4)  # rows, rows of texels, columns, ...
        return squares.flatten(2, 3).flatten(3, 4)

    def _volumes(
        self, evidence: Float[Tensor, "batch points gathered"]
    ) -> list[Float[Tensor, "batch signs depth rows columns channels"]]:
        """Features of the points for each pair of planes, and on each side of its axis from the centre outwards."""
        count = evidence[..., 6:7].clamp(min=1)
        mean = evidence[..., :3] / count
        variance = (evidence[..., 3:6] / count - mean.square()).clamp(min=0)
        # the number of photos says how sure the rest is, but less and less
        found = torch.cat([mean, variance, evidence[..., 6:7].log1p(), evidence[..., 7:]], dim=-1)
        volume = F.gelu(self.point(found.to(self.point.weight.dtype)))
        volume = volume.unflatten(1, (self.config.sweep_resolution,) * 3)
        x, y, z = 1, 2, 3
        # the dropped axis, the rows and the columns of each pair of planes, as in planes_lirm.py
        return [self._sides(volume.permute(0, *axes, 4)) for axes in ((z, y, x), (y, z, x), (x, z, y))]

    def _sides(
        self, volume: Float[Tensor, "batch depth rows columns channels"]
    ) -> Float[Tensor, "batch signs half rows columns channels"]:
        if self.signs == 1:
            return volume[:, None]
        negative, positive = volume.chunk(2, dim=1)
        return torch.stack([positive, negative.flip(1)], dim=1)


@torch.no_grad()
def gather_evidence(
    config: LIRMConfig,
    images: Float[Tensor, "batch views 3 height width"],
    origins: Float[Tensor, "batch views 3 height width"],
    directions: Float[Tensor, "batch views 3 height width"],
    backgrounds: Float[Tensor, "batch views 3 height width"] | None,
    known: Float[Tensor, "batch points channels"] | None = None,
) -> Float[Tensor, "batch points channels"]:
    """What photos show at the grid's points, added to what is known of earlier ones; see `LIRMModel.encode_images`."""
    with torch.autocast(images.device.type, enabled=False):
        points = grid_points(config.box_radius, config.sweep_resolution, images.device)
        backgrounds = None if backgrounds is None else backgrounds.float()
        found = point_evidence(points, images.float(), origins.float(), directions.float(), backgrounds)
    if known is None:
        known = found.new_tensor(NOTHING).expand_as(found)
    return torch.cat([known[..., :7] + found[..., :7], torch.maximum(known[..., 7:], found[..., 7:])], dim=-1)


def grid_points(radius: float, size: int, device: torch.device) -> Float[Tensor, "points 3"]:
    """The middles of the cells of a grid of `size` per side in the box, x slowest."""
    axis = ((torch.arange(size, device=device) + 0.5) / size * 2 - 1) * radius
    return torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1).flatten(0, 2)


def point_evidence(
    points: Float[Tensor, "points 3"],
    images: Float[Tensor, "batch views 3 height width"],
    origins: Float[Tensor, "batch views 3 height width"],
    directions: Float[Tensor, "batch views 3 height width"],
    backgrounds: Float[Tensor, "batch views 3 height width"] | None,
) -> Float[Tensor, "batch points channels"]:
    """What one set of photos shows at points.

    Where a photo shows white, or where masking changed it, the object is not: one such photo is enough, hence the
    largest value over the photos.
    """
    batch, views, _, height, width = images.shape
    pixels, seen = project_points(points, origins, directions)
    grid = pixels / pixels.new_tensor([width, height]) * 2 - 1
    maps = images if backgrounds is None else torch.cat([images, backgrounds], dim=2)
    found = F.grid_sample(maps.flatten(0, 1), grid.flatten(0, 1)[:, None], padding_mode="border", align_corners=False)
    found = found[:, :, 0].unflatten(0, (batch, views)).mT  # [batch, views, points, 3 or 6]
    colors, shown = found[..., :3], seen[..., None].float()
    sums = torch.cat([colors * shown, colors.square() * shown, shown], dim=-1).sum(1)
    white = torch.where(seen, colors.amin(-1), -1.0).amax(1)[..., None]
    if backgrounds is None:
        changed = torch.zeros_like(white)
    else:
        changed = torch.where(seen, (colors - found[..., 3:]).abs().amax(-1), 0.0).amax(1)[..., None]
    return torch.cat([sums, white, changed], dim=-1)


def project_points(
    points: Float[Tensor, "points 3"],
    origins: Float[Tensor, "batch views 3 height width"],
    directions: Float[Tensor, "batch views 3 height width"],
) -> tuple[Float[Tensor, "batch views points 2"], Bool[Tensor, "batch views points"]]:
    """Pixels (x, y) in which pinhole cameras, known by their rays alone, see points, and whether they do."""
    height, width = directions.shape[-2:]
    to_world = pixel_axes(directions)
    relative = points - origins[..., 0, 0][..., None, :]
    homogeneous = relative @ torch.linalg.inv(to_world).mT
    scale = homogeneous[..., 2:]
    pixels = homogeneous[..., :2] / torch.where(scale > 0, scale, 1.0)
    inside = (pixels >= 0) & (pixels <= pixels.new_tensor([width, height]))
    return pixels, (scale[..., 0] > 0) & inside.all(-1)


def pixel_axes(
    directions: Float[Tensor, "batch views 3 height width"],
) -> Float[Tensor, "batch views 3 3"]:
    """What takes (x, y, 1), a place in the image in pixels, to a vector from the camera through it.

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
    return torch.stack([right, down, first - (right + down) / 2], dim=-1)  # of (x, y, 1), pixel centres at .5
