"""Numbers and maps in the files of public datasets, with errors that name the file."""

import gzip
import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ...formats.exr import read_exr
from ...formats.photos import PHOTO_SUFFIXES, read_pixels


# Renderers write this and more for "nothing was hit".
FARTHEST = 1e9


def read_matrix(path: Path, rows: int, columns: int | Sequence[int]) -> Float[Tensor, "rows columns"]:
    """A matrix of numbers from a text file or a .npy file, in double precision.

    Args:
        path: the file.
        rows: of the matrix.
        columns: of the matrix, or several accepted numbers of them; the values fill the rows one after the other.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it holds something else, or values that are not finite.
    """
    accepted = [columns] if isinstance(columns, int) else list(columns)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist")
    if path.suffix == ".npy":
        values = read_npy(path).reshape(-1)
    else:
        try:
            values = np.array(path.read_text(encoding="utf-8").split(), dtype=np.float64)
        except ValueError as error:
            raise ValueError(f"{path} holds something other than numbers: {error}") from error
    wanted = [number for number in accepted if len(values) == rows * number]
    if not wanted:
        sizes = " or ".join(f"{rows}x{number}" for number in accepted)
        raise ValueError(f"{path} holds {len(values)} numbers; accepted is a matrix of {sizes}")
    if not np.isfinite(values).all():
        raise ValueError(f"{path}: the matrix holds NaN or infinity, which says that this frame has no camera")
    return torch.from_numpy(values.astype(np.float64)).reshape(rows, wanted[0])


def square_pose(matrix: Float[Tensor, "rows 4"]) -> Float[Tensor, "4 4"]:
    """A pose of 3x4 or 4x4 as 4x4."""
    last = torch.tensor([[0.0, 0.0, 0.0, 1.0]], dtype=matrix.dtype)
    return torch.cat([matrix[:3], last])


def read_npy(path: Path) -> np.ndarray:
    """An array from a .npy file.

    Raises:
        ValueError: if it is cut short, or no array of numbers.
    """
    try:
        values = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} cannot be read as an array: {error}") from error
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiu":
        raise ValueError(f"{path} does not hold an array of numbers")
    return values


def read_depth(path: Path, unit: float) -> Float[Tensor, "1 height width"]:
    """Depth from a 16-bit PNG, a .npy or an .exr file, 0 where unknown.

    Args:
        path: the file.
        unit: world units per stored unit.

    Raises:
        ValueError: if it is not one channel of depth.
    """
    if path.suffix == ".npy":
        values = read_npy(path)
    elif path.suffix == ".exr":
        values = read_exr(path, (("Z",), ("V",), ("Y",), ("R",)))[0].numpy()
    else:
        values = read_pixels(path)
    if values.ndim == 3 and values.shape[-1] == 1:
        values = values[..., 0]
    if values.ndim != 2 or values.dtype == np.uint8:
        raise ValueError(f"{path} has shape {values.shape} of {values.dtype}; one channel of depth is accepted")
    return known_depth(torch.from_numpy(values.astype(np.float32))[None] * unit)


def known_depth(depth: Float[Tensor, "1 height width"]) -> Float[Tensor, "1 height width"]:
    """Depth with 0 in place of what is negative, not finite, or the renderer's infinity."""
    return torch.where(depth.isfinite() & (depth > 0) & (depth < FARTHEST), depth, 0)


def read_json_value(path: Path) -> Any:
    """Any JSON value from a file, compressed by gzip where its name ends in .jgz or .gz.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged.
    """
    data = path.read_bytes()
    try:
        return json.loads(gzip.decompress(data) if path.suffix in (".jgz", ".gz") else data)
    except (ValueError, OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is not valid JSON ({error}); download it again") from error


def find_photo(folder: Path, stem: str, suffixes: Sequence[str] = PHOTO_SUFFIXES) -> Path:
    """The file of a photo whose name is known without its suffix.

    Raises:
        FileNotFoundError: if there is none.
    """
    for suffix in suffixes:
        for candidate in (folder / f"{stem}{suffix}", folder / f"{stem}{suffix.upper()}"):
            if candidate.is_file():
                return candidate
    raise FileNotFoundError(f"{folder / stem} does not exist with any of {', '.join(suffixes)}")


def numbered(folder: Path, suffixes: Sequence[str] = PHOTO_SUFFIXES) -> dict[int, Path]:
    """The files whose names are numbers, in the order of the numbers (0, 1, ... 10, zeros in front or not)."""
    if not folder.is_dir():
        return {}
    files = [path for path in folder.iterdir() if path.stem.isdecimal() and path.suffix.lower() in suffixes]
    return {int(path.stem): path for path in sorted(files, key=lambda path: int(path.stem))}


def subfolders(folder: Path) -> list[str]:
    """Names of the folders in a folder, sorted, without hidden ones."""
    if not folder.is_dir():
        return []
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def read_picture(path: Path) -> Float[Tensor, "channels height width"]:
    """A picture of 1, 3 or 4 channels in [0, 1], as it is stored."""
    values = read_pixels(path)
    pixels = torch.from_numpy(values.astype(np.float32) / np.iinfo(values.dtype).max)
    return pixels[None] if pixels.ndim == 2 else pixels.movedim(-1, 0).contiguous()
