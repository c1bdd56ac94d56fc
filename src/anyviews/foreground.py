"""Cutting one object out of a photo: by its alpha channel, by a mask, or by a background remover."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from PIL import Image
from scipy import ndimage
from torch import Tensor

from .formats.photos import Photo, read_pixels


PhotoInput = str | Path | Image.Image | np.ndarray | Tensor
BackgroundRemover = Callable[[Image.Image], Image.Image | np.ndarray | Tensor]

# An alpha value from here on is the object.
THRESHOLD = 0.5
# A mask that covers more of the frame than this tells nothing.
FULL_FRAME = 0.995
# Fewer pixels along the object's longer side show too little to go by.
SMALLEST_OBJECT = 16
# A separate part counts as another object if it has this share of the largest part's pixels.
OTHER_OBJECT = 0.1

REMOVER_NAME = "rembg"
REMOVER_INSTALL = 'pip install "anyviews[matting]"'


@dataclass(frozen=True)
class Foreground:
    """A photo and where its object is.

    Args:
        image: [3, H, W], sRGB in [0, 1].
        mask: [1, H, W] in [0, 1], 1 on the object.
        name: for messages.
    """

    image: Float[Tensor, "3 height width"]
    mask: Float[Tensor, "1 height width"]
    name: str = "image"

    def box(self) -> tuple[int, int, int, int]:
        """(top, left, height, width) of the object in pixels."""
        rows, columns = (self.mask[0] >= THRESHOLD).nonzero().unbind(-1)
        top, left = int(rows.min()), int(columns.min())
        return top, left, int(rows.max()) - top + 1, int(columns.max()) - left + 1

    def composite(self, background: float = 1.0) -> Float[Tensor, "3 height width"]:
        """The object in front of an even background."""
        return self.image * self.mask + background * (1 - self.mask)

    def centered(self, size: int, share: float, background: float = 1.0) -> Float[Tensor, "3 size size"]:
        """The object in the middle of a square picture.

        Args:
            size: side of the picture in pixels.
            share: of the picture's side that the object's longer side takes.
            background: brightness around it.
        """
        top, left, height, width = self.box()
        window = (slice(None), slice(top, top + height), slice(left, left + width))
        scale = share * size / max(height, width)
        inner = (max(1, round(height * scale)), max(1, round(width * scale)))
        cut = F.interpolate(self.composite(background)[window][None], inner, mode="bicubic", antialias=True)[0]
        picture = cut.new_full((3, size, size), background)
        top, left = (size - inner[0]) // 2, (size - inner[1]) // 2
        picture[:, top : top + inner[0], left : left + inner[1]] = cut.clamp(0, 1)
        return picture


def find_foreground(
    image: PhotoInput,
    mask: PhotoInput | None = None,
    remover: BackgroundRemover | str | None = None,
    name: str = "image",
) -> Foreground:
    """The object of a photo: from the mask if there is one, else from the alpha channel, else from the remover.

    Args:
        image: a file, a PIL image, an array [H, W, 3 or 4] or a tensor [3 or 4, H, W]; 8-bit or in [0, 1].
        mask: the same with one channel, white on the object.
        remover: for photos without transparency: "rembg", or a function from a PIL image to a mask of its size.
        name: of the photo, for messages.

    Raises:
        ValueError: if nothing tells where the object is, if it is empty, fills the frame or is too small.
        ImportError: if remover is "rembg" and that is not installed.
    """
    pixels = photo_tensor(image, name)
    if mask is not None:
        found = photo_tensor(mask, f"mask of {name}").mean(0, keepdim=True)
        source = "mask"
    elif len(pixels) == 4 and bool((pixels[3] < THRESHOLD).any()):
        found, source = pixels[3:], "alpha channel"
    elif remover is not None:
        found, source = _removed(pixels[:3], remover, name), "background remover's mask"
    else:
        kind = "an alpha channel that is opaque everywhere" if len(pixels) == 4 else "no alpha channel"
        raise ValueError(
            f"{name} has {kind}, so the object is not known; give an image with transparency, a mask, or "
            f'background_remover="{REMOVER_NAME}" (which needs {REMOVER_INSTALL})'
        )
    if found.shape[-2:] != pixels.shape[-2:]:
        raise ValueError(
            f"{name} is {pixels.shape[-2]}x{pixels.shape[-1]} pixels (height x width) and its {source} "
            f"{found.shape[-2]}x{found.shape[-1]}; both must have one size"
        )
    check_mask(found, f"{name}: the {source}")
    return Foreground(pixels[:3].expand(3, -1, -1), found, name)


def check_mask(mask: Float[Tensor, "1 height width"], name: str = "the mask") -> None:
    """Raise ValueError for a mask that shows no object or nothing else, and warn about several objects.

    Args:
        mask: 1 on the object.
        name: how messages start.

    Raises:
        ValueError: if the mask is empty or nearly full, or the object is smaller than 16 pixels.
    """
    inside = mask[0] >= THRESHOLD
    share = inside.float().mean().item()
    if share == 0:
        raise ValueError(f"{name} is empty; it must be white (alpha: opaque) on the object")
    if share > FULL_FRAME:
        raise ValueError(
            f"{name} covers {share:.1%} of the frame, so there is no background; accepted is an object with room "
            "around it, white on the object and black elsewhere (or is the mask inverted?)"
        )
    rows, columns = inside.any(1).nonzero()[:, 0], inside.any(0).nonzero()[:, 0]
    height, width = int(rows[-1] - rows[0]) + 1, int(columns[-1] - columns[0]) + 1
    if max(height, width) < SMALLEST_OBJECT:
        raise ValueError(
            f"{name} shows an object of {height}x{width} pixels (height x width); its longer side must have at least "
            f"{SMALLEST_OBJECT}. Give a photo of higher resolution"
        )
    areas = component_areas(mask)
    others = sum(area >= OTHER_OBJECT * areas[0] for area in areas[1:])
    if others:
        warnings.warn(
            f"{name} has {others + 1} separate parts; they are taken for one object. Mask one of them for another "
            "result",
            stacklevel=3,
        )


def component_areas(mask: Float[Tensor, "1 height width"]) -> list[int]:
    """Pixels of each connected part of a mask (by edges and corners), the largest first."""
    labels, count = ndimage.label((mask[0] >= THRESHOLD).cpu().numpy(), structure=np.ones((3, 3)))
    return sorted(np.bincount(labels.ravel(), minlength=count + 1)[1:].tolist(), reverse=True)


def rembg_remover(model: str = "isnet-general-use") -> BackgroundRemover:
    """A background remover of the package rembg, which fetches its weights at first use.

    Args:
        model: one of rembg's.

    Raises:
        ImportError: with the pip line.
    """
    try:
        import rembg
    except (ImportError, SystemExit) as error:  # without onnxruntime, importing rembg ends the interpreter
        raise ImportError(f"background removal needs rembg with onnxruntime: run {REMOVER_INSTALL}") from error
    session = rembg.new_session(model)
    return lambda photo: rembg.remove(photo, session=session, only_mask=True)


def photo_tensor(image: PhotoInput, name: str = "image") -> Float[Tensor, "channels height width"]:
    """A photo or mask as [1, 3 or 4, H, W] in [0, 1].

    Args:
        image: a file, a PIL image, an array [H, W] or [H, W, C], or a tensor [C, H, W]; 8-bit or in [0, 1].
        name: for messages.

    Raises:
        TypeError, ValueError: naming the photo, what was found and what is accepted.
        FileNotFoundError: if the file is missing.
    """
    if isinstance(image, str | Path):
        image = _read(Path(image))
    if isinstance(image, Image.Image):
        if image.mode not in ("L", "1"):
            image = image.convert("RGBA" if image.has_transparency_data else "RGB")
        image = np.asarray(image.convert("L") if image.mode == "1" else image)
    if isinstance(image, np.ndarray):
        image = torch.from_numpy(image.copy())
        image = image[None] if image.ndim == 2 else image.movedim(-1, 0) if image.ndim == 3 else image
    if not isinstance(image, Tensor):
        raise TypeError(f"{name} is a {type(image).__name__}; accepted are files, PIL images, arrays and tensors")
    if image.ndim != 3 or len(image) not in (1, 3, 4):
        raise ValueError(
            f"{name} has shape {tuple(image.shape)} (channels first); accepted are 1, 3 or 4 channels: arrays "
            "[H, W, C] and tensors [C, H, W]"
        )
    if image.dtype == torch.uint8:
        return image.float() / 255
    image = image.float()
    if not ((image >= -1e-3) & (image <= 1 + 1e-3)).all():
        raise ValueError(f"{name} has values beyond [0, 1] (or NaN); accepted are 8-bit images and floats in [0, 1]")
    return image.clamp(0, 1)


def _read(path: Path) -> np.ndarray:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there; give the path of an image file")
    pixels = read_pixels(path, Photo(path, path.name))
    return (pixels / np.iinfo(pixels.dtype).max).astype(np.float32)


def _removed(image: Tensor, remover: BackgroundRemover | str, name: str) -> Tensor:
    if isinstance(remover, str):
        if remover != REMOVER_NAME:
            raise ValueError(f"background_remover={remover!r}; accepted are {REMOVER_NAME!r} and functions")
        remover = rembg_remover()
    pixels = (image.expand(3, -1, -1) * 255).round().byte().movedim(0, -1).cpu().numpy()
    found = photo_tensor(remover(Image.fromarray(pixels)), f"what the background remover returned for {name}")
    return found[3:] if len(found) == 4 else found.mean(0, keepdim=True)
