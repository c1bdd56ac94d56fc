"""Writing without leaving anything half-written: a temporary sibling, renamed when it is complete."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4


@contextmanager
def new_file(path: Path | str, overwrite: bool = False) -> Iterator[Path]:
    """Give a temporary path to write to; rename it to `path` on success and remove it on failure.

    Args:
        path: the file wanted; missing parent folders are made.
        overwrite: whether an existing file may be replaced.

    Raises:
        ValueError: if `path` exists and may not be replaced, or is a folder.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder; a file name such as {path / f'scene{path.suffix}'} is accepted")
    if path.exists() and not overwrite:
        raise ValueError(f"{path} exists already; give another name, or overwrite=True (--overwrite) to replace it")
    path.parent.mkdir(parents=True, exist_ok=True)
    # the suffix stays last: writers choose the container by it
    temporary = path.with_name(f".{path.stem}.{uuid4().hex[:8]}{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def new_folder(path: Path | str, overwrite: bool = False) -> Iterator[Path]:
    """Give a temporary sibling folder to write into; rename it to `path` on success and remove it on failure.

    Args:
        path: the folder wanted; missing parent folders are made.
        overwrite: whether an existing folder with content may be replaced, as a whole.

    Raises:
        ValueError: if `path` is a file, has content and may not be replaced, or holds the working or home folder.
    """
    path = Path(path).resolve()
    if path.exists() and not path.is_dir():
        raise ValueError(f"{path} is a file; a new or empty folder is accepted")
    if path.is_dir() and any(path.iterdir()):
        if not overwrite:
            raise ValueError(
                f"the folder {path} is not empty; give a new one, or overwrite=True (--overwrite) to replace all of it"
            )
        if any(kept.resolve().is_relative_to(path) for kept in (Path.cwd(), Path.home())):
            raise ValueError(f"{path} holds the working or home folder and is not replaced; give a folder inside it")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid4().hex[:8]}")
    try:
        temporary.mkdir()
        yield temporary
        _exchange(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _exchange(new: Path, path: Path) -> None:
    """Rename `new` to `path`; what was there is put aside first, and put back if the renaming fails."""
    if not path.exists():
        new.replace(path)
        return
    aside = new.with_name(f"{new.name}.replaced")
    path.replace(aside)
    try:
        new.replace(path)
    except OSError:
        aside.replace(path)
        raise
    shutil.rmtree(aside)
