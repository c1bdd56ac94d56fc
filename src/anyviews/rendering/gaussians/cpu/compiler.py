"""How kernels are compiled: at first use, for this processor, without Python's lock, and kept on disk if possible."""

import hashlib
import inspect
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numba


SOURCES = Path(__file__).parent

# Sums may be reordered and products fused, but infinities and NaN keep their meaning.
OPTIONS = {"nogil": True, "fastmath": {"contract", "reassoc", "arcp", "nsz"}, "error_model": "numpy"}


def helper(function: Callable) -> Callable:
    """A function that kernels call."""
    return numba.njit(**OPTIONS)(_plain(function))


class Kernel:
    """A compiled function that Python calls.

    Args:
        function: of arrays, numbers and tuples of them, which calls nothing but numpy, `helper` functions and `lanes`.
    """

    def __init__(self, function: Callable):
        self.function = function
        self.dispatcher = _kept(function)

    def __call__(self, *arguments):
        try:
            return self.dispatcher(*arguments)
        except Exception:
            # a file in the cache that cannot be written, or read: compile for this process alone, and once more raise
            # what has another reason
            self.dispatcher = helper(self.function)
            return self.dispatcher(*arguments)


def cache_folder() -> Path | None:
    """A folder for compiled kernels that can be written to, named for the sources they are compiled from.

    Numba itself renews a kernel only when the file changes that holds it, not with what it calls from other files.
    """
    sources = b"".join(path.read_bytes() for path in sorted(SOURCES.glob("*.py")))
    name = f"kernels-{hashlib.sha256(sources).hexdigest()[:16]}"
    home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    places = [numba.config.CACHE_DIR] if numba.config.CACHE_DIR else [SOURCES / "__pycache__", Path(home, "anyviews")]
    for place in places:
        folder = Path(place, name)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                return folder
        except OSError:
            continue
    return None


def _kept(function: Callable) -> Callable:
    """The function, to be compiled at its first call, and kept in `FOLDER`."""
    if FOLDER is None:
        return helper(function)
    chosen, numba.config.CACHE_DIR = numba.config.CACHE_DIR, str(FOLDER)
    try:
        return numba.njit(cache=True, **OPTIONS)(_plain(function))
    except RuntimeError:  # Numba finds the folder unusable
        return helper(function)
    finally:
        numba.config.CACHE_DIR = chosen


def _plain(function: Callable) -> Callable:
    """The function as it was written: tests wrap the library's functions to check types, which cannot be compiled."""
    return inspect.unwrap(function)


FOLDER = cache_folder()
