"""How people say how much memory a computation may take."""

import re


UNITS = {"": 1, "KB": 1000, "MB": 1000**2, "GB": 1000**3, "KIB": 1024, "MIB": 1024**2, "GIB": 1024**3}


def parse_memory(value: int | str) -> int:
    """Bytes from an integer or a text such as "2GB" or "500 MiB"."""
    if isinstance(value, int):
        return value
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", value)
    if match is None or match[2].upper() not in UNITS:
        raise ValueError(f"max_memory={value!r}; accepted are bytes or a text such as '2GB' or '500MiB'")
    return int(float(match[1]) * UNITS[match[2].upper()])


def format_bytes(count: float) -> str:
    """Bytes in words, as `parse_memory` reads them."""
    for unit in ("GB", "MB", "KB"):
        if count >= UNITS[unit]:
            return f"{count / UNITS[unit]:.3g} {unit}"
    return f"{count:.0f}"
