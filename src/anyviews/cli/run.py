"""`anyviews run`: photos in, 3D out, by the method that the checkpoint belongs to, with one page that shows it."""

import argparse
import time
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from ..formats.files import new_folder
from .methods import load_method
from .outputs import check_not_inside, describe_run, parse_formats, user_warnings, write_result
from .overview import FILE_NAME, write_overview
from .page import write_page


HELP = "make 3D from photos with any checkpoint"

METHOD_HELP = "Each method has options of its own; to see them: anyviews run --checkpoint CHECKPOINT --help"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that all methods share."""
    parser.description = f"{HELP}. {METHOD_HELP}"
    parser.add_argument("photos", metavar="PHOTOS", help="folder of photos, with cameras where the method needs them")
    parser.add_argument("-o", "--output", metavar="OUT", required=True, help="new or empty folder to write")
    parser.add_argument("--checkpoint", required=True, help="folder or Hub repository, which says the method")
    add_common_arguments(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace OUT where it has content")


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that `run` and `demo` share."""
    parser.add_argument("--seed", type=int, default=0, help="of all that is random (default: 0)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: auto)")


def complete_arguments(parser: argparse.ArgumentParser, argv: Sequence[str]) -> None:
    """Add the options of the method whose checkpoint the command line names, where it names one."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    first.add_argument("--checkpoint")
    try:
        checkpoint = first.parse_known_args(argv)[0].checkpoint
    except argparse.ArgumentError:
        # the full parser says what is wrong
        return
    if checkpoint is None:
        parser.add_argument("--formats", metavar="A,B", help="what to write; each method has its own")
        return
    method = load_method(checkpoint)
    accepted, default = ",".join(method.FORMATS), ",".join(method.DEFAULT_FORMATS)
    parser.add_argument("--formats", metavar="A,B", help=f"any of {accepted} (default: {default})")
    method.add_arguments(parser.add_argument_group(method.TITLE))
    parser.set_defaults(method=method)


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run the method, write the folder, and return the result that is also in its result.json."""
    method = arguments.method
    arguments.formats = parse_formats(arguments.formats, method.FORMATS, method.DEFAULT_FORMATS)
    check_not_inside(Path(arguments.output), arguments.photos, arguments.checkpoint)
    return run_into(arguments, method, method.run, arguments.overwrite, "photos")


def run_into(
    arguments: argparse.Namespace,
    method: ModuleType,
    compute: Callable[[argparse.Namespace, Path], dict[str, Any]],
    overwrite: bool,
    positional: str,
) -> dict[str, Any]:
    """Compute into a new folder, write result.json, the picture and the page, and return the result.

    Args:
        arguments: of the verb, with `output`.
        method: whose `sections` make the page and whose `overview` the picture.
        compute: a function such as the method's `run`.
        overwrite: whether a folder with content may be replaced.
        positional: the name of the argument that is given without one.
    """
    start = time.perf_counter()
    output = Path(arguments.output)
    # the folder comes first: that it may not be replaced should not be found out after minutes of work
    with new_folder(output, overwrite) as folder, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        found = compute(arguments, folder)
        result = {
            **describe_run(arguments, positional),
            "method": method.__name__.rpartition(".")[2],
            **found,
            "output": str(output.resolve()),
            "warnings": [*user_warnings(caught), *found.get("warnings", [])],
            "seconds": round(time.perf_counter() - start, 3),
        }
        title = result.get("title") or f"{Path(getattr(arguments, positional)).resolve().name}: {method.TITLE}"
        write_page(folder / "index.html", title, result, method.sections(result, folder))
        write_overview(folder / FILE_NAME, method.overview(result, folder))
        result.pop("shown", None)
        write_result(result, folder)
    return result


def describe(result: dict[str, Any]) -> str:
    """The result in words."""
    return describe_result(result, import_module(f".methods.{result['method']}", __package__))


def describe_result(result: dict[str, Any], method: ModuleType) -> str:
    """Warnings, the method's lines, and where to look."""
    lines = [f"warning: {warning}" for warning in result["warnings"]]
    return "\n".join([*lines, *method.describe(result), f"look at {Path(result['output']) / 'index.html'}"])
