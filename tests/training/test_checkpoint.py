import pytest
from toy import run_toy

from anyviews.training.checkpoint import MARKER, complete_checkpoints, find_checkpoint


def make_checkpoint(output_dir, step, complete=True):
    folder = output_dir / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    if complete:
        (folder / MARKER).touch()
    return folder


def names(output_dir):
    return sorted(folder.name for folder in output_dir.glob("checkpoint-*"))


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


def test_the_oldest_are_removed(tmp_path):
    run_toy(tmp_path, checkpointing_steps=2, checkpoints_total_limit=2)
    assert names(tmp_path) == ["checkpoint-10", "checkpoint-8"]


def test_a_failed_save_removes_nothing_and_the_run_continues_from_before_it(tmp_path):
    settings = {"checkpointing_steps": 2, "checkpoints_total_limit": 1, "max_train_steps": 5}
    expected, _ = run_toy(tmp_path / "whole", **settings)
    with pytest.raises(TypeError, match="not JSON serializable"):
        run_toy(tmp_path / "broken", unsavable_from=16, **settings)  # the 16th sample is in step 4
    assert names(tmp_path / "broken") == ["checkpoint-2", "checkpoint-4"]
    assert [folder.name for folder in complete_checkpoints(tmp_path / "broken")] == ["checkpoint-2"]

    records, _ = run_toy(tmp_path / "broken", resume_from_checkpoint="latest", **settings)
    assert records == expected[2:]
    assert names(tmp_path / "broken") == ["checkpoint-5"]


def test_another_number_of_processes_is_refused(tmp_path):
    run_toy(tmp_path, max_train_steps=1)
    path = tmp_path / "checkpoint-1" / "position-0.json"
    path.write_text(path.read_text().replace('"num_processes": 1', '"num_processes": 8'))
    with pytest.raises(ValueError, match="written by 8 processes and this run has 1"):
        run_toy(tmp_path, resume_from_checkpoint="latest")
