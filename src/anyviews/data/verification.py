"""Checking a folder of shards: its manifest, the checksums, and every row."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from .manifest import read_manifest, sha256, shard_files
from .rows import DamagedShardError, Piece, read_rows
from .schema import RowError, decode_row, features


@dataclass(frozen=True)
class Problem:
    """Something broken in a folder of shards; `row`, `scene` and `column` where they are known."""

    shard: str
    message: str
    row: int | None = None
    scene: str | None = None
    column: str | None = None

    def __str__(self) -> str:
        return f"{self.shard} {self.message}" if self.row is None else f"{self.shard}, row {self.row}: {self.message}"

    def summary(self) -> dict[str, Any]:
        """The fields that are known."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def verify_shards(folder: str | Path) -> dict[str, int]:
    """Check the files of a folder against its manifest, without decoding rows.

    Returns:
        The number of rows of each split.

    Raises:
        FileNotFoundError: if there is no manifest.
        ValueError: naming every shard that is missing, was changed, or is not in the manifest.
    """
    problems = [str(problem) for problem in find_problems(folder, quick=True)]
    if problems:
        raise ValueError(f"{folder}: {'; '.join(problems)}; copy or download these files again")
    return {name: split["rows"] for name, split in read_manifest(Path(folder))["splits"].items()}


def find_problems(folder: str | Path, quick: bool = False) -> Iterator[Problem]:
    """Everything that is broken in a folder of shards.

    Args:
        folder: with a manifest.
        quick: compare files with the manifest only; otherwise every row is decoded, too.

    Raises:
        FileNotFoundError: if there is no manifest.
        ValueError: if the manifest itself cannot be used.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    for split in manifest["splits"].values():
        scenes: dict[str, str] = {}
        for shard in split["shards"]:
            problem = _check_file(folder, shard)
            if problem is not None:
                yield problem
            if not quick and (folder / shard["file"]).is_file():
                yield from _check_rows(folder, shard["file"], scenes)
    found = {path.relative_to(folder).as_posix() for path in folder.glob("data/*.parquet")}
    for file in sorted(found - shard_files(manifest)):
        yield Problem(file, "is not in the manifest; move it away")


def _check_file(folder: Path, shard: dict[str, Any]) -> Problem | None:
    path = folder / shard["file"]
    if not path.is_file():
        return Problem(shard["file"], "is missing")
    if sha256(path) != shard["sha256"]:
        return Problem(shard["file"], "was changed (its SHA-256 is not the manifest's)")
    rows = pq.read_metadata(path).num_rows
    if rows != shard["rows"]:
        return Problem(shard["file"], f"has {rows} rows but the manifest says {shard['rows']}")
    return None


def _check_rows(folder: Path, file: str, scenes: dict[str, str]) -> Iterator[Problem]:
    """Decode the rows of a shard, going on after row groups that cannot be read; `scenes` collects the scene ids."""
    path = folder / file
    try:
        metadata = pq.read_metadata(path)
    except (pa.ArrowException, OSError, ValueError) as error:
        yield Problem(file, f"cannot be read: {_first_line(error)}")
        return
    stored = metadata.schema.to_arrow_schema().names
    columns = [name for name in features() if name in stored]
    first = 0
    for group in range(metadata.num_row_groups):
        end = first + metadata.row_group(group).num_rows
        try:
            for number, row in read_rows(Piece(str(path), first, end), columns):
                yield from _check_row(file, number, row, scenes)
        except DamagedShardError as error:
            yield Problem(file, f"cannot be read from row {first} to {end - 1}: {_first_line(error.__cause__)}")
        first = end


def _check_row(file: str, number: int, row: dict[str, Any], scenes: dict[str, str]) -> Iterator[Problem]:
    scene = str(row.get("scene_id"))
    place = {"row": number, "scene": scene}
    if scene in scenes:
        message = f"scene {scene} is also in {scenes[scene]}; scene ids must be unique in a split"
        yield Problem(file, message, **place, column="scene_id")
    scenes[scene] = f"{file}, row {number}"
    try:
        decode_row(row).views.validate()
    except RowError as error:
        yield Problem(file, str(error), **place, column=error.column)
    except (ValueError, KeyError) as error:
        yield Problem(file, f"scene {scene}: {error}", **place)


def _first_line(error: BaseException | None) -> str:
    return str(error).split("\n")[0]
