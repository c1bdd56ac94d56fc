"""What importing the package costs and drags in, and which constructs never appear in the sources."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest


REPOSITORY = Path(__file__).resolve().parents[2]
SOURCES = sorted(
    path for folder in ("src", "pipelines", "training_scripts") for path in (REPOSITORY / folder).rglob("*.py")
)
HEAVY = set(
    "accelerate av datasets diffusers gsplat gsply numba peft torchvision transformers trimesh xformers".split()
)
UNSAFE_MODULES = {"cloudpickle", "dill", "marshal", "pickle", "shelve"}
IMPORT_CEILING_SECONDS = 1.0


def in_fresh_python(code: str) -> dict:
    """Run code in a new interpreter and read the JSON that it prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def offences(tree: ast.AST) -> Iterator[str]:
    """What the house forbids, found in a syntax tree."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id="eval" | "exec" as name)):
                yield f"line {node.lineno}: {name}()"
            case ast.Attribute(value=ast.Name(id="sys"), attr="path"):
                yield f"line {node.lineno}: sys.path"
            case ast.Attribute(value=ast.Name(id="torch"), attr="load"):
                yield f"line {node.lineno}: torch.load"
            case ast.ImportFrom(names=[ast.alias(name="*")]):
                yield f"line {node.lineno}: import *"
            case ast.ImportFrom(module="sys", names=names) if "path" in {alias.name for alias in names}:
                yield f"line {node.lineno}: sys.path"
            case ast.ImportFrom(module="torch", names=names) if "load" in {alias.name for alias in names}:
                yield f"line {node.lineno}: torch.load"
            case ast.If(test=test) if "environ" in ast.unparse(test) and any(
                isinstance(inner, ast.Import | ast.ImportFrom) for inner in ast.walk(node)
            ):
                yield f"line {node.lineno}: an import that depends on the environment"
        for module in imported_modules(node):
            if module.split(".")[0] in UNSAFE_MODULES:
                yield f"line {node.lineno}: import of {module}"


def imported_modules(node: ast.AST) -> list[str]:
    """The absolute modules that one statement imports."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.level == 0:
        return [node.module]
    return []


@pytest.mark.parametrize(
    "source",
    [
        "value = eval(text)",
        "exec(text)",
        "import sys\nsys.path.insert(0, 'x')",
        "from sys import path",
        "import torch\ntorch.load('x.pt')",
        "from torch import load",
        "from os import *",
        "import pickle",
        "import os\nif os.environ.get('FAST'):\n    import fast",
    ],
)
def test_offences_are_found(source):
    assert list(offences(ast.parse(source)))


def test_ordinary_code_is_no_offence():
    assert not list(offences(ast.parse("import sys\nmodel.eval()\nstate = load_file('x.safetensors')\nsys.exit(0)")))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_sources_hold_no_offence(path):
    assert not list(offences(ast.parse(path.read_text(encoding="utf-8"))))


def test_torchvision_is_not_needed():
    folders = ("src", "pipelines", "training_scripts", "utils", "tests")
    importers = [
        str(path.relative_to(REPOSITORY))
        for folder in folders
        for path in (REPOSITORY / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if any(module.split(".")[0] == "torchvision" for module in imported_modules(node))
    ]
    assert importers == []
    assert '"torchvision' not in (REPOSITORY / "setup.py").read_text(encoding="utf-8")


def test_import_is_fast():
    seconds = in_fresh_python(
        "import json, time, torch; start = time.perf_counter(); import anyviews; "
        "anyviews.Cameras, anyviews.Views, anyviews.Scene; print(json.dumps(time.perf_counter() - start))"
    )
    assert seconds < IMPORT_CEILING_SECONDS


def test_import_brings_nothing_heavy():
    loaded = in_fresh_python(
        "import json, sys, anyviews; anyviews.Cameras, anyviews.Views, anyviews.Scene; "
        "print(json.dumps(sorted(name for name in sys.modules if '.' not in name)))"
    )
    assert "torch" in loaded
    assert set(loaded) & HEAVY == set()
