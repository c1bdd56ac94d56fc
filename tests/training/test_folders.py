import json
import logging
import os

import pytest
from accelerate import PartialState
from processes import train_toys
from toy import run_toy

from anyviews.training.folders import MARKER, complete_checkpoints, damage, find_checkpoint, mark_complete, prune


@pytest.fixture(autouse=True)
def process_state():
    PartialState()  # accelerate's loggers need it
    yield
    PartialState._reset_state()


def make_checkpoint(output_dir, step, complete=True):
    folder = output_dir / f"checkpoint-{step}"
    (folder / "shards").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "shards" / ".metadata").write_bytes(b"metadata")
    if complete:
        mark_complete(folder)
    return folder


def test_latest_is_the_highest_complete_step(tmp_path):
    assert find_checkpoint(tmp_path, "latest") is None
    make_checkpoint(tmp_path, 900)
    latest = make_checkpoint(tmp_path, 1000)
    make_checkpoint(tmp_path, 2000, complete=False)
    assert find_checkpoint(tmp_path, "latest") == latest


def test_a_new_run_does_not_mix_with_an_earlier_one(tmp_path):
    early, _ = make_checkpoint(tmp_path, 10), make_checkpoint(tmp_path, 20)
    for resume in (None, str(early)):
        with pytest.raises(ValueError, match=r"checkpoint-20 of an earlier run.*--resume_from_checkpoint latest"):
            find_checkpoint(tmp_path, resume)
    assert find_checkpoint(tmp_path / "other", str(early)) == early


def test_an_incomplete_folder_is_refused(tmp_path):
    unfinished = make_checkpoint(tmp_path, 10, complete=False)
    with pytest.raises(FileNotFoundError, match="not a complete checkpoint"):
        find_checkpoint(tmp_path, str(unfinished))


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


TORN = {
    "no marker": (lambda folder: (folder / MARKER).unlink(), "no file named complete"),
    "empty marker": (lambda folder: (folder / MARKER).write_text(""), "complete is damaged"),
    "truncated marker": (lambda folder: truncate(folder / MARKER), "complete is damaged"),
    "missing file": (lambda folder: (folder / "model.safetensors").unlink(), "model.safetensors is missing"),
    "truncated file": (lambda folder: truncate(folder / "model.safetensors"), "has 6 bytes instead of 7"),
    "truncated shard": (
        lambda folder: truncate(folder / "shards" / ".metadata"),
        "has 7 bytes instead of 8",
    ),
}


@pytest.mark.parametrize("way", TORN)
def test_a_torn_checkpoint_is_passed_over_by_name_and_refused_when_asked_for(tmp_path, caplog, way):
    tear, problem = TORN[way]
    good, torn = make_checkpoint(tmp_path, 900), make_checkpoint(tmp_path, 1000)
    assert damage(torn) is None
    tear(torn)
    with caplog.at_level(logging.WARNING):
        assert find_checkpoint(tmp_path, "latest") == good
    assert "checkpoint-1000 is not used" in caplog.text and "continuing from checkpoint-900" in caplog.text
    with pytest.raises(FileNotFoundError, match=problem):
        find_checkpoint(tmp_path, str(torn))


def test_damage_to_all_checkpoints_does_not_start_the_run_again(tmp_path):
    make_checkpoint(tmp_path, 900, complete=False)
    assert find_checkpoint(tmp_path, "latest") is None  # nothing was ever saved
    torn = make_checkpoint(tmp_path, 1000)
    truncate(torn / "model.safetensors")
    with pytest.raises(FileNotFoundError, match=r"no checkpoint in .* is whole: checkpoint-1000 .* has 6 bytes"):
        find_checkpoint(tmp_path, "latest")
    newest = make_checkpoint(tmp_path, 1100)
    prune(tmp_path, newest, 1)
    assert torn.exists() and not (tmp_path / "checkpoint-900").exists()


def test_every_file_of_a_real_checkpoint_counts(tmp_path):
    run_toy(tmp_path, max_train_steps=1)
    checkpoint = tmp_path / "checkpoint-1"
    files = [path for path in checkpoint.rglob("*") if path.is_file()]
    assert len(files) == len(json.loads((checkpoint / MARKER).read_text())) + 1 >= 7
    for path in files:
        content = path.read_bytes()
        for damaged in (b"", content[:-1], None):
            path.unlink() if damaged is None else path.write_bytes(damaged)
            assert damage(checkpoint) is not None, path.name
        path.write_bytes(content)
        assert damage(checkpoint) is None


def test_folders_of_the_user_are_neither_read_nor_removed(tmp_path):
    for name in ("checkpoint-best", "checkpoint-10-copy", "checkpoint-"):
        (tmp_path / name).mkdir()
    newest = make_checkpoint(tmp_path, 10)
    make_checkpoint(tmp_path, 5, complete=False)
    assert complete_checkpoints(tmp_path) == [newest]
    prune(tmp_path, newest, 1)
    assert {path.name for path in tmp_path.iterdir()} == {
        "checkpoint-best",
        "checkpoint-10-copy",
        "checkpoint-",
        "checkpoint-10",
    }


def test_an_output_dir_that_cannot_be_written_is_an_error_before_the_first_step(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OSError, match=r"--output_dir .*file.* cannot be written by process 0 \((File|Not a)"):
        run_toy(tmp_path / "file")
    with pytest.raises(OSError, match=r"cannot be written by process 0 \(Not a directory\); give a folder"):
        run_toy(tmp_path / "file" / "below")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_an_error_before_the_first_step(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OSError, match=r"cannot be written by process 0 \(Permission denied\)"):
        run_toy(tmp_path)


def test_one_process_that_cannot_write_stops_all(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    ended = train_toys(tmp_path / "run", processes=2, output_dirs=[tmp_path / "run", tmp_path / "file"])
    assert ended.codes == [1, 1]
    assert ended.output.count("cannot be written by process 1 (File exists)") == 2


def test_machines_that_do_not_share_the_output_dir_are_told_so(tmp_path):
    ended = train_toys(tmp_path / "first", processes=2, output_dirs=[tmp_path / "first", tmp_path / "second"])
    assert ended.codes == [1, 1]
    assert ended.output.count("process 0 does not see what the processes [1] write to --output_dir") == 2
    assert not list((tmp_path / "first").iterdir()) and not list((tmp_path / "second").iterdir())
