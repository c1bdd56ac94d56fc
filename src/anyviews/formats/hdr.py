"""Radiance .hdr pictures (RGBE) of linear light, and environments in .hdr and .exr files.

Source: G. Ward, "Real Pixels", Graphics Gems II, 1991, and the reference manual of Radiance ("Picture File Format").
A pixel is three mantissas of 8 bits that share an exponent: channel = mantissa * 2^(exponent - 136).
"""

import re
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..environment import Environment
from .exr import read_exr
from .files import new_file


# Rows of other widths are stored without run-length coding, because their header could not be told from a pixel.
RUN_LENGTH_WIDTHS = range(8, 1 << 15)
SHORTEST_RUN = 4
LONGEST_RUN = 127
LONGEST_LITERAL = 128
EXPONENT_BIAS = 136
LARGEST = 2.0**126
# more pixels than any picture has; a size that was read from a broken header is not allocated
MOST_PIXELS = 1 << 28


def read_environment(path: Path | str) -> Environment:
    """Read an equirectangular environment from a .hdr file, or from an .exr file with the optional package OpenEXR.

    Raises:
        FileNotFoundError: if there is no such file.
        ImportError: if an .exr file is given and OpenEXR is not installed.
        ValueError: if the file is neither, is broken, or holds values that are not radiance; it names the file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; give an equirectangular picture as .hdr or .exr")
    suffix = path.suffix.lower()
    if suffix not in (".hdr", ".exr"):
        raise ValueError(f"{path}: environments are read from .hdr and .exr files, not from {suffix or 'this'}")
    radiance = decode_hdr(path.read_bytes(), str(path)) if suffix == ".hdr" else read_exr(path, ("RGB",))
    try:
        return Environment(radiance).validate()
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def write_environment(environment: Environment, path: Path | str, overwrite: bool = False) -> None:
    """Write an environment as .hdr, run-length coded.

    Raises:
        ValueError: if the suffix is not .hdr, the file exists and may not be replaced, or a value cannot be stored.
    """
    path = Path(path)
    if path.suffix.lower() != ".hdr":
        raise ValueError(f"{path}: environments are written as .hdr; name it {path.with_suffix('.hdr').name}")
    try:
        data = encode_hdr(environment.radiance)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    with new_file(path, overwrite) as temporary:
        temporary.write_bytes(data)


def encode_hdr(radiance: Float[Tensor, "3 height width"]) -> bytes:
    """The bytes of a .hdr file; each value is off by at most 2^-8 of the largest channel of its pixel.

    Args:
        radiance: [3, H, W], linear, 0 or more.

    Raises:
        ValueError: if it is empty, or a value is NaN, infinite, negative or beyond 2^126.
    """
    pixels = radiance.detach().permute(1, 2, 0).cpu().double().numpy()
    if pixels.size == 0:
        raise ValueError(f"a picture of {pixels.shape[0]}x{pixels.shape[1]} pixels cannot be stored")
    unusable = ~(np.isfinite(pixels) & (pixels >= 0) & (pixels <= LARGEST))
    if unusable.any():
        row, column, _ = np.argwhere(unusable)[0]
        raise ValueError(
            f"{int(unusable.sum())} values are NaN, infinite, negative or beyond 2^126, the first is "
            f"{float(pixels[unusable][0])} at row {row}, column {column}; accepted is linear radiance of 0 or more"
        )
    rgbe = _rgbe_from_linear(pixels)
    height, width = rgbe.shape[:2]
    header = f"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y {height} +X {width}\n".encode()
    return header + (_run_length_coded(rgbe) if width in RUN_LENGTH_WIDTHS else rgbe.tobytes())


def decode_hdr(data: bytes, name: str = "the .hdr data") -> Float[Tensor, "3 height width"]:
    """Linear radiance [3, H, W] of the bytes of a .hdr file: run-length coded (new or old) or flat, top row first.

    Args:
        data: the whole file.
        name: what errors call it.

    Raises:
        ValueError: if it is no .hdr file, is cut short, is stored in another orientation or colour space, or its
            header holds an exposure that is not a positive number.
    """
    if not data.startswith(b"#?"):
        raise ValueError(f"{name} is not a Radiance .hdr file (it does not begin with #?RADIANCE)")
    header, separator, rest = data.partition(b"\n\n")
    size_line, newline, body = rest.partition(b"\n")
    if not separator or not newline:
        raise ValueError(f"{name} is cut short: its header does not end")
    exposure = _exposure(header.decode("latin-1"), name)
    size = re.fullmatch(r"([+-][XY]) (\d+) ([+-][XY]) (\d+)\s*", size_line.decode("latin-1"))
    if size is None:
        raise ValueError(f"{name}: its size is {size_line[:40]!r}; a line such as '-Y 256 +X 512' is accepted")
    if size[1] != "-Y" or size[3] != "+X":
        raise ValueError(
            f"{name} is stored as {size[1]} {size[3]}; accepted is -Y +X, top row first: rotate or mirror it"
        )
    height, width = int(size[2]), int(size[4])
    if not 0 < height * width <= MOST_PIXELS:
        raise ValueError(f"{name} has {height}x{width} pixels; accepted are 1 to {MOST_PIXELS} pixels")
    rgbe = _decoded_rows(body, height, width, name)
    # exact in single precision: a mantissa of 8 bits times a power of two
    linear = np.ldexp(rgbe[..., :3].astype(np.float32), rgbe[..., 3:].astype(np.int32) - EXPONENT_BIAS)
    linear = np.where(rgbe[..., 3:] == 0, np.float32(0), linear)
    if exposure != 1:
        linear = (linear / exposure).astype(np.float32)
    return torch.from_numpy(np.ascontiguousarray(linear.transpose(2, 0, 1)))


def _exposure(header: str, name: str) -> float:
    """The product of all exposures, by which the stored values were multiplied."""
    exposure = 1.0
    for line in header.splitlines():
        key, _, value = line.partition("=")
        if key == "FORMAT" and value.strip() != "32-bit_rle_rgbe":
            raise ValueError(f"{name} has the format {value.strip()!r}; accepted is 32-bit_rle_rgbe")
        if key == "EXPOSURE":
            try:
                exposure *= float(value)
            except ValueError:
                exposure = float("nan")
    if not 0 < exposure < float("inf"):
        raise ValueError(f"{name}: EXPOSURE in its header must be a positive number")
    return exposure


def _rgbe_from_linear(pixels: np.ndarray) -> np.ndarray:
    """Bytes [H, W, 4] of linear pixels [H, W, 3], each mantissa rounded to the nearest."""
    largest = pixels.max(axis=-1, keepdims=True)
    _, exponents = np.frexp(largest)
    # a largest channel that rounds up to 256 needs the next exponent
    exponents = exponents + (np.round(np.ldexp(largest, 8 - exponents)) > 255)
    mantissas = np.round(np.ldexp(pixels, 8 - exponents))
    stored = exponents + EXPONENT_BIAS - 8
    rgbe = np.concatenate([mantissas, stored], axis=-1)
    return np.where((stored > 0) & (largest > 0), rgbe, 0).astype(np.uint8)


def _run_length_coded(rgbe: np.ndarray) -> bytes:
    """Each row as 2, 2, its width, and the runs and literals of its four channels one after the other."""
    height, width = rgbe.shape[:2]
    lines = np.ascontiguousarray(rgbe.transpose(0, 2, 1)).reshape(height * 4, width)
    position = np.arange(lines.size)
    column = position % width
    values = lines.reshape(-1)
    starts_run = (column == 0) | np.r_[True, values[1:] != values[:-1]]
    run = np.cumsum(starts_run) - 1
    is_run = np.bincount(run)[run] >= SHORTEST_RUN
    # a piece is a long run or all that lies between two of them, cut to the length that one count can tell
    starts_piece = (column == 0) | (is_run & starts_run) | np.r_[True, is_run[1:] != is_run[:-1]]
    inside = position - position[starts_piece][np.cumsum(starts_piece) - 1]
    starts_piece |= inside % np.where(is_run, LONGEST_RUN, LONGEST_LITERAL) == 0
    first = position[starts_piece]
    length = np.diff(first, append=values.size)
    coded_run = is_run[first]
    size = np.where(coded_run, 2, 1 + length)
    # every row of four lines begins with four bytes of its own
    offset = np.cumsum(size) - size + 4 * (first // (4 * width) + 1)
    coded = np.zeros(int(size.sum()) + 4 * height, np.uint8)
    coded[offset] = np.where(coded_run, 128 + length, length)
    piece = np.cumsum(starts_piece) - 1
    coded[offset[piece] + 1 + np.where(is_run, 0, position - first[piece])] = values
    heads = offset[first % (4 * width) == 0] - 4
    coded[heads[:, None] + np.arange(4)] = (2, 2, width >> 8, width & 255)
    return coded.tobytes()


def _decoded_rows(body: bytes, height: int, width: int, name: str) -> np.ndarray:
    """Bytes [H, W, 4] of all rows, each coded in its own way."""
    rows, position = [], 0
    head = bytes((2, 2, width >> 8, width & 255)) if width in RUN_LENGTH_WIDTHS else None
    for row in range(height):
        if head is not None and body[position : position + 4] == head:
            decoded, position = _new_run_length_row(body, position + 4, width)
            pixels = decoded.reshape(4, width).T
        else:
            decoded, position = _old_run_length_row(body, position, width)
            pixels = decoded.reshape(width, 4)
        if position < 0:
            raise ValueError(f"{name} is cut short or broken at row {row} of {height}")
        rows.append(pixels)
    return np.stack(rows)


def _new_run_length_row(body: bytes, position: int, width: int) -> tuple[np.ndarray, int]:
    """The four channels of a row one after the other, and where the next row begins (-1 if the row is broken)."""
    row = bytearray()
    for channel in range(1, 5):
        while len(row) < channel * width:
            count = body[position] if position + 1 < len(body) else 0
            if count > LONGEST_LITERAL:
                row += body[position + 1 : position + 2] * (count - LONGEST_LITERAL)
                position += 2
            else:
                row += body[position + 1 : position + 1 + count]
                position += 1 + count
            if count == 0 or position > len(body) or len(row) > channel * width:
                return np.zeros(4 * width, np.uint8), -1
    return np.frombuffer(bytes(row), np.uint8), position


def _old_run_length_row(body: bytes, position: int, width: int) -> tuple[np.ndarray, int]:
    """The pixels of a row that is flat or has pixels 1, 1, 1, n that repeat the one before them n times."""
    flat = np.frombuffer(body, np.uint8, min(4 * width, len(body) - position), position)
    if len(flat) == 4 * width and not (flat.reshape(-1, 4)[:, :3] == 1).all(axis=1).any():
        return flat, position + 4 * width
    row, shift = bytearray(), 0
    while len(row) < 4 * width:
        pixel = body[position : position + 4]
        position += 4
        if len(pixel) == 4 and pixel[:3] == b"\1\1\1" and row:
            row += row[-4:] * min(pixel[3] << shift, width + 1)
            shift += 8
        else:
            row += pixel
            shift = 0
        if len(pixel) < 4 or len(row) > 4 * width:
            return np.zeros(4 * width, np.uint8), -1
    return np.frombuffer(bytes(row), np.uint8), position
