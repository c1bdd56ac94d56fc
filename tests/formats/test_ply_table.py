import re

import numpy as np
import pytest
import trimesh
from hypothesis import given
from hypothesis import strategies as st
from strategies import property_settings

from anyviews.formats.ply_table import CODES, NAMES, read_ply_header, read_ply_tables, write_ply_tables


CODE_OF_NAME = {name: code for code, name in NAMES.items()}


def encode(rows: np.ndarray, order: str) -> bytes:
    return rows.astype(rows.dtype.newbyteorder(order)).tobytes()


def as_file(format: str, tables: dict[str, np.ndarray], ending: str = "\n") -> bytes:
    """The tables as a PLY file of any format, written without the library."""
    lines = ["ply", f"format {format} 1.0", "comment made by hand"]
    for name, rows in tables.items():
        lines.append(f"element {name} {len(rows)}")
        lines += [f"property {NAMES[rows.dtype[field].str[1:]]} {field}" for field in rows.dtype.names]
    content = ending.join([*lines, "end_header", ""]).encode()
    if format == "ascii":
        rows = (" ".join(repr(value.item()) for value in row) for part in tables.values() for row in part)
        return content + ending.join([*rows, ""]).encode()
    order = "<" if format == "binary_little_endian" else ">"
    return content + b"".join(encode(rows, order) for rows in tables.values())


@st.composite
def random_tables(draw) -> dict[str, np.ndarray]:
    """Up to three elements with columns of all types."""
    generator = np.random.default_rng(draw(st.integers(0, 2**31)))
    tables = {}
    for name in draw(st.lists(st.sampled_from(["vertex", "face", "chunk"]), min_size=1, unique=True)):
        codes = draw(st.lists(st.sampled_from(sorted(NAMES)), min_size=1, max_size=5))
        rows = np.zeros(draw(st.integers(0, 5)), [(f"p{index}", code) for index, code in enumerate(codes)])
        for field in rows.dtype.names:
            rows[field] = generator.integers(0, 100, len(rows))
        tables[name] = rows
    return tables


@property_settings
@given(random_tables(), st.sampled_from(["ascii", "binary_little_endian", "binary_big_endian"]), st.booleans())
def test_every_kind_is_read(tmp_path_factory, tables, format, carriage_returns):
    path = tmp_path_factory.mktemp("ply") / "table.ply"
    path.write_bytes(as_file(format, tables, "\r\n" if carriage_returns else "\n"))
    found = read_ply_tables(path)
    assert list(found) == list(tables)
    for name, rows in tables.items():
        assert found[name].tolist() == rows.tolist() and found[name].dtype.names == rows.dtype.names


@property_settings
@given(random_tables())
def test_what_is_written_is_read_again(tmp_path_factory, tables):
    path = tmp_path_factory.mktemp("ply") / "table.ply"
    write_ply_tables(path, tables)
    found = read_ply_tables(path)
    assert {name: rows.tolist() for name, rows in found.items()} == {name: t.tolist() for name, t in tables.items()}


@pytest.mark.parametrize("lengths", [[3, 3, 3], [3, 4, 0], []])
@pytest.mark.parametrize("format", ["ascii", "binary_little_endian", "binary_big_endian"])
def test_lists_are_passed_over(tmp_path, format, lengths):
    order = ">" if format.endswith("big_endian") else "<"
    header = (
        f"ply\nformat {format} 1.0\nelement face {len(lengths)}\nproperty uchar kind\n"
        "property list uint8 int32 vertex_indices\nelement vertex 2\nproperty float32 x\nend_header\n"
    )
    if format == "ascii":
        faces = "".join(f"7 {length}{' 1' * length}\n" for length in lengths)
        body = f"{faces}0.5\n1.5\n".encode()
    else:
        body = b"".join(bytes([7, length]) + bytes(4 * length) for length in lengths)
        body += np.array([0.5, 1.5], f"{order}f4").tobytes()
    (tmp_path / "list.ply").write_bytes(header.encode() + body)
    assert read_ply_tables(tmp_path / "list.ply")["vertex"]["x"].tolist() == [0.5, 1.5]
    for short in range(1, len(body), 3):
        (tmp_path / "cut.ply").write_bytes(header.encode() + body[:-short])
        if format != "ascii":
            with pytest.raises(ValueError, match=r"cut\.ply cannot be read as PLY: expected \d+ bytes .*found \d+"):
                read_ply_tables(tmp_path / "cut.ply")


