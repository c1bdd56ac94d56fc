"""Damaging files in every place, to see that readers never take a damaged one for a good one."""

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


def truncations(content: bytes, count: int = 40) -> Iterator[bytes]:
    """The content cut off at places spread over all of it, and just before its end."""
    for length in sorted({len(content) * step // count for step in range(count)} | {len(content) - 1}):
        yield content[:length]


def flips(content: bytes, length: int, step: int = 1) -> Iterator[bytes]:
    """The content with one of its first bytes (every `step`-th) changed, in turn a little and much."""
    for index in range(0, length, step):
        mask = 0x80 if index % 4 == 0 else 0x01
        yield content[:index] + bytes([content[index] ^ mask]) + content[index + 1 :]


def assert_refused_or_same(read: Callable[[Path], Any], path: Path, contents: Iterator[bytes], same: Callable) -> int:
    """Every content is refused with a ValueError that names the file, or read as what it was; counts the refusals."""
    refused = 0
    for content in contents:
        path.write_bytes(content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                found = read(path)
            except ValueError as error:
                assert path.name in str(error)
                refused += 1
                continue
        assert same(found), f"a damaged {path.name} was read as something else: {content[:400]!r}"
    return refused


def assert_refused(read: Callable[[Path], Any], path: Path, contents: Iterator[bytes]) -> None:
    """Every content is refused with a ValueError that names the file."""
    for content in contents:
        path.write_bytes(content)
        with pytest.raises(ValueError, match=path.name.replace(".", r"\.")):
            read(path)
