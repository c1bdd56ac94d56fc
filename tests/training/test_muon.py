"""Muon and AdamW as one optimiser."""

import copy

import pytest
import torch
from accelerate.utils import DistributedType
from torch import nn
from toy import ToyMethod, run_toy

from anyviews.training.loop import check_optimizer
from anyviews.training.muon import MuonWithAdamW, muon_groups


class Network(nn.Module):
    """An embedding, two repeated blocks and a head."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Linear(3, 8)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8)) for _ in range(2))
        self.head = nn.Linear(8, 2)

    def forward(self, values):
        values = self.embedding(values)
        for block in self.blocks:
            values = values + block(values)
        return self.head(values)


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> None:
    for step in steps:
        values = torch.randn(16, 3, generator=torch.Generator().manual_seed(step))
        model(values).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()


def make(model: nn.Module, **options) -> MuonWithAdamW:
    return MuonWithAdamW(muon_groups(model, weight_decay=0.1), **{"lr": 1e-2, **options})


def test_muon_has_the_linear_layers_of_repeated_blocks():
    model = Network()
    muon, matrices, vectors = muon_groups(model, 0.1)
    assert [id(p) for p in muon["params"]] == [id(block[0].weight) for block in model.blocks]
    assert {id(p) for p in matrices["params"]} == {id(model.embedding.weight), id(model.head.weight)}
    assert all(p.ndim == 1 for p in vectors["params"]) and vectors["weight_decay"] == 0
    assert sum(len(group["params"]) for group in (muon, matrices, vectors)) == len(list(model.parameters()))


def test_a_model_without_repeated_blocks_is_refused():
    with pytest.raises(ValueError, match="give --optimizer adamw"):
        muon_groups(nn.Linear(2, 2), 0.1)


def test_updates_are_those_of_both_optimisers_apart():
    model = Network()
    alone = copy.deepcopy(model)
    groups = muon_groups(alone, 0.1)
    for group in groups:
        group.pop("muon")
    apart = [
        torch.optim.Muon(groups[:1], lr=1e-2, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(groups[1:], lr=1e-2, betas=(0.9, 0.95)),
    ]
    train(model, make(model), range(5))
    for step in range(5):
        alone(torch.randn(16, 3, generator=torch.Generator().manual_seed(step))).square().sum().backward()
        for optimizer in apart:
            optimizer.step()
            optimizer.zero_grad()
    for found, wanted in zip(model.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=0)


def test_a_loaded_state_continues_with_the_same_bits(tmp_path):
    whole = Network()
    half = copy.deepcopy(whole)
    optimizer = make(whole)
    train(whole, optimizer, range(6))

    first = make(half)
    train(half, first, range(3))
    torch.save({"model": half.state_dict(), "optimizer": first.state_dict()}, tmp_path / "state.pt")
    saved = torch.load(tmp_path / "state.pt", weights_only=True)
    resumed = Network()
    resumed.load_state_dict(saved["model"])
    second = make(resumed, lr=5.0)  # the rate is part of the state
    second.load_state_dict(saved["optimizer"])
    train(resumed, second, range(3, 6))
    for found, wanted in zip(resumed.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=0)


def test_a_schedule_sets_the_rates_of_both():
    model = Network()
    optimizer = make(model)
    before = copy.deepcopy(model.state_dict())
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    train(model, optimizer, range(2))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize("kind", [DistributedType.FSDP, DistributedType.DEEPSPEED])
def test_divided_matrices_are_refused(kind):
    with pytest.raises(ValueError, match="needs whole matrices"):
        check_optimizer("muon", kind)
    check_optimizer("adamw", kind)
    check_optimizer("muon", DistributedType.MULTI_GPU)


class BlocksMethod(ToyMethod):
    """The toy with repeated blocks."""

    def build(self, arguments):
        return nn.Sequential(Network(), nn.Linear(2, 1))


def test_a_run_with_muon_resumes_exactly(tmp_path):
    options = {"method_type": BlocksMethod, "optimizer": "muon", "lr_scheduler": "cosine", "size": 30}
    expected, _ = run_toy(tmp_path / "whole", **options)
    run_toy(tmp_path / "parts", terminate_at=5, **options)
    rest, _ = run_toy(tmp_path / "parts", resume_from_checkpoint="latest", **options)
    assert rest == expected[5:]


def test_the_rates_of_a_run_are_those_of_its_arguments(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(MuonWithAdamW, "step", lambda self, closure=None: seen.append(
        {group["muon"]: group["lr"] for group in self.param_groups}
    ))  # fmt: skip
    options = {"optimizer": "muon", "learning_rate": 1e-3, "muon_learning_rate": 4e-3, "lr_scheduler": "linear"}
    run_toy(tmp_path, method_type=BlocksMethod, max_train_steps=2, **options)
    assert seen == [{True: 4e-3, False: 1e-3}, {True: 2e-3, False: 5e-4}]
