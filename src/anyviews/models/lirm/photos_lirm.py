"""What an object's photos show at points: how far outside of their silhouettes, and in which colours.

The paper has no such input (`use_photos` off). Outlines and colours that a small network would have to remember are
looked up instead: the visual hull is where signed distances start from, and a point may take its colour from photos
that face it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from .sweep_lirm import pixel_axes


# A pixel this bright in all channels may be white paint or the white behind the object.
WHITE = 0.99

# Of the neighbourhood that decides about pixels that are white with and without the mask.
NEIGHBOURHOOD = 5


@dataclass(frozen=True)
class LIRMPhotos:
    """Photos of a batch of objects, ready to be looked up.

    Args:
        maps: [B, V, 5, H, W], colours in [0, 1], beside the object those of its edge; cover in [0, 1]; and the signed
            distance to the outline in pixels, negative inside.
        cameras: [B, V, 4, 3], three rows that take points relative to the fourth to (x, y, 1) times a length.
    """

    maps: Float[Tensor, "batch views 5 height width"]
    cameras: Float[Tensor, "batch views 4 3"]

    def __getitem__(self, index: slice) -> "LIRMPhotos":
        """Those of some of the objects."""
        return LIRMPhotos(self.maps[index], self.cameras[index])

    def to(self, device: torch.device | str) -> "LIRMPhotos":
        """The same on another device."""
        return LIRMPhotos(self.maps.to(device), self.cameras.to(device))

    def outside(
        self, points: Float[Tensor, "points 3"], objects: Int[Tensor, "points"], radius: float
    ) -> Float[Tensor, "points"]:
        """Signed distance to about the visual hull of all photos, within a ball.

        Args:
            points: [N, 3].
            objects: [N], whose photos to ask, in ascending order.
            radius: of that ball around the origin.
        """
        parts = []
        for index, some in self._by_object(points, objects):
            pixels, lengths = self._project(index, some)
            distances = self._sample(index, pixels, slice(4, 5))[:, 0]
            limit = pixels.new_tensor(self.maps.shape[:-3:-1])
            beyond = (pixels - pixels.clamp(min=0).minimum(limit)).norm(dim=-1)
            distances = torch.where(beyond > 0, distances.clamp(min=0) + beyond, distances)
            width = torch.linalg.inv(self.cameras[index, :, :3])[:, :, 0].norm(dim=-1)
            distances = torch.where(lengths > 0, distances * width[:, None] * lengths, -torch.inf)
            parts.append(torch.maximum(distances.amax(0), some.norm(dim=-1) - radius))
        return torch.cat(parts)

    def look_up(
        self, points: Float[Tensor, "points 3"], objects: Int[Tensor, "points"]
    ) -> tuple[Float[Tensor, "points views 3"], Float[Tensor, "points views"], Float[Tensor, "points views 3"]]:
        """Colours in [0, 1] and cover of points [N, 3] in each photo, and unit directions towards their cameras."""
        parts = []
        for index, some in self._by_object(points, objects):
            pixels, lengths = self._project(index, some)
            found = self._sample(index, pixels, slice(0, 4)) * (lengths > 0)[:, None]
            towards = F.normalize(self.cameras[index, :, 3, None] - some, dim=-1)
            parts.append((found[:, :3].permute(2, 0, 1), found[:, 3].T, towards.transpose(0, 1)))
        return tuple(torch.cat(part) for part in zip(*parts, strict=True))

    def _by_object(self, points: Tensor, objects: Tensor) -> Iterator[tuple[int, Tensor]]:
        counts = torch.bincount(objects, minlength=len(self.maps)).tolist()
        for index, some in enumerate(points.split(counts)):
            if len(some) or not len(points):
                yield index, some

    def _project(self, index: int, points: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels (x, y) [V, N, 2] and the lengths that multiply (x, y, 1) [V, N]."""
        rows, centers = self.cameras[index].split([3, 1], dim=1)
        homogeneous = (points - centers) @ rows.mT
        lengths = homogeneous[..., 2]
        return homogeneous[..., :2] / torch.where(lengths > 0, lengths, 1.0)[..., None], lengths

    def _sample(self, index: int, pixels: Tensor, channels: slice) -> Tensor:
        """Interpolated values [V, C, N]."""
        grid = pixels / pixels.new_tensor(self.maps.shape[:-3:-1]) * 2 - 1
        maps = self.maps[index, :, channels]
        return F.grid_sample(maps, grid[:, None], padding_mode="border", align_corners=False)[:, :, 0]


