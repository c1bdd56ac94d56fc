"""Streaming of sample shards from a folder or the Hub, shuffled, shared among ranks and workers, exactly resumable."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

import datasets
from datasets.distributed import split_dataset_by_node
from torch.utils.data import IterableDataset, get_worker_info

from .samples import Sample, derive_seed, seeded_permutation
from .schema import ADDED_COLUMNS, decode_row, features


class StreamedSamples(IterableDataset):
    """One epoch of a dataset's samples per iteration, each on exactly one rank and worker.

    Rows are shuffled while still encoded: the order of the shards by `datasets`, and rows within blocks here, because
    a block can be read again on resume while the content of a shuffle buffer would be lost. Use it in torchdata's
    `StatefulDataLoader`, and do not pass that to `accelerator.prepare`, which would split or restart it once more.
    Ranks and workers may end an epoch after different numbers of samples; count steps, not epochs.

    Args:
        name: a folder of parquet shards, or a Hub repository id.
        split: "train", "test", or whatever splits the dataset has.
        seed: of the order and of every `Sample.seed`.
        rank: index of this process among `world_size` processes.
        world_size: number of processes that share the data; every rank gives its own `rank` and the same `seed`.
        block: number of rows shuffled together, held in memory encoded. 1 keeps the order within shards.
        revision: branch, tag or commit of a Hub repository.
        transform: applied to each sample in the worker.

    Raises:
        FileNotFoundError: if there is no such folder or repository.
        ValueError: for an unknown split, a rank outside the world, or a dataset that lacks columns of the schema.
    """

    def __init__(
        self,
        name: str,
        *,
        split: str = "train",
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        block: int = 256,
        revision: str | None = None,
        transform: Callable[[Sample], Any] | None = None,
    ):
        super().__init__()
        if not 0 <= rank < world_size:
            raise ValueError(f"rank {rank} is outside a world of {world_size}; accepted are 0 to {world_size - 1}")
        self.name, self.seed, self.block, self.transform = name, seed, block, transform
        rows = _open_rows(name, split, revision)
        # A larger buffer loses what it holds on resume, and more than one input shard raises IndexError on resume with
        # workers; mixing rows is left to the blocks.
        rows = rows.shuffle(seed=seed, buffer_size=1, max_buffer_input_shards=1)
        self._source = split_dataset_by_node(rows, rank, world_size)
        self._state = self._start()
        self._resumed = False

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration reads: another order, and other sample seeds."""
        self._source.set_epoch(epoch)
        if epoch != self._state["epoch"]:
            self._state, self._resumed = self._start(), False

    def state_dict(self) -> dict[str, Any]:
        """Where the next sample stands: epoch, block, offset in it, and the source's state at the block's start."""
        return dict(self._state)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state, in its epoch, at the next `iter`."""
        self._source.set_epoch(state["epoch"])
        self._state, self._resumed = dict(state), True

    def _start(self) -> dict[str, Any]:
        return {"epoch": self._source.epoch, "block": 0, "offset": 0, "source": {}}

    def __iter__(self) -> Iterator[Any]:
        # not itself a generator: a loader that resumes at a finished epoch makes an iterator, drops it unread and
        # makes another, which must not resume a second time
        if not self._resumed:
            self._state = self._start()
        self._resumed = False
        return self._samples(**self._state)

    def _samples(self, epoch: int, block: int, offset: int, source: dict[str, Any]) -> Iterator[Any]:
        info = get_worker_info()
        worker = info.id if info else 0
        # an empty state is loaded too: the source would otherwise start every epoch of this number from the last one
        self._source.load_state_dict(source)
        rows = iter(self._source)
        while encoded := list(islice(rows, self.block)):
            block_end = self._source.state_dict()
            order = seeded_permutation(len(encoded), "order", self.seed, epoch, worker, block)
            for position in range(offset, len(order)):
                # moved on before the yield: a state taken between two samples points at the second
                self._state = {"epoch": epoch, "block": block, "offset": position + 1, "source": source}
                sample = self._decode(encoded[order[position]], epoch)
                yield self.transform(sample) if self.transform else sample
            block, offset, source = block + 1, 0, block_end

    def _decode(self, row: dict[str, Any], epoch: int) -> Sample:
        try:
            sample = decode_row(row)
        except ValueError as error:
            raise ValueError(f"{self.name}: {error}") from error
        # keys are unique, so this seed depends on the position in the dataset but not on how it is shared out
        return replace(sample, seed=derive_seed("sample", self.seed, epoch, sample.key))


def _open_rows(name: str, split: str, revision: str | None) -> datasets.IterableDataset:
    try:
        rows = datasets.load_dataset(name, split=split, streaming=True, revision=revision)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{name} cannot be opened as a dataset ({error}); accepted are 'procedural-rooms', 'procedural-objects', "
            "a folder written by utils/make_shards.py, or a Hub repository id ('owner/name')"
        ) from error
    known = features(decode=False)
    wanted = datasets.Features({name: known[name] for name in known if name in (rows.features or ())})
    if missing := sorted(set(known) - set(wanted) - set(ADDED_COLUMNS)):
        raise ValueError(
            f"{name} lacks the columns {', '.join(missing)} of the sample schema; convert it with utils/make_shards.py"
        )
    return rows.select_columns(list(wanted)).cast(wanted)
