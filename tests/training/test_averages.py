import pytest
import torch
import torch.distributed
from diffusers.training_utils import EMAModel
from safetensors.torch import load_file, save_file
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from toy import ToyMethod, run_toy

from anyviews.training.averages import (
    averaged_tensors,
    averaged_weights,
    load_averages,
    save_averages,
    whole_averages,
)


@pytest.fixture
def process_group():
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("sharded", [False, True])
def test_averages_are_swapped_saved_and_loaded_also_when_sharded(tmp_path, process_group, sharded):
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1))
    if sharded:
        fully_shard(model, mesh=init_device_mesh("cpu", (1,)))
    parameters = list(model.parameters())
    ema = EMAModel(parameters, use_ema_warmup=True, foreach=True)
    optimizer = torch.optim.SGD(parameters, lr=0.1)
    for _ in range(3):
        model(torch.ones(2, 3)).sum().backward()
        optimizer.step()
        ema.step(parameters)

    def values(tensors):
        return [(tensor.full_tensor() if sharded else tensor).detach().clone() for tensor in tensors]

    trained, averages = values(parameters), values(ema.shadow_params)
    with averaged_weights(parameters, ema):
        torch.testing.assert_close(values(parameters), averages, rtol=0, atol=0)
    torch.testing.assert_close(values(parameters), trained, rtol=0, atol=0)
    assert not torch.equal(trained[0], averages[0])

    save_averages(ema, tmp_path, whole_averages(ema, is_main_process=True))
    other = EMAModel(parameters, use_ema_warmup=True, foreach=True)
    load_averages(other, tmp_path)
    assert isinstance(other.shadow_params[0], DTensor) == sharded
    assert other.optimization_step == 3
    torch.testing.assert_close(values(other.shadow_params), averages, rtol=0, atol=0)


def test_averages_of_another_model_are_refused(tmp_path):
    ema = EMAModel(nn.Linear(2, 2).parameters())
    with pytest.raises(ValueError, match="has no averaged weights"):
        load_averages(ema, tmp_path)
    save_file({"0": torch.zeros(2, 2)}, tmp_path / "ema.safetensors", metadata={"steps": "1"})
    with pytest.raises(ValueError, match=r"1 averaged tensors.*2"):
        load_averages(ema, tmp_path)


def test_running_statistics_are_averaged_and_share_the_memory_of_the_model():
    model = nn.Sequential(nn.Linear(3, 4).requires_grad_(False), nn.BatchNorm1d(4), nn.BatchNorm1d(4, affine=False))
    plain = nn.BatchNorm1d(4, affine=False, track_running_stats=False)
    model.append(plain)
    tensors = averaged_tensors(model)
    assert [tensor.numel() for tensor in tensors] == [4] * 6
    ema = EMAModel(tensors, decay=0.5, use_ema_warmup=True, foreach=True)
    expected = None
    for step in range(1, 5):
        model(torch.randn(8, 3) + step)
        ema.step(tensors)
        decay = 0.0 if step == 1 else min(1 - step ** (-2 / 3), 0.5)
        mean = model[1].running_mean.clone()
        expected = mean if expected is None else decay * expected + (1 - decay) * mean
    current = model[1].running_mean.clone()
    with averaged_weights(tensors, ema):
        torch.testing.assert_close(model[1].running_mean, expected)
        assert not torch.allclose(model[1].running_mean, current)
    assert torch.equal(model[1].running_mean, current)


def test_validated_and_exported_statistics_are_the_averaged_ones(tmp_path):
    """With decay 0 of the average they are the last ones, with another decay they are not."""
    common = {"batch_norm": True, "max_train_steps": 4, "validation_steps": 4}
    _, last = run_toy(tmp_path / "last", ema_max_decay=0.0, **common)
    _, averaged = run_toy(tmp_path / "averaged", ema_max_decay=0.9, **common)
    _, raw = run_toy(tmp_path / "raw", use_ema=False, **common)
    assert torch.equal(last.validated[4]["1.running_mean"], raw.validated[4]["1.running_mean"])
    assert not torch.allclose(averaged.validated[4]["1.running_mean"], raw.validated[4]["1.running_mean"])
    assert int(averaged.validated[4]["1.num_batches_tracked"]) == 4
    exported = load_file(tmp_path / "averaged" / "model.safetensors")
    assert all(torch.equal(exported[name], value) for name, value in averaged.validated[4].items())


def test_averaged_statistics_fit_the_averaged_weights_better_than_the_last_ones(tmp_path):
    """The mean that a norm layer subtracts is the mean of its inputs under the averaged weights."""
    inputs = torch.stack([ToyMethod(None).transform(number)["inputs"] for number in range(22)])
    settings = {"batch_norm": True, "max_train_steps": 300, "dropout": 0.0, "logging_steps": 300}
    run_toy(tmp_path / "averaged", **settings)
    run_toy(tmp_path / "raw", use_ema=False, **settings)
    weights, raw = (load_file(tmp_path / name / "model.safetensors") for name in ("averaged", "raw"))
    mean = nn.functional.linear(inputs, weights["0.weight"], weights["0.bias"]).mean(0)
    error = (weights["1.running_mean"] - mean).abs().mean()
    error_of_last = (raw["1.running_mean"] - mean).abs().mean()
    assert error < 0.5 * error_of_last


def test_batch_norm_resumes_exactly(tmp_path):
    settings = {"batch_norm": True, "max_train_steps": 6}
    expected, _ = run_toy(tmp_path / "whole", **settings)
    run_toy(tmp_path / "parts", terminate_at=3, **settings)
    rest, _ = run_toy(tmp_path / "parts", resume_from_checkpoint="latest", **settings)
    assert rest == expected[3:]
    whole, parts = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(parts[name], whole[name]) for name in whole)
