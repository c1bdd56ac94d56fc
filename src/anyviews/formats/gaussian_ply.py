"""3D Gaussians as PLY, as the original implementation (Kerbl et al., SIGGRAPH 2023) writes them, and as LGM does.

One element `vertex` of 32-bit numbers: x, y, z; nx, ny, nz (zeros); f_dc_0..2, the constant harmonic's coefficients;
f_rest_0..., the other coefficients, all of red, then of green, then of blue; opacity (a logit); scale_0..2
(logarithms); rot_0..3 (a quaternion, w first).

LGM's files have no normals and no f_rest, and come in two kinds: "lgm" holds the same values, "lgm-raw" opacities,
scales and colours as they are rendered.
"""

import warnings
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from ..gaussians import Gaussians
from ..geometry.spherical_harmonics import MAX_DEGREE
from .ply import columns_of
from .ply_table import PlyHeader, read_ply_header, read_ply_tables, write_ply_tables
from .raw_gaussians import RawGaussians, from_raw, readable, to_raw, writable


Layout = Literal["inria", "lgm", "lgm-raw"]
LAYOUTS = ("inria", "lgm", "lgm-raw")

POSITION = ("x", "y", "z")
NORMAL = ("nx", "ny", "nz")
COLOR = ("f_dc_0", "f_dc_1", "f_dc_2")
SCALE = ("scale_0", "scale_1", "scale_2")
ROTATION = ("rot_0", "rot_1", "rot_2", "rot_3")
REQUIRED = (*POSITION, *COLOR, "opacity", *SCALE, *ROTATION)


