"""What a run leaves behind: the files of each format, and the record of what was asked for and by which versions."""

import argparse
import json
import platform
import shlex
import warnings
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from .. import __version__
from ..formats import save_scene
from ..scene import Scene


# Where each format of a scene is written in the output folder.
FILES = {
    "npz": "scene.npz",
    "depth": "depth",
    "ply": "points.ply",
    "mp4": "video.mp4",
    "colmap": "colmap",
    "transforms": "transforms",
    "cameras-json": "cameras-json",
    "gaussian-ply": "gaussians.ply",
    "compressed-ply": "gaussians.compressed.ply",
    "splat": "gaussians.splat",
    "spz": "gaussians.spz",
    "html": "gaussians.html",
    "mesh-ply": "mesh.ply",
    "glb": "mesh.glb",
    "obj": "mesh.obj",
    "usdz": "mesh.usdz",
}

# Arguments that say how to print, not what to compute.
PRINTING = ("verb", "module", "method", "json", "debug")


def parse_formats(text: str | None, accepted: Sequence[str], default: Sequence[str]) -> list[str]:
    """The formats of a list such as npz,ply; the default ones where none is given.

    Raises:
        ValueError: if one is not accepted.
    """
    if text is None:
        return list(default)
    formats = [name for name in text.split(",") if name]
    unknown = [name for name in formats if name not in accepted]
    if unknown:
        raise ValueError(
            f"--formats has {', '.join(unknown)}; accepted are {', '.join(accepted)}, separated by commas"
        )
    return list(dict.fromkeys(formats))


def write_formats(scene: Scene, folder: Path, formats: Sequence[str], fps: float = 24) -> list[str]:
    """Write a scene into a folder in several formats; returns the names of the files and folders."""
    for name in formats:
        save_scene(scene, folder / FILES[name], name, fps)
    return [FILES[name] for name in formats]


def check_not_inside(output: Path, *inputs: str) -> None:
    """Raise ValueError if replacing the output folder would delete an input."""
    for source in inputs:
        if Path(source).resolve().is_relative_to(output.resolve()):
            raise ValueError(f"{output} holds the input {source}; give another output")


def describe_run(arguments: argparse.Namespace, positional: str) -> dict[str, Any]:
    """What was asked for, and by which versions.

    Args:
        arguments: of the verb.
        positional: the name of the argument that is given without one.
    """
    settings = {name: value for name, value in vars(arguments).items() if name not in PRINTING}
    command = ["anyviews", arguments.verb, settings[positional]]
    for name, value in settings.items():
        if name == positional or value is None or value is False:
            continue
        command.append(f"--{name.replace('_', '-')}")
        if value is not True:
            command.append(",".join(map(str, value)) if isinstance(value, list) else str(value))
    return {
        "verb": arguments.verb,
        "command": shlex.join(command),
        "settings": settings,
        "versions": {
            "anyviews": __version__,
            "torch": version("torch"),
            "diffusers": version("diffusers"),
            "Python": platform.python_version(),
        },
    }


def user_warnings(caught: list[warnings.WarningMessage]) -> list[str]:
    """The texts of warnings that are meant for users, each once."""
    return list(dict.fromkeys(str(item.message) for item in caught if item.category is UserWarning))


def write_result(result: dict[str, Any], folder: Path) -> None:
    """Write result.json."""
    text = json.dumps(result, indent=2, allow_nan=False)
    (folder / "result.json").write_text(text + "\n", encoding="utf-8")