@torch.no_grad()
def read_photos(
    images: Float[Tensor, "batch views 3 height width"],
    origins: Float[Tensor, "batch views 3 height width"],
    directions: Float[Tensor, "batch views 3 height width"],
    backgrounds: Float[Tensor, "batch views 3 height width"] | None,
    known: LIRMPhotos | None = None,
) -> LIRMPhotos:
    """Photos as `LIRMModel.encode_images` takes them, behind those that are known."""
    images = images.float() / 2 + 0.5
    cover = find_cover(images, None if backgrounds is None else backgrounds.float() / 2 + 0.5)
    colors = spread((images - (1 - cover)).clamp(min=0).flatten(0, 1), cover.flatten(0, 1)).clamp(max=1)
    maps = torch.cat([colors.view_as(images), cover, outline_distances(cover > 0.5)], dim=2)
    axes = pixel_axes(directions.float())
    cameras = torch.cat([torch.linalg.inv(axes), origins[..., 0, 0].float()[..., None, :]], dim=2)
    if known is not None:
        maps, cameras = torch.cat([known.maps, maps], dim=1), torch.cat([known.cameras, cameras], dim=1)
    return LIRMPhotos(maps, cameras)


def find_cover(
    images: Float[Tensor, "batch views 3 height width"],
    backgrounds: Float[Tensor, "batch views 3 height width"] | None,
) -> Float[Tensor, "batch views 1 height width"]:
    """How much of each pixel the object covers, from photos in [0, 1] with and without a mask on white."""
    white = images.amin(2, keepdim=True) > WHITE
    if backgrounds is None:
        cover = (~white).float()
    else:
        # masked = cover * colour + (1 - cover), best seen in the darkest channel
        darkest = backgrounds.argmin(2, keepdim=True)
        room = 1 - backgrounds.gather(2, darkest)
        cover = ((1 - images.gather(2, darkest)) / room.clamp(min=1e-3)).clamp(0, 1)
        white = room < 1 - WHITE
        cover = torch.where(white, 0.0, cover)
    around = F.avg_pool2d(cover.flatten(0, 1), NEIGHBOURHOOD, 1, NEIGHBOURHOOD // 2).unflatten(0, cover.shape[:2])
    return torch.where(white, (around > 0.5).float(), cover)


def spread(
    colors: Float[Tensor, "batch channels height width"], cover: Float[Tensor, "batch 1 height width"]
) -> Float[Tensor, "batch channels height width"]:
    """Colours without a background, from colours times cover: what is not covered shows what is nearby.

    The mean of ever larger squares fills what smaller ones leave open (the pull-push of S. Gortler et al., "The
    Lumigraph", 1996). Where nothing at all is covered, 0.
    """
    if min(colors.shape[-2:]) > 1:
        coarse_colors, coarse_cover = (F.avg_pool2d(part, 2, ceil_mode=True) for part in (colors, cover))
        # averages are of few covered pixels; they count as whole so that their own surroundings do not dim them
        scale = 1 / coarse_cover.clamp(min=1e-6)
        seen = (coarse_cover > 0).to(cover)
        around = F.interpolate(spread(coarse_colors * scale * seen, seen), size=colors.shape[-2:], mode="bilinear")
        return colors + (1 - cover) * around
    return colors


def outline_distances(
    masks: Bool[Tensor, "*batch height width"],
) -> Float[Tensor, "*batch height width"]:
    """Signed distance of each pixel to the outline of its mask, in pixels, negative inside."""
    found = [_distance_to(mask) - _distance_to(~mask) for mask in masks.flatten(0, -3)]
    return torch.stack(found).view(masks.shape)


def _distance_to(mask: Bool[Tensor, "height width"]) -> Float[Tensor, "height width"]:
    """Of each pixel to the edge of the nearest one in the mask; 0 inside. The diagonal where there is none."""
    height, width = mask.shape
    far = float(height + width)
    rows, columns = (torch.arange(size, device=mask.device, dtype=torch.float32) for size in (height, width))
    within = ((rows[:, None] - rows).abs()[:, :, None] + torch.where(mask, 0.0, far)).amin(1)
    squares = (within.square()[:, None] + (columns[:, None] - columns).square()).amin(2)
    return (squares.sqrt() - 0.5).clamp(min=0, max=far)
