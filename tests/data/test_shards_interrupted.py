"""Whatever stops the writing of shards: no half shard has a final name, and no manifest names a missing file."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tiny_rows import keys, rows

from anyviews.data import open_samples, shards
from anyviews.data.shards import STAGING, write_shards
from anyviews.data.verification import verify_shards


SLOW_WRITER = """
import time
from pathlib import Path
from tiny_rows import rows
from anyviews.data.shards import write_shards

def slowly():
    for index, row in enumerate(rows(1000)):
        yield row
        if index == 20:
            print("writing", flush=True)
            time.sleep(60)

write_shards(slowly(), {folder!r}, num_shards=3)
"""

KILLED_WHILE_MOVING = """
import os
from pathlib import Path
from tiny_rows import rows
from anyviews.data.shards import write_shards

replace, moved = Path.replace, []

def replace_and_die(self, target):
    if "data" in Path(target).parts[-2:]:
        moved.append(target)
        if len(moved) > {before}:
            os._exit(9)
    elif len(moved) == 3 and Path(target) == Path({folder!r}, "manifest.json"):
        os._exit(9)
    return replace(self, target)

Path.replace = replace_and_die
write_shards(rows(9), {folder!r}, num_shards=3)
"""


def start(code: str) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    return subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE)


def left_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_killed_writer_leaves_nothing_under_a_final_name_and_the_next_one_cleans_up(tmp_path):
    write_shards(rows(4), tmp_path, num_shards=2, split="test")
    before = left_in(tmp_path)
    writer = start(SLOW_WRITER.format(folder=str(tmp_path)))
    try:
        assert writer.stdout.readline() == b"writing\n"
        with pytest.raises(ValueError, match=f"another process is writing to {tmp_path}"):
            write_shards(rows(3), tmp_path, num_shards=1)
    finally:
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    left = left_in(tmp_path) - before
    assert left and all(name.startswith(STAGING) for name in left)
    assert verify_shards(tmp_path) == {"test": 4}
    assert sorted(keys(open_samples(str(tmp_path), split="test"))) == ["000", "001", "002", "003"]
    write_shards(rows(3), tmp_path, num_shards=1)
    assert verify_shards(tmp_path) == {"test": 4, "train": 3}
    assert not (tmp_path / STAGING).exists()


@pytest.mark.parametrize("before", [0, 2, 3])
def test_a_writer_that_is_killed_while_it_moves_complete_shards_is_finished_by_the_next(tmp_path, before):
    writer = start(KILLED_WHILE_MOVING.format(folder=str(tmp_path), before=before))
    assert writer.wait() == 9
    moved = list((tmp_path / "data").iterdir())
    assert len(moved) == before and not (tmp_path / "manifest.json").exists()
    for path in moved:
        assert pq.read_metadata(path).num_rows == 3
    write_shards(rows(2), tmp_path, num_shards=1, split="test")
    assert verify_shards(tmp_path) == {"train": 9, "test": 2}
    assert not (tmp_path / STAGING).exists()


@pytest.mark.parametrize(
    ("number", "kind", "advice"),
    [
        (errno.ENOSPC, OSError, "the disk is full; free some space"),
        (errno.EACCES, PermissionError, "the folder may not be written"),
        (errno.EMFILE, OSError, "too many open files, one per shard"),
    ],
)
@pytest.mark.parametrize("operation", ["write_table", "close"])
def test_a_full_disk_is_explained_and_leaves_nothing(tmp_path, monkeypatch, number, kind, advice, operation):
    written = []
    original = getattr(pq.ParquetWriter, operation)

    def failing(self, *arguments, **options):
        written.append(self)
        if len(written) > 3:
            raise OSError(number, os.strerror(number))
        return original(self, *arguments, **options)

    write_shards(rows(4), tmp_path, num_shards=2, split="test")
    before = left_in(tmp_path)
    monkeypatch.setattr(pq.ParquetWriter, operation, failing)
    with pytest.raises(kind, match=rf"nothing was written to {tmp_path}: {advice}") as caught:
        write_shards(rows(8), tmp_path, num_shards=4)
    assert caught.value.errno == number
    assert left_in(tmp_path) == before and not (tmp_path / STAGING).exists()
    assert verify_shards(tmp_path) == {"test": 4}


def test_a_full_disk_before_the_manifest_leaves_nothing(tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shards, "_card", full)
    with pytest.raises(OSError, match="the disk is full"):
        write_shards(rows(4), tmp_path, num_shards=2)
    assert left_in(tmp_path) == set()


def test_a_file_in_the_place_of_the_folder(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OSError, match="a part of this path is a file; give another folder"):
        write_shards(rows(2), tmp_path / "file", num_shards=1)
    with pytest.raises(OSError, match="a part of this path is a file; give another folder"):
        write_shards(rows(2), tmp_path / "file" / "deeper", num_shards=1)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError, match="may not be written; give another one"):
        write_shards(rows(2), tmp_path, num_shards=1)


def test_files_that_no_manifest_names_are_not_overwritten(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train-00000-of-00001.parquet").write_bytes(b"precious")
    with pytest.raises(FileExistsError, match=r"holds train-00000-of-00001\.parquet, which no manifest names"):
        write_shards(rows(2), tmp_path, num_shards=1)
    assert left_in(tmp_path) == {"data/train-00000-of-00001.parquet"}


def test_names_of_splits_and_numbers_of_shards(tmp_path):
    for options in ({"split": "train-clean"}, {"split": "../train"}, {"num_shards": 0}):
        with pytest.raises(ValueError, match="accepted are letters, digits and _, and at least one shard"):
            write_shards(rows(2), tmp_path, **options)
    assert list(tmp_path.iterdir()) == []


def test_the_staging_folder_is_not_read_as_data(tmp_path):
    write_shards(rows(4), tmp_path, num_shards=2)
    (tmp_path / STAGING).mkdir()
    content = (tmp_path / "data" / "train-00000-of-00002.parquet").read_bytes()
    (tmp_path / STAGING / "train-00000-of-00002.parquet").write_bytes(content[:100])
    assert len(list(open_samples(str(tmp_path)))) == 4
    write_shards(rows(1), tmp_path, num_shards=1, split="test")
    assert not (tmp_path / STAGING).exists()
