"""Sections of cards and their tables."""

import pytest

from anyviews.evaluation.cards import fill
from anyviews.evaluation.figures import markdown_table


CARD = "# A\n\n<!-- one -->\nold\n<!-- /one -->\n\ntext\n\n<!-- two -->\n<!-- /two -->\n"


def test_a_section_is_replaced_and_nothing_else():
    filled = fill(CARD, "one", r"new \1")
    assert filled == CARD.replace("old", r"new \1")
    assert fill(filled, "one", "old") == CARD
    assert fill(CARD, "two", "x").endswith("<!-- two -->\nx\n<!-- /two -->\n")


def test_a_missing_section_is_named():
    with pytest.raises(ValueError, match="three"):
        fill(CARD, "three", "x")


def test_rows_may_lack_columns():
    text = markdown_table({"a": {"x": 1.23456}, "b": {"y": 1000.0, "x": None}}, "row")
    assert text.splitlines() == ["| row | x | y |", "|---|---:|---:|", "| a | 1.23 |  |", "| b |  | 1e+03 |"]
