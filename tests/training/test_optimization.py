import signal

import pytest
import torch
import torch.distributed
from diffusers import UNet2DModel
from diffusers.training_utils import EMAModel
from safetensors.torch import save_file
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from transformers import ViTConfig, ViTModel

from anyviews.training import optimization
from anyviews.training.checkpoint import load_averages, save_averages
from anyviews.training.optimization import (
    averaged_weights,
    decay_groups,
    enable_gradient_checkpointing,
    stop_on_signal,
)


def make_denoiser():
    return UNet2DModel(
        sample_size=8,
        block_out_channels=(8,),
        norm_num_groups=4,
        layers_per_block=1,
        down_block_types=("DownBlock2D",),
        up_block_types=("UpBlock2D",),
    )


def test_gradient_checkpointing_reaches_both_kinds_of_model_in_a_plain_module():
    encoder = ViTModel(ViTConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8))
    both = nn.ModuleDict({"denoiser": make_denoiser(), "encoder": encoder})
    enable_gradient_checkpointing(both)
    assert both["denoiser"].is_gradient_checkpointing
    assert both["encoder"].is_gradient_checkpointing


def test_gradient_checkpointing_is_refused_where_nothing_supports_it():
    with pytest.raises(ValueError, match="Sequential does not support --gradient_checkpointing"):
        enable_gradient_checkpointing(nn.Sequential(nn.Linear(1, 1)))


def test_only_matrices_of_trained_parts_decay():
    model = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3), nn.Linear(3, 1).requires_grad_(False))
    decayed, free = decay_groups(model, 0.1)
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.1, 0.0)
    assert {id(parameter) for parameter in decayed["params"]} == {id(model[0].weight)}
    assert {id(parameter) for parameter in free["params"]} == {
        id(parameter) for parameter in (model[0].bias, model[1].weight, model[1].bias)
    }


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

    save_averages(ema, tmp_path, is_main_process=True)
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


def test_a_signal_that_is_passed_on_twice_does_not_interrupt_but_a_later_one_does(monkeypatch):
    with stop_on_signal() as received:
        for number in (signal.SIGINT, signal.SIGINT, signal.SIGTERM):
            signal.raise_signal(number)
        assert received == [signal.SIGINT, signal.SIGINT, signal.SIGTERM]
        monkeypatch.setattr(optimization, "SECONDS_BETWEEN_INTERRUPTS", 0.0)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
