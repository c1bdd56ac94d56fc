"""A data set in the making: a file per row, so that whatever stops the making costs no more than the row at hand."""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from ..formats.files import new_file
from .manifest import MANIFEST, read_manifest
from .samples import Sample
from .schema import Row, check_version, encode_sample, features


SETTINGS = "settings.json"


def check_new_split(folder: Path, split: str) -> None:
    """See before hours of work that the shards can be written.

    Raises:
        ValueError: if `datasets` would not find a split of that name.
        FileExistsError: if the folder has it already.
    """
    if not re.fullmatch(r"\w+", split):
        raise ValueError(f"split is {split!r}; accepted are letters, digits and _")
    if (folder / MANIFEST).exists() and split in read_manifest(folder)["splits"]:
        raise FileExistsError(f"{folder} already holds the split {split!r}; write to another folder or split")


@contextmanager
def work_folder(work: Path, settings: Mapping[str, Any]) -> Iterator[Path]:
    """The folder of rows, for this process alone; those in it were made with the same settings.

    Args:
        work: the folder; made if it is missing.
        settings: what rows depend on, of JSON types.

    Raises:
        ValueError: if an interrupted run had other settings, or another process is at it.
    """
    work.mkdir(parents=True, exist_ok=True)
    lock = FileLock(work / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise ValueError(f"another process writes into {work}; wait for it, or give another folder") from error
    try:
        path, wanted = work / SETTINGS, json.loads(json.dumps(settings))
        if not path.exists():
            write_json(path, wanted)
        found = json.loads(path.read_text(encoding="utf-8"))
        different = [name for name in wanted if found.get(name) != wanted[name]]
        if different:
            name = different[0]
            raise ValueError(
                f"{work} holds objects that were made with {name} {found.get(name)!r}, not {wanted[name]!r}; give the "
                "same options to go on, or remove it to begin again"
            )
        yield work
    finally:
        lock.release()


def row_file(work: Path, key: str) -> Path:
    """Where the row of a sample is kept; keys can be longer than a file's name may be."""
    return work / f"{hashlib.blake2b(key.encode(), digest_size=16).hexdigest()}.parquet"


def write_row(file: Path, sample: Sample) -> None:
    """Write the row of a sample; a file of that name is whole, whatever stops this."""
    table = pa.Table.from_pylist([encode_sample(sample)], schema=features().arrow_schema)
    with new_file(file, overwrite=True) as temporary:
        pq.write_table(table, temporary)


def stored_rows(files: Iterable[Path]) -> Iterator[Row]:
    """The rows of such files.

    Raises:
        ValueError: naming a file that is damaged, or of a schema version that cannot be read.
    """
    for file in files:
        try:
            rows = pq.read_table(file).to_pylist()
        except (pa.ArrowException, OSError, ValueError) as error:
            reason = str(error).split("\n")[0].rstrip(". ")
            raise ValueError(
                f"{file} is damaged ({reason}); remove it and run the same command again, which makes this row anew"
            ) from error
        for row in rows:
            check_version(row["schema_version"], f"{file}: schema_version")
        yield from rows


def write_json(path: Path, value: object) -> None:
    """Write a value of JSON types, replacing what is there."""
    with new_file(path, overwrite=True) as temporary:
        temporary.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
