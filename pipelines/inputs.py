"""What pipelines accept at their door: photos as PIL images, numpy arrays, tensors or `Views`."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from anyviews.cameras import Cameras
from anyviews.views import Views


ImageInput = Views | Tensor | np.ndarray | Sequence[Image.Image | np.ndarray | Tensor]


def views_from_images(images: ImageInput, cameras: Cameras | None) -> Views:
    """Photos and their cameras as validated `Views`.

    Args:
        images: `Views`; a tensor [V, 3, H, W] or array [V, H, W, 3], in [0, 1] or 8-bit; or a list of PIL images,
            arrays [H, W, 3] or tensors [3, H, W], all of one size.
        cameras: of these photos; None when `images` are `Views` with cameras.

    Raises:
        TypeError, ValueError: naming the image or camera, what was found and what is accepted.
    """
    if isinstance(images, Views):
        views = images
        if cameras is not None:
            _check_batch_shape(cameras, len(images))
            views = Views(views.images, cameras, views.masks, views.depths, views.names, views.record)
        return _with_cameras(views)
    if images is None or len(images) == 0:
        raise ValueError(f"images is {images if images is None else 'empty'}; give at least one photo")
    converted = [_image_tensor(image, f"images[{i}]") for i, image in enumerate(images)]
    for i, image in enumerate(converted):
        if image.shape != converted[0].shape:
            raise ValueError(
                f"images[{i}] is {image.shape[2]}x{image.shape[1]} pixels but images[0] is "
                f"{converted[0].shape[2]}x{converted[0].shape[1]}; photos of one call must have one size. Load them "
                "with anyviews.formats.load_views(folder, size=(height, width)), which fits photos and cameras alike"
            )
    if cameras is not None:
        _check_batch_shape(cameras, len(converted))
        cameras.validate("cameras")
    names = tuple(f"images[{i}]" for i in range(len(converted)))
    return _with_cameras(Views(torch.stack(converted), cameras, names=names))


def _with_cameras(views: Views) -> Views:
    if views.cameras is None:
        raise ValueError("images have no cameras; pass cameras=Cameras(...), one per photo")
    return views.validate()


def _check_batch_shape(cameras: Cameras, count: int) -> None:
    if cameras.batch_shape != (count,):
        raise ValueError(f"cameras has batch shape {cameras.batch_shape}; accepted is [{count}], one per photo")


def _image_tensor(image: Image.Image | np.ndarray | Tensor, name: str) -> Tensor:
    """One photo as [3, H, W] in [0, 1]."""
    if isinstance(image, Image.Image):
        array = torch.from_numpy(np.array(image.convert("RGB")))
    elif isinstance(image, np.ndarray):
        array = torch.from_numpy(image)
    elif isinstance(image, Tensor):
        array = image.movedim(0, -1) if image.ndim == 3 else image
    else:
        raise TypeError(f"{name} is a {type(image).__name__}; accepted are PIL images, numpy arrays and tensors")
    if array.ndim != 3 or array.shape[-1] != 3:
        raise ValueError(f"{name} has shape {tuple(image.shape)}; accepted are arrays [H, W, 3] and tensors [3, H, W]")
    if array.dtype == torch.uint8:
        return array.movedim(-1, 0).float() / 255
    if not array.is_floating_point():
        raise ValueError(f"{name} has dtype {array.dtype}; accepted are 8-bit images and floats in [0, 1]")
    return array.movedim(-1, 0).float()
