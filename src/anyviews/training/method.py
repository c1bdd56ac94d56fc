"""Method: what differs between the training scripts."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import IterableDataset, default_collate

from .arguments import DataArguments, TrainingArguments


class Method:
    """The part of a training script that is its own; a script subclasses it and calls `train`."""

    name = "method"

    def build(self, arguments: TrainingArguments) -> nn.Module:
        """Create the modules and return the one that is trained; it may hold several, e.g. encoder and denoiser.

        It is called again for a whole copy of the model when FSDP shards the trained one.
        """
        raise NotImplementedError

    def place(self, device: torch.device, dtype: torch.dtype) -> None:
        """Move frozen parts to the device, in the precision of the forward pass."""

    def open_dataset(self, data: DataArguments, rank: int, world_size: int) -> IterableDataset:
        """The stream of training examples of one process.

        It must have `state_dict`, `load_state_dict` and `set_epoch`, and ranks must see disjoint samples.
        """
        from ..data.open import open_samples

        return open_samples(
            data.dataset_name,
            split=data.dataset_split,
            seed=data.data_seed,
            rank=rank,
            world_size=world_size,
            transform=self.transform,
            **data.dataset_options,
        )

    def transform(self, sample: Any) -> dict[str, Tensor]:
        """One data sample to the tensors of one training example.

        Runs in the data worker. Random choices must come from `sample.seed` only, or resuming is not exact.
        """
        raise NotImplementedError

    def collate(self, examples: list) -> dict:
        """Examples to a batch."""
        return default_collate(examples)

    def loss(self, model: nn.Module, batch: dict, generator: torch.Generator) -> dict[str, Tensor]:
        """The losses of one micro-batch: scalars, of which "loss" is minimised and all are logged.

        Args:
            model: the trained module as accelerate wrapped it. Call it as a whole, `model(...)`: mixed precision and
                the exchange of gradients between processes hang on that call.
            batch: what `collate` returned, on the device.
            generator: of this process and on the model's device; the only source of random numbers here, as in
                `torch.randn(shape, generator=generator, device=generator.device)`.
        """
        raise NotImplementedError

    def validate(self, model: nn.Module, step: int, folder: Path) -> dict[str, float]:
        """Scores of the averaged weights; called on the main process, may write images under `folder`."""
        return {}

    def export(self, model: nn.Module, folder: Path) -> None:
        """Write the `from_pretrained` folder of the averaged weights, and README.md if it is to be published."""
        raise NotImplementedError
