"""Parquet shards: a folder that `load_dataset` reads as it is, and that can be pushed to the Hub as it is."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from .samples import seeded_permutation
from .schema import SCHEMA_VERSION, Row, features


MANIFEST = "manifest.json"

# Small groups, because a reader that resumes reads its row group again up to where it stopped.
ROWS_PER_GROUP = 16

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
images, intrinsics in pixels, OpenCV camera-to-world poses and, where known, masks and depth.

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

    Holds one shard in memory at a time. The files appear under their names when all rows are written.

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
        FileExistsError: if the folder has this split already.
        ValueError: if there are fewer rows than shards.
    """
    folder = Path(folder)
    manifest = _read_manifest(folder) if (folder / MANIFEST).exists() else _empty_manifest()
    if split in manifest["splits"]:
        raise FileExistsError(f"{folder} already holds the split {split!r}; write to another folder")
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    names = [f"{split}-{i:05d}-of-{num_shards:05d}.parquet" for i in range(num_shards)]
    temporary = [data / f".{name}.tmp" for name in names]
    try:
        counts = _scatter(rows, temporary, seed)
        if min(counts) == 0:
            raise ValueError(f"{sum(counts)} rows do not fill {num_shards} shards; give at most {sum(counts)} shards")
        for index, path in enumerate(temporary):
            _shuffle_file(path, seed, index)
        shards = [
            {"file": f"data/{name}", "rows": count, "sha256": _sha256(path)}
            for name, count, path in zip(names, counts, temporary, strict=True)
        ]
        for name, path in zip(names, temporary, strict=True):
            path.replace(data / name)
    finally:
        for path in temporary:
            path.unlink(missing_ok=True)
    manifest["splits"][split] = {"rows": sum(counts), "shards": shards}
    _write_text(folder / "README.md", _card(folder.resolve().name, manifest, license))
    _write_text(folder / MANIFEST, json.dumps(manifest, indent=1) + "\n")
    return manifest["splits"][split]


def verify_shards(folder: str | Path) -> dict[str, int]:
    """Check every shard of a folder against its manifest.

    Returns:
        The number of rows of each split.

    Raises:
        FileNotFoundError: if there is no manifest.
        ValueError: naming every shard that is missing or was changed.
    """
    folder = Path(folder)
    splits = _read_manifest(folder)["splits"]
    problems = []
    for shard in (shard for split in splits.values() for shard in split["shards"]):
        path = folder / shard["file"]
        if not path.exists():
            problems.append(f"{path} is missing")
        elif _sha256(path) != shard["sha256"]:
            problems.append(f"{path} was changed (its SHA-256 is not the manifest's)")
    if problems:
        raise ValueError("; ".join(problems) + "; copy or download these files again")
    return {name: split["rows"] for name, split in splits.items()}


def _scatter(rows: Iterable[Row], paths: list[Path], seed: int) -> list[int]:
    """Deal rows to the files in rounds of one row each, in a random order within the round; returns their counts."""
    schema = features().arrow_schema
    counts = [0] * len(paths)
    with ExitStack() as stack:
        writers = [stack.enter_context(pq.ParquetWriter(path, schema)) for path in paths]
        for shard, row in zip(_deal(len(paths), seed), rows, strict=False):
            writers[shard].write_table(pa.Table.from_pylist([row], schema=schema))
            counts[shard] += 1
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
    pq.write_table(table, path, row_group_size=ROWS_PER_GROUP, write_page_index=True)


def _empty_manifest() -> dict:
    return {"schema_version": SCHEMA_VERSION, "splits": {}}


def _read_manifest(folder: Path) -> dict:
    path = folder / MANIFEST
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; give a folder written by utils/make_shards.py")
    return json.loads(path.read_text(encoding="utf-8"))


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


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_text(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