def test_lists_are_written_as_other_programs_read_them(tmp_path):
    vertices = np.zeros(4, [(axis, "<f4") for axis in "xyz"])
    vertices["x"], vertices["y"] = [0, 1, 0, 1], [0, 0, 1, 1]
    faces = np.array([([0, 1, 2],), ([1, 3, 2],)], [("vertex_indices", "<i4", 3)])
    write_ply_tables(tmp_path / "mesh.ply", {"vertex": vertices, "face": faces})
    mesh = trimesh.load_mesh(tmp_path / "mesh.ply", process=False)
    assert mesh.faces.tolist() == faces["vertex_indices"].tolist() and mesh.vertices[3].tolist() == [1, 1, 0]
    assert list(read_ply_tables(tmp_path / "mesh.ply")) == ["vertex"]


GOOD = b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nend_header\n1.5\n"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"ply", b"plx", "the first line is not 'ply'"),
        (b"end_header\n", b"", "no line 'end_header'"),
        (b"format ascii 1.0\n", b"", "the header has no format"),
        (b"format ascii 1.0", b"format ascii 2.0", "'format ascii 2.0' has no meaning"),
        (b"format ascii", b"format binary", "'format binary 1.0' has no meaning"),
        (b"element vertex 1", b"element vertex -1", "'element vertex -1' has no meaning"),
        (b"element vertex 1", b"element vertex 1_0", "has no meaning"),
        (b"element vertex 1\n", b"", "'property float x' has no meaning"),
        (b"property float x\n", b"property float x\nproperty int x\n", "'property int x' has no meaning"),
        (b"float x", b"half x", "'property half x' has no meaning"),
        (b"float x", b"list float int x", "'property list float int x' has no meaning"),
        (b"vertex 1", b"vertex 2", "expected 2 lines of element 'vertex', found 1"),
        (b"1.5\n", b"1.5\n2.5\n", "more lines than"),
        (b"1.5\n", b"what\n", "could not convert"),
        (b"1.5\n", b"1.5 2.5\n", "requires 1 column"),
        (b"1.5\n", b"", "expected 1 lines of element 'vertex', found 0"),
        (b"vertex 1", b"vertex 1000000000000", "expected 1000000000000 lines"),
    ],
)
def test_faults_are_named(tmp_path, old, new, message):
    (tmp_path / "bad.ply").write_bytes(GOOD.replace(old, new))
    with pytest.raises(ValueError, match=rf"bad\.ply cannot be read as PLY: .*{message}"):
        read_ply_tables(tmp_path / "bad.ply")


def test_sizes_are_compared_before_memory_is_taken(tmp_path):
    """A header that asks for a petabyte is refused, whatever its elements look like."""
    body = bytes(400)
    for properties in ("property double x", "property list uchar int x", "property list uint double x"):
        header = f"ply\nformat binary_little_endian 1.0\nelement vertex {10**14}\n{properties}\nend_header\n"
        (tmp_path / "huge.ply").write_bytes(header.encode() + body)
        with pytest.raises(ValueError, match=r"expected \d+ bytes for \d+ of element 'vertex', found 400"):
            read_ply_tables(tmp_path / "huge.ply")
    (tmp_path / "more.ply").write_bytes(GOOD.replace(b"ascii", b"binary_little_endian") + bytes(3))
    with pytest.raises(ValueError, match="expected 4 bytes after the header, found 7: more than its elements take"):
        read_ply_tables(tmp_path / "more.ply")


def test_header_is_known_without_the_rows(tmp_path):
    (tmp_path / "good.ply").write_bytes(GOOD)
    header = read_ply_header(tmp_path / "good.ply")
    assert header.format == "ascii" and header.properties("vertex") == ["x"] and header.properties("face") == []
    assert header.size == len(GOOD) - len(b"1.5\n")
    with pytest.raises(FileNotFoundError, match=re.escape(str(tmp_path / "gone.ply"))):
        read_ply_header(tmp_path / "gone.ply")


def test_type_names_agree():
    assert all(CODES[name] == code for name, code in CODE_OF_NAME.items())
    assert CODES["int8"] == "i1" and CODES["uint32"] == "u4" and CODES["float64"] == "f8"
