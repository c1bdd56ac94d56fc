"""Rows of tiny scenes for tests: the pictures of scene 007 have the value 7 in every pixel."""

from collections.abc import Iterator

import torch

from anyviews.data.samples import Sample
from anyviews.data.schema import Row, encode_sample
from anyviews.views import Views


def rows(count: int, start: int = 0, **facts: str) -> Iterator[Row]:
    """Rows of the scenes start, start + 1, ..."""
    for i in range(start, start + count):
        yield encode_sample(Sample(f"{i:03d}", Views(torch.full((2, 3, 4, 4), i / 255)), **facts))


def broken(row: Row) -> Row:
    """The same row with a second image that is none."""
    row["images"][1]["bytes"] = b"not a picture"
    return row


def keys(samples) -> list[str]:
    """The keys of samples, in their order."""
    return [sample.key for sample in samples]
