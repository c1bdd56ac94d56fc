"""Every broken row and file of a folder of shards is named, and nothing else."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny_rows import broken, rows

from anyviews.data.manifest import sha256
from anyviews.data.shards import write_shards
from anyviews.data.verification import find_problems, verify_shards


def rewrite(folder, name, change):
    """Change the rows of a shard, with a checksum to match, as a faulty writer would."""
    path = folder / "data" / name
    table = pq.read_table(path)
    changed = change(table.to_pylist())
    pq.write_table(pa.Table.from_pylist(changed, schema=table.schema), path, row_group_size=4)
    manifest = json.loads((folder / "manifest.json").read_text())
    for split in manifest["splits"].values():
        for shard in split["shards"]:
            if shard["file"] == f"data/{name}":
                shard["sha256"] = sha256(path)
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.fixture
def folder(tmp_path):
    write_shards(rows(20), tmp_path, num_shards=2)
    return tmp_path


SHARD = "train-00001-of-00002.parquet"


def test_a_whole_folder_has_no_problems(folder):
    assert list(find_problems(folder)) == []
    assert verify_shards(folder) == {"train": 20}


def test_every_broken_row_is_named(folder):
    def change(found):
        broken(found[3])
        found[5]["height"] = 9
        found[6]["scene_id"] = found[2]["scene_id"]
        found[8]["schema_version"] = 9
        found[9]["intrinsics"] = [[[float("nan")] * 3] * 3] * 2
        found[9]["camera_to_world"] = [[[0.0] * 4] * 4] * 2
        return found

    rewrite(folder, SHARD, change)
    problems = list(find_problems(folder))
    assert [(problem.shard, problem.row) for problem in problems] == [(f"data/{SHARD}", i) for i in (3, 5, 6, 8, 9)]
    columns = ["images", "images", "scene_id", None, "intrinsics or camera_to_world"]
    assert [problem.column for problem in problems] == columns
    assert "view 1 cannot be decoded" in problems[0].message
    assert "scene ids must be unique" in problems[2].message and f"data/{SHARD}, row 2" in problems[2].message
    assert "schema_version is 9" in problems[3].message
    assert all(problem.scene in problem.message for problem in problems)
    assert list(find_problems(folder, quick=True)) == []


def test_rows_after_a_damaged_row_group_are_still_checked(folder):
    def change(found):
        broken(found[9])
        return found

    rewrite(folder, SHARD, change)
    path = folder / "data" / SHARD
    content = bytearray(path.read_bytes())
    group = pq.read_metadata(path).row_group(1)
    images = next(
        column for column in map(group.column, range(group.num_columns)) if "images" in column.path_in_schema
    )
    start = images.dictionary_page_offset or images.data_page_offset
    content[start : start + images.total_compressed_size] = bytes(images.total_compressed_size)
    path.write_bytes(content)
    changed, unreadable, row = find_problems(folder)
    assert "was changed" in changed.message
    assert "cannot be read from row 4 to 7" in unreadable.message
    assert row.row == 9 and row.column == "images"


def test_files_and_manifest_that_disagree(folder):
    first = folder / "data" / "train-00000-of-00002.parquet"
    (folder / "data" / "more.parquet").write_bytes(first.read_bytes())
    first.unlink()
    manifest = folder / "manifest.json"
    stated = json.loads(manifest.read_text())
    stated["splits"]["train"]["shards"][1]["rows"] -= 1
    stated["splits"]["train"]["rows"] -= 1
    manifest.write_text(json.dumps(stated))
    for quick in (True, False):
        messages = [str(problem) for problem in find_problems(folder, quick)]
        assert messages == [
            "data/train-00000-of-00002.parquet is missing",
            f"data/{SHARD} has 10 rows but the manifest says 9",
            "data/more.parquet is not in the manifest; move it away",
        ]
    with pytest.raises(ValueError, match=r"00000-of-00002\.parquet is missing; .*says 9; .*more\.parquet is not in"):
        verify_shards(folder)


@pytest.mark.parametrize("damage", [b"", b"\x00\xff{", b"[]", b'{"schema_version": 2}', b'{"splits": {}}'])
def test_a_damaged_manifest_is_named(folder, damage):
    (folder / "manifest.json").write_bytes(damage)
    with pytest.raises(ValueError, match=r"manifest\.json is damaged .* copy or download it again"):
        list(find_problems(folder))


def test_a_manifest_of_a_newer_version(folder):
    manifest = folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"schema_version": 2', '"schema_version": 5'))
    with pytest.raises(ValueError, match=r"manifest\.json: schema_version is 5 .* install a newer anyviews"):
        verify_shards(folder)
    with pytest.raises(ValueError, match="install a newer anyviews"):
        write_shards(rows(2), folder, num_shards=1, split="test")
