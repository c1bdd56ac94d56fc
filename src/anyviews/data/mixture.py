"""Streams of samples mixed in given proportions."""

import bisect
import itertools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from torch.utils.data import IterableDataset

from .readers import check_rank, check_readers, current_reader
from .samples import derive_seed


# What a source gives at its end; a transform may return anything else.
ENDED = object()


class MixedSamples(IterableDataset):
    """An endless stream that draws every sample from one of several sources, at random by their weights.

    The choice depends on the seed, the reader and the position only. A source that ends is read again in its next
    epoch, so each of its samples is seen once in each of its epochs. Ranks and workers see what they would see of the
    sources alone: disjoint samples.

    Args:
        sources: streams of this rank with `set_epoch`, `state_dict` and `load_state_dict`.
        weights: one per source, relative to their sum: the expected share of samples; None: equal ones.
        names: of the sources, for messages.
        seed: of the choices.
        rank: index of this process among `world_size` processes.
        world_size: number of processes that share the data.

    Raises:
        ValueError: for weights that are not positive, or not one per source.
    """

    def __init__(
        self,
        sources: Sequence[IterableDataset],
        weights: Sequence[float] | None = None,
        *,
        names: Sequence[str] | None = None,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ):
        super().__init__()
        check_rank(rank, world_size)
        weights = [1.0] * len(sources) if weights is None else list(weights)
        if not sources or len(weights) != len(sources) or not all(0 < weight < math.inf for weight in weights):
            raise ValueError(f"{len(sources)} sources with weights {weights}; accepted is a positive one per source")
        self.sources, self.seed, self.rank, self.world_size = list(sources), seed, rank, world_size
        self.names = list(names or (f"source {i}" for i in range(len(sources))))
        # a folder of data may be moved between two launches
        self._labels = [Path(name).name for name in self.names]
        self.weights = [weight / sum(weights) for weight in weights]
        self._bounds = list(itertools.accumulate(self.weights))[:-1]
        self._position, self._epochs = 0, [0] * len(sources)
        self._loaded: dict[str, Any] | None = None

    @property
    def skipped(self) -> int:
        """Corrupt rows left out in the present epochs of the sources, by this reader."""
        return sum(getattr(source, "skipped", 0) for source in self.sources)

    def set_epoch(self, epoch: int) -> None:
        """Does nothing: the mixture is endless, and its sources count their own epochs."""

    def state_dict(self) -> dict[str, Any]:
        """Where the next sample stands: the position in the mixture, and the epoch and state of every source."""
        if self._loaded is not None:
            return self._loaded
        states = [source.state_dict() for source in self.sources]
        return {
            "readers": current_reader(self.rank, self.world_size)[1],
            "position": self._position,
            "names": list(self._labels),
            "sources": [{"epoch": e, "state": s} for e, s in zip(self._epochs, states, strict=True)],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state at the next `iter`.

        Raises:
            ValueError: if the state was taken by another number of readers, or from other sources.
        """
        check_readers(state, current_reader(self.rank, self.world_size)[1])
        if state["names"] != self._labels:
            raise ValueError(
                f"this state was taken from {', '.join(state['names'])} but the sources are {', '.join(self._labels)}"
                "; give the same ones, or start the data afresh with another seed"
            )
        self._loaded = state

    def choose(self, reader: int, position: int) -> int:
        """Index of the source that the sample of a reader at a position comes from."""
        return bisect.bisect_right(self._bounds, derive_seed("choice", self.seed, reader, position) / 2**63)

    def __iter__(self) -> Iterator[Any]:
        # not itself a generator, so that a resumed state is used up here and not at some later first sample
        state, self._loaded = self._loaded, None
        self._position = 0 if state is None else state["position"]
        self._epochs = [0] * len(self.sources) if state is None else [one["epoch"] for one in state["sources"]]
        for index, (source, epoch) in enumerate(zip(self.sources, self._epochs, strict=True)):
            source.set_epoch(epoch)
            if state is not None:
                source.load_state_dict(state["sources"][index]["state"])
        return self._samples(current_reader(self.rank, self.world_size)[0], [iter(source) for source in self.sources])

    def _samples(self, reader: int, streams: list[Iterator[Any]]) -> Iterator[Any]:
        while True:
            index = self.choose(reader, self._position)
            sample = next(streams[index], ENDED)
            if sample is ENDED:
                self._epochs[index] += 1
                self.sources[index].set_epoch(self._epochs[index])
                streams[index] = iter(self.sources[index])
                sample = next(streams[index], ENDED)
            if sample is ENDED:
                raise ValueError(
                    f"{self.names[index]} has no sample for reader {reader} of "
                    f"{current_reader(self.rank, self.world_size)[1]}; use fewer processes or workers, or more data"
                )
            self._position += 1
            yield sample


def parse_mixture(text: str) -> tuple[list[str], list[float] | None]:
    """The sources and weights of a text such as "procedural-rooms:0.5,folder:0.5"; without weights, None.

    Raises:
        ValueError: if only some sources have weights, or a source has no name.
    """
    # of a folder whose own name holds these characters
    if Path(text).exists():
        return [text], None
    names, weights = [], []
    for part in text.split(","):
        name, colon, weight = part.strip().rpartition(":")
        try:
            weights.append(float(weight) if colon else None)
        except ValueError:
            weights.append(None)
        names.append(name if weights[-1] is not None else part.strip())
    if not all(names) or (None in weights and set(weights) != {None}):
        raise ValueError(
            f"{text!r} is no mixture; accepted are names with commas between them and a weight for all or for none, "
            "as in procedural-rooms:0.3,folder:0.7"
        )
    return names, None if None in weights else weights
