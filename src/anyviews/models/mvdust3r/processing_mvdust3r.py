"""From photos to the network's images and back, which views to take as references, and pixels as Gaussians."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageOps
from torch import Tensor
from transformers import BaseImageProcessor, BatchFeature

from ...formats.photos import Photo, load_photos
from ...gaussians import Gaussians
from ...geometry.rays import pixel_centers
from ...views import CropRecord, Views
from .modeling_mvdust3r import MVDust3rPlusOutput


AnyPhoto = Image.Image | np.ndarray | Tensor | str | Path

# Bounds of rendered scales, in units of the mean distance of all points from the reference camera.
SMALLEST_SCALE, LARGEST_SCALE = 1e-4, 4e-3


class MVDust3rPlusImageProcessor(BaseImageProcessor):
    """Resizes photos so that they cover the network's image, crops the centre, and records both.

    Args:
        size: side of the square image, or (height, width), in pixels; multiples of the model's patch size.
    """

    model_input_names = ["pixel_values"]

    def __init__(self, size: int | Sequence[int] | dict[str, int] = 224, **kwargs):
        super().__init__(**kwargs)
        sides = [size, size] if isinstance(size, int) else list(size.values() if isinstance(size, dict) else size)
        if len(sides) != 2 or min(sides) < 1:
            raise ValueError(f"size={size!r} must be one side or (height, width) in pixels, such as 224")
        self.size = {"height": sides[0], "width": sides[1]}

    def __call__(self, photos: Views | Sequence[AnyPhoto]) -> BatchFeature:
        """Photos of one scene as `pixel_values` [1, V, 3, H, W]; see `prepare` and `pixel_values`."""
        return BatchFeature({"pixel_values": self.pixel_values(self.prepare(photos))})

    def prepare(self, photos: Views | Sequence[AnyPhoto]) -> Views:
        """Photos at the network's size, in [0, 1], with the record of how they came from the originals.

        Args:
            photos: two or more, of any sizes: files, PIL images, arrays [H, W, 3] of 8 bits, tensors [3, H, W] in
                [0, 1], or Views, whose cameras, masks and depths follow.

        Raises:
            ValueError: if there is no photo, or one cannot be used.
        """
        if isinstance(photos, Views):
            return self._fit(photos.validate())
        if isinstance(photos, AnyPhoto) or not len(photos):
            raise ValueError("give a list of two or more photos of one scene")
        fitted = [self._fit(_read(photo).validate()) for photo in photos]
        names = tuple(
            Path(photo).name if isinstance(photo, str | Path) else f"view {index}"
            for index, photo in enumerate(photos)
        )
        return replace(Views.cat([replace(views, masks=None) for views in fitted]), names=names)

    def pixel_values(self, views: Views) -> Float[Tensor, "1 views 3 height width"]:
        """Images of one scene in [-1, 1], as the network takes them."""
        return (views.images * 2 - 1)[None]

    def undo(
        self, maps: Float[Tensor, "views channels height width"], record: CropRecord, fill: float = 0.0
    ) -> list[Float[Tensor, "channels _ _"]]:
        """Maps of the network's images as maps of the original photos: the nearest value, `fill` beyond the crop.

        Args:
            maps: such as depth or points, at the network's size.
            record: of the prepared views.
            fill: value of pixels that the network has not seen.
        """
        restored = []
        for index, (height, width) in enumerate(record.original_sizes.tolist()):
            centers = pixel_centers(height, width, maps.device).flatten(0, 1)[None]
            column, row = record[index : index + 1].to_current(centers)[0].floor().long().unbind(-1)
            inside = (row >= 0) & (row < maps.shape[2]) & (column >= 0) & (column < maps.shape[3])
            values = maps.new_full((maps.shape[1], height * width), fill)
            values[:, inside] = maps[index][:, row[inside], column[inside]]
            restored.append(values.unflatten(1, (height, width)))
        return restored

    def _fit(self, views: Views) -> Views:
        height, width = self.size["height"], self.size["width"]
        scale = max(height / views.height, width / views.width)
        resized = round(views.height * scale), round(views.width * scale)
        shrinks = max(views.height, views.width) > max(resized)
        kernel = Image.Resampling.LANCZOS if shrinks else Image.Resampling.BICUBIC
        images = torch.stack([_resize(image, resized, kernel) for image in views.images])
        top, left = resized[0] // 2 - height // 2, resized[1] // 2 - width // 2
        return replace(views.resize(*resized), images=images).crop(top, left, height, width)


def spread_references(num_views: int) -> list[int]:
    """Up to four views spread over a sequence, to be passed as `references`, as the authors' demonstration does.

    The first view stays the first, whose frame the points are in; a model of fewer references takes as many of them.
    """
    if num_views <= 4:
        return list(range(num_views))
    if num_views < 12:
        return [0, 3, 2, 1] if num_views < 7 else [0, 3, 6, 1]
    return [0, *(quarter * num_views // 4 + 1 for quarter in (1, 2, 3))]


def pixel_gaussians(
    output: MVDust3rPlusOutput, pixel_values: Float[Tensor, "batch views 3 height width"]
) -> Gaussians:
    """The Gaussians of all pixels in the frame of each path's reference, of batch shape [batch, paths].

    A Gaussian sits at its pixel's point and has its pixel's colour. Scales are bounded in units of the points' mean
    distance from the reference camera.

    Raises:
        ValueError: if the model has no Gaussian heads, or predicts colours itself.
    """
    if output.scales is None or output.harmonics is not None:
        raise ValueError("Gaussians of pixels need a model with use_gaussians=True and gaussian_colors='pixels'")
    means = output.points.flatten(2, 4)  # [batch, paths, gaussians, 3]
    unit = means.norm(dim=-1).mean(-1)[..., None, None]
    scales = output.scales.flatten(2, 4).maximum(SMALLEST_SCALE * unit).minimum(LARGEST_SCALE * unit)
    colors = ((pixel_values + 1) / 2).movedim(2, -1).flatten(1, 3)[:, None].expand_as(means)
    return Gaussians.from_colors(means, output.rotations.flatten(2, 4), scales, output.opacities.flatten(2), colors)


def _read(photo: AnyPhoto) -> Views:
    """One photo as Views of its full size."""
    if isinstance(photo, str | Path):
        return load_photos([Photo(Path(photo), str(photo))])
    if isinstance(photo, Image.Image):
        photo = ImageOps.exif_transpose(photo)
        if photo.has_transparency_data:
            photo = photo.convert("RGBA")
            photo = Image.alpha_composite(Image.new("RGBA", photo.size, "white"), photo)
        photo = np.array(photo.convert("RGB"))
    if isinstance(photo, np.ndarray):
        if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[-1] != 3:
            raise ValueError(f"an array of {photo.dtype} {photo.shape} was given; accepted is uint8 [H, W, 3]")
        photo = torch.from_numpy(photo.copy()).movedim(-1, 0) / 255
    if photo.ndim != 3 or len(photo) != 3:
        raise ValueError(f"a tensor of shape {tuple(photo.shape)} was given; accepted is [3, H, W] in [0, 1]")
    return Views(photo[None].float())


def _resize(image: Tensor, size: tuple[int, int], kernel: Image.Resampling) -> Tensor:
    """Resize as the authors do, through an 8-bit picture."""
    if tuple(image.shape[1:]) == size:
        return image
    pixels = (image.movedim(0, -1) * 255).round().to(torch.uint8).cpu().numpy()
    resized = Image.fromarray(pixels).resize(size[::-1], kernel)
    return (torch.from_numpy(np.array(resized)).movedim(-1, 0) / 255).to(image)
