"""open_samples: one door to all training and evaluation data."""

import inspect
from collections.abc import Callable
from typing import Any

from torch.utils.data import IterableDataset

from .samples import Sample


PROCEDURAL_KINDS = {"procedural-rooms": "room", "procedural-objects": "object"}


def open_samples(
    name: str,
    *,
    split: str = "train",
    seed: int = 0,
    rank: int = 0,
    world_size: int = 1,
    transform: Callable[[Sample], Any] | None = None,
    **options,
) -> IterableDataset:
    """Open a stream of samples that resumes exactly (`state_dict`, `load_state_dict`, `set_epoch`).

    Args:
        name: "procedural-rooms", "procedural-objects", a folder of parquet shards, or a Hub repository id.
        split: "train", "test", or whatever splits the dataset has.
        seed: of the order and of every `Sample.seed`; for procedural scenes also of the scenes.
        rank: index of this process among `world_size` processes; ranks see disjoint samples.
        world_size: number of processes that share the data.
        transform: applied to each sample in the worker.
        options: further arguments of ProceduralSamples or StreamedSamples.

    Raises:
        TypeError: naming the options that the source does not take.
    """
    if name in PROCEDURAL_KINDS:
        from .procedural import ProceduralSamples as Source

        first = PROCEDURAL_KINDS[name]
    else:
        from .streaming import StreamedSamples as Source

        first = name
    common = {"split": split, "seed": seed, "rank": rank, "world_size": world_size, "transform": transform}
    accepted = set(list(inspect.signature(Source).parameters)[1:]) - set(common)
    if unknown := sorted(set(options) - accepted):
        raise TypeError(f"{name} does not take {', '.join(unknown)}; accepted are {', '.join(sorted(accepted))}")
    return Source(first, **common, **options)
