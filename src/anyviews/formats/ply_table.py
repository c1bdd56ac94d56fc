"""PLY files as tables, one per element: read whole, or not at all.

The format: Greg Turk, "The PLY Polygon File Format" (1994): a text header that names elements, their number and the
properties of each, then the rows, as text or as little- or big-endian numbers.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np

from .files import new_file


# Longest header that is looked at; those of Gaussians with all their harmonics have 2 KiB.
HEADER_BYTES = 2**20

TYPES = {
    "char": "i1",
    "uchar": "u1",
    "short": "i2",
    "ushort": "u2",
    "int": "i4",
    "uint": "u4",
    "float": "f4",
    "double": "f8",
}
CODES = TYPES | {f"{kind}{size}": f"{kind[0]}{size // 8}" for kind in ("int", "uint") for size in (8, 16, 32)}
CODES |= {"float32": "f4", "float64": "f8"}
NAMES = {code: name for name, code in TYPES.items()}
BYTE_ORDERS = {"ascii": "=", "binary_little_endian": "<", "binary_big_endian": ">"}


@dataclass(frozen=True)
class PlyElement:
    """One element of a header.

    Args:
        count: the number of rows.
        properties: name to NumPy type code, or to the codes of the length and of the entries of a list.
    """

    count: int
    properties: dict[str, str | tuple[str, str]]

    @property
    def lists(self) -> bool:
        """Whether a row holds lists, so that its length is known only when it is read."""
        return any(isinstance(code, tuple) for code in self.properties.values())

    def dtype(self, order: str) -> np.dtype:
        """The type of a row without lists."""
        return np.dtype([(name, f"{order}{code}") for name, code in self.properties.items()])


@dataclass(frozen=True)
class PlyHeader:
    """What a PLY file says about itself.

    Args:
        format: one of BYTE_ORDERS.
        elements: by name, in the order of the file.
        size: length of the header in bytes.
    """

    format: str
    elements: dict[str, PlyElement]
    size: int

    def properties(self, element: str) -> list[str]:
        """Names of an element's properties; none if there is no such element."""
        return list(self.elements[element].properties) if element in self.elements else []


def read_ply_header(path: Path | str) -> PlyHeader:
    """Read the header of a PLY file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it has no valid header.
    """
    with Path(path).open("rb") as file:
        start = file.read(HEADER_BYTES)
    try:
        return _parse_header(start)
    except ValueError as error:
        raise _unreadable(path, error) from None


def read_ply_tables(path: Path | str) -> dict[str, np.ndarray]:
    """Read a PLY file as one structured array per element; elements with lists, such as faces, are left out.

    Nothing is allocated before the file is known to be as long as its header says.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is no PLY, shorter or longer than its header says, or text that is no number.
    """
    header = read_ply_header(path)
    try:
        with Path(path).open("rb") as file:
            file.seek(header.size)
            return _read_ascii(file, header) if header.format == "ascii" else _read_binary(file, header)
    except ValueError as error:
        raise _unreadable(path, error) from None


def write_ply_tables(path: Path | str, tables: Mapping[str, np.ndarray], overwrite: bool = False) -> None:
    """Write structured arrays as the elements of a little-endian binary PLY file.

    Args:
        path: the file.
        tables: element name to a structured array; a field with several entries becomes a list with an 8-bit length.
        overwrite: whether an existing file may be replaced.
    """
    lines = ["ply", "format binary_little_endian 1.0"]
    for element, table in tables.items():
        lines.append(f"element {element} {len(table)}")
        for name, (kind, *_) in table.dtype.fields.items():
            code = NAMES[kind.base.str[1:]]
            lines.append(f"property list uchar {code} {name}" if kind.shape else f"property {code} {name}")
    with new_file(path, overwrite) as temporary, temporary.open("wb") as file:
        file.write("\n".join([*lines, "end_header\n"]).encode("ascii"))
        for table in tables.values():
            _stored(table).tofile(file)


def _parse_header(start: bytes) -> PlyHeader:
    if not re.match(rb"ply[ \t]*\r?\n", start):
        raise ValueError("the first line is not 'ply'")
    end = re.search(rb"^end_header[ \t]*\r?\n", start, re.MULTILINE)
    if end is None:
        raise ValueError(f"the header has no line 'end_header' in its first {len(start)} bytes")
    file_format, elements = None, {}
    for line in start[: end.start()].decode("latin-1").splitlines()[1:]:
        match line.split():
            case [] | ["comment" | "obj_info", *_]:
                pass
            case ["format", name, "1.0"] if file_format is None and name in BYTE_ORDERS:
                file_format = name
            case ["element", name, count] if name not in elements and count.isascii() and count.isdecimal():
                properties = {}
                elements[name] = PlyElement(int(count), properties)
            case ["property", code, name] if elements and code in CODES and name not in properties:
                properties[name] = CODES[code]
            case ["property", "list", length, code, name] if (
                elements and CODES.get(length, "f")[0] in "iu" and code in CODES and name not in properties
            ):
                properties[name] = (CODES[length], CODES[code])
            case _:
                raise ValueError(f"the header's line {line[:80]!r} has no meaning here")
    if file_format is None:
        raise ValueError(f"the header has no format; accepted are {', '.join(BYTE_ORDERS)} 1.0")
    return PlyHeader(file_format, elements, end.end())


