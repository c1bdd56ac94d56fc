"""A run that is killed by SIGKILL and continued ends with the same bits as one that is not."""

import pytest
import torch
from processes import train_toys
from toy_runs import SETTINGS, assert_same, contents, train_to_the_end

from anyviews.data.samples import Sample
from anyviews.data.schema import encode_sample
from anyviews.data.shards import write_shards
from anyviews.training.tracking import read_records
from anyviews.views import Views


ROOMS = {"dataset_name": "procedural-rooms", "dataset_options": {"views": 1, "height": 8, "width": 8, "block": 2}}


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    samples = [Sample(f"{i:03d}", Views(torch.full((1, 3, 4, 4), i / 255))) for i in range(10)]
    write_shards(map(encode_sample, samples), folder, num_shards=4)
    return folder


@pytest.mark.parametrize("source", ["procedural", "shards"])
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("processes", [1, 2])
def test_killed_and_continued_is_bit_for_bit_the_same(tmp_path, shards, source, workers, processes):
    data = ROOMS if source == "procedural" else {"dataset_name": str(shards), "dataset_options": {"block": 3}}
    settings = {**SETTINGS, **data, "num_workers": workers, "processes": processes}
    killed = processes - 1
    if source == "shards":
        settings["gradient_accumulation_steps"] = 2  # to the second epoch and beyond
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
