"""Several processes: the update of one large batch, sharded weights (FSDP2 on CPUs), and what is refused."""

import pytest
import torch
from accelerate.utils import DistributedType
from processes import FSDP, train_toys
from safetensors.torch import load_file
from toy import run_toy

from anyviews.training.loop import check_sharding
from anyviews.training.tracking import read_records


def assert_same_losses(actual, expected, rtol):
    losses = [[record["loss"] for record in read_records(folder / "losses.jsonl")] for folder in (actual, expected)]
    assert losses[0] == (losses[1] if rtol == 0 else pytest.approx(losses[1], rel=rtol))


def assert_same_run(actual, expected, rtol):
    """The same losses and exported weights, to a relative tolerance, or bit for bit for 0."""
    assert_same_losses(actual, expected, rtol)
    weights = [load_file(folder / "model.safetensors") for folder in (actual, expected)]
    assert weights[0].keys() == weights[1].keys()
    for name, weight in weights[1].items():
        torch.testing.assert_close(weights[0][name], weight, rtol=rtol, atol=0.1 * rtol)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("processes", "batch", "accumulation"), [(1, 2, 4), (2, 4, 1), (2, 1, 4)])
def test_the_update_is_that_of_one_batch_of_eight(tmp_path, processes, batch, accumulation, masked):
    """Also when some samples count fewer of their terms: the toy's loss is a mean over samples, as it must be."""
    plain = {"noise": 0.0, "dropout": 0.0, "size": 40, "max_train_steps": 5, "use_ema": False, "masked": masked}
    run_toy(tmp_path / "large", train_batch_size=8, **plain)
    parts = {"train_batch_size": batch, "gradient_accumulation_steps": accumulation, **plain}
    ended = train_toys(tmp_path / "parts", processes=processes, **parts)
    assert set(ended.codes) == {0}, ended.output
    assert_same_run(tmp_path / "parts", tmp_path / "large", rtol=1e-4)


def train(output_dir, **settings):
    ended = train_toys(output_dir, processes=2, max_train_steps=6, checkpointing_steps=2, **settings)
    assert set(ended.codes) == {0}, ended.output


@pytest.mark.parametrize("batch_norm", [False, True])
def test_sharded_weights_train_like_whole_ones_and_resume_exactly(tmp_path, batch_norm):
    settings = {"gradient_accumulation_steps": 2, "batch_norm": batch_norm, "validation_steps": 3}
    train(tmp_path / "whole", **settings)
    train(tmp_path / "sharded", sharded=True, **settings)
    shards = list((tmp_path / "sharded" / "checkpoint-6" / "pytorch_model_fsdp_0").glob("*.distcp"))
    assert len(shards) == 2
    assert_same_losses(tmp_path / "sharded", tmp_path / "whole", rtol=1e-4)
    if not batch_norm:  # it leaves the bias before it without a gradient, and Adam follows the rounding errors
        assert_same_run(tmp_path / "sharded", tmp_path / "whole", rtol=1e-4)

    killed = train_toys(
        tmp_path / "parts", processes=2, sharded=True, kill_at=9, kill_rank=1, max_train_steps=6,
        checkpointing_steps=2, **settings,
    )  # fmt: skip
    assert killed.codes[1] == -9
    train(tmp_path / "parts", sharded=True, resume_from_checkpoint="latest", **settings)
    assert len(read_records(tmp_path / "parts" / "losses.jsonl")) == 6
    assert_same_run(tmp_path / "parts", tmp_path / "sharded", rtol=0)


def test_a_full_disk_ends_a_sharded_run_with_the_earlier_checkpoint(tmp_path):
    settings = {"dataset_name": "toy", "processes": 2, "sharded": True, "checkpointing_steps": 2}
    assert set(train_toys(tmp_path, max_train_steps=2, **settings).codes) == {0}
    ended = train_toys(tmp_path, resume_from_checkpoint="latest", largest_file=1500, **settings)
    assert set(ended.codes) == {1}
    assert ended.output.count("the last whole checkpoint is checkpoint-2.") == 2
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-2"]


def test_another_way_of_sharding_is_refused(tmp_path):
    train(tmp_path, sharded=True)
    ended = train_toys(tmp_path, processes=2, resume_from_checkpoint="latest")
    assert ended.codes == [1, 1]
    assert ended.output.count("checkpoint-6 was written with sharding FSDP and this run has none; give") == 2


def test_sharding_that_accelerate_would_ignore_is_refused(tmp_path):
    ended = train_toys(tmp_path, sharded=True)  # one process on a CPU
    assert ended.codes == [1]
    assert "FSDP is asked for and accelerate runs NO instead" in ended.output


def test_ways_of_sharding(monkeypatch):
    check_sharding(DistributedType.MULTI_GPU, None)
    check_sharding(DistributedType.DEEPSPEED, 2)
    with pytest.raises(ValueError, match=r"ZeRO-3 .* give zero_stage: 2, or .*fsdp2\.yaml"):
        check_sharding(DistributedType.DEEPSPEED, 3)
    for name, value in FSDP.items():
        monkeypatch.setenv(name, value)
    check_sharding(DistributedType.FSDP, None)
    with pytest.raises(ValueError, match=r"runs MULTI_CPU instead.*multi_gpu\.yaml"):
        check_sharding(DistributedType.MULTI_CPU, None)
