"""How the kernels of this package are compiled: at first use, for this processor, and kept on disk where possible."""

from collections.abc import Callable

import numba


# Sums may be reordered and products fused, but infinities and NaN keep their meaning.
ARITHMETIC = frozenset({"contract", "reassoc", "arcp", "nsz"})


def compiled(function: Callable) -> Callable:
    """A compiled kernel that runs without Python's global lock.

    The file it is kept in is renewed when the kernel's own source file changes, and only then: what a kernel calls or
    reads as a constant stands in the same file, or never changes.
    """
    options = {"nogil": True, "fastmath": set(ARITHMETIC), "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no folder to keep it in: compiled again by every process
        return numba.njit(**options)(function)
