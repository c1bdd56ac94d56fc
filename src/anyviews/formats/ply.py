"""Coloured points as binary PLY: x, y, z, and where known red, green, blue (8 bits) and confidence."""

from pathlib import Path

import numpy as np
import torch

from ..scene import PointCloud
from .image_folder import to_uint8
from .ply_table import read_ply_tables, write_ply_tables


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
        columns.update(zip(("red", "green", "blue"), to_uint8(points.colors).T, strict=True))
    if points.confidence is not None:
        columns["confidence"] = points.confidence.detach().float().cpu().numpy()
    write_ply_tables(path, {"vertex": as_table(columns)}, overwrite)


def read_ply(path: Path | str) -> PointCloud:
    """Read the vertices of a PLY file, with their colours (8 bits, or numbers in [0, 1]) and confidence if present.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is no PLY with a vertex element that has x, y and z.
    """
    tables = read_ply_tables(path)
    vertices = tables.get("vertex")
    found = [] if vertices is None else list(vertices.dtype.names)
    if not {"x", "y", "z"} <= set(found):
        raise ValueError(f"{path} has no element 'vertex' with x, y, z; found {found or sorted(tables)}")
    colors = confidence = None
    if {"red", "green", "blue"} <= set(found):
        whole = np.iinfo(vertices["red"].dtype).max if vertices["red"].dtype.kind in "iu" else 1
        colors = columns_of(vertices, "red", "green", "blue") / whole
    if "confidence" in found:
        confidence = columns_of(vertices, "confidence")[:, 0]
    return PointCloud(columns_of(vertices, "x", "y", "z"), colors, confidence)


def as_table(columns: dict[str, np.ndarray]) -> np.ndarray:
    """Columns of one length as a structured array."""
    table = np.empty(len(next(iter(columns.values()))), [(name, values.dtype) for name, values in columns.items()])
    for name, values in columns.items():
        table[name] = values
    return table


def columns_of(table: np.ndarray, *names: str) -> torch.Tensor:
    """Fields of a structured array as the columns of a float32 matrix."""
    columns = torch.empty(len(table), len(names))
    for index, name in enumerate(names):
        columns[:, index] = torch.from_numpy(table[name].astype(np.float32))
    return columns
