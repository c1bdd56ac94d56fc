"""Uploaded files as the folder of photos that a method takes."""

import shutil
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

from ..formats.photos import PHOTO_SUFFIXES, is_photo


# Of what an archive holds, unpacked.
MOST_FILES, MOST_BYTES = 5_000, 4 * 1024**3
ACCEPTED = f"photos ({', '.join(PHOTO_SUFFIXES)}), or one .zip of a folder"


def unpack(files: Sequence[Path | str] | None, folder: Path) -> Path:
    """Put uploaded files into a folder.

    Args:
        files: photos, or one .zip file of a folder of photos, with whatever cameras lie in it.
        folder: existing and empty.

    Returns:
        The folder of the photos, inside `folder`.

    Raises:
        ValueError: if there are no files, they are of another kind, or the archive is damaged or too large.
    """
    files = [Path(file) for file in files or ()]
    if not files:
        raise ValueError(f"there are no photos yet; upload {ACCEPTED}, or take the example")
    if gone := [file.name for file in files if not file.is_file()]:
        raise ValueError(f"{gone[0]} is no longer here; upload it again")
    if [file.suffix.lower() for file in files] == [".zip"]:
        return _extract(files[0], folder / _plain(files[0].stem))
    target = folder / "photos"
    target.mkdir()
    for file in files:
        if not is_photo(file):
            raise ValueError(f"{file.name} is no photo; accepted are {ACCEPTED}")
        place, number = target / file.name, 2
        while place.exists():
            place, number = target / f"{file.stem}-{number}{file.suffix}", number + 1
        shutil.copyfile(file, place)
    return target


def _extract(file: Path, target: Path) -> Path:
    try:
        with zipfile.ZipFile(file) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            size = sum(entry.file_size for entry in entries)
            if len(entries) > MOST_FILES or size > MOST_BYTES:
                raise ValueError(
                    f"{file.name} holds {len(entries):,} files of {size / 1e9:.1f} GB; accepted are {MOST_FILES:,} "
                    f"files and {MOST_BYTES / 1e9:.1f} GB; use anyviews run for more"
                )
            # leaves out roots, drives and .. of the names, and reads no more than the sizes said
            archive.extractall(target, entries)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, OSError) as error:
        raise ValueError(f"{file.name} cannot be unpacked: {error}; give a .zip file without a password") from error
    shutil.rmtree(target / "__MACOSX", ignore_errors=True)
    # of a zipped folder, that folder
    inner = list(target.iterdir()) if target.is_dir() else []
    if not inner:
        raise ValueError(f"{file.name} is empty; accepted are {ACCEPTED}")
    return inner[0] if len(inner) == 1 and inner[0].is_dir() and inner[0].name != "images" else target


def _plain(name: str) -> str:
    """A name that is a folder's on any system."""
    return "".join(letter if letter.isalnum() or letter in "-_ " else "-" for letter in name).strip() or "photos"
