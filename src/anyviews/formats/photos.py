"""Loading photos into Views: what all readers share."""

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageOps
from torch import Tensor

from ..cameras import Cameras
from ..views import Views
from .distortion import undistort


PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")

ORIENTATION_TAG = 0x0112


@dataclass(frozen=True)
class Photo:
    """One photo on disk and what is known about it.

    Args:
        path: the image file.
        name: its label, the file name relative to the folder that was read.
        intrinsics: [3, 3], in pixels of an image of `size`, or None for an unposed photo.
        camera_to_world: [4, 4], OpenCV axes, or None for an unposed photo.
        size: (height, width) in pixels that the intrinsics are for.
        distortion: k1, k2, p1, p2 of the lens; all zero for an ideal one.
        mask: an 8-bit image, white on the object, or None.
        depth: a 16-bit image of z-depth, 0 where unknown, or None.
        depth_scale: stored value of one world unit of depth.
    """

    path: Path
    name: str
    intrinsics: Float[Tensor, "3 3"] | None = None
    camera_to_world: Float[Tensor, "4 4"] | None = None
    size: tuple[int, int] | None = None
    distortion: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    mask: Path | None = None
    depth: Path | None = None
    depth_scale: float = 1.0


def load_photos(
    photos: Sequence[Photo], size: tuple[int, int] | None = None, select: Sequence[int] | None = None
) -> Views:
    """Load photos, undistorted, as Views; cameras are in pixels of the loaded images.

    A photo with transparency is composited on white and its alpha becomes the mask, unless a mask file is given.
    Where only some photos have a mask, the others count as all object; where only some have depth, the depth of the
    others is unknown (0).

    Args:
        photos: all posed, or none.
        size: (height, width) every photo is fitted to (centre crop to the aspect, anti-aliased resize); None keeps the
            photos' size, which must then be one.
        select: indices of the photos to load; None loads all.

    Raises:
        ValueError: if a camera is unusable, a file is not an image, names repeat, or sizes differ.
        FileNotFoundError: if an image of a camera is missing.
    """
    repeated = [name for name, count in Counter(photo.name for photo in photos).items() if count > 1]
    if repeated:
        raise ValueError(f"{len(repeated)} photos are listed more than once, the first is {repeated[0]}; list it once")
    photos = _selected(photos, select)
    _check_files(photos)
    cameras = _validated_cameras(photos)
    sizes = [_photo_size(photo) for photo in photos]
    if size is None:
        _check_one_size(photos, sizes)

    parts = []
    for index, photo in enumerate(photos):
        views = _load_photo(photo, sizes[index], None if cameras is None else cameras[index : index + 1])
        parts.append(views if size is None else views.fit(*size))
    return Views.cat(_with_equal_fields(parts)).validate()


def is_photo(path: Path) -> bool:
    """Whether a path is an image file by its suffix, and not hidden."""
    return path.suffix.lower() in PHOTO_SUFFIXES and not path.name.startswith(".") and path.is_file()


def _selected(photos: Sequence[Photo], select: Sequence[int] | None) -> list[Photo]:
    if select is None:
        return list(photos)
    outside = [index for index in select if not 0 <= index < len(photos)]
    if outside or len(set(select)) != len(select) or not len(select):
        raise ValueError(f"select must hold different indices from 0 to {len(photos) - 1}; found {list(select)[:12]}")
    return [photos[index] for index in select]


def _check_files(photos: Sequence[Photo]) -> None:
    files = [file for photo in photos for file in (photo.path, photo.mask, photo.depth) if file is not None]
    missing = [file for file in files if not file.is_file()]
    if missing:
        shown = ", ".join(str(file) for file in missing[:3])
        raise FileNotFoundError(
            f"{len(missing)} of {len(files)} files are missing: {shown}; put them there or remove their entries"
        )


def warn_about_unposed(photos: Sequence[Photo]) -> None:
    """Warn with a count about images that lie beside posed photos but have no pose."""
    posed = {photo.path.resolve() for photo in photos}
    folders = {path.parent for path in posed}
    beside = {file for folder in folders if folder.is_dir() for file in folder.iterdir() if is_photo(file)}
    unposed = sorted(beside - posed)
    if unposed:
        warnings.warn(f"{len(unposed)} images have no camera and are left out, e.g. {unposed[0]}", stacklevel=3)


def _validated_cameras(photos: Sequence[Photo]) -> Cameras | None:
    if photos[0].intrinsics is None:
        return None
    cameras = Cameras(
        torch.stack([photo.intrinsics for photo in photos]),
        torch.stack([photo.camera_to_world for photo in photos]),
        torch.tensor([photo.size for photo in photos]),
    )
    cameras.validate(names=[photo.name for photo in photos])
    return cameras


