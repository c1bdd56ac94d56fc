"""Files and functions stay small enough to be read from top to bottom."""

import ast
from pathlib import Path


REPOSITORY = Path(__file__).resolve().parents[2]
FOLDERS = ("src", "pipelines", "training_scripts", "utils", "tests")
FILE_LINES = 500
FUNCTION_LINES = 80


def long_functions(source: str) -> list[str]:
    """Functions of a source text that are longer than the ceiling, with their lengths."""
    return [
        f"{node.name} has {node.end_lineno - node.lineno + 1} lines"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno - node.lineno + 1 > FUNCTION_LINES
    ]


def test_long_functions_are_found():
    body = "    pass\n"
    assert long_functions("def short():\n" + body * (FUNCTION_LINES - 1)) == []
    assert long_functions("def long():\n" + body * FUNCTION_LINES) == [f"long has {FUNCTION_LINES + 1} lines"]


def test_files_and_functions_are_short():
    offenders = []
    for path in (path for folder in FOLDERS for path in sorted((REPOSITORY / folder).rglob("*.py"))):
        source = path.read_text(encoding="utf-8")
        found = long_functions(source)
        if source.count("\n") > FILE_LINES:
            found.append(f"{source.count(chr(10))} lines")
        offenders += [f"{path.relative_to(REPOSITORY)}: {item}" for item in found]
    assert not offenders, "split these: " + "; ".join(offenders)
