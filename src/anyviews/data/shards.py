"""Parquet shards: a folder that `load_dataset` reads as it is, and that can be pushed to the Hub as it is."""

import errno
import json
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from ..formats.files import new_file
from .manifest import MANIFEST, empty_manifest, read_manifest, sha256, shard_files
from .samples import seeded_permutation
from .schema import Row, features


# Small groups, because a reader that resumes reads its row group again up to where it stopped.
ROWS_PER_GROUP = 16

# Where shards are written until all are complete; its manifest.json is the mark that they are.
STAGING = ".partial"

# What a failing system call means for the person who writes.
ADVICE = {
    errno.ENOSPC: "the disk is full; free some space, or give a folder on another disk",
    errno.EDQUOT: "the disk quota is used up; free some space, or give a folder on another disk",
    errno.EACCES: "the folder may not be written; give another one, or change its permissions",
    errno.EPERM: "the folder may not be written; give another one, or change its permissions",
    errno.EROFS: "the disk is read-only; give a folder on another one",
    errno.ENOTDIR: "a part of this path is a file; give another folder",
    errno.EEXIST: "a part of this path is a file; give another folder",
    errno.EMFILE: "too many open files, one per shard; write fewer shards, or allow more with `ulimit -n`",
}

CARD = """\
---
license: {license}
tags:
- anyviews
- multi-view
configs:
- config_name: default
  data_files:
{data_files}
---

# {title}

Multi-view samples in the schema of anyviews, version {schema_version}: a row is one scene or object with encoded
images, intrinsics in pixels, OpenCV camera-to-world poses and, where known, masks, depth, normals, base colours,
roughness, metallic, radiance and the light around.

| split | rows | shards |
| --- | --- | --- |
{table}

```python
from anyviews.data import open_samples

samples = open_samples("{title}", split="{first_split}")  # this folder, or the repository it was pushed to
```
"""


def write_shards(
    rows: Iterable[Row],
    folder: str | Path,
    *,
    num_shards: int = 8,
    split: str = "train",
    seed: int = 0,
    license: str = "unknown",
) -> dict:
    """Write rows in random order as parquet shards of equal size (to one row), with a manifest and a dataset card.

    Holds one shard in memory at a time. The files appear under their names when all rows are written: whatever stops
    the writing, no half shard is left under a final name. What a killed process left is finished (if its shards were
    complete) or removed by the next one that writes to the folder.

    Args:
        rows: encoded samples (`encode_sample`), read once.
        folder: where to write; it may hold other splits already.
        num_shards: number of files; take a multiple of (processes x loader workers) of the training that will read it.
        split: "train", "test", ...
        seed: of the order of rows.
        license: Hub licence identifier of the whole dataset, for its card.

    Returns:
        The manifest's entry of this split: the number of rows, and the name, rows and SHA-256 of each shard.

    Raises:
        FileExistsError: if the folder has this split already, or parquet files of its name that no manifest names.
        ValueError: if there are fewer rows than shards, for a split name that `datasets` would not find, or if another
            process is writing to the folder.
        OSError: if the disk is full or the folder cannot be written.
    """
    folder = Path(folder)
    if not re.fullmatch(r"\w+", split) or num_shards < 1:
        raise ValueError(
            f"split {split!r} in {num_shards} shards; accepted are letters, digits and _, and at least one shard"
        )
    with _clear_errors(folder), _staging_folder(folder) as staging:
        manifest = _current_manifest(folder)
        _check_new(folder, manifest, split)
        names = [f"{split}-{i:05d}-of-{num_shards:05d}.parquet" for i in range(num_shards)]
        staged = [staging / name for name in names]
        counts = _scatter(rows, staged, seed)
        if min(counts) == 0:
            raise ValueError(f"{sum(counts)} rows do not fill {num_shards} shards; give at most {sum(counts)} shards")
        for index, path in enumerate(staged):
            _shuffle_file(path, seed, index)
        shards = [
            {"file": f"data/{name}", "rows": count, "sha256": sha256(path)}
            for name, count, path in zip(names, counts, staged, strict=True)
        ]
        manifest["splits"][split] = {"rows": sum(counts), "shards": shards}
        (staging / "README.md").write_text(_card(folder.resolve().name, manifest, license), encoding="utf-8")
        with new_file(staging / MANIFEST) as path:
            path.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        _publish(staging, folder)
    return manifest["splits"][split]


