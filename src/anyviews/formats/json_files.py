"""Reading cameras files in JSON, with errors that name the file, the frame and the key."""

import json
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object from a file, with errors that name the file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}; a JSON object with the key 'frames' is accepted")
    return content


def write_json(content: dict[str, Any], path: Path) -> None:
    """Write a JSON object, indented."""
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def json_frames(content: dict[str, Any], path: Path) -> list[dict[str, Any]]:
    """The key `frames` of a cameras file, checked to be a list of objects with at least one entry."""
    if "frames" not in content:
        raise ValueError(f"{path} has no key 'frames'; found {sorted(content)[:12]}")
    frames = content["frames"]
    if not isinstance(frames, list) or not frames or not all(isinstance(frame, dict) for frame in frames):
        raise ValueError(f"{path}: 'frames' must be a list of objects, one per photo, and not empty")
    return frames


def frame_value(frame: dict[str, Any], key: str, label: str) -> Any:
    """A required value of a frame, with an error that names the frame and the key."""
    if key not in frame:
        raise ValueError(f"{label} has no key '{key}'; found {sorted(frame)}")
    return frame[key]


def frame_matrix(frame: dict[str, Any], key: str, label: str, rows: int, columns: int) -> Tensor:
    """A required matrix of a frame in double precision, with an error that names the frame and the key."""
    try:
        matrix = torch.tensor(frame_value(frame, key, label), dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{label}: '{key}' is not a matrix of numbers: {error}") from error
    if matrix.shape != (rows, columns):
        raise ValueError(f"{label}: '{key}' has shape {tuple(matrix.shape)}; accepted is {rows}x{columns}")
    return matrix


def frame_number(frame: dict[str, Any], key: str, label: str, positive: bool = False) -> float:
    """A required finite (and positive) number of a frame, with an error that names the frame and the key."""
    value = frame_value(frame, key, label)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{label}: '{key}' is {value!r}; a finite number is accepted")
    if positive and value <= 0:
        raise ValueError(f"{label}: '{key}' is {value!r}; a positive number is accepted")
    return float(value)


def frame_text(frame: dict[str, Any], key: str, label: str) -> str:
    """A required file name or label of a frame, with an error that names the frame and the key."""
    value = frame_value(frame, key, label)
    if not isinstance(value, str) or not value:
        raise ValueError(f"{label}: '{key}' is {value!r}; text is accepted")
    return value
