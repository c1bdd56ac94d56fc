"""Which modules of this package a module needs, found by the imports in their sources."""

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from importlib.util import find_spec, resolve_name
from pathlib import Path
from sys import stdlib_module_names


PACKAGE = "anyviews"


@dataclass(frozen=True)
class NeededModules:
    """What a module needs.

    Args:
        files: of this package, by their path in it, such as "anyviews/cameras.py"; with the package data of folders.
        eager: other packages, by the name that is imported, without which the modules do not load.
        lazy: other packages that only some functions import.
    """

    files: dict[str, Path] = field(default_factory=dict)
    eager: set[str] = field(default_factory=set)
    lazy: set[str] = field(default_factory=set)


def needed_modules(roots: Sequence[str]) -> NeededModules:
    """The modules that some modules of this package import, directly or not, themselves included.

    Imports inside of functions count: what they import is needed when the function is called.

    Args:
        roots: names of modules.
    """
    at_once = _reached(roots, at_once=True)
    later = _reached(roots, at_once=False)
    seen = at_once | later
    eager, lazy = (
        {name.partition(".")[0] for name in found if name.partition(".")[0] != PACKAGE} for found in (at_once, later)
    )
    files = {}
    for name in sorted(seen):
        if name.partition(".")[0] == PACKAGE:
            files.update(_files_of(name))
    return NeededModules(files, eager - stdlib_module_names, lazy - eager - stdlib_module_names)


def _reached(roots: Sequence[str], at_once: bool) -> set[str]:
    """Modules of this package and others that some modules lead to; `at_once` leaves out what functions import."""
    seen: set[str] = set()
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        if name.partition(".")[0] != PACKAGE:
            continue
        waiting += [name.rpartition(".")[0]] if "." in name else []
        for statement in _imports(name, at_once):
            for module, attribute in _targets(statement, name):
                waiting += _modules_of(module, attribute)
    return seen


@cache
def source_file(module: str) -> Path:
    """The file of a module of this package."""
    return Path(find_spec(module).origin)


@cache
def is_module(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def _imports(module: str, at_once: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    """The imports of a module; `at_once` leaves out those inside of functions."""
    waiting: list[ast.AST] = [_syntax_tree(module)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif not (at_once and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)):
            waiting += ast.iter_child_nodes(node)


@cache
def _syntax_tree(module: str) -> ast.Module:
    return ast.parse(source_file(module).read_text(encoding="utf-8"))


def _targets(statement: ast.Import | ast.ImportFrom, importer: str) -> list[tuple[str, str | None]]:
    """(module, attribute) of everything that a statement imports."""
    if isinstance(statement, ast.Import):
        return [(alias.name, None) for alias in statement.names]
    relative = "." * statement.level + (statement.module or "")
    is_package = source_file(importer).name == "__init__.py"
    module = resolve_name(relative, importer if is_package else importer.rpartition(".")[0])
    return [(module, alias.name) for alias in statement.names]


def _modules_of(module: str, attribute: str | None) -> list[str]:
    """The modules that `from module import attribute` loads."""
    if attribute is None or module.partition(".")[0] != PACKAGE or source_file(module).name != "__init__.py":
        return [module]
    if is_module(f"{module}.{attribute}"):
        return [f"{module}.{attribute}"]
    # a package may load its names on first use, so that its own imports do not tell where they are from
    home = getattr(getattr(import_module(module), attribute), "__module__", None) or ""
    return [module, home] if home.partition(".")[0] == PACKAGE else [module]


def _files_of(module: str) -> Iterator[tuple[str, Path]]:
    file = source_file(module)
    inside = module.replace(".", "/")
    if file.name != "__init__.py":
        yield f"{inside}.py", file
        return
    yield f"{inside}/__init__.py", file
    for folder in sorted(path for path in file.parent.iterdir() if path.is_dir()):
        holds_code = folder.name == "__pycache__" or any(folder.glob("*.py")) or any(folder.glob("*/*.py"))
        if not holds_code:
            yield from (
                (f"{inside}/{path.relative_to(file.parent).as_posix()}", path)
                for path in sorted(folder.rglob("*"))
                if path.is_file()
            )
