"""Public names are a promise: one that disappears fails here, and one that appears is written down."""

import json
from pathlib import Path

import pytest

import anyviews


INVENTORY = Path(__file__).with_name("public_api.json")


def test_public_names_match_the_inventory():
    written, current = json.loads(INVENTORY.read_text(encoding="utf-8")), sorted(anyviews.__all__)
    removed, added = sorted(set(written) - set(current)), sorted(set(current) - set(written))
    assert not removed, f"public names disappeared: {removed}; users import them, so keep them or deprecate them first"
    assert not added, f"new public names: {added}; write them into {INVENTORY.name} (sorted) to promise them"
    assert written == current, f"{INVENTORY.name} is not sorted or holds a name twice"


@pytest.mark.parametrize("name", anyviews.__all__)
def test_public_name_resolves(name):
    assert getattr(anyviews, name) is not None


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="NoSuchModel"):
        anyviews.NoSuchModel  # noqa: B018


def test_dir_lists_the_public_names():
    assert dir(anyviews) == sorted(anyviews.__all__)
