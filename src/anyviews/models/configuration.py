"""What the configurations of all models check, and how they find their sizes."""

from collections.abc import Mapping, Sequence
from typing import Any


def of_size(sizes: Mapping[str, Mapping[str, Any]], size: str, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a named size, with any of them overridden.

    Args:
        sizes: fields that differ from the defaults, by name of the size.
        size: one of them.
        overrides: further fields, which come before those of the size.

    Raises:
        ValueError: for an unknown size.
    """
    if size not in sizes:
        raise ValueError(f"unknown size {size!r}; accepted are {', '.join(sizes)}")
    return {**sizes[size], **overrides}


def check_positive(config: Any, names: Sequence[str]) -> None:
    """Raise ValueError that names the first of these fields that is not above 0."""
    for name in names:
        if not getattr(config, name) > 0:
            raise ValueError(f"{name}={getattr(config, name)} must be above 0")


def check_choices(config: Any, choices: Mapping[str, Sequence]) -> None:
    """Raise ValueError that names the first field that is none of its choices."""
    for name, accepted in choices.items():
        if getattr(config, name) not in accepted:
            raise ValueError(f"{name}={getattr(config, name)!r} is not one of {', '.join(map(str, accepted))}")


def check_multiple(config: Any, name: str, of: str) -> None:
    """Raise ValueError if one field is not a multiple of another."""
    if getattr(config, name) % getattr(config, of):
        raise ValueError(f"{name}={getattr(config, name)} is not a multiple of {of}={getattr(config, of)}")