def _check_one_size(photos: Sequence[Photo], sizes: Sequence[tuple[int, int]]) -> None:
    for photo, size in zip(photos, sizes, strict=True):
        if size != sizes[0]:
            raise ValueError(
                f"the photos have different sizes: {photos[0].name} is {sizes[0][0]}x{sizes[0][1]} and {photo.name} "
                f"is {size[0]}x{size[1]} (height x width); pass size=(height, width), on the command line --size HxW"
            )


def _open(path: Path) -> Image.Image:
    try:
        return Image.open(path)
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} cannot be read as an image: {error}") from error


def read_pixels(path: Path, photo: Photo | None = None) -> np.ndarray:
    """Decode an image file to an array: [H, W] for one channel, [H, W, 3 or 4] for colour, in 8 or 16 bits.

    Args:
        path: the file.
        photo: the photo it is; its camera decides whether the EXIF orientation is applied.

    Raises:
        ValueError: if the file is truncated, no image, or of an unusual kind.
    """
    with _open(path) as image:
        try:
            if photo is not None and _is_turned(image, photo):
                image = ImageOps.exif_transpose(image)
            if image.mode.startswith("I;16") or image.mode == "L":
                return np.asarray(image)
            if image.mode in ("I", "F"):
                raise ValueError(f"{path} stores 32-bit values; accepted are images of 8 or 16 bits per channel")
            return np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB"))
        except (OSError, SyntaxError, Image.DecompressionBombError) as error:
            raise ValueError(f"{path} cannot be decoded (truncated?): {error}") from error


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8: 1 is upright, 5 to 8 exchange the image's axes."""
    if image.format == "PNG" and "exif" not in image.info:
        return 1  # Pillow would decode the whole image to look for the tag behind the pixels
    return image.getexif().get(ORIENTATION_TAG, 1)


def _is_turned(image: Image.Image, photo: Photo) -> bool:
    """Whether to apply the EXIF orientation: to unposed photos, and to posed ones where the camera's size says so.

    COLMAP and its kin calibrate the stored pixels and ignore the tag; other tools turn the photo first.
    """
    orientation = _orientation(image)
    if photo.size is None:
        return orientation != 1
    portrait = photo.size[0] > photo.size[1]
    return orientation >= 5 and portrait != (image.height > image.width)


def read_size(path: Path) -> tuple[int, int]:
    """(height, width) of an image file's stored pixels, from its header."""
    with _open(path) as image:
        return image.height, image.width


def _photo_size(photo: Photo) -> tuple[int, int]:
    with _open(photo.path) as image:
        height, width = image.height, image.width
        if _is_turned(image, photo) and _orientation(image) >= 5:
            height, width = width, height
    if photo.size is not None and abs(photo.size[0] * width / photo.size[1] - height) > 1:
        raise ValueError(
            f"{photo.name} is {height}x{width} (height x width) but its camera is for {photo.size[0]}x{photo.size[1]};"
            " accepted are the camera's size and resized photos of the same aspect"
        )
    return height, width


def _unit_range(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values.astype(np.float32) / np.iinfo(values.dtype).max)


def _load_photo(photo: Photo, size: tuple[int, int], camera: Cameras | None) -> Views:
    pixels = _unit_range(read_pixels(photo.path, photo))
    masks = None
    if pixels.ndim == 2:
        image = pixels.expand(3, *pixels.shape)
    else:
        image = pixels[..., :3].permute(2, 0, 1)
        if pixels.shape[-1] == 4:
            alpha = pixels[..., 3]
            image, masks = image * alpha + (1 - alpha), alpha[None, None]
    if photo.mask is not None:
        mask = _unit_range(read_pixels(photo.mask))
        masks = mask.reshape(*mask.shape[:2], -1)[None, None, ..., 0]
    depths = None
    if photo.depth is not None:
        depths = torch.from_numpy(read_pixels(photo.depth).astype(np.float32) / photo.depth_scale)[None, None].float()
    for key, values in (("mask", masks), ("depth", depths)):
        if values is not None and tuple(values.shape[-2:]) != size:
            found = "x".join(str(n) for n in values.shape[-2:])
            raise ValueError(f"the {key} of {photo.name} is {found} but the photo {size[0]}x{size[1]}; give one size")
    maps = {"images": image[None], "masks": masks, "depths": depths}
    if camera is not None:
        camera = camera.resize(*size)
        if any(photo.distortion):
            coefficients = torch.tensor([photo.distortion], dtype=camera.dtype)
            maps, camera = undistort(maps, camera, coefficients, photo.name)
        camera = camera.to(dtype=torch.float32)
    return Views(cameras=camera, names=(photo.name,), **maps)


def _with_equal_fields(parts: list[Views]) -> list[Views]:
    for field, fill in (("masks", torch.ones_like), ("depths", torch.zeros_like)):
        if any(getattr(part, field) is not None for part in parts):
            parts = [
                part if getattr(part, field) is not None else replace(part, **{field: fill(part.images[:, :1])})
                for part in parts
            ]
    return parts
