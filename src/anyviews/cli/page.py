"""The page of a run: building blocks, and the single HTML file that they make, which opens offline."""

import base64
import io
import math
import warnings
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from jaxtyping import Float
from PIL import Image
from torch import Tensor

from ..formats.files import new_file
from ..formats.image_folder import to_uint8
from ..formats.scene_html import scene_page
from ..formats.shown_scene import show_scenes
from ..scene import Scene
from ..views import Views


# Longer lists are thinned out evenly; the folder beside the page holds everything.
MOST_PHOTOS = 24
PHOTO_SIDE = 320
LARGEST_VIDEO = 2_000_000
# Shown inside the page; `anyviews view` shows all.
MOST_GAUSSIANS, MOST_POINTS = 200_000, 100_000

STYLE = """
:root { color-scheme: light dark; --ink: #1d2126; --quiet: #66707a; --paper: #fdfdfb; --panel: #f1f2ef;
  --line: #d9dcd8; --context: #2f6db5; --target: #d9601a; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e6e8; --quiet: #98a1a9; --paper: #15181b; --panel: #1e2226;
  --line: #343a40; --context: #72aaf0; --target: #f59255; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 2rem 1.25rem 4rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, sans-serif; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .5rem; }
h2 { font-size: 1.3rem; margin: 3rem 0 .75rem; padding-top: 1rem; border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.75rem 0 .5rem; }
p { max-width: 46rem; margin: .5rem 0; }
code, pre { font: .85rem/1.5 ui-monospace, monospace; }
pre { background: var(--panel); padding: .75rem 1rem; border-radius: .4rem; white-space: pre-wrap;
  overflow-wrap: anywhere; }
.quiet, figcaption { color: var(--quiet); font-size: .82rem; line-height: 1.4; }
.warning { border-left: .25rem solid var(--target); padding-left: .75rem; }
.grid { display: grid; gap: .75rem; grid-template-columns: repeat(auto-fill, minmax(min(10rem, 45%), 1fr)); }
.wide { display: flex; flex-wrap: wrap; gap: 1.5rem; margin: 1.5rem 0; }
.wide figure { flex: 3 1 20rem; max-width: 40rem; }
.wide figure + figure { flex: 2 1 16rem; max-width: 26rem; }
.pairs { display: grid; gap: 0 2rem; grid-template-columns: repeat(auto-fit, minmax(min(30rem, 100%), 1fr)); }
.pairs .grid { grid-template-columns: repeat(4, 1fr); gap: .5rem; }
@media (max-width: 30rem) { .pairs .grid { grid-template-columns: repeat(2, 1fr); } }
figure { margin: 0; }
.view { max-width: 56rem; margin: 1rem 0; }
figure iframe { display: block; width: 100%; aspect-ratio: 3 / 2; border: 0; border-radius: .25rem; }
figure img, figure video { display: block; width: 100%; height: auto; border-radius: .25rem; }
.pixels, video { image-rendering: pixelated; }
figcaption { margin-top: .25rem; overflow-wrap: anywhere; }
article { margin-bottom: 1rem; }
.pairs h3 { margin-top: .5rem; }
article h3 span { font-weight: normal; color: var(--quiet); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .35rem 1rem .35rem 0; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child { text-align: left; }
thead th { color: var(--quiet); font-weight: normal; }
svg { width: 100%; height: auto; background: var(--panel); border-radius: .4rem; }
"""


def write_page(path: Path, title: str, result: dict[str, Any], sections: Sequence[str]) -> None:
    """Write the page: title, command, versions and warnings, and under them the sections.

    Args:
        path: the HTML file.
        title: of the page.
        result: "command", "versions", "device", "seconds" and "warnings" of the run.
        sections: HTML.
    """
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    body = [
        f"<h1>{escape(title)}</h1>",
        f"<pre>{escape(result['command'])}</pre>",
        paragraph(f"Made with {versions} on {result['device']} in {result['seconds']:.1f} s.", quiet=True),
        *(f'<p class="warning">{escape(warning)}</p>' for warning in result["warnings"]),
        *sections,
    ]
    page = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )
    with new_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def heading(text: str) -> str:
    """The heading of a section."""
    return f"<h2>{escape(text)}</h2>"


def paragraph(text: str, quiet: bool = False) -> str:
    """A paragraph of plain text, small where `quiet`."""
    return f'<p class="quiet">{escape(text)}</p>' if quiet else f"<p>{escape(text)}</p>"


