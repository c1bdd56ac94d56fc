"""A run that is killed by SIGKILL and continued ends with the same bits as one that is not."""

import itertools
import shutil

import pytest
import torch
from processes import train_toys

from anyviews.data.samples import Sample
from anyviews.data.schema import encode_sample
from anyviews.data.shards import write_shards
from anyviews.training.folders import complete_checkpoints
from anyviews.training.tracking import read_records
from anyviews.views import Views


SETTINGS = {"max_train_steps": 6, "train_batch_size": 2, "checkpointing_steps": 2, "logging_steps": 1}
ROOMS = {"dataset_name": "procedural-rooms", "dataset_options": {"views": 1, "height": 8, "width": 8, "block": 2}}


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    samples = [Sample(f"{i:03d}", Views(torch.full((1, 3, 4, 4), i / 255))) for i in range(22)]
    write_shards(map(encode_sample, samples), folder, num_shards=4)
    return folder


def train_to_the_end(output_dir, **settings):
    ended = train_toys(output_dir, **settings)
    assert set(ended.codes) == {0}, ended.output
    return ended


def contents(folder):
    """Everything that a run leaves, byte by byte: weights, averages, optimiser, random states, positions, losses."""
    files = [*folder.glob("checkpoint-6/**/*"), folder / "model.safetensors", folder / "losses.jsonl"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files if path.is_file()}


def assert_same(folder, expected):
    found = contents(folder)
    assert found.keys() == expected.keys()
    assert [name for name in expected if found[name] != expected[name]] == []
    assert {"checkpoint-6/model.safetensors", "checkpoint-6/ema.safetensors", "checkpoint-6/optimizer.bin"} <= set(
        found
    )


@pytest.mark.parametrize("source", ["procedural", "shards"])
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("processes", [1, 2])
def test_killed_and_continued_is_bit_for_bit_the_same(tmp_path, shards, source, workers, processes):
    data = ROOMS if source == "procedural" else {"dataset_name": str(shards), "dataset_options": {"block": 3}}
    settings = {**SETTINGS, **data, "num_workers": workers, "processes": processes}
    killed = processes - 1
    if source == "shards":
        settings["gradient_accumulation_steps"] = 2  # past the end of the first epoch
    calls = settings.get("gradient_accumulation_steps", 1)
    train_to_the_end(tmp_path / "whole", **settings)

    ended = train_toys(tmp_path / "parts", kill_at=3 * calls, kill_rank=killed, **settings)
    assert ended.codes[killed] == -9 and ended.codes != [0, 0]
    ended = train_toys(tmp_path / "parts", resume_from_checkpoint="latest", kill_at=3 * calls, **settings)
    assert ended.codes[0] == -9
    assert "continuing from" in ended.output
    train_to_the_end(tmp_path / "parts", resume_from_checkpoint="latest", **settings)
    assert len(read_records(tmp_path / "parts" / "losses.jsonl")) == 6
    assert_same(tmp_path / "parts", contents(tmp_path / "whole"))


def test_killed_at_every_step(tmp_path):
    settings = {**SETTINGS, "dataset_name": "toy", "validation_steps": 3, "lr_scheduler": "cosine"}
    train_to_the_end(tmp_path / "whole", **settings)
    expected = contents(tmp_path / "whole")
    for step in range(1, 7):
        folder = tmp_path / str(step)
        assert train_toys(folder, kill_at=step, **settings).codes == [-9]
        train_to_the_end(folder, resume_from_checkpoint="latest", **settings)
        assert_same(folder, expected)


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