@contextmanager
def _staging_folder(folder: Path) -> Iterator[Path]:
    """An empty hidden folder, for this process alone; what an earlier one left there is finished or removed first."""
    staging = folder / STAGING
    staging.mkdir(parents=True, exist_ok=True)
    lock = FileLock(staging / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise ValueError(
            f"another process is writing to {folder}; wait for it, or give another folder for this split"
        ) from error
    try:
        if (staging / MANIFEST).exists():
            _publish(staging, folder)
        for left in staging.iterdir():
            if left.name != "lock":
                left.unlink()
        yield staging
    finally:
        # complete shards whose move was interrupted stay, for the next process to finish
        if not (staging / MANIFEST).exists():
            shutil.rmtree(staging, ignore_errors=True)
        lock.release()


def _publish(staging: Path, folder: Path) -> None:
    """Move complete shards, and then their manifest, to their names; can be repeated after an interruption."""
    data = folder / "data"
    data.mkdir(exist_ok=True)
    for file in sorted(shard_files(read_manifest(staging))):
        staged = staging / Path(file).name
        # files of other splits, and those that were moved before an interruption, are not there
        if staged.exists():
            staged.replace(folder / file)
    for name in ("README.md", MANIFEST):
        if (staging / name).exists():
            (staging / name).replace(folder / name)


def _current_manifest(folder: Path) -> dict:
    return read_manifest(folder) if (folder / MANIFEST).exists() else empty_manifest()


def _check_new(folder: Path, manifest: dict, split: str) -> None:
    if split in manifest["splits"]:
        raise FileExistsError(f"{folder} already holds the split {split!r}; write to another folder")
    if found := sorted(path.name for path in (folder / "data").glob(f"{split}-*.parquet")):
        raise FileExistsError(
            f"{folder / 'data'} holds {', '.join(found)}, which no manifest names and readers would take for a part "
            f"of the split {split!r}; move them away, or write to another folder"
        )


@contextmanager
def _clear_errors(folder: Path) -> Iterator[None]:
    """Say what a failing system call means."""
    try:
        yield
    except OSError as error:
        if error.errno not in ADVICE:
            raise
        message = f"nothing was written to {folder}: {ADVICE[error.errno]} ({error})"
        raise type(error)(error.errno, message) from error


def _scatter(rows: Iterable[Row], paths: list[Path], seed: int) -> list[int]:
    """Deal rows to the files in rounds of one row each, in a random order within the round; returns their counts."""
    schema = features().arrow_schema
    counts = [0] * len(paths)
    with ExitStack() as stack:
        # opened here, because a writer that fails to close its file keeps it open, and thus on the full disk
        files = [stack.enter_context(path.open("wb")) for path in paths]
        writers = [pq.ParquetWriter(file, schema) for file in files]
        try:
            for shard, row in zip(_deal(len(paths), seed), rows, strict=False):
                writers[shard].write_table(pa.Table.from_pylist([row], schema=schema))
                counts[shard] += 1
            for writer in writers:
                writer.close()
        except BaseException:
            for writer in writers:
                writer.is_open = False  # or it would try again when it is collected, and complain
            raise
    return counts


def _deal(count: int, seed: int) -> Iterator[int]:
    turn = 0
    while True:
        yield from seeded_permutation(count, "deal", seed, turn)
        turn += 1


def _shuffle_file(path: Path, seed: int, index: int) -> None:
    table = pq.read_table(path)
    table = table.take(seeded_permutation(len(table), "rows", seed, index))
    # the page index lets the Hub's viewer fetch single rows
    options = {"write_page_index": True, "write_page_checksum": True}
    with path.open("wb") as file:
        pq.write_table(table, file, row_group_size=ROWS_PER_GROUP, **options)


def _card(title: str, manifest: dict, license: str) -> str:
    splits = manifest["splits"]
    return CARD.format(
        title=title,
        license=license,
        schema_version=manifest["schema_version"],
        data_files="\n".join(f"  - split: {name}\n    path: data/{name}-*.parquet" for name in splits),
        table="\n".join(f"| {name} | {split['rows']} | {len(split['shards'])} |" for name, split in splits.items()),
        first_split=next(iter(splits)),
    )
