"""Streaming of sample shards from a folder or the Hub, shuffled, shared among ranks and workers, exactly resumable."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from torch.utils.data import IterableDataset

from .licences import Allow, check_allow, is_allowed
from .readers import check_rank, check_readers, current_reader
from .rows import Piece, Shards, find_shards, share
from .samples import Sample, derive_seed, seeded_permutation
from .schema import OPTIONAL_COLUMNS, Row, RowError, check_version, decode_row


logger = logging.getLogger(__name__)

# The share of corrupt rows in an epoch is judged from this many rows on, or at the epoch's end.
ROWS_BEFORE_JUDGEMENT = 1000


class StreamedSamples(IterableDataset):
    """One epoch of a dataset's samples per iteration, each on exactly one rank and worker.

    Rows are shuffled while still encoded: the shards as a whole, and rows within blocks, because a block can be read
    again on resume while the content of a shuffle buffer would be lost. Use it in torchdata's `StatefulDataLoader`,
    and do not pass that to `accelerator.prepare`, which would split or restart it once more.
    Ranks and workers may end an epoch after different numbers of samples; count steps, not epochs.

    A row that cannot be decoded is logged, counted in `skipped` and left out, the same on every pass.

    Args:
        name: a folder of parquet shards, or a Hub repository id.
        split: "train", "test", or whatever splits the dataset has.
        seed: of the order and of every `Sample.seed`.
        rank: index of this process among `world_size` processes.
        world_size: number of processes that share the data; every rank gives its own `rank` and the same `seed`.
        block: number of rows shuffled together, held in memory encoded. 1 keeps the order within shards.
        revision: branch, tag or commit of a Hub repository.
        transform: applied to each sample in the worker.
        columns: which of schema.OPTIONAL_COLUMNS to read and decode, such as ["depths"]; None: all that there are.
        allow: licences of the rows to read, see `licences.is_allowed`; others are counted in `refused`.
        max_skipped: share of corrupt rows in an epoch that is accepted; with more than 0, one row always is.

    Raises:
        FileNotFoundError: if there is no such folder or repository.
        ConnectionError: if the Hub cannot be reached.
        ValueError: for an unknown split, a rank outside the world, files other than the manifest's, or a dataset that
            lacks columns of the schema; while reading, for damaged shards and too many corrupt rows.
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
        columns: Sequence[str] | None = None,
        allow: Allow = None,
        max_skipped: float = 0.01,
    ):
        super().__init__()
        check_rank(rank, world_size)
        check_allow(allow)
        if block < 1 or not 0 <= max_skipped <= 1:
            raise ValueError(
                f"block {block} and max_skipped {max_skipped}; accepted are a block of 1 or more rows, and a share of "
                "skipped rows from 0 to 1"
            )
        self.name, self.seed, self.rank, self.world_size = name, seed, rank, world_size
        self.block, self.transform, self.allow, self.max_skipped = block, transform, allow, max_skipped
        self.shards = _select(find_shards(name, split, revision), columns)
        # a state belongs to these files
        names = sorted(file.rsplit("/", 1)[-1] for file in self.shards.files)
        self._fingerprint = derive_seed("shards", *names)
        self._epoch = 0
        self._state = self._start()
        self._resumed = False
        self._reported: set[tuple[str, int]] = set()

    @property
    def skipped(self) -> int:
        """Corrupt rows left out so far in this epoch, by this reader; a loader's workers count in their own states."""
        return self._state["skipped"]

    @property
    def refused(self) -> int:
        """Rows left out so far in this epoch for their licence, by this reader."""
        return self._state["refused"]

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration reads: another order, and other sample seeds."""
        self._epoch = epoch
        if epoch != self._state["epoch"]:
            self._state, self._resumed = self._start(), False

    def state_dict(self) -> dict[str, Any]:
        """Where the next sample stands, made of JSON types.

        It holds the epoch, the piece and row at which the current block starts, the offset in the block, and how many
        rows were read, skipped and refused.
        """
        return dict(self._state)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state, in its epoch, at the next `iter`.

        Raises:
            ValueError: if the state was taken by another number of readers, or from other shards.
        """
        check_readers(state, current_reader(self.rank, self.world_size)[1])
        if state["shards"] != self._fingerprint:
            raise ValueError(
                f"this state was taken from other shards than {self.name} has now; give the same data, or start it "
                "afresh with another seed"
            )
        self._epoch = state["epoch"]
        self._state, self._resumed = dict(state), True

    def _start(self) -> dict[str, Any]:
        readers = current_reader(self.rank, self.world_size)[1]
        position = {"block": 0, "piece": 0, "row": 0, "offset": 0, "read": 0, "skipped": 0, "refused": 0}
        return {"epoch": self._epoch, "readers": readers, "shards": self._fingerprint, **position}

    def __iter__(self) -> Iterator[Any]:
        # not itself a generator: a loader that resumes at a finished epoch makes an iterator, drops it unread and
        # makes another, which must not resume a second time
        if not self._resumed:
            self._state = self._start()
        self._resumed = False
        return self._samples(self._state)

    def _samples(self, state: dict[str, Any]) -> Iterator[Any]:
        epoch, reader = state["epoch"], current_reader(self.rank, self.world_size)[0]
        order = seeded_permutation(len(self.shards.files), "shards", self.seed, epoch)
        rows = self._rows(share(self.shards, order, reader, state["readers"]), state["piece"], state["row"])
        while block := list(islice(rows, self.block)):
            order = seeded_permutation(len(block), "order", self.seed, epoch, reader, state["block"])
            for offset in range(state["offset"], len(block)):
                # moved on before the yield: a state taken between two samples points at the second
                state = self._state = {**state, "offset": offset + 1, "read": state["read"] + 1}
                sample = self._decode(*block[order[offset]])
                state = self._state
                if sample is not None:
                    yield self.transform(sample) if self.transform else sample
            piece, _, number, _ = block[-1]
            next_block = {"block": state["block"] + 1, "piece": piece, "row": number + 1, "offset": 0}
            state = self._state = {**state, **next_block}
        self._check_epoch()

    def _rows(self, pieces: list[Piece], first: int, row: int) -> Iterator[tuple[int, str, int, Row]]:
        """Index of the piece, its file, the row's number in the file, and the row, from a row of a piece on."""
        for index, piece in enumerate(pieces[first:], start=first):
            start = max(piece.start, row) if index == first else piece.start
            for number, content in self.shards.rows(replace(piece, start=start)):
                yield index, piece.file, number, content

    def _decode(self, index: int, file: str, number: int, row: Row) -> Sample | None:
        """The sample of a row, or None if it is left out, which is then counted."""
        place = f"{self.name}: row {number} of {file.rsplit('/', 1)[-1]}"
        # of no single row's making, so that it stops the reading
        check_version(row["schema_version"], f"{place}: column schema_version")
        try:
            if not is_allowed(row["licence"] or "", self.allow):
                self._count("refused")
                return None
        except ValueError as error:
            raise ValueError(f"{place}: {error}") from error
        try:
            sample = decode_row(row)
        except RowError as error:
            self._skip(file, number, f"{place}: {error}")
            return None
        # keys are unique, so this seed depends on the position in the dataset but not on how it is shared out
        return replace(sample, seed=derive_seed("sample", self.seed, self._state["epoch"], sample.key))

    def _count(self, what: str) -> None:
        self._state = {**self._state, what: self._state[what] + 1}

    def _skip(self, file: str, number: int, problem: str) -> None:
        self._count("skipped")
        if (file, number) not in self._reported:
            self._reported.add((file, number))
            logger.warning("skipped a corrupt row: %s", problem)
        accepted = self.max_skipped * max(self._state["read"], ROWS_BEFORE_JUDGEMENT)
        if self.skipped > accepted:
            raise ValueError(self._too_many(problem))

    def _check_epoch(self) -> None:
        read, skipped = self._state["read"], self.skipped
        if self.max_skipped and skipped > max(1, self.max_skipped * read):
            raise ValueError(self._too_many("see the log"))
        if read and self.refused == read and not self._any_allowed():
            raise ValueError(
                f"{self.name} has no row whose licence is allowed (allow={self.allow!r}); `anyviews data info "
                f"{self.name}` lists its licences"
            )

    def _any_allowed(self) -> bool:
        """Whether another reader may have found rows where this one found none."""
        licences = replace(self.shards, columns=("licence",))
        rows = (row for file in self.shards.files for _, row in licences.rows(Piece(file)))
        return any(is_allowed(row["licence"] or "", self.allow) for row in rows)

    def _too_many(self, problem: str) -> str:
        state = self._state
        return (
            f"{state['skipped']} of {state['read']} rows of {self.name} are corrupt, which is more than max_skipped = "
            f"{self.max_skipped:g} accepts; write them again, or raise max_skipped. The last: {problem}"
        )


def _select(shards: Shards, columns: Sequence[str] | None) -> Shards:
    """The shards without those optional columns that are not asked for."""
    if columns is None:
        return shards
    if unknown := sorted(set(columns) - set(OPTIONAL_COLUMNS)):
        raise ValueError(f"columns {', '.join(unknown)} are unknown; accepted are {', '.join(OPTIONAL_COLUMNS)}")
    unwanted = set(OPTIONAL_COLUMNS) - set(columns)
    return replace(shards, columns=tuple(name for name in shards.columns if name not in unwanted))
