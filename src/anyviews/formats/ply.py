"""Coloured points as binary PLY: x, y, z, and where known red, green, blue (8 bits) and confidence."""

from pathlib import Path

import numpy as np
import torch
from plyfile import PlyData, PlyElement, PlyHeaderParseError, PlyParseError

from ..scene import PointCloud
from .files import new_file
from .image_folder import to_uint8


def write_ply(points: PointCloud, path: Path | str, overwrite: bool = False) -> None:
    """Write points as little-endian binary PLY.

    Args:
        points: at least one point, all finite.
        path: a file name ending in .ply.
        overwrite: whether an existing file may be replaced.

    Raises:
        ValueError: if there are no points or a position is not finite.
    """
    if len(points) == 0:
        raise ValueError("there are no points to write")
    if not points.positions.isfinite().all():
        raise ValueError("point positions hold NaN or infinity; accepted are finite numbers")
    columns = dict(zip("xyz", points.positions.detach().float().cpu().numpy().T, strict=True))
    if points.colors is not None:
        shades = to_uint8(points.colors).T
        columns.update(zip(("red", "green", "blue"), shades, strict=True))
    if points.confidence is not None:
        columns["confidence"] = points.confidence.detach().float().cpu().numpy()
    vertices = np.empty(len(points), dtype=[(name, values.dtype) for name, values in columns.items()])
    for name, values in columns.items():
        vertices[name] = values
    with new_file(path, overwrite) as temporary:
        PlyData([PlyElement.describe(vertices, "vertex")], byte_order="<").write(str(temporary))


def read_ply(path: Path | str) -> PointCloud:
    """Read the vertices of a PLY file, with their colours (8 bits) and confidence where present.

    Raises:
        ValueError: if the file is no PLY with a vertex element that has x, y and z.
    """
    try:
        elements = {element.name: element.data for element in PlyData.read(str(path))}
    except (PlyHeaderParseError, PlyParseError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read as PLY: {error}") from error
    vertices = elements.get("vertex")
    found = [] if vertices is None else list(vertices.dtype.names)
    if not {"x", "y", "z"} <= set(found):
        raise ValueError(f"{path} has no element 'vertex' with x, y, z; found {found or sorted(elements)}")

    def columns(*names: str) -> torch.Tensor | None:
        if not set(names) <= set(found):
            return None
        return torch.from_numpy(np.stack([vertices[name].astype(np.float32) for name in names], axis=-1))

    colors, confidence = columns("red", "green", "blue"), columns("confidence")
    return PointCloud(
        columns("x", "y", "z"),
        None if colors is None else colors / 255,
        None if confidence is None else confidence[:, 0],
    )
