"""One run of a method for a visitor: uploads in, a folder as `anyviews run` writes it, and what the page shows."""

import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from ..cli.main import UNEXPECTED, USAGE, build_parser, explain
from ..cli.run import run
from .uploads import unpack


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """What a run has left.

    Args:
        folder: of everything, to be removed when it is no longer looked at.
        page: index.html.
        lines: about the result, for people, warnings first.
        files: to download; folders as .zip.
    """

    folder: Path
    page: Path
    lines: tuple[str, ...]
    files: tuple[Path, ...]


class VisitorError(Exception):
    """What went wrong, in words for a visitor of the page."""


def run_job(root: Path, files: Sequence[str] | None, checkpoint: str, words: Sequence[str]) -> Job:
    """Run a method in a folder of its own, which is removed when the run fails.

    Args:
        root: where the folder is made.
        files: uploaded ones.
        checkpoint: a folder, or the name of a Hub repository; says the method.
        words: further words of the command line of `anyviews run`.

    Raises:
        VisitorError: if anything goes wrong.
    """
    folder = root / uuid4().hex
    with explained_errors(folder):
        uploads = folder / "uploads"
        uploads.mkdir(parents=True)
        output = folder / "result"
        argv = ["run", str(unpack(files, uploads)), "--output", str(output), "--checkpoint", checkpoint, *words]
        arguments = build_parser("run", argv[1:]).parse_args(argv)
        result = run(arguments)
        for file in (output / "index.html", output / "result.json"):
            # where the server keeps its files is not for visitors
            file.write_text(_hidden(file.read_text(encoding="utf-8"), folder), encoding="utf-8")
        shutil.rmtree(uploads)
        warnings = [f"Warning: {_hidden(warning, folder)}" for warning in result["warnings"]]
        lines = (*warnings, *arguments.method.describe(result))
        return Job(folder, output / "index.html", lines, tuple(_downloads(output, folder)))


@contextmanager
def explained_errors(folder: Path) -> Iterator[None]:
    """Turn whatever is raised into a VisitorError, and remove the folder then."""
    try:
        yield
    except Exception as error:
        shutil.rmtree(folder, ignore_errors=True)
        code, message = explain(error)
        if code == USAGE:
            # without the usage of the command, which visitors do not type
            message = str(error)
        elif code == UNEXPECTED:
            logger.exception("a run of the app failed")
            message = f"unexpected {type(error).__name__}: {error}; the server's log shows where"
        raise VisitorError(_hidden(message, folder)) from error


def _downloads(output: Path, folder: Path) -> Iterator[Path]:
    """Files as they are, and folders packed."""
    for entry in sorted(output.iterdir()):
        if entry.is_dir():
            yield Path(shutil.make_archive(str(folder / "packed" / entry.name), "zip", output, entry.name))
        else:
            yield entry


def _hidden(text: str, folder: Path) -> str:
    for place in (folder / "uploads", folder):
        text = text.replace(f"{place}/", "")
    return text
