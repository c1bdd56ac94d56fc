"""3D Gaussians as compressed PLY (PlayCanvas, SuperSplat), 16 bytes each plus 1 per further harmonic; coded by gsply.

Every 256 Gaussians share the ranges that their positions, scales and colours are rounded in, so that they are sorted
along a space-filling curve first.
"""

from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..gaussians import Gaussians
from .files import new_file
from .ply_table import PlyHeader, read_ply_header, read_ply_tables
from .raw_gaussians import from_raw, to_raw
from .spz import gsply_data, raw_of_gsply, threads_of_torch


PACKED = ("packed_position", "packed_rotation", "packed_scale", "packed_color")
CHUNK = 256
CHUNK_PROPERTIES = 18

# The format's programs take no logarithms of scales beyond these.
MAX_LOG_SCALE = 20.0

# Steps of the space-filling curve along each axis, as a power of two.
CURVE_BITS = 16


def write_compressed_ply(gaussians: Gaussians, path: Path | str, overwrite: bool = False) -> None:
    """Write Gaussians as compressed PLY.

    Positions, scales (logarithms) and colours are rounded to 10 or 11, 10 or 11, and 8 bits of their range among 256
    neighbours, opacities to 8 bits, rotations to 10 bits, harmonics above degree 0 to 1/32 (within [-4, 4]).

    Args:
        gaussians: one valid set.
        path: a file name ending in .compressed.ply.
        overwrite: whether an existing file may be replaced.

    Raises:
        ValueError: if the Gaussians are not valid.
    """
    import gsply

    raw = to_raw(gaussians)
    order = curve_order(raw.means)
    raw = raw._replace(log_scales=raw.log_scales.clamp(-MAX_LOG_SCALE, MAX_LOG_SCALE))
    data = gsply_data(type(raw)(*(values[order] for values in raw)))
    with threads_of_torch():
        content = gsply.compress_to_bytes(data)
    with new_file(path, overwrite) as temporary:
        temporary.write_bytes(content)


def read_compressed_ply(path: Path | str) -> Gaussians:
    """Read a compressed PLY.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, of an older kind, or holds unusable values.
    """
    import gsply

    _check(read_ply_header(path), path)
    # gsply does not compare the header with the length of the file
    read_ply_tables(path)
    try:
        with threads_of_torch():
            data = gsply.decompress_from_bytes(Path(path).read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} cannot be read as compressed PLY: {error}") from None
    return from_raw(raw_of_gsply(data), path)


def curve_order(positions: Float[Tensor, "points 3"]) -> Int[Tensor, "points"]:
    """Indices that sort points along the Z-order curve (Morton, 1966), so that neighbours in order are near."""
    low = positions.amin(0)
    extent = (positions.amax(0) - low).clamp(min=torch.finfo(positions.dtype).tiny)
    cells = ((positions - low) / extent * (2**CURVE_BITS - 1)).long()
    codes = torch.zeros_like(cells[:, 0])
    for bit in range(CURVE_BITS):
        for axis in range(3):
            codes |= (cells[:, axis] >> bit & 1) << (3 * bit + axis)
    return codes.argsort(stable=True)


def _check(header: PlyHeader, path: Path | str) -> None:
    """Everything about the header that gsply relies on and does not check."""
    elements = header.elements
    if tuple(header.properties("vertex")) != PACKED or "chunk" not in elements:
        raise ValueError(
            f"{path} is no compressed PLY; it needs elements 'chunk' and 'vertex' with {', '.join(PACKED)}"
        )
    chunk, vertex, harmonics = elements["chunk"], elements["vertex"], elements.get("sh")
    if len(chunk.properties) != CHUNK_PROPERTIES:
        raise ValueError(
            f"{path} has {len(chunk.properties)} properties of element 'chunk'; accepted are {CHUNK_PROPERTIES} "
            "(older files have 12: open and save them in SuperSplat)"
        )
    numbers = {"chunk": "f4", "vertex": "u4", "sh": "u1"}
    kinds = {name: set(element.properties.values()) for name, element in elements.items()}
    expected = {name: {numbers[name]} for name in ("chunk", "vertex", "sh") if name in elements}
    chunks = -(-vertex.count // CHUNK)
    if header.format != "binary_little_endian" or list(kinds.items()) != list(expected.items()):
        raise ValueError(f"{path} is no compressed PLY that can be read: its elements are {kinds}, {header.format}")
    if chunk.count != chunks or vertex.count == 0:
        raise ValueError(
            f"{path} is damaged: {chunk.count} chunks of {CHUNK} for {vertex.count} Gaussians, expected {chunks}"
        )
    if harmonics is not None:
        names = [f"f_rest_{index}" for index in range(len(harmonics.properties))]
        if list(harmonics.properties) != names or len(names) not in (9, 24, 45) or harmonics.count != vertex.count:
            raise ValueError(
                f"{path} has {harmonics.count} harmonics of {len(names)} coefficients for {vertex.count} Gaussians; "
                "accepted are as many, of 9, 24 or 45"
            )
