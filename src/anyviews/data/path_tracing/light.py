"""The light of an object: one of the given environments, or a procedural one."""

from collections.abc import Sequence
from pathlib import Path

import torch

from ...environment import Environment
from ...formats.hdr import read_environment
from ..samples import derive_seed
from ..world.lighting import fitted_environments, random_environments
from ..world.lighting.draw import Draw


ENVIRONMENT_SUFFIXES = (".hdr", ".exr")
# more than any kind of random environment uses
UNIFORMS_PER_LIGHT = 400


def environment_files(folder: Path | str) -> list[Path]:
    """The .hdr and .exr files below a folder, sorted.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if it holds none.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder; give one with .hdr or .exr files, or procedural")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENVIRONMENT_SUFFIXES)
    if not files:
        raise ValueError(f"{folder} holds no .hdr or .exr file; give another folder, or procedural")
    return files


def random_light(key: str, seed: int, files: Sequence[Path] = ()) -> Environment:
    """An environment that depends on the object, the seed and the given files only.

    Args:
        key: the object's name.
        seed: another one gives other light.
        files: to choose from; it is turned about the vertical, averaged and exposed as in the procedural world. None
            for a procedural environment.
    """
    generator = torch.Generator().manual_seed(derive_seed("light", key, seed))
    draws = [Draw(torch.rand(UNIFORMS_PER_LIGHT, generator=generator).tolist())]
    if not files:
        return Environment(random_environments(draws, "cpu")[0])
    chosen = read_environment(files[int(torch.randint(len(files), (1,), generator=generator))])
    return Environment(fitted_environments([chosen], draws, "cpu")[0])
