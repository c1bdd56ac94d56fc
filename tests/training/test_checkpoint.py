import re

import pytest
import torch
from processes import train_toys
from safetensors.torch import load_file
from toy import run_toy


def names(output_dir):
    return sorted(folder.name for folder in output_dir.glob("checkpoint-*"))


def test_the_oldest_are_removed(tmp_path):
    run_toy(tmp_path, checkpointing_steps=2, checkpoints_total_limit=2)
    assert names(tmp_path) == ["checkpoint-10", "checkpoint-8"]


FULL = {"checkpointing_steps": 2, "checkpoints_total_limit": 1, "max_train_steps": 5}


@pytest.mark.parametrize("processes", [1, 2])
def test_a_save_that_fails_ends_all_processes_and_leaves_the_earlier_checkpoint(tmp_path, processes):
    """The system refuses long files, as a full disk would; the earlier checkpoint was written without that limit."""
    settings = {**FULL, "dataset_name": "toy", "processes": processes}
    assert set(train_toys(tmp_path / "whole", **settings).codes) == {0}
    assert set(train_toys(tmp_path / "full", **{**settings, "max_train_steps": 2}).codes) == {0}
    before = {path.name: path.read_bytes() for path in (tmp_path / "full" / "checkpoint-2").iterdir()}
    reasons = set()
    for bytes_of_a_file in (700, 1500, 5000):  # ends the writing of other files each time
        ended = train_toys(
            tmp_path / "full", resume_from_checkpoint="latest", largest_file=bytes_of_a_file, **settings
        )
        assert set(ended.codes) == {1}, ended.output
        said = re.findall(
            r"^RuntimeError: .*could not be saved and was removed \((.*)\); the last", ended.output, re.MULTILINE
        )
        assert len(said) == processes
        reasons.add(said[0])
        assert "the last whole checkpoint is checkpoint-2" in ended.output
        assert names(tmp_path / "full") == ["checkpoint-2"]
        assert {path.name: path.read_bytes() for path in (tmp_path / "full" / "checkpoint-2").iterdir()} == before
    assert len(reasons) > 1
    ended = train_toys(tmp_path / "full", resume_from_checkpoint="latest", **settings)
    assert set(ended.codes) == {0}
    assert names(tmp_path / "full") == ["checkpoint-5"]
    whole, full = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "full"))
    assert all(torch.equal(full[name], whole[name]) for name in whole)


def test_a_position_that_cannot_be_saved_is_named(tmp_path):
    with pytest.raises(RuntimeError, match=r"checkpoint-4 could not be saved.*not JSON serializable.*checkpoint-2"):
        run_toy(tmp_path, unsavable_from=16, **FULL)  # the 16th sample is in step 4
    assert names(tmp_path) == ["checkpoint-2"]


def test_a_random_state_that_accelerate_does_not_restore_is_an_error(tmp_path):
    run_toy(tmp_path, max_train_steps=1)
    path = tmp_path / "checkpoint-1" / "random_states_0.pkl"
    path.write_bytes(b"x" * path.stat().st_size)  # accelerate itself goes on with other random numbers
    with pytest.raises(RuntimeError, match="could not restore the random state of process 0"):
        run_toy(tmp_path, resume_from_checkpoint="latest")


def test_another_number_of_processes_is_refused(tmp_path):
    run_toy(tmp_path, max_train_steps=1)
    path = tmp_path / "checkpoint-1" / "position-0.json"
    path.write_text(path.read_text().replace('"num_processes": 1', '"num_processes": 8'))
    with pytest.raises(ValueError, match="written by 8 processes and this run has 1"):
        run_toy(tmp_path, resume_from_checkpoint="latest")
