"""3D Gaussians as .splat, 32 bytes each: the format of antimatter15's web viewer, which many others read.

Position and scales (3 + 3 32-bit numbers), colour and opacity (4 x 8 bits), rotation (a quaternion, w first, each
component q as the byte 128 q + 128). There is no header and no view-dependent colour.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from ..gaussians import Gaussians
from .files import new_file
from .gaussian_ply import without_directions
from .image_folder import to_uint8
from .raw_gaussians import readable, writable


ROW = np.dtype([("mean", "<f4", 3), ("scale", "<f4", 3), ("color", "u1", 4), ("rotation", "u1", 4)])


def write_splat(gaussians: Gaussians, path: Path | str, overwrite: bool = False) -> None:
    """Write Gaussians as .splat, those with the largest opacity times volume first, as viewers load them.

    Colours, opacities and rotations are rounded to 8 bits; colours outside [0, 1] are clamped, and harmonics above
    degree 0 are dropped with a warning.

    Args:
        gaussians: one valid set.
        path: a file name ending in .splat.
        overwrite: whether an existing file may be replaced.

    Raises:
        ValueError: if the Gaussians are not valid.
    """
    gaussians = writable(without_directions(gaussians, path, ".splat"))
    order = (gaussians.opacities.double() * gaussians.scales.double().prod(-1)).argsort(descending=True, stable=True)
    gaussians = gaussians.select(order)
    rows = np.empty(len(gaussians), ROW)
    rows["mean"], rows["scale"] = gaussians.means.numpy(), gaussians.scales.numpy()
    rows["color"] = to_uint8(torch.cat([gaussians.colors, gaussians.opacities[:, None]], dim=-1))
    turned = F.normalize(gaussians.rotations, dim=-1) * 128 + 128
    rows["rotation"] = turned.round().clamp(0, 255).byte().numpy()
    with new_file(path, overwrite) as temporary:
        rows.tofile(temporary)


def read_splat(path: Path | str) -> Gaussians:
    """Read a .splat file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if its length is not a multiple of 32 bytes, or it holds unusable values.
    """
    size = Path(path).stat().st_size
    if size == 0 or size % ROW.itemsize:
        raise ValueError(f"{path} cannot be read as .splat: expected a multiple of {ROW.itemsize} bytes, found {size}")
    rows = np.fromfile(path, ROW)
    shades = torch.from_numpy(rows["color"].astype(np.float32)) / 255
    gaussians = Gaussians.from_colors(
        torch.from_numpy(rows["mean"].astype(np.float32)),
        (torch.from_numpy(rows["rotation"].astype(np.float32)) - 128) / 128,
        torch.from_numpy(rows["scale"].astype(np.float32)),
        shades[:, 3].clone(),
        shades[:, :3],
    )
    return readable(gaussians, path)
