"""3D Gaussians as .spz (Niantic), about 20 bytes each without view-dependent colour; coded by gsply.

The format's axes are those of OpenGL (y up, z backward), while Gaussians here and in PLY have OpenCV's: they are
turned by half a turn about x on the way in and out, as the format's specification asks and gsply does not.
"""

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path

import torch

from ..gaussians import Gaussians
from ..geometry.similarity import Similarity
from .files import new_file
from .raw_gaussians import RawGaussians, as_numpy, from_raw, to_raw, writable


# Coordinates are 24-bit integers with so many bits behind the point.
COORDINATE_BITS = 23
MAX_FRACTIONAL_BITS = 24

HALF_TURN = Similarity(torch.tensor(1.0), torch.diag(torch.tensor([1.0, -1.0, -1.0])), torch.zeros(3))


def write_spz(gaussians: Gaussians, path: Path | str, overwrite: bool = False) -> None:
    """Write Gaussians as .spz, version 3.

    Positions are rounded to 2^-23 of the largest coordinate or finer, scales to 1/16 of their logarithm (an error of
    up to 3 %, for scales of 4.5e-5 to 380 units), opacities to 8 bits, colours to 1/136, harmonics to 1/128 (within
    [-1, 1]), rotations to 9 bits.

    Args:
        gaussians: one valid set with coordinates below 2^22.
        path: a file name ending in .spz.
        overwrite: whether an existing file may be replaced.

    Raises:
        ValueError: if the Gaussians are not valid or too far away from the origin.
    """
    import gsply

    gaussians = writable(gaussians)
    reach = gaussians.means.abs().max().item()
    bits = MAX_FRACTIONAL_BITS if reach == 0 else math.floor(math.log2((2**COORDINATE_BITS - 1) / reach))
    if bits < 1:
        raise ValueError(
            f"{path}: .spz holds coordinates up to {2 ** (COORDINATE_BITS - 1)} but the Gaussians reach {reach:g}; "
            "move them to the origin or choose another unit"
        )
    data = gsply_data(to_raw(gaussians.transform(HALF_TURN)))
    with new_file(path, overwrite) as temporary:
        with threads_of_torch():
            gsply.write_spz(temporary, data, fractional_bits=min(bits, MAX_FRACTIONAL_BITS))


def read_spz(path: Path | str) -> Gaussians:
    """Read an .spz file, versions 1 to 3, and 4 where the package zstandard is installed.

    Raises:
        FileNotFoundError: if there is no such file.
        ImportError: if the file needs a package that is not installed.
        ValueError: if it is damaged or holds unusable values.
    """
    import gsply

    try:
        with threads_of_torch():
            data = gsply.read_spz(path)
    except ValueError as error:
        if "zstandard" in str(error):
            raise ImportError(f"{path} is .spz version 4, which needs: pip install zstandard") from None
        raise ValueError(f"{path} cannot be read as .spz: {error}") from None
    return from_raw(raw_of_gsply(data), path).transform(HALF_TURN)


@contextlib.contextmanager
def threads_of_torch() -> Iterator[None]:
    """Keep torch's number of threads: gsply's loops run on numba's, which sets that of all OpenMP in the process."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def gsply_data(raw: RawGaussians):
    """The values as gsply's container, which holds what PLY holds."""
    from gsply import GSData

    values = as_numpy(raw)
    harmonics = values["spherical_harmonics"]
    return GSData.from_arrays(
        values["means"],
        values["log_scales"],
        values["rotations"],
        values["opacity_logits"],
        harmonics[:, 0],
        harmonics[:, 1:] if harmonics.shape[1] > 1 else None,
        format="ply",
    )


def raw_of_gsply(data) -> RawGaussians:
    """The values of gsply's container."""
    parts = [data.sh0[:, None]] if data.shN is None else [data.sh0[:, None], data.shN]
    return RawGaussians(
        torch.from_numpy(data.means),
        torch.from_numpy(data.quats),
        torch.from_numpy(data.scales),
        torch.from_numpy(data.opacities),
        torch.cat([torch.from_numpy(part) for part in parts], dim=1),
    )
