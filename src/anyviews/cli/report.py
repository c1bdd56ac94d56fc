"""One page that shows what was generated, from what, and how good it is: a single HTML file that opens offline."""

import base64
import io
import math
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from ..evaluation.pictures import color_depth
from ..formats.files import new_file
from ..formats.image_folder import to_uint8
from ..views import Views
from .camera_map import camera_map
from .generation import HELD_OUT, Generation


# Longer lists are thinned out evenly; the folder beside the page holds everything.
MOST_PHOTOS = 24
MOST_TARGETS = 12
PHOTO_SIDE = 320
LARGEST_VIDEO = 2_000_000

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

TITLES = {
    HELD_OUT: "Photos left out, generated from the others",
    "interpolate": "From photo to photo",
    "orbit": "Around the scene",
    "spiral": "A spiral around the mean camera",
}
METRICS = {"psnr": ("PSNR, dB &uarr;", "{:.2f}"), "absrel": ("AbsRel &darr;", "{:.3f}"),
           "delta1.25": ("&delta; &lt; 1.25 &uarr;", "{:.1%}")}  # fmt: skip


def write_report(
    path: Path, title: str, result: dict[str, Any], photos: Views, generations: Sequence[Generation]
) -> None:
    """Write the page.

    Args:
        path: the HTML file; videos are looked for beside it under the name that each part of the result says.
        title: of the page.
        result: "command", "versions", "warnings", "seconds" and "parts": the summary of each generation.
        photos: all photos given, in their own resolution.
        generations: what was generated, in the order of the parts.
    """
    body = [
        f"<h1>{escape(title)}</h1>",
        f"<pre>{escape(result['command'])}</pre>",
        f'<p class="quiet">{escape(_made_by(result))}</p>',
        *(f'<p class="warning">{escape(warning)}</p>' for warning in result["warnings"]),
    ]
    for part, generation in zip(result["parts"], generations, strict=True):
        body += _part(part, generation, path.parent)
    body += _photos(photos, generations[0])
    page = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )
    with new_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _made_by(result: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    return f"Made with {versions} on {result['device']} in {result['seconds']:.1f} s."


def _part(part: dict[str, Any], generation: Generation, folder: Path) -> list[str]:
    """The section of one generation."""
    height, width = part["image_size"]
    shown = _thinned(len(generation.scene), MOST_TARGETS)
    number = len(generation.scene)
    used, seen = part["context_views_per_pass"], len(generation.context)
    sentence = (
        f"{number} {'view' if number == 1 else 'views'} of {height}&times;{width} pixels (height &times; width), "
        f"generated from {seen if used == seen else f'the {used} nearest of {seen}'} photos of "
        f"{generation.context.height}&times;{generation.context.width} in {part['seconds']:.1f} s."
    )
    if len(shown) < number:
        sentence += f" {len(shown)} of them are shown here; the folder of this page holds them all."
    html = [f"<h2>{escape(TITLES[generation.path])}</h2>", f"<p>{sentence}</p>"]
    html += _scores(part, generation)
    video = _video_figure(folder / part["video"]) if "video" in part else ""
    html.append(f'<div class="wide">{_map_figure(generation)}{video}</div>')
    html.append(f'<p class="quiet">{_legend(generation)}</p>')
    # left-out photos have six pictures each and take a row, views of a path at most four
    html.append(f'<div class="{"pairs" if generation.truth is None else "rows"}">')
    html += [_target(generation, part["targets"][i], i) for i in shown]
    return [*html, "</div>"]


def _legend(generation: Generation) -> str:
    """What the colours of depth and uncertainty mean."""
    scene = generation.scene
    if scene.depths is None:
        return ""
    text = (
        "Depth along the optical axis in the unit of the cameras, in false colours of its logarithm: near is warm, "
        "far is cold; numbers are its 2nd and 98th percentile."
    )
    if generation.truth is not None and generation.truth.depths is not None:
        text += " Known depth has the colours of the generated depth beside it, and is black where it is not known."
    if scene.depth_uncertainty is not None:
        text += (
            " Uncertainty: standard deviation of the logarithm of depth over the samples; its mean, black for 0 and "
            f"white for {float(scene.depth_uncertainty.max()):.0%}."
        )
    return text


def _scores(part: dict[str, Any], generation: Generation) -> list[str]:
    """The table of figures and how they are measured."""
    if not part["scores"]:
        return []
    known = [metric for metric in METRICS if part["scores"]["generated"].get(metric) is not None]
    rows = []
    for name, row in part["scores"].items():
        cells = "".join(
            f"<td>{'' if row.get(metric) is None else METRICS[metric][1].format(row[metric])}</td>" for metric in known
        )
        rows.append(f"<tr><th>{escape(name)}</th>{cells}</tr>")
    header = "".join(f"<th>{METRICS[metric][0]}</th>" for metric in known)
    height, width = part["image_size"]
    how = (
        f"Means over {len(part['targets'])} left-out photos. PSNR: over all pixels and channels in sRGB, against the "
        f"photo resized to {height}&times;{width} with anti-aliasing; the nearest photo is that seen by the nearest "
        "camera, unchanged."
    )
    if "absrel" in known:
        how += (
            " AbsRel: mean of |depth &minus; known depth| / known depth over pixels of known depth, without any "
            "alignment; &delta; &lt; 1.25: share of these pixels within a factor of 1.25; the constant depth is the "
            "median of the known depth of the photos seen, which the model is not given."
        )
    return [
        f'<div class="scroll"><table><thead><tr><th></th>{header}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
        f'</div>\n<p class="quiet">{how}</p>'
    ]


def _map_figure(generation: Generation) -> str:
    return (
        f"<figure>{camera_map(generation.context.cameras, generation.scene.cameras)}<figcaption>The cameras from "
        'above: <span style="color: var(--context)">photos seen</span> and <span style="color: var(--target)">views '
        "generated</span>. Up is estimated from the photos.</figcaption></figure>"
    )


def _video_figure(path: Path) -> str:
    if path.stat().st_size > LARGEST_VIDEO:
        return ""
    source = _data_uri(path.read_bytes(), "video/mp4")
    return (
        f'<figure><video controls loop muted autoplay playsinline src="{source}"></video>'
        "<figcaption>All generated views in order</figcaption></figure>"
    )


def _target(generation: Generation, summary: dict[str, Any], index: int) -> str:
    """One generated view beside what it is compared with."""
    scene, truth = generation.scene, generation.truth
    scores = summary.get("scores", {})
    generated = scores.get("generated", {})
    figures = []
    if truth is not None:
        figures.append(_pixels(truth.images[index], "photo, left out"))
    if scene.images is not None:
        figures.append(_pixels(scene.images[index], f"generated{_decibels(generated)}"))
    nearest = generation.context.images[int(generation.nearest[index])]
    figures.append(_pixels(nearest, f"nearest photo{_decibels(scores.get('nearest photo', {}))}"))
    if scene.depths is not None:
        known = truth.depths[index] if truth is not None and truth.depths is not None else None
        figures += _depth_figures(scene.depths[index], known, generated.get("absrel"))
    if scene.depth_uncertainty is not None:
        spread = scene.depth_uncertainty[index]
        gray = (spread / scene.depth_uncertainty.max().clamp(min=1e-12)).expand(3, *spread.shape[-2:])
        figures.append(_pixels(gray, f"uncertainty {float(spread.mean()):.0%}"))
    note = f"scene scale {summary['scene_scale']:.3g}"
    return (
        f"<article><h3>{escape(summary['name'])} <span>&middot; {note}</span></h3>"
        f'<div class="grid">{"".join(figures)}</div></article>'
    )


def _decibels(scores: dict[str, float | None]) -> str:
    return f", {scores['psnr']:.1f} dB" if scores.get("psnr") is not None else ""


def _depth_figures(
    depth: Float[Tensor, "1 height width"], known: Float[Tensor, "1 height width"] | None, absrel: float | None
) -> list[str]:
    """Depth in false colours, with the known depth in the same colours beside it."""
    if known is None or not (known > 0).any():
        return [_pixels(color_depth(depth[None])[0], f"depth {_range(depth)}")]
    both = color_depth(torch.cat([depth, known], dim=-1)[None])[0]
    error = "" if absrel is None else f", AbsRel {absrel:.2f}"
    left, right = both.split(depth.shape[-1], dim=-1)
    return [
        _pixels(left, f"depth {_range(depth)}{error}"),
        _pixels(right, f"known depth {_range(known)}"),
    ]


def _range(depth: Tensor) -> str:
    values = depth[depth > 0]
    low, high = torch.quantile(values, torch.tensor([0.02, 0.98], dtype=values.dtype)).tolist()
    return f"{low:.3g} to {high:.3g}"


def _photos(photos: Views, generation: Generation) -> list[str]:
    """The photos given, with their cameras."""
    shown = _thinned(len(photos), MOST_PHOTOS)
    scale = min(1.0, PHOTO_SIDE / max(photos.height, photos.width))
    small = photos[shown].resize(max(1, round(photos.height * scale)), max(1, round(photos.width * scale)))
    seen = set(generation.context.names)
    figures = []
    for position, i in enumerate(shown):
        camera = photos.cameras[i]
        field = math.degrees(2 * math.atan(float(camera.width / camera.intrinsics[0, 0]) / 2))
        center = ", ".join(f"{value:.2f}" for value in camera.centers.tolist())
        role = "seen" if photos.names[i] in seen else "left out"
        caption = f"{photos.names[i]} ({role}), at ({center}), {field:.0f}&deg; wide"
        buffer = io.BytesIO()
        Image.fromarray(to_uint8(small.images[position].movedim(0, -1))).save(buffer, "JPEG", quality=85)
        figures.append(_figure(_data_uri(buffer.getvalue(), "image/jpeg"), caption, ""))
    depth = "" if photos.depths is None else " Depth is known for some or all of them; it is used for scores only."
    some = "" if len(shown) == len(photos) else f" {len(shown)} of them are shown."
    return [
        "<h2>The photos given</h2>",
        f"<p>{len(photos)} photos of {photos.height}&times;{photos.width} pixels with known cameras; camera positions "
        f"in the unit of the given cameras.{depth}{some}</p>",
        f'<div class="grid">{"".join(figures)}</div>',
    ]


def _pixels(image: Float[Tensor, "3 height width"], caption: str) -> str:
    """A figure whose pixels are enlarged as they are."""
    buffer = io.BytesIO()
    Image.fromarray(to_uint8(image.movedim(0, -1))).save(buffer, "PNG")
    return _figure(_data_uri(buffer.getvalue(), "image/png"), caption, "pixels")


def _figure(source: str, caption: str, kind: str) -> str:
    """An image with a caption, in which only &deg; is markup."""
    text = escape(caption.replace("&deg;", "\N{DEGREE SIGN}"))
    return f'<figure><img class="{kind}" src="{source}" alt="{text}"><figcaption>{text}</figcaption></figure>'


def _data_uri(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _thinned(count: int, most: int) -> list[int]:
    """Indices of at most `most` of `count` items, evenly spaced."""
    return list(range(count)) if count <= most else [i * (count - 1) // (most - 1) for i in range(most)]
