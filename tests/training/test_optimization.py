import signal

import pytest
import torch
from accelerate.utils import DistributedType
from diffusers import UNet2DModel
from torch import nn
from transformers import ViTConfig, ViTModel

from anyviews.training import optimization
from anyviews.training.loop import check_clipping
from anyviews.training.optimization import (
    clip_each_gradient,
    decay_groups,
    enable_gradient_checkpointing,
    name_sharded_blocks,
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


def test_sharded_blocks_are_those_that_inner_models_name():
    encoder = ViTModel(ViTConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8))
    both = nn.ModuleDict({"encoder": encoder, "head": nn.Linear(8, 1)})
    name_sharded_blocks(both)
    assert both._no_split_modules == ["ViTEmbeddings", "ViTLayer"]
    plain = nn.Linear(1, 1)
    name_sharded_blocks(plain)
    assert plain._no_split_modules == []


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


def test_a_signal_that_is_passed_on_twice_does_not_interrupt_but_a_later_one_does(monkeypatch):
    with stop_on_signal() as received:
        for number in (signal.SIGINT, signal.SIGINT, signal.SIGTERM):
            signal.raise_signal(number)
        assert received == [signal.SIGINT, signal.SIGINT, signal.SIGTERM]
        monkeypatch.setattr(optimization, "SECONDS_BETWEEN_INTERRUPTS", 0.0)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_each_gradient_is_clipped_alone_and_bad_values_count_as_zero():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2, bias=False), nn.Linear(2, 2).requires_grad_(False))
    first, bias, second = model[0].weight, model[0].bias, model[1].weight
    first.grad = torch.tensor([[3.0, 0.0], [0.0, 4.0]])
    bias.grad = torch.tensor([0.1, 0.2])
    second.grad = torch.tensor([[torch.nan, torch.inf], [-torch.inf, 0.5]])
    clip_each_gradient(model.parameters(), 1.0)
    torch.testing.assert_close(first.grad, torch.tensor([[0.6, 0.0], [0.0, 0.8]]), atol=1e-5, rtol=0)
    assert torch.equal(bias.grad, torch.tensor([0.1, 0.2]))
    assert torch.equal(second.grad, torch.tensor([[0.0, 0.0], [0.0, 0.5]]))


def test_deepspeed_cannot_clip_each_gradient():
    check_clipping("tensor", DistributedType.NO)
    with pytest.raises(ValueError, match="--gradient_clipping model"):
        check_clipping("tensor", DistributedType.DEEPSPEED)
