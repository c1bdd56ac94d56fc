"""manifest.json of a folder of shards: which files belong to which split, their rows and their checksums."""

import hashlib
import json
from pathlib import Path
from typing import Any

from .schema import SCHEMA_VERSION, check_version


MANIFEST = "manifest.json"


def empty_manifest() -> dict[str, Any]:
    """The manifest of a folder without splits."""
    return {"schema_version": SCHEMA_VERSION, "splits": {}}


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """The manifest of a folder.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is damaged, or of a schema version that cannot be read.
    """
    path = Path(folder) / MANIFEST
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; give a folder written by utils/make_shards.py")
    return parse_manifest(path.read_text(encoding="utf-8", errors="replace"), str(path))


def parse_manifest(text: str, path: str) -> dict[str, Any]:
    """Check the text of a manifest; `path` is where it stands.

    Raises:
        ValueError: if it is damaged, or of a schema version that cannot be read.
    """
    try:
        manifest = json.loads(text)
        version = int(manifest["schema_version"])
        check_version(version, f"{path}: schema_version")
        for split in manifest["splits"].values():
            stated = [(str(shard["file"]), str(shard["sha256"]), int(shard["rows"])) for shard in split["shards"]]
            if sum(rows for _, _, rows in stated) != int(split["rows"]):
                raise TypeError("the rows of the shards do not add up to those of the split")
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} is damaged ({type(error).__name__}: {error}); copy or download it again, or write the shards anew"
        ) from error
    return manifest


def shard_files(manifest: dict[str, Any], split: str | None = None) -> set[str]:
    """The files of one split, or of all, relative to the folder."""
    splits = manifest["splits"]
    return {shard["file"] for name in splits if split in (None, name) for shard in splits[name]["shards"]}


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
