"""Evaluating the cases of a protocol one by one: resumable, in any number of processes."""

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from ..formats.files import new_file
from ..formats.image_folder import write_png
from ..formats.json_files import read_json
from .case import CaseResult
from .pictures import color_depth
from .protocols import Protocol
from .protocols.sources import Need
from .report import case_record


KEY = "evaluation-key.json"
CASES = "cases"
# Views of one picture that are kept.
MOST_VIEWS = 4


def need_of(protocol: Protocol, method: ModuleType, model: Any, data: Path | None) -> Need:
    """What the protocol wants of each case, at the size of this model where it leaves that open."""
    side = method.image_size(model)
    return Need(protocol.most_context_views, protocol.most_target_views, protocol.size or (side, side), data)


@torch.no_grad()
def evaluate_case(
    protocol: Protocol, method: ModuleType, model: Any, need: Need, name: str, seed: int
) -> tuple[dict[str, Any], CaseResult]:
    """Read one case and evaluate it.

    Args:
        protocol: of the method.
        method: a module of `evaluation.methods`.
        model: loaded.
        need: of `need_of`.
        name: of the case.
        seed: of all that is random about it.

    Returns:
        its record for the report, and the result.

    Raises:
        ValueError: if it cannot be read or scored; the message names it.
    """
    try:
        case = replace(protocol.source.read(name, need), seed=seed)
        result = method.evaluate(model, case, protocol)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    return case_record(name, seed, result.rows, protocol), result


def prepare_folder(folder: Path, key: Mapping[str, Any]) -> None:
    """Begin an evaluation in a folder, or continue the same one.

    Raises:
        ValueError: if the folder holds something else.
    """
    path = folder / KEY
    if path.is_file():
        before = read_json(path)
        if differing := sorted(name for name in {*before, *key} if before.get(name) != key.get(name)):
            raise ValueError(
                f"{folder} holds an evaluation with another {', '.join(differing)}; give another folder, or "
                "--overwrite"
            )
        return
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty and holds no evaluation; give another folder, or --overwrite")
    with new_file(path) as temporary:
        temporary.write_text(json.dumps(key, indent=1), encoding="utf-8")


def evaluate_cases(
    folder: Path,
    protocol: Protocol,
    method: ModuleType,
    model: Any,
    need: Need,
    names: Sequence[str],
    seed: int,
    rank: int = 0,
    world_size: int = 1,
) -> Iterator[str]:
    """Evaluate what this process has to, and is not in the folder yet; yields the name of each case that is done."""
    for index, name in enumerate(names):
        path = case_folder(folder, index, name) / "case.json"
        if index % world_size != rank or path.is_file():
            continue
        start = time.perf_counter()
        record, result = evaluate_case(protocol, method, model, need, name, seed + index)
        pictures = {}
        for number, (caption, images) in enumerate(result.pictures.items()):
            pictures[caption] = f"{number}.png"
            with new_file(path.with_name(f"{number}.png"), overwrite=True) as temporary:
                write_png(strip(images), temporary)
        entry = {"record": record, "pictures": pictures, "seconds": round(time.perf_counter() - start, 3)}
        # last: a case whose file is there is complete
        with new_file(path) as temporary:
            temporary.write_text(json.dumps(entry, allow_nan=False), encoding="utf-8")
        yield name


def read_cases(folder: Path, names: Sequence[str]) -> list[dict[str, Any]]:
    """What `evaluate_cases` wrote, in the order of the names.

    Raises:
        ValueError: if a case is missing.
    """
    paths = [case_folder(folder, index, name) / "case.json" for index, name in enumerate(names)]
    missing = [name for name, path in zip(names, paths, strict=True) if not path.is_file()]
    if missing:
        raise ValueError(
            f"{folder} lacks {len(missing)} of {len(names)} scenes, the first is {missing[0]}; repeat the same "
            "command to evaluate them"
        )
    return [read_json(path) for path in paths]


def case_folder(folder: Path, index: int, name: str) -> Path:
    """Where the files of a case are."""
    safe = "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name)
    return folder / CASES / f"{index:05d}-{safe[:80]}"


def strip(images: Tensor) -> Tensor:
    """The first views side by side, [3, H, V * W]; depth in false colours."""
    some = images[:MOST_VIEWS].detach().float().cpu()
    some = color_depth(some) if some.shape[1] == 1 else some
    return torch.cat(list(some.clamp(0, 1)), dim=-1)


def checkpoint_hash(checkpoint: str) -> str:
    """Sixteen digits that say which weights and configuration a folder holds; "" for a repository of the Hub."""
    folder = Path(checkpoint)
    if not folder.is_dir():
        return ""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if path.suffix == ".safetensors" or (
            path.suffix == ".json" and path.name.endswith(("config.json", "index.json"))
        ):
            digest.update(inside.as_posix().encode())
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]
