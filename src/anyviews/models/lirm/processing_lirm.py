"""From photos of an object to what LIRM reads: the object's frame, square crops around it, and the crops' rays."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from ...cameras import Cameras
from ...geometry.rays import camera_rays, pixel_centers
from ...geometry.similarity import Similarity


# A pixel whose mask is above this belongs to the object.
MASK_THRESHOLD = 0.5

# Of the sphere that holds the object, in the object frame.
OBJECT_RADIUS = 0.5


@dataclass(frozen=True)
class LIRMInputs:
    """Photos as the model reads them.

    Args:
        images: [V, 3, S, S], sRGB in [-1, 1], the object on white.
        backgrounds: [V, 3, S, S], the same photos before masking.
        origins, directions: [V, 3, S, S], rays through the pixels' centres in the object frame; directions are unit.
    """

    images: Float[Tensor, "views 3 size size"]
    backgrounds: Float[Tensor, "views 3 size size"]
    origins: Float[Tensor, "views 3 size size"]
    directions: Float[Tensor, "views 3 size size"]


def object_frame(
    center: Float[Tensor, "3"], radius: float, first_rotation: Float[Tensor, "3 3"], bbox_radius: float = OBJECT_RADIUS
) -> Similarity:
    """The map of the user's world to the object frame.

    Args:
        center: of the object, in the world.
        radius: of a sphere around it that holds the object, in world units.
        first_rotation: camera-to-world rotation of the first photo, whose axes become those of the frame, so that
            the world's arbitrary orientation does not matter.
        bbox_radius: the radius of that sphere in the object frame.
    """
    scale = torch.as_tensor(bbox_radius / radius, dtype=center.dtype)
    rotation = first_rotation.mT
    return Similarity(scale, rotation, -scale * (rotation @ center))


def visible_bounds(
    depths: Float[Tensor, "views 1 height width"], masks: Float[Tensor, "views 1 height width"], cameras: Cameras
) -> tuple[Float[Tensor, "3"], float]:
    """Centre and radius of a sphere around everything that masks and known depth show, in the world.

    Raises:
        ValueError: if no pixel of a mask has a known depth.
    """
    points = visible_points(depths, masks, cameras)[0]
    center = (points.amin(0) + points.amax(0)) / 2
    return center, float((points - center).norm(dim=-1).max())


def visible_points(
    depths: Float[Tensor, "views 1 height width"], masks: Float[Tensor, "views 1 height width"], cameras: Cameras
) -> tuple[Float[Tensor, "points 3"], Bool[Tensor, "views height width"]]:
    """World points that masks and known depth show, and the pixels they are seen in, in the same order.

    Raises:
        ValueError: if no pixel of a mask has a known depth.
    """
    pixels = pixel_centers(*depths.shape[-2:], depths.device).flatten(0, 1).expand(len(depths), -1, 2)
    kept = ((depths > 0) & (masks > MASK_THRESHOLD))[:, 0]
    if not kept.any():
        raise ValueError("no pixel of a mask has a known depth; the object's place is not known")
    return cameras.unproject(pixels, depths.flatten(1))[kept.flatten(1)], kept


def mask_squares(masks: Float[Tensor, "views 1 height width"]) -> Float[Tensor, "views 3"]:
    """The smallest square around each mask: left, top and side in pixels.

    The side is the larger extent. A square is moved along its other extent into the photo as far as it fits.

    Raises:
        ValueError: if a mask holds no pixel above 0.5.
    """
    height, width = masks.shape[-2:]
    squares = []
    for index, mask in enumerate(masks[:, 0] > MASK_THRESHOLD):
        rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
        if len(rows) == 0:
            raise ValueError(f"mask {index} is empty; accepted are masks that are above 0.5 on the object")
        top, bottom = int(rows[0]), int(rows[-1]) + 1
        left, right = int(columns[0]), int(columns[-1]) + 1
        side = max(bottom - top, right - left)
        left, top = _inside((left + right - side) / 2, side, width), _inside((top + bottom - side) / 2, side, height)
        squares.append([left, top, float(side)])
    return torch.tensor(squares, device=masks.device)


def crop_square(
    maps: Float[Tensor, "channels height width"], square: Float[Tensor, "3"], size: int, fill: float
) -> Float[Tensor, "channels size size"]:
    """A square of a picture, whose sides are rounded to pixels, resized with anti-aliasing.

    Args:
        maps: the picture.
        square: left, top and side in pixels; it may leave the picture.
        size: pixels per side of the result.
        fill: what is beyond the picture.
    """
    left, top, side = (int(value) for value in square.round())
    height, width = maps.shape[-2:]
    padding = (max(0, -left), max(0, left + side - width), max(0, -top), max(0, top + side - height))
    padded = F.pad(maps, padding, value=fill)
    left, top = left + padding[0], top + padding[2]
    window = padded[:, top : top + side, left : left + side]
    return F.interpolate(window[None], (size, size), mode="bilinear", antialias=True, align_corners=False)[0]


def square_rays(
    cameras: Cameras, squares: Float[Tensor, "views 3"], size: int
) -> tuple[Float[Tensor, "views 3 size size"], Float[Tensor, "views 3 size size"]]:
    """Origins and unit directions of the rays through the pixels of squares, as `crop_square` rounds them."""
    squares = squares.round()
    unit = pixel_centers(size, size, squares.device).flatten(0, 1) / size
    pixels = squares[:, None, :2] + unit * squares[:, None, 2:]
    origins, directions = camera_rays(cameras, pixels)
    return tuple(part.mT.unflatten(-1, (size, size)) for part in (origins, directions))


def crop_inputs(
    images: Float[Tensor, "views 3 height width"],
    masks: Float[Tensor, "views 1 height width"],
    cameras: Cameras,
    squares: Float[Tensor, "views 3"],
    size: int,
) -> LIRMInputs:
    """Cut squares out of photos.

    Args:
        images: sRGB in [0, 1].
        masks: 1 on the object.
        cameras: of the photos, in the object frame.
        squares: see `mask_squares`.
        size: pixels per side of the result.
    """
    crops = zip(torch.cat([images, masks], dim=1), squares, strict=True)
    cropped = torch.stack([crop_square(maps, square, size, 0.0) for maps, square in crops])
    colors, cover = cropped.split([3, 1], dim=1)
    origins, directions = square_rays(cameras, squares, size)
    return LIRMInputs(2 * on_white(colors, cover) - 1, 2 * colors - 1, origins, directions)


def on_white(
    colors: Float[Tensor, "*batch channels height width"], masks: Float[Tensor, "*batch 1 height width"]
) -> Float[Tensor, "*batch channels height width"]:
    """What masks keep of pictures, on white."""
    return colors * masks + (1 - masks)


def _inside(start: float, length: float, limit: int) -> float:
    """The start of an interval, moved into [0, limit] as far as it fits."""
    return min(max(start, 0.0), max(limit - length, 0.0))
