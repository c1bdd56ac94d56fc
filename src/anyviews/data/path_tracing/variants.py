"""Which variant of Mitsuba runs here: just-in-time compiled by LLVM where that works, else the scalar one."""

import importlib.util
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Literal


Variant = Literal["llvm_ad_rgb", "scalar_rgb"]
VARIANTS: tuple[Variant, ...] = ("llvm_ad_rgb", "scalar_rgb")

LIBRARY_VARIABLE = "DRJIT_LIBLLVM_PATH"
# Dr.Jit 1.5 aborts the process with 15 and 16 ("Cannot select: fminimum") and refuses what is older
OLDEST_LLVM = 17
LIBRARY_FOLDERS = (
    "/usr/lib/llvm-*/lib",
    "/usr/lib/*-linux-gnu",
    "/usr/lib64",
    "/usr/lib64/llvm*/lib",
    "/usr/local/lib",
    "/opt/homebrew/opt/llvm*/lib",
    "/usr/local/opt/llvm*/lib",
    f"{sys.prefix}/lib",
)
PROBE_SECONDS = 120
PROBE = """
import mitsuba
mitsuba.set_variant("llvm_ad_rgb")
film = {"type": "hdrfilm", "width": 4, "height": 4, "rfilter": {"type": "box"}}
scene = mitsuba.load_dict({"type": "scene", "ball": {"type": "sphere", "center": [0, 0, 4]},
    "light": {"type": "constant"}, "integrator": {"type": "path"}, "sensor": {"type": "perspective", "film": film}})
image = mitsuba.render(scene, spp=1).numpy()
assert image.shape == (4, 4, 3) and 0 < image.mean() < 2
"""


def choose_variant(wanted: str = "auto") -> tuple[Variant, str]:
    """The fastest variant that renders, and a sentence that says why.

    A library that does not fit aborts the process that loads it, so each is tried in a process of its own. The one
    that works is put into the environment variable DRJIT_LIBLLVM_PATH, for this process and those that it starts.

    Args:
        wanted: "auto", or a variant.

    Raises:
        ImportError: if Mitsuba is not installed.
        ValueError: for another variant, or for "llvm_ad_rgb" where it does not run.
    """
    if wanted not in ("auto", *VARIANTS):
        raise ValueError(f"variant is {wanted!r}; accepted are auto, {', '.join(VARIANTS)}")
    require_mitsuba()
    if wanted == "scalar_rgb":
        return "scalar_rgb", "as asked for"
    library = _working_library()
    if library is not None:
        os.environ[LIBRARY_VARIABLE] = str(library)
        return "llvm_ad_rgb", f"with {library}"
    advice = f"no libLLVM from version {OLDEST_LLVM} on renders; install one, or name its file in {LIBRARY_VARIABLE}"
    if wanted == "llvm_ad_rgb":
        raise ValueError(f"llvm_ad_rgb does not run here: {advice}")
    return "scalar_rgb", f"the slower one: {advice}"


def require_mitsuba() -> None:
    """Raise ImportError with the line that installs it, if Mitsuba is not there; it is not loaded."""
    if importlib.util.find_spec("mitsuba") is None:
        raise ImportError('path tracing needs mitsuba, which is not installed: pip install "anyviews[data]"')


def load_mitsuba(variant: Variant, threads: int | None = None) -> ModuleType:
    """Import Mitsuba and set its variant, once per process.

    Args:
        variant: as `choose_variant` gives it.
        threads: for rendering; None for one per core.

    Raises:
        ImportError: if Mitsuba is not installed.
    """
    require_mitsuba()
    import drjit
    import mitsuba

    if mitsuba.variant() != variant:
        mitsuba.set_variant(variant)
        mitsuba.set_log_level(mitsuba.LogLevel.Error)
    if threads is not None:
        drjit.set_thread_count(threads)
    return mitsuba


@cache
def _working_library() -> Path | None:
    """The libLLVM named by the environment if it works, else the newest installed one that does."""
    named = os.environ.get(LIBRARY_VARIABLE)
    for library in [Path(named)] if named else _installed_libraries():
        environment = {**os.environ, LIBRARY_VARIABLE: str(library)}
        try:
            done = subprocess.run(
                [sys.executable, "-c", PROBE], env=environment, capture_output=True, timeout=PROBE_SECONDS
            )
        except subprocess.TimeoutExpired:
            continue
        if done.returncode == 0:
            return library
    return None


def _installed_libraries() -> list[Path]:
    """One file per installed version that is new enough, the newest first."""
    found: dict[int, Path] = {}
    for pattern in LIBRARY_FOLDERS:
        folder = Path(pattern)
        for path in sorted(Path(folder.anchor).glob(f"{folder.relative_to(folder.anchor)}/libLLVM*")):
            version = llvm_version(path)
            if version >= OLDEST_LLVM:
                found.setdefault(version, path)
    return [found[version] for version in sorted(found, reverse=True)]


def llvm_version(library: Path) -> int:
    """The major version that a file of libLLVM has in its name or in that of its folder; 0 if none."""
    named = re.fullmatch(r"libLLVM-?(\d*)[\d.]*\.(?:so|dylib)[.]?(\d*)[\w.\-]*", library.name)
    if named is None:
        return 0
    folder = re.search(r"llvm[-@]?(\d+)", str(library.parent))
    # libLLVM.so.1 in a folder of a version is that version
    digits = (folder[1] if folder else "") or named[1] or named[2]
    return int(digits) if digits else 0