def write_gaussian_ply(
    gaussians: Gaussians, path: Path | str, layout: Layout = "inria", overwrite: bool = False
) -> None:
    """Write Gaussians as PLY; what is read back and written again is the same file, byte for byte.

    Means, quaternions and harmonics are kept exactly, in 32 bits. Scales and opacities are kept as the nearest 32-bit
    logarithms and logits, which is a relative error below 5e-7 for scales from 1e-6 to 1e6. A scale or opacity of 0
    becomes 1.2e-38, an opacity of 1 becomes 1 - 6e-8.

    Args:
        gaussians: one valid set.
        path: a file name ending in .ply.
        layout: "inria", which most programs read, or one of LGM's, which have no harmonics above degree 0.
        overwrite: whether an existing file may be replaced.

    Raises:
        ValueError: if the Gaussians are not valid or the layout is unknown.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"layout is {layout!r}; accepted are {', '.join(LAYOUTS)}")
    if layout != "inria":
        gaussians = without_directions(gaussians, path, f"the layout {layout!r}")
    raw = _as_rendered(writable(gaussians)) if layout == "lgm-raw" else to_raw(gaussians)
    coefficients = raw.spherical_harmonics.shape[1]
    normal = NORMAL if layout == "inria" else ()
    rest = [f"f_rest_{index}" for index in range(3 * (coefficients - 1))]
    names = [*POSITION, *normal, *COLOR, *rest, "opacity", *SCALE, *ROTATION]
    rows = np.zeros((len(raw.means), len(names)), "<f4")
    start = 3 + len(normal)
    rows[:, :3] = raw.means
    rows[:, start : start + 3] = raw.spherical_harmonics[:, 0]
    for channel in range(3):
        first = start + 3 + channel * (coefficients - 1)
        rows[:, first : first + coefficients - 1] = raw.spherical_harmonics[:, 1:, channel]
    rows[:, -8] = raw.opacity_logits
    rows[:, -7:-4] = raw.log_scales
    rows[:, -4:] = raw.rotations
    write_ply_tables(path, {"vertex": rows.view([(name, "<f4") for name in names])[:, 0]}, overwrite)


def read_gaussian_ply(path: Path | str, layout: Layout | None = None) -> Gaussians:
    """Read Gaussians that the original implementation, LGM, or one of the many others with these names wrote.

    Args:
        path: the file, of any byte order or text.
        layout: "lgm-raw" if the values are those that are rendered, another if they are logarithms and logits; None
            decides: they are those that are rendered if the file has neither normals nor harmonics above degree 0, and
            all scales are positive and all opacities and colours in [0, 1].

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, holds unusable values, or is a point cloud or a mesh.
    """
    if layout is not None and layout not in LAYOUTS:
        raise ValueError(f"layout is {layout!r}; accepted are {', '.join(LAYOUTS)}, or None to decide by the values")
    header = read_ply_header(path)
    degree = _check(header, path)
    vertices = read_ply_tables(path)["vertex"]
    rest = (degree + 1) ** 2 - 1
    harmonics = torch.empty(len(vertices), rest + 1, 3)
    harmonics[:, 0] = columns_of(vertices, *COLOR)
    for channel in range(3):
        names = [f"f_rest_{channel * rest + index}" for index in range(rest)]
        harmonics[:, 1:, channel] = columns_of(vertices, *names)
    raw = RawGaussians(
        columns_of(vertices, *POSITION),
        columns_of(vertices, *ROTATION),
        columns_of(vertices, *SCALE),
        columns_of(vertices, "opacity")[:, 0],
        harmonics,
    )
    plain = rest == 0 and not set(NORMAL) & set(vertices.dtype.names)
    if layout == "lgm-raw" or (layout is None and plain and _looks_rendered(raw)):
        rendered = Gaussians.from_colors(raw.means, raw.rotations, raw.log_scales, raw.opacity_logits, harmonics[:, 0])
        return readable(rendered, path)
    return from_raw(raw, path)


def without_directions(gaussians: Gaussians, path: Path | str, where: str) -> Gaussians:
    """The Gaussians with harmonics of degree 0, with a warning if that drops something."""
    if gaussians.degree > 0:
        warnings.warn(
            f"{path}: {where} has one colour per Gaussian; harmonics of degree 1 to {gaussians.degree} are dropped",
            stacklevel=3,
        )
    return gaussians.with_degree(0)


def _check(header: PlyHeader, path: Path | str) -> int:
    """The degree of the harmonics of a file that holds Gaussians."""
    found = set(header.properties("vertex"))
    missing = [name for name in REQUIRED if name not in found]
    if "packed_position" in found:
        raise ValueError(f"{path} is a compressed PLY; use read_compressed_ply or load_gaussians")
    if set(POSITION) <= found and len(missing) == len(REQUIRED) - len(POSITION):
        kind, reader = ("a mesh", "load_scene") if "face" in header.elements else ("a point cloud", "load_points")
        raise ValueError(f"{path} is {kind}, not Gaussians; use {reader}")
    if missing:
        raise ValueError(f"{path} has no Gaussians: no property {', '.join(missing)} of element 'vertex'")
    if any(isinstance(header.elements["vertex"].properties[name], tuple) for name in found):
        raise ValueError(f"{path} has no Gaussians: element 'vertex' holds lists")
    rest = {name for name in found if name.startswith("f_rest_")}
    counts = {3 * ((degree + 1) ** 2 - 1): degree for degree in range(MAX_DEGREE + 1)}
    if len(rest) not in counts or rest != {f"f_rest_{index}" for index in range(len(rest))}:
        raise ValueError(
            f"{path} has {len(rest)} properties f_rest_...; accepted are f_rest_0 to f_rest_N with N + 1 of "
            f"{', '.join(map(str, counts))}"
        )
    ignored = sorted(found - set(REQUIRED) - set(NORMAL) - rest)
    if ignored:
        warnings.warn(f"{path}: properties of unknown meaning are ignored: {', '.join(ignored)}", stacklevel=3)
    return counts[len(rest)]


def _as_rendered(gaussians: Gaussians) -> RawGaussians:
    return RawGaussians(
        gaussians.means, gaussians.rotations, gaussians.scales, gaussians.opacities, gaussians.colors[:, None]
    )


def _looks_rendered(raw: RawGaussians) -> bool:
    colors, opacities = raw.spherical_harmonics, raw.opacity_logits
    shares = all(((values >= 0) & (values <= 1)).all() for values in (colors, opacities))
    return shares and bool((raw.log_scales > 0).all())
