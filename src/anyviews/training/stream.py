"""BatchStream: endless batches whose position can be saved and restored exactly."""

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.data import IterableDataset
from torchdata.stateful_dataloader import StatefulDataLoader


class BatchStream:
    """Batches of one process, epoch after epoch.

    The loader must not be given to `accelerator.prepare`: the dataset is already split by rank, and accelerate would
    keep one position for all ranks.

    Args:
        dataset: stream of this process's examples, with `state_dict`, `load_state_dict` and `set_epoch`.
        batch_size: examples per batch; an incomplete last batch of an epoch is dropped.
        collate: examples to a batch.
        num_workers: worker processes.
        pin_memory: whether to use page-locked memory, for a GPU.
    """

    def __init__(
        self,
        dataset: IterableDataset,
        batch_size: int,
        collate: Callable[[list], Any],
        num_workers: int = 0,
        pin_memory: bool = False,
    ):
        self.loader = StatefulDataLoader(
            dataset,
            batch_size=batch_size,
            collate_fn=collate,
            num_workers=num_workers,
            drop_last=True,
            pin_memory=pin_memory,
            # every new iterator draws a seed for its workers; from the global generator, that would shift the random
            # numbers of a resumed run
            generator=torch.Generator(),
        )
        self.epoch = 0
        self._iterator = None

    def __iter__(self) -> "BatchStream":
        return self

    def __next__(self) -> Any:
        if self._iterator is None:
            self._enter(self.epoch)
            self._iterator = iter(self.loader)
        try:
            return next(self._iterator)
        except StopIteration:
            self._enter(self.epoch + 1)
            self._iterator = iter(self.loader)
        try:
            return next(self._iterator)
        except StopIteration:
            raise ValueError(
                f"epoch {self.epoch} of the training data has less than one batch of {self.loader.batch_size} samples "
                "in this process; give more data, a smaller --train_batch_size, or fewer --dataloader_num_workers"
            ) from None

    def state_dict(self) -> dict:
        """Epoch and position; made of JSON types if the dataset's own state is."""
        return {"epoch": self.epoch, "num_workers": self.loader.num_workers, "loader": self.loader.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        """Continue at a position returned by `state_dict`.

        Raises:
            ValueError: if it was saved with another number of workers, which deal out the samples differently.
        """
        if state["num_workers"] != self.loader.num_workers:
            raise ValueError(
                f"the position in the data was saved with {state['num_workers']} workers and this run has "
                f"{self.loader.num_workers}; give --dataloader_num_workers {state['num_workers']}"
            )
        self._enter(state["epoch"])  # before the position: it may reset it
        self.loader.load_state_dict(state["loader"])
        self._iterator = iter(self.loader)

    def _enter(self, epoch: int) -> None:
        self.epoch = epoch
        self.loader.dataset.set_epoch(epoch)
        self.loader.generator.manual_seed(epoch)  # however many iterators there were before
