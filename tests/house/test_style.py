"""Files and functions stay small enough to be read from top to bottom."""

import ast
from pathlib import Path


REPOSITORY = Path(__file__).resolve().parents[2]
FOLDERS = ("src", "pipelines", "training_scripts", "utils", "tests")
FILE_LINES = 500
FUNCTION_LINES = 80


def long_functions(source: str) -> list[str]:
    """Functions whose body is longer than the ceiling; the signature, often a table of options, does not count."""
    functions = [
        (node.name, node.end_lineno - node.body[0].lineno + 1)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    return [f"{name} has {lines} lines" for name, lines in functions if lines > FUNCTION_LINES]


def test_long_functions_are_found():
    statement = "    pass\n"
    assert long_functions("def short(\n    argument,\n):\n" + statement * FUNCTION_LINES) == []
    assert long_functions("def long():\n" + statement * (FUNCTION_LINES + 1)) == [
        f"long has {FUNCTION_LINES + 1} lines"
    ]


def test_files_and_functions_are_short():
    offenders = []
    for path in (path for folder in FOLDERS for path in sorted((REPOSITORY / folder).rglob("*.py"))):
        source = path.read_text(encoding="utf-8")
        found = long_functions(source)
        if source.count("\n") > FILE_LINES:
            found.append(f"{source.count(chr(10))} lines")
        offenders += [f"{path.relative_to(REPOSITORY)}: {item}" for item in found]
    assert not offenders, "split these: " + "; ".join(offenders)
