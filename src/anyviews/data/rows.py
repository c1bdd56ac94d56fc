"""Encoded rows of parquet shards in a folder or on the Hub, and how many readers share them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import datasets
import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from huggingface_hub.errors import HfHubHTTPError

from .manifest import MANIFEST, parse_manifest, shard_files
from .schema import ADDED_COLUMNS, Row, features


# Rows that are taken out of the file at once, whatever the size of its row groups.
ROWS_AT_ONCE = 16


class DamagedShardError(ValueError):
    """A parquet file that cannot be read."""


@dataclass(frozen=True)
class Piece:
    """The rows from `start` to `stop` of a shard; a `stop` of None is its end."""

    file: str
    start: int = 0
    stop: int | None = None


@dataclass(frozen=True)
class Shards:
    """The parquet files of one split, in the order of their names, and the columns of the sample schema they have."""

    name: str
    files: tuple[str, ...]
    columns: tuple[str, ...]

    def rows(self, piece: Piece) -> Iterator[tuple[int, Row]]:
        """The rows of a piece with their numbers in the shard."""
        return read_rows(piece, self.columns)


def find_shards(name: str, split: str, revision: str | None = None) -> Shards:
    """Find the shards of a dataset, and see that they are those of its manifest, if it has one.

    Args:
        name: a folder, or a Hub repository id.
        split: "train", "test", or whatever splits the dataset has.
        revision: branch, tag or commit of a Hub repository.

    Raises:
        FileNotFoundError: if there is no such dataset.
        ConnectionError: if the Hub cannot be reached.
        ValueError: for an unknown split, files that are not those of the manifest, or columns other than the schema's.
    """
    data_files = find_data_files(name, revision)
    if split not in data_files:
        raise ValueError(f"{name} has no split {split!r}; accepted are {', '.join(sorted(data_files))}")
    files = tuple(sorted(data_files[split]))
    _check_files(name, split, files)
    if others := sorted({Path(file).suffix or file for file in files} - {".parquet"}):
        raise ValueError(f"{name} holds {', '.join(others)} files; convert it to shards with utils/make_shards.py")
    stored = _metadata(files[0]).schema.to_arrow_schema().names
    known = features(decode=False)
    if missing := sorted(set(known) - set(stored) - set(ADDED_COLUMNS)):
        raise ValueError(
            f"{name} lacks the columns {', '.join(missing)} of the sample schema; convert it with utils/make_shards.py"
        )
    return Shards(name, files, tuple(column for column in known if column in stored))


def find_data_files(name: str, revision: str | None = None) -> dict[str, list[str]]:
    """The files of every split of a dataset, as paths or addresses.

    Raises:
        FileNotFoundError: if there is no such dataset.
        ConnectionError: if the Hub cannot be reached.
    """
    accepted = (
        "accepted are 'procedural-rooms', 'procedural-objects', a folder written by utils/make_shards.py, or a Hub "
        "repository id ('owner/name')"
    )
    try:
        found = datasets.load_dataset_builder(name, revision=revision).config.data_files
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{name} cannot be opened as a dataset ({error}); {accepted}") from error
    except ConnectionError as error:
        raise ConnectionError(f"{name} is no folder here, and as a dataset on the Hub: {error}; {accepted}") from error
    return {str(split): list(files) for split, files in (found or {}).items()}


def share(shards: Shards, order: Sequence[int], reader: int, readers: int) -> list[Piece]:
    """What one of `readers` readers reads: whole shards where there are enough, else an equal range of all rows.

    Every row goes to exactly one reader, whatever the numbers.

    Args:
        shards: of the split.
        order: permutation of the shards.
        reader: index of the reader.
        readers: number of readers: processes x workers.
    """
    files = [shards.files[index] for index in order]
    if len(files) >= readers:
        return [Piece(file) for file in files[reader::readers]]
    counts = [count_rows(file) for file in files]
    total = sum(counts)
    first, last = total * reader // readers, total * (reader + 1) // readers
    pieces = []
    for file, count in zip(files, counts, strict=True):
        start, stop = max(first, 0), min(last, count)
        if start < stop:
            pieces.append(Piece(file, start, stop))
        first, last = first - count, last - count
    return pieces


def read_rows(piece: Piece, columns: Sequence[str]) -> Iterator[tuple[int, Row]]:
    """The rows of a piece with their numbers in the shard; pictures stay encoded.

    Raises:
        DamagedShardError: naming the file, if it is missing or damaged.
    """
    number = piece.start
    try:
        with fsspec.open(piece.file, "rb") as file:
            parquet = pq.ParquetFile(file, page_checksum_verification=True)
            first = 0
            for group in range(parquet.num_row_groups):
                end = first + parquet.metadata.row_group(group).num_rows
                if piece.stop is not None and first >= piece.stop:
                    return
                if end > number:
                    for row in _rows_of_group(parquet, group, columns, skip=number - first):
                        if number == piece.stop:
                            return
                        yield number, row
                        number += 1
                first = end
    except HfHubHTTPError:
        raise  # of the connection, and not of the file
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DamagedShardError(_damaged(piece.file, f"in or after row {number}", error)) from error


def count_rows(file: str) -> int:
    """The number of rows of a shard, from its footer.

    Raises:
        DamagedShardError: naming the file, if it is missing or damaged.
    """
    return _metadata(file).num_rows


def _rows_of_group(parquet: pq.ParquetFile, group: int, columns: Sequence[str], skip: int) -> Iterator[Row]:
    batches = parquet.iter_batches(ROWS_AT_ONCE, row_groups=[group], columns=list(columns), use_threads=False)
    for batch in batches:
        yield from batch.slice(min(skip, len(batch))).to_pylist()
        skip -= min(skip, len(batch))


def _metadata(file: str) -> pq.FileMetaData:
    try:
        with fsspec.open(file, "rb") as opened:
            return pq.read_metadata(opened)
    except HfHubHTTPError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DamagedShardError(_damaged(file, "in its footer", error)) from error


def _damaged(file: str, place: str, error: Exception) -> str:
    # arrow adds lines about its own sources
    reason = (str(error) or type(error).__name__).split("\n")[0].rstrip(". ")
    folder = str(Path(file).parent.parent) if "://" not in file else "FOLDER"
    return (
        f"{file} cannot be read {place}: {reason}; `anyviews data verify {folder}` lists what is damaged: copy, "
        "download or write it again"
    )


def _check_files(name: str, split: str, files: Sequence[str]) -> None:
    """Compare the files of a split with those of the manifest, which other writers do not leave."""
    remote = "://" in files[0]
    root = "/".join(files[0].split("/")[:5]) if remote else str(Path(name).resolve())
    try:
        with fsspec.open(f"{root}/{MANIFEST}", "r", encoding="utf-8", errors="replace") as file:
            manifest = parse_manifest(file.read(), f"{name}/{MANIFEST}")
    except FileNotFoundError:
        return
    stated = shard_files(manifest, split)
    found = {(file if remote else str(Path(file).resolve())).removeprefix(f"{root}/") for file in files}
    problems = [f"{file} is missing" for file in sorted(stated - found)]
    problems += [f"{file} is not in {MANIFEST}" for file in sorted(found - stated)]
    if problems:
        raise ValueError(
            f"{name}: {'; '.join(problems)}; copy or download what is missing, and move away what does not belong"
        )
