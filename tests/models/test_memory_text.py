"""Amounts of memory in words."""

import re

import pytest

from anyviews.models.memory import format_bytes, parse_memory


@pytest.mark.parametrize(
    ("text", "value"),
    [(12345, 12345), ("12345", 12345), ("2GB", 2 * 10**9), ("1.5 GiB", 3 * 2**29), (" 50 mib ", 50 * 2**20)],
)
def test_memory_in_words(text, value):
    assert parse_memory(text) == value


@pytest.mark.parametrize("text", ["", "GB", "2 TB", "1.2.3GB", "-2GB", "."])
def test_other_words_are_refused(text):
    with pytest.raises(
        ValueError, match=re.escape(f"max_memory={text!r}; accepted are bytes or a text such as '2GB'")
    ):
        parse_memory(text)


@pytest.mark.parametrize("count, text", [(999, "999"), (1500, "1.5 KB"), (2.04e9, "2.04 GB"), (7e6, "7 MB")])
def test_bytes_in_words_can_be_read_back(count, text):
    assert format_bytes(count) == text
    assert parse_memory(text) == pytest.approx(count, rel=0.01)
