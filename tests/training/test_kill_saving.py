"""SIGKILL while a checkpoint is loaded, written or removed: there is always a whole one, and the run ends the same."""

import itertools
import shutil

import pytest
from processes import train_toys
from toy_runs import SETTINGS, assert_same, contents, train_to_the_end

from anyviews.training.folders import complete_checkpoints


@pytest.mark.parametrize("processes", [1, 2])
def test_killed_at_every_moment_of_saving(tmp_path, processes):
    """The kills fall before each opening, renaming and removal of a file in a checkpoint, and of the pruned one."""
    settings = {**SETTINGS, "checkpoints_total_limit": 1, "processes": processes, "dataset_name": "toy"}
    train_to_the_end(tmp_path / "whole", **settings)
    expected = contents(tmp_path / "whole")
    train_to_the_end(tmp_path / "begun", **{**settings, "max_train_steps": 2})
    found = set()
    for moment in itertools.count(1, 1 if processes == 1 else 3):  # fewer moments do for two processes
        folder = tmp_path / str(moment)
        shutil.copytree(tmp_path / "begun", folder)
        ended = train_toys(
            folder, resume_from_checkpoint="latest", kill_at_file=moment, **{**settings, "max_train_steps": 4}
        )
        if ended.codes[0] == 0:
            break
        whole = complete_checkpoints(folder)
        assert whole, f"no checkpoint is left after a kill at moment {moment}"
        found.add((len(list(folder.glob("checkpoint-*"))), whole[-1].name))
        train_to_the_end(folder, resume_from_checkpoint="latest", **settings)
        assert [path.name for path in folder.glob("checkpoint-*")] == ["checkpoint-6"]
        assert_same(folder, expected)
        shutil.rmtree(folder)
    # while loading, while writing, while pruning: the kills came in all of these
    assert {(1, "checkpoint-2"), (2, "checkpoint-2"), (2, "checkpoint-4")} <= found
