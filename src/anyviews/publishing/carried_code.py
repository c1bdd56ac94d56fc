"""Gives a checkpoint's own copy of modules of anyviews to a Python that does not have the package.

The text of this file is copied into the code file of published checkpoints, where it runs without the package; it
uses nothing but the standard library and what diffusers and transformers depend on.
"""

import hashlib
import sys
import tempfile
import warnings
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec, spec_from_file_location
from pathlib import Path

from packaging.requirements import Requirement


class CarriedModules(MetaPathFinder):
    """Finds modules of anyviews that checkpoints carried; there is one for all checkpoints of a process."""

    carries = "anyviews"

    def __init__(self):
        self.files: dict[str, Path] = {}
        self.texts: dict[str, str] = {}

    def add(self, texts: dict[str, str], home: Path) -> None:
        """Take up the modules of one more checkpoint, by their path in the package.

        Raises:
            ImportError: if a module differs from that of an earlier checkpoint.
        """
        for name, text in texts.items():
            if self.texts.get(name, text) != text:
                raise ImportError(
                    f"this checkpoint carries another version of {name} than a checkpoint that was loaded before; "
                    "load them in separate processes, or install the package anyviews, which then serves both"
                )
        folder = home / f"anyviews_{hashlib.sha256(repr(sorted(texts.items())).encode()).hexdigest()[:16]}"
        for name, text in texts.items():
            if name not in self.files:
                write_once(folder / name, text)
                self.files[name], self.texts[name] = folder / name, text

    def find_spec(self, fullname: str, path: Sequence[str] | None = None, target=None) -> ModuleSpec | None:
        """As the import system asks for it.

        Raises:
            ModuleNotFoundError: for a module of anyviews that no checkpoint brought.
        """
        if fullname.partition(".")[0] != self.carries:
            return None
        inside = fullname.replace(".", "/")
        if (package := self.files.get(f"{inside}/__init__.py")) is not None:
            return spec_from_file_location(fullname, package, submodule_search_locations=[str(package.parent)])
        if (module := self.files.get(f"{inside}.py")) is not None:
            return spec_from_file_location(fullname, module)
        raise ModuleNotFoundError(
            f"{fullname} is not among the modules of anyviews that the checkpoint brought, which are those that its "
            "method needs; install the package anyviews for the rest",
            name=fullname,
        )


def write_once(file: Path, text: str) -> None:
    """Write a file unless it is there with this content; other processes never see a part of it."""
    data = text.encode()
    if file.is_file() and file.read_bytes() == data:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=file.parent, delete=False) as partial:
        partial.write(data)
    Path(partial.name).replace(file)


def without_margin(text: str) -> str:
    """The text of which every line follows a bar.

    The bar keeps tools that look for lines such as "import x" from taking a carried module for a part of this file.
    """
    return "\n".join(line[1:] for line in text.split("\n")[1:-1])


def provide(texts: dict[str, str], carried: str, required: Sequence[str], optional: Sequence[str], home: Path) -> None:
    """Make `import anyviews` work: with the installed package, or else with the carried modules.

    Args:
        texts: modules by their path in the package, with margins.
        carried: their version.
        required: what must be installed for them to load, as pip takes it.
        optional: what only some functions need.
        home: folder in which the modules are unpacked.

    Raises:
        ImportError: if something required is not installed.
    """
    finder = next((found for found in sys.meta_path if getattr(found, "carries", None) == "anyviews"), None)
    if finder is None and find_spec("anyviews") is not None:
        if _version("anyviews") != carried:
            warnings.warn(
                f"the installed anyviews {_version('anyviews')} is used in place of {carried}, which the checkpoint "
                "brought",
                stacklevel=2,
            )
        return
    missing = [text for text in required if _version(Requirement(text).name) is None]
    if missing:
        raise ImportError(f"the code of this checkpoint needs other packages; run pip install {_quoted(missing)}")
    unfit = [text for text in [*required, *optional] if not _fits(Requirement(text))]
    if unfit:
        warnings.warn(
            "the code of this checkpoint may fail, or some of its functions, without other packages or versions of "
            f"them; run pip install {_quoted(unfit)}",
            stacklevel=2,
        )
    if finder is None:
        finder = CarriedModules()
        # last, so that a package that is installed later comes first
        sys.meta_path.append(finder)
    finder.add({name: without_margin(text) for name, text in texts.items()}, home)


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _fits(requirement: Requirement) -> bool:
    found = _version(requirement.name)
    return found is not None and requirement.specifier.contains(found, prereleases=True)


def _quoted(requirements: Sequence[str]) -> str:
    return " ".join(f'"{text}"' for text in requirements)
