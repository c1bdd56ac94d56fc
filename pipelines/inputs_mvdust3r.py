"""What MVDust3rPlusPipeline accepts at its door: photos of any kind and size, with nothing known of their cameras."""

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageOps
from torch import Tensor

from anyviews.cameras import Cameras
from anyviews.formats.photos import PHOTO_SUFFIXES, is_photo
from anyviews.models.mvdust3r import MVDust3rPlusImageProcessor
from anyviews.views import Views


Photo = Image.Image | np.ndarray | Tensor | str | Path
Photos = Views | Tensor | np.ndarray | str | Path | Sequence[Photo]

# Prepared photos that differ by no more than rounding are the same.
SAME_PHOTO = 1.5 / 255


def read_photos(photos: Photos, processor: MVDust3rPlusImageProcessor, skip_unreadable: bool = False) -> Views:
    """Photos at the network's size, one after the other, so that only one is held at its full size.

    Args:
        photos: a folder; a list of files, PIL images, arrays and tensors of any sizes; one array [V, H, W, 3] or
            tensor [V, 3, H, W]; or Views, whose cameras stay. Arrays and tensors have 8 or 16 bits, or floats in
            [0, 1]; transparency is composited on white.
        processor: that prepares them.
        skip_unreadable: leave out photos that cannot be used, with a warning; at least two must remain.

    Raises:
        ValueError: naming the photo, or if there are fewer than two.
        FileNotFoundError: if a file or folder is missing.
    """
    if isinstance(photos, Views):
        views = processor.prepare(photos)
        _check_count(len(views), "")
        return replace(views, masks=None, depths=None)
    photos = _listed(photos)
    names = _names(photos)
    prepared, failed = [], []
    for photo, name in zip(photos, names, strict=True):
        try:
            view = processor.prepare([_plain(photo)])
        except (ValueError, TypeError, OSError) as error:
            if not skip_unreadable:
                kind = FileNotFoundError if isinstance(error, FileNotFoundError) else ValueError
                hint = "skip_unreadable=True (--skip-unreadable) leaves such photos out"
                raise kind(f"{name}: {error}; {hint}") from error
            failed.append((name, error))
            continue
        prepared.append(replace(view, names=(name,)))
    _check_count(len(prepared), f" that can be read, of {len(photos)}" if failed else "")
    if failed:
        listed = "; ".join(f"{name} ({error})" for name, error in failed[:5])
        warnings.warn(f"{len(failed)} of {len(photos)} photos are left out: {listed}", stacklevel=3)
    return Views.cat(prepared)


def warn_about_copies(views: Views) -> None:
    """Warn of photos that are the same picture, which adds nothing to a scene."""
    copies = []
    for index in range(1, len(views)):
        same = ((views.images[:index] - views.images[index]).abs() <= SAME_PHOTO).flatten(1).all(1)
        if same.any():
            copies.append(f"{views.names[index]} is {views.names[int(same.nonzero()[0])]}")
    if copies:
        warnings.warn(f"{len(copies)} photos are copies of others: {'; '.join(copies[:5])}", stacklevel=3)


def cameras_of_network(cameras: Cameras, views: Views) -> Cameras:
    """Cameras in pixels of the original photos as cameras of the network's images.

    Raises:
        ValueError: if they are not as many as the photos, unusable, or for photos of other sizes.
    """
    if cameras.batch_shape != (len(views),):
        raise ValueError(f"cameras has batch shape {cameras.batch_shape}; accepted is [{len(views)}], one per photo")
    cameras.validate("cameras", views.names)
    for name, found, wanted in zip(
        views.names, cameras.image_sizes.tolist(), views.record.original_sizes.tolist(), strict=True
    ):
        if found != wanted:
            raise ValueError(
                f"the camera of {name} is for {found[0]}x{found[1]} pixels but the photo has {wanted[0]}x{wanted[1]} "
                "(height x width, upright); use Cameras.resize"
            )
    record = views.record
    return cameras.to("cpu", torch.float32).affine(record.scale, record.offset, views.height, views.width)


def cameras_of_intrinsics(intrinsics: Float[Tensor, "*views 3 3"], views: Views) -> Cameras:
    """Cameras of the original photos in no known place, from the intrinsics of each or those of all.

    Raises:
        ValueError: if there are neither one nor as many as photos.
    """
    if tuple(intrinsics.shape[:-2]) not in ((), (len(views),)):
        raise ValueError(
            f"intrinsics has shape {tuple(intrinsics.shape)}; accepted are [3, 3] for all photos and "
            f"[{len(views)}, 3, 3], one per photo, in pixels of the original photos"
        )
    poses = torch.eye(4).expand(len(views), 4, 4)
    return Cameras(intrinsics.float().expand(len(views), 3, 3), poses, views.record.original_sizes)


def _listed(photos: Photos) -> list[Photo]:
    if isinstance(photos, str | Path):
        folder = Path(photos)
        if not folder.is_dir():
            problem = "is a single photo" if folder.is_file() else "does not exist"
            raise FileNotFoundError(f"{folder} {problem}; give a folder, or a list of photos of one scene")
        found = sorted(path for path in folder.iterdir() if is_photo(path))
        if not found:
            raise FileNotFoundError(f"{folder} has no photos ({', '.join(PHOTO_SUFFIXES)})")
        return list(found)
    if isinstance(photos, Image.Image) or (isinstance(photos, np.ndarray | Tensor) and photos.ndim != 4):
        raise ValueError("a single photo was given; give a list of two or more photos of one scene")
    return list(photos)


def _names(photos: Sequence[Photo]) -> tuple[str, ...]:
    """File names, with their folders where names repeat."""
    names = [Path(p).name if isinstance(p, str | Path) else f"photo_{i:03d}.png" for i, p in enumerate(photos)]
    count = Counter(names)
    return tuple(
        Path(photo).as_posix().lstrip("/") if count[name] > 1 and isinstance(photo, str | Path) else name
        for photo, name in zip(photos, names, strict=True)
    )


def _plain(photo: Photo) -> Photo:
    """A photo that the processor takes: arrays and pictures of 16 bits become tensors [3, H, W] in [0, 1]."""
    if isinstance(photo, Image.Image) and photo.mode.startswith("I"):
        photo = np.asarray(ImageOps.exif_transpose(photo)).astype(np.uint16)
    if isinstance(photo, np.ndarray):
        if photo.ndim == 2:
            photo = photo[..., None].repeat(3, axis=-1)
        photo = torch.from_numpy(np.ascontiguousarray(photo)).movedim(-1, 0)
    if not isinstance(photo, Tensor):
        return photo
    if not photo.is_floating_point():
        photo = photo.float() / torch.iinfo(photo.dtype).max
    if photo.ndim == 3 and len(photo) == 4:
        photo = photo[:3] * photo[3:] + 1 - photo[3:]
    return photo.cpu()


def _check_count(count: int, what: str) -> None:
    if count < 2:
        raise ValueError(
            f"found {count} photo{'s'[: count != 1]}{what}; two or more photos of one scene are needed. To try "
            "a single photo, give it twice"
        )
