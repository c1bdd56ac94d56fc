"""What LIRMPipeline accepts at its door: photos of one object with cameras, and masks from wherever they come."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from anyviews.cameras import Cameras
from anyviews.foreground import BackgroundRemover, PhotoInput, check_mask, find_foreground
from anyviews.formats import load_views
from anyviews.views import Views

from .inputs import views_from_images


ObjectPhotos = Views | Tensor | str | Path | Sequence[PhotoInput]
Masks = Tensor | Sequence[PhotoInput]


def read_object_photos(
    images: ObjectPhotos,
    cameras: Cameras | None = None,
    masks: Masks | None = None,
    background_remover: BackgroundRemover | str | None = None,
) -> Views:
    """Photos of one size with cameras and masks.

    Args:
        images: a folder with cameras; `Views`; a tensor [V, 3 or 4, H, W]; or a list of files, PIL images, arrays and
            tensors, with transparency or without.
        cameras: of the photos, unless they come with `images`.
        masks: [V, 1, H, W] in [0, 1], 1 on the object, or a list of files and pictures; by default those that come
            with the photos, as a folder's masks or transparency.
        background_remover: for photos without masks, see `find_foreground`.

    Raises:
        ValueError, FileNotFoundError: naming the photo, what was found and what is accepted.
    """
    if isinstance(images, str | Path):
        images = load_views(images)
    if masks is not None and len(masks) != len(images):
        raise ValueError(f"{len(images)} photos but {len(masks)} masks; give one per photo")
    if isinstance(images, Views):
        views = views_from_images(images, cameras)
        given = views.masks if masks is None else masks
        photos, names = list(views.images), views.names
    else:
        photos, names, given = list(images), _names(images), masks
        views = None
    if views is not None and given is not None and given is views.masks:
        for mask, name in zip(views.masks, names, strict=True):
            check_mask(mask, f"the mask of {name}")
        return views
    found = [
        find_foreground(photo, None if given is None else given[index], background_remover, names[index])
        for index, photo in enumerate(photos)
    ]
    if views is None:
        views = replace(views_from_images([each.image for each in found], cameras), names=names)
    return replace(views, masks=torch.stack([each.mask for each in found])).validate()


def _names(images: Sequence[PhotoInput] | Tensor) -> tuple[str, ...]:
    return tuple(
        Path(image).name if isinstance(image, str | Path) else f"images[{index}]" for index, image in enumerate(images)
    )
