"""A tiny method and dataset for the tests of the loop, and the script that `accelerate launch` runs."""

import json
import os
import signal
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate.state import AcceleratorState
from safetensors.torch import save_file
from torch import nn
from torch.utils.data import IterableDataset, get_worker_info

from anyviews.training.arguments import DataArguments, TrainingArguments, argument, parse_arguments
from anyviews.training.loop import train
from anyviews.training.method import Method


class ToyStream(IterableDataset):
    """Numbers of one rank in an order that depends on the epoch; resumes exactly, also with workers."""

    def __init__(self, size, rank, world_size, transform, unsavable_from=None):
        super().__init__()
        self.unsavable_from = unsavable_from
        self.size, self.rank, self.world_size, self.transform = size, rank, world_size, transform
        self.epoch, self.position = 0, 0

    def set_epoch(self, epoch):
        self.epoch, self.position = epoch, 0

    def state_dict(self):
        if self.unsavable_from is not None and self.position >= self.unsavable_from:
            return {"position": {1, 2}}
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state):
        self.epoch, self.position = state["epoch"], state["position"]

    def __iter__(self):
        worker = get_worker_info()
        index, count = (worker.id, worker.num_workers) if worker else (0, 1)
        order = torch.randperm(self.size, generator=torch.Generator().manual_seed(self.epoch)).tolist()
        mine = order[self.rank :: self.world_size][index::count]
        while self.position < len(mine):
            number = mine[self.position]
            self.position += 1
            yield self.transform(number)
        self.position = 0


@dataclass
class ToyArguments(TrainingArguments):
    dropout: float = argument(0.1, "Dropout of the toy network.")
    size: int = argument(22, "Numbers in the toy dataset.")
    unsavable_from: int | None = argument(None, "Position from which the state of the dataset is not JSON.")
    noise: float = argument(0.1, "Noise in the toy loss.")
    terminate_at: int | None = argument(None, "Send SIGTERM to this process in this step's loss.")
    break_at: int | None = argument(None, "Make the loss of this step nan.")


class ToyMethod(Method):
    name = "toy"

    def __init__(self, arguments):
        self.arguments = arguments
        self.calls = 0
        self.seen = []
        self.validated = {}

    def build(self, arguments):
        return nn.Sequential(nn.Linear(3, 8), nn.LayerNorm(8), nn.Dropout(arguments.dropout), nn.Linear(8, 1))

    def open_dataset(self, data, rank, world_size):
        return ToyStream(self.arguments.size, rank, world_size, self.transform, self.arguments.unsavable_from)

    def transform(self, sample):
        return {"number": sample, "inputs": torch.tensor([sample, sample**2 / 20, 1.0]) / 20}

    def loss(self, model, batch, generator):
        self.calls += 1
        if self.calls == self.arguments.terminate_at:
            os.kill(os.getpid(), signal.SIGTERM)
        self.seen += batch["number"].tolist()
        noise = torch.randn(batch["inputs"].shape, generator=generator, device=generator.device)
        predicted = model(batch["inputs"] + self.arguments.noise * noise).squeeze(-1)
        loss = (predicted - batch["inputs"][:, 0].sin()).square().mean()
        if self.calls == self.arguments.break_at:
            loss = loss * float("nan")
        return {"loss": loss, "magnitude": predicted.abs().mean()}

    def validate(self, model, step, folder):
        assert not model.training
        (folder / "image.txt").write_text("an image")
        self.validated[step] = {name: value.clone() for name, value in model.state_dict().items()}
        return {"error": float(model(torch.ones(1, 3)).abs())}

    def export(self, model, folder):
        save_file(model.state_dict(), folder / "model.safetensors")
        (folder / "README.md").write_text("a card")


def run_toy(output_dir, method_type=ToyMethod, dataset_options=None, **values):
    """Train the toy in this process; returns the records and the method."""
    settings = {"train_batch_size": 4, "max_train_steps": 10, "learning_rate": 1e-2, "checkpointing_steps": 1000}
    arguments = ToyArguments(output_dir=str(output_dir), **{**settings, **values})
    data = DataArguments(dataset_options=dataset_options or {})
    method = method_type(arguments)
    AcceleratorState._reset_state(reset_partial_state=True)  # it would keep the precision of the first run
    return train(method, arguments, data), method


if __name__ == "__main__":
    arguments, data = parse_arguments(ToyArguments, DataArguments)
    method = ToyMethod(arguments)
    records = train(method, arguments, data)
    summary = {"num_processes": int(os.environ["WORLD_SIZE"]), "records": records, "seen": method.seen}
    (Path(arguments.output_dir) / f"summary-{os.environ['RANK']}.json").write_text(json.dumps(summary))