def _read_binary(file: BinaryIO, header: PlyHeader) -> dict[str, np.ndarray]:
    content = np.fromfile(file, dtype=np.uint8)
    order, position, tables = BYTE_ORDERS[header.format], 0, {}
    for name, element in header.elements.items():
        if element.lists:
            position += _bytes_of_lists(content[position:], element, name, order)
        elif element.properties:
            dtype = element.dtype(order)
            size = element.count * dtype.itemsize
            _require(content.size - position, size, name, element)
            tables[name] = content[position : position + size].view(dtype)
            position += size
    if position != content.size:
        raise ValueError(
            f"expected {position} bytes after the header, found {content.size}: more than its elements take"
        )
    return tables


def _bytes_of_lists(content: np.ndarray, element: PlyElement, name: str, order: str) -> int:
    """The length in bytes of an element with lists."""
    if element.count == 0:
        return 0
    # faces are mostly all triangles: then all rows are as long as the first one
    row, lengths = _first_row(memoryview(content), element, order)
    size = element.count * row
    if row and size <= content.size:
        rows = content[:size].reshape(element.count, row)
        if all((rows[:, length] == rows[0, length]).all() for length in lengths):
            return size
    position = 0
    for _ in range(element.count):
        _require(content.size, position + 1, name, element)
        position += _first_row(memoryview(content[position:]), element, order)[0]
    _require(content.size, position, name, element)
    return position


def _first_row(content: memoryview, element: PlyElement, order: str) -> tuple[int, list[slice]]:
    """The length in bytes of the row that the content begins with, and where the lengths of its lists are."""
    position, lengths = 0, []
    for code in element.properties.values():
        if isinstance(code, tuple):
            (kind, size), entry = code[0], int(code[1][1])
            lengths.append(slice(position, position + int(size)))
            # of content that is cut off this is less than the row's length, but more than the content has
            length = int.from_bytes(content[lengths[-1]], "little" if order == "<" else "big", signed=kind == "i")
            if length < 0:
                raise ValueError(f"a list has the length {length}")
            position += int(size) + length * entry
        else:
            position += int(code[1])
    return position, lengths


def _read_ascii(file: BinaryIO, header: PlyHeader) -> dict[str, np.ndarray]:
    lines, tables = (line.decode("latin-1") for line in file), {}
    for name, element in header.elements.items():
        if element.lists:
            found = sum(1 for _ in islice(lines, element.count))
        elif element.properties:
            tables[name] = _parse_rows(islice(lines, element.count), element)
            found = len(tables[name])
        else:
            continue
        if found != element.count:
            raise ValueError(f"expected {element.count} lines of element {name!r}, found {found}")
    if any(line.strip() for line in lines):
        raise ValueError("more lines than the header's elements take")
    return tables


def _parse_rows(lines: Iterator[str], element: PlyElement) -> np.ndarray:
    first = next(lines, None)
    if first is None:
        return np.empty(0, element.dtype("="))
    return np.loadtxt((line for part in ([first], lines) for line in part), element.dtype("="), comments=None, ndmin=1)


def _stored(table: np.ndarray) -> np.ndarray:
    """The rows as they lie in the file: little-endian, and every list after its length."""
    fields = []
    for name, (kind, *_) in table.dtype.fields.items():
        if kind.shape:
            fields.append((f"length of {name}", "u1"))
        fields.append((name, kind.base.newbyteorder("<"), kind.shape))
    dtype = np.dtype(fields)
    if dtype == table.dtype:
        return table
    rows = np.empty(len(table), dtype)
    for name, (kind, *_) in table.dtype.fields.items():
        rows[name] = table[name]
        if kind.shape:
            rows[f"length of {name}"] = kind.shape[0]
    return rows


def _require(found: int, expected: int, name: str, element: PlyElement) -> None:
    if found < expected:
        raise ValueError(f"expected {expected} bytes for {element.count} of element {name!r}, found {found}")


def _unreadable(path: Path | str, error: ValueError) -> ValueError:
    return ValueError(f"{path} cannot be read as PLY: {error}")
