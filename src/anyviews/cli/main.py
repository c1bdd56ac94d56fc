"""The `anyviews` command: finds the verb, runs it, and turns what happens into text, JSON and an exit code.

A verb is a module of this package with `HELP` (one line), `add_arguments(parser)`, `run(arguments) -> dict` (a
JSON-serialisable summary) and `describe(summary) -> str` (the same for people). A verb that may find fault with what
it was given has `exit_code(summary) -> int`, too; one whose options depend on others has
`complete_arguments(parser, argv)`, which adds these. Only the verb in use is imported.

Exit codes: 0 success; 1 unexpected error, or broken data that was found; 2 wrong usage; 3 bad input (a value or a
file); 4 something optional is not installed; 130 interrupted.
"""

import argparse
import ast
import contextlib
import json
import logging
import sys
import traceback
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path

from .. import __version__


VERBS = ("app", "convert", "data", "demo", "doctor", "eval", "refine", "render", "run", "view")

UNEXPECTED, USAGE, BAD_INPUT, MISSING, INTERRUPTED = 1, 2, 3, 4, 130

EXIT_CODES = """exit codes:
  0    success
  1    unexpected error (--debug shows where), or broken data that was found
  2    wrong usage
  3    bad input: a value or a file
  4    something optional is not installed
  130  interrupted"""


class UsageError(Exception):
    """The command line does not follow the usage; `usage` is what it should look like."""

    def __init__(self, message: str, usage: str):
        super().__init__(message)
        self.usage = usage


class Parser(argparse.ArgumentParser):
    """An argument parser that raises instead of exiting, so that usage errors are reported like all others."""

    def error(self, message: str):
        raise UsageError(message, self.format_usage())


def build_parser(selected: str | None = None, argv: Sequence[str] = ()) -> argparse.ArgumentParser:
    """The command line of one verb, or, without one, the list of all verbs.

    Args:
        selected: the verb.
        argv: what follows it, for verbs whose options depend on others.
    """
    layout = {"epilog": EXIT_CODES, "formatter_class": argparse.RawDescriptionHelpFormatter, "allow_abbrev": False}
    parser = Parser(prog="anyviews", description="Feed-forward 3D from photos.", **layout)
    parser.add_argument("--version", action="version", version=f"anyviews {__version__}")
    subparsers = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    if selected is None:
        for name in VERBS:
            subparsers.add_parser(name, help=read_help(name))
        return parser
    verb = import_module(f".{selected}", __package__)
    subparser = subparsers.add_parser(selected, description=verb.HELP, **layout)
    verb.add_arguments(subparser)
    if hasattr(verb, "complete_arguments"):
        verb.complete_arguments(subparser, argv)
    subparser.add_argument(
        "--json", action="store_true", help="print the summary, or the error, as one JSON object on stdout"
    )
    subparser.add_argument("--debug", action="store_true", help="show the full traceback of an error")
    subparser.set_defaults(module=verb)
    return parser


def read_help(name: str) -> str:
    """The HELP of a verb, from its source: importing it would load torch, and `anyviews --help` should not wait."""
    tree = ast.parse(Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "HELP":
            return ast.literal_eval(node.value)
    raise AssertionError(f"the verb {name} has no HELP")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit code.

    Args:
        argv: the command line without the program's name; by default that of the process.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        # libraries that print would break the JSON on stdout
        with contextlib.redirect_stdout(sys.stderr) if "--json" in argv else contextlib.nullcontext():
            selected = argv[0] if argv and argv[0] in VERBS else None
            arguments = build_parser(selected, argv[1:]).parse_args(argv)
            with progress_on_stderr():
                summary = arguments.module.run(arguments)
            text = json.dumps(summary) if arguments.json else arguments.module.describe(summary)
    except (Exception, KeyboardInterrupt) as error:
        if "--debug" in argv:
            traceback.print_exc()
        return report(error, as_json="--json" in argv)
    print(text)
    return arguments.module.exit_code(summary) if hasattr(arguments.module, "exit_code") else 0


def report(error: BaseException, as_json: bool) -> int:
    """Print an error on stderr, and as JSON on stdout where asked for; return its exit code."""
    code, message = explain(error)
    print(f"anyviews: {message}", file=sys.stderr)
    if as_json:
        print(json.dumps({"error": {"type": type(error).__name__, "message": message, "exit_code": code}}))
    return code


def explain(error: BaseException) -> tuple[int, str]:
    """The exit code and the message of an error."""
    message = str(error) or type(error).__name__
    match error:
        case UsageError():
            return USAGE, f"{message}\n{error.usage.rstrip()}"
        case KeyboardInterrupt():
            return INTERRUPTED, "interrupted"
        case ImportError():
            return MISSING, message
        case ValueError() | OSError():
            return BAD_INPUT, message
        case _:
            return UNEXPECTED, f"unexpected {type(error).__name__}: {message} (--debug shows where)"


@contextlib.contextmanager
def progress_on_stderr() -> Iterator[None]:
    """Show what the library logs at INFO and above on stderr while a verb runs."""
    logger = logging.getLogger("anyviews")
    handler, level = logging.StreamHandler(sys.stderr), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


if __name__ == "__main__":
    sys.exit(main())
