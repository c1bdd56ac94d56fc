"""A tiny method and dataset for the tests of the loop, and the script that `accelerate launch` runs."""

import gc
import json
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate.state import AcceleratorState
from safetensors.torch import save_file
from torch import nn
from torch.utils.data import IterableDataset, get_worker_info

from anyviews.data.samples import Sample
from anyviews.training.arguments import DataArguments, TrainingArguments, argument, parse_arguments
from anyviews.training.loop import train
from anyviews.training.method import Method


# `train` collects garbage at its end, which takes half a second for all that is imported by now
gc.freeze()


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
    report_to: str = argument("none", "As in the scripts, which have another default: this saves the tests time.")
    size: int = argument(22, "Numbers in the toy dataset.")
    unsavable_from: int | None = argument(None, "Position from which the state of the dataset is not JSON.")
    noise: float = argument(0.1, "Noise in the toy loss.")
    terminate_at: int | None = argument(None, "Send SIGTERM to this process in this step's loss.")
    break_at: int | None = argument(None, "Make the loss of this step nan.")
    kill_at: int | None = argument(None, "SIGKILL this process in the loss of this step.")
    kill_rank: int = argument(0, "The process that kill_at and kill_at_file kill.")
    kill_at_file: int | None = argument(None, "SIGKILL this process when it touches checkpoint files this often.")
    batch_norm: bool = argument(False, "Normalise over the batch in place of the layer.")
    masked: bool = argument(False, "Count only some of the terms of each sample, more in some than in others.")


class ToyMethod(Method):
    name = "toy"

    def __init__(self, arguments):
        self.arguments = arguments
        self.calls = 0
        self.seen = []
        self.validated = {}

    def build(self, arguments):
        norm = nn.BatchNorm1d(8) if arguments.batch_norm else nn.LayerNorm(8)
        return nn.Sequential(nn.Linear(3, 8), norm, nn.Dropout(arguments.dropout), nn.Linear(8, 1))

    def open_dataset(self, data, rank, world_size):
        if data.dataset_name != "toy":
            return super().open_dataset(data, rank, world_size)
        return ToyStream(self.arguments.size, rank, world_size, self.transform, self.arguments.unsavable_from)

    def transform(self, sample):
        if isinstance(sample, Sample):
            sample = sample.seed % 97
        return {"number": sample, "inputs": torch.tensor([sample, sample**2 / 20, 1.0]) / 20}

    def loss(self, model, batch, generator):
        self.calls += 1
        if self.calls == self.arguments.terminate_at:
            os.kill(os.getpid(), signal.SIGTERM)
        if self.calls == self.arguments.kill_at and int(os.environ.get("RANK", 0)) == self.arguments.kill_rank:
            os.kill(os.getpid(), signal.SIGKILL)
        self.seen += batch["number"].tolist()
        noise = torch.randn(batch["inputs"].shape, generator=generator, device=generator.device)
        predicted = model(batch["inputs"] + self.arguments.noise * noise).squeeze(-1)
        errors = (predicted - batch["inputs"][:, 0].sin()).square()
        if self.arguments.masked:
            terms = errors[:, None] * torch.arange(1.0, 5.0)
            mask = torch.arange(4) <= batch["number"][:, None] % 4
            errors = (terms * mask).sum(1) / mask.sum(1)  # of each sample first
        loss = errors.mean()
        if self.calls == self.arguments.break_at:
            loss = loss * float("nan")
        return {"loss": loss, "magnitude": predicted.abs().mean()}

    def validate(self, model, step, folder):
        assert not model.training
        torch.rand(3)
        (folder / "image.txt").write_text("an image")
        self.validated[step] = {name: value.clone() for name, value in model.state_dict().items()}
        return {"error": float(model(torch.ones(1, 3)).abs())}

    def export(self, model, folder):
        save_file(model.state_dict(), folder / "model.safetensors")
        (folder / "README.md").write_text("a card")


def run_toy(output_dir, method_type=ToyMethod, dataset_options=None, dataset_name="toy", num_workers=0, **values):
    """Train the toy in this process; returns the records and the method."""
    settings = {"train_batch_size": 4, "max_train_steps": 10, "learning_rate": 1e-2, "checkpointing_steps": 1000}
    arguments = ToyArguments(output_dir=str(output_dir), **{**settings, **values})
    data = DataArguments(dataset_name, dataset_options=dataset_options or {}, dataloader_num_workers=num_workers)
    method = method_type(arguments)
    if arguments.kill_at_file is not None and int(os.environ.get("RANK", 0)) == arguments.kill_rank:
        kill_at_file(arguments.kill_at_file)
    try:
        return train(method, arguments, data), method
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)  # it would keep the precision of the first run


def kill_at_file(count):
    """SIGKILL this process, for good from now on, just before it opens, renames or removes a checkpoint's file."""
    touched = 0

    def watch(event, values):
        nonlocal touched
        if event in ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir") and "checkpoint-" in str(values[0]):
            touched += 1
            if touched == count:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


def write_summary(output_dir, rank, records, method):
    summary = {"num_processes": int(os.environ.get("WORLD_SIZE", 1)), "records": records, "seen": method.seen}
    (Path(output_dir) / f"summary-{rank}.json").write_text(json.dumps(summary))


if __name__ == "__main__":
    arguments, data = parse_arguments(ToyArguments, DataArguments)
    method = ToyMethod(arguments)
    write_summary(arguments.output_dir, int(os.environ["RANK"]), train(method, arguments, data), method)
