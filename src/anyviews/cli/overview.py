"""The one picture of a run: rows of small images, to look at, to send, and to put into a document."""

from collections.abc import Sequence
from pathlib import Path

from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..formats.files import new_file
from ..formats.image_folder import to_uint8
from .page import thinned


FILE_NAME = "overview.jpg"
# Longer rows are thinned out evenly. The side is a multiple of the small models' 32 and 64 pixels, which are enlarged
# without smoothing: nobody should think that there is more in them.
MOST_COLUMNS, SIDE, GAP, LABEL = 5, 192, 4, 24
PAPER, INK = "white", "#1d2126"

Row = tuple[str, Float[Tensor, "_ 3 _ _"] | Sequence[Float[Tensor, "3 _ _"]]]


def write_overview(path: Path, rows: Sequence[Row]) -> None:
    """Write a JPEG of rows of images in [0, 1], each under its label.

    Args:
        path: of the file.
        rows: a label, and images [3, H, W] of one size per row.
    """
    pictures = [(label, [_shown(images[i]) for i in thinned(len(images), MOST_COLUMNS)]) for label, images in rows]
    width = max(len(images) for _, images in pictures) * (SIDE + GAP) - GAP
    height = sum(LABEL + images[0].height + GAP for _, images in pictures)
    sheet = Image.new("RGB", (width, height), PAPER)
    draw, font, top = ImageDraw.Draw(sheet), ImageFont.load_default(15), 0
    for label, images in pictures:
        draw.text((2, top + LABEL / 2), label, INK, font, anchor="lm")
        top += LABEL
        for column, image in enumerate(images):
            sheet.paste(image, (column * (SIDE + GAP), top))
        top += images[0].height + GAP
    with new_file(path) as temporary:
        sheet.save(temporary, "JPEG", quality=90)


def _shown(image: Float[Tensor, "3 height width"]) -> Image.Image:
    picture = Image.fromarray(to_uint8(image.clamp(0, 1).movedim(0, -1)))
    height = max(1, round(SIDE * picture.height / picture.width))
    enlarged = SIDE > picture.width
    return picture.resize((SIDE, height), Image.Resampling.NEAREST if enlarged else Image.Resampling.LANCZOS)