def table(columns: Sequence[str], rows: dict[str, Sequence[str]]) -> str:
    """A table of figures.

    Args:
        columns: their headings, plain text.
        rows: the cells of each named row, plain text, as many as columns.
    """
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(
        f"<tr><th>{escape(name)}</th>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"
        for name, cells in rows.items()
    )
    return f'<div class="scroll"><table><thead><tr><th></th>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def grid(figures: Sequence[str]) -> str:
    """Figures side by side, as many as fit."""
    return f'<div class="grid">{"".join(figures)}</div>'


def pixels_figure(image: Float[Tensor, "3 height width"], caption: str) -> str:
    """An image without loss, whose pixels are enlarged as they are."""
    buffer = io.BytesIO()
    Image.fromarray(to_uint8(image.movedim(0, -1))).save(buffer, "PNG")
    return _figure(data_uri(buffer.getvalue(), "image/png"), caption, "pixels")


def photo_figure(image: Float[Tensor, "3 height width"], caption: str) -> str:
    """An image as JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(to_uint8(image.movedim(0, -1))).save(buffer, "JPEG", quality=85)
    return _figure(data_uri(buffer.getvalue(), "image/jpeg"), caption, "")


def video_figure(path: Path, caption: str) -> str:
    """A video inside the page, or nothing where the file is too large for that."""
    if path.stat().st_size > LARGEST_VIDEO:
        return ""
    source = data_uri(path.read_bytes(), "video/mp4")
    return (
        f'<figure><video controls loop muted autoplay playsinline src="{source}"></video>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def scene_figure(scene: Scene | Sequence[Scene], caption: str, step_names: Sequence[str] | None = None) -> str:
    """A scene, or its steps, that the reader can turn: Gaussians, meshes, points, and cameras with their photos.

    Args:
        scene: what to show; of large ones a part, which the figure says.
        caption: plain text.
        step_names: of the steps.
    """
    scenes = [scene] if isinstance(scene, Scene) else list(scene)
    with warnings.catch_warnings():
        # the figure itself says what is left out
        warnings.simplefilter("ignore", UserWarning)
        shown = show_scenes(scenes, MOST_GAUSSIANS, MOST_POINTS, "the page")
    inner = escape(scene_page(shown, "3D", step_names))
    return (
        f'<figure class="view"><iframe title="3D view" loading="lazy" srcdoc="{inner}"></iframe>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def photo_section(photos: Views, roles: Sequence[str] | None = None) -> list[str]:
    """The photos given, with their cameras where they have some.

    Args:
        photos: in their own resolution.
        roles: a word or two about each, such as "seen", or None.
    """
    shown = thinned(len(photos), MOST_PHOTOS)
    scale = min(1.0, PHOTO_SIDE / max(photos.height, photos.width))
    small = photos[shown].resize(max(1, round(photos.height * scale)), max(1, round(photos.width * scale)))
    figures = []
    for position, i in enumerate(shown):
        role = "" if roles is None else f" ({roles[i]})"
        place = "" if photos.cameras is None else f", {_place(photos, i)}"
        figures.append(photo_figure(small.images[position], f"{photos.names[i]}{role}{place}"))
    given = (
        f"{len(photos)} photo{'s'[: len(photos) != 1]} of {photos.height}\N{MULTIPLICATION SIGN}{photos.width} pixels"
    )
    if photos.cameras is not None:
        given += " with known cameras; camera positions in the unit of the given cameras"
    depth = "" if photos.depths is None else " Depth is known for some or all of them; it is used for scores only."
    some = "" if len(shown) == len(photos) else f" {len(shown)} of them are shown."
    return [heading("The photos given"), paragraph(f"{given}.{depth}{some}"), grid(figures)]


def data_uri(content: bytes, kind: str) -> str:
    """Content inside an address, so that the page loads nothing."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def thinned(count: int, most: int) -> list[int]:
    """Indices of at most `most` of `count` items, evenly spaced."""
    return list(range(count)) if count <= most else [i * (count - 1) // (most - 1) for i in range(most)]


def _place(photos: Views, index: int) -> str:
    """Where a photo was taken, and how much it shows."""
    camera = photos.cameras[index]
    field = math.degrees(2 * math.atan(float(camera.width / camera.intrinsics[0, 0]) / 2))
    center = ", ".join(f"{value:.2f}" for value in camera.centers.tolist())
    return f"at ({center}), {field:.0f}\N{DEGREE SIGN} wide"


def _figure(source: str, caption: str, kind: str) -> str:
    text = escape(caption)
    return f'<figure><img class="{kind}" src="{source}" alt="{text}"><figcaption>{text}</figcaption></figure>'
