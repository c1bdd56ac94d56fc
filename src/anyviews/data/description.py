"""What a dataset holds: splits, rows, licences, sizes."""

from collections import Counter
from typing import Any

import fsspec

from .open import PROCEDURAL_KINDS
from .rows import Piece, count_rows, find_data_files, find_shards, read_rows


def describe_dataset(name: str, revision: str | None = None) -> dict[str, Any]:
    """A summary of a dataset in JSON types, from the footers and small columns of its shards.

    Args:
        name: procedural scenes, a folder of shards, or a Hub repository id.
        revision: branch, tag or commit of a Hub repository.

    Raises:
        FileNotFoundError: if there is no such dataset.
        ValueError: if it has no samples of the schema, or a shard is damaged.
    """
    if name in PROCEDURAL_KINDS:
        return {"name": name, "endless": True, "columns": [], "splits": {"train": {}, "test": {}}}
    columns: dict[str, None] = {}
    splits = {}
    for split in find_data_files(name, revision):
        shards = find_shards(name, split, revision)
        columns |= dict.fromkeys(shards.columns)
        versions, licences, scales = Counter(), Counter(), Counter()
        for file in shards.files:
            for _, row in read_rows(Piece(file), ["schema_version", "licence", "scale"]):
                versions[str(row["schema_version"])] += 1
                licences[row["licence"] or ""] += 1
                scales[row["scale"] or ""] += 1
        splits[split] = {
            "rows": sum(count_rows(file) for file in shards.files),
            "shards": len(shards.files),
            "bytes": sum(_size(file) for file in shards.files),
            "schema_versions": dict(versions),
            "licences": dict(licences.most_common()),
            "scales": dict(scales.most_common()),
        }
    return {"name": name, "endless": False, "columns": list(columns), "splits": splits}


def _size(file: str) -> int:
    files, path = fsspec.url_to_fs(file)
    return files.size(path)
