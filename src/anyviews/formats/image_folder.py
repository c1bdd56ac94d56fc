"""Folders of photos without cameras, and images written as PNG."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from ..views import Views
from .files import new_folder
from .photos import PHOTO_SUFFIXES, Photo, is_photo, load_photos


def read_image_folder(
    source: Path | str | Sequence[Path | str],
    size: tuple[int, int] | None = None,
    select: Sequence[int] | None = None,
) -> Views:
    """Read unposed photos (jpg, jpeg, png, webp), turned upright by their EXIF orientation.

    Grayscale and 16-bit photos become sRGB in [0, 1]; transparency is composited on white and kept as the mask.

    Args:
        source: a folder, whose photos are sorted by name, or image files in the order wanted.
        size: (height, width) to fit every photo to; needed when their sizes differ.
        select: indices of the photos to load; None loads all.

    Raises:
        FileNotFoundError: if the folder or a file is missing, or there is no photo.
        ValueError: if a file is not an image, or sizes differ and `size` is None.
    """
    if isinstance(source, (str, Path)):
        folder = Path(source)
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder} is not a folder; give a folder of photos or a list of image files")
        photos = [Photo(path, path.name) for path in sorted(folder.iterdir()) if is_photo(path)]
    else:
        photos = [Photo(Path(path), str(path)) for path in source]
    if not photos:
        raise FileNotFoundError(f"no photos in {source or 'an empty list'}; accepted are {', '.join(PHOTO_SUFFIXES)}")
    return load_photos(photos, size, select)


def write_image_folder(
    images: Float[Tensor, "views 3 height width"],
    folder: Path | str,
    names: Sequence[str] = (),
    overwrite: bool = False,
) -> None:
    """Write images as 8-bit PNG files.

    Args:
        images: [V, 3, H, W], sRGB in [0, 1].
        folder: where to; it appears when all images are written.
        names: V labels, the files' names; numbers by default.
        overwrite: whether an existing folder with content may be replaced.
    """
    names = png_names(names or [f"{i:04d}" for i in range(len(images))])
    with new_folder(folder, overwrite) as temporary:
        for image, name in zip(images, names, strict=True):
            write_png(image, temporary / name)


def write_png(image: Float[Tensor, "channels height width"], path: Path) -> None:
    """Write one image in [0, 1], 3 channels (sRGB), 4 with opacity or 1 (a mask), as 8-bit PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = to_uint8(image.movedim(0, -1))
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(path)


def to_uint8(values: Float[Tensor, "..."]) -> np.ndarray:
    """Colours or masks in [0, 1] as an 8-bit array of the same shape."""
    return (values.detach().float().clamp(0, 1) * 255).round().byte().cpu().numpy()


def png_names(names: Sequence[str]) -> list[str]:
    """File names ending in .png, relative and without white space, for labels that were file names or free text.

    A leading `images/` is dropped, since writers put photos there themselves; the old suffix is kept where dropping it
    would make two names equal.
    """
    cleaned = []
    for name in names:
        parts = [p for p in PurePosixPath("_".join(name.split()).replace("\\", "/")).parts if p not in ("..", "/")]
        parts = parts[1:] if len(parts) > 1 and parts[0] == "images" else parts
        cleaned.append("/".join(parts) or "view")
    short = [
        str(PurePosixPath(name).with_suffix("")) if name.lower().endswith(PHOTO_SUFFIXES) else name for name in cleaned
    ]
    chosen = short if len(set(short)) == len(short) else cleaned
    if len(set(chosen)) < len(chosen):
        chosen = [f"{index:04d}_{name}" for index, name in enumerate(chosen)]
    return [f"{name}.png" for name in chosen]
