"""open_samples: one door to all training and evaluation data."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from torch.utils.data import IterableDataset

from .licences import Allow, check_allow
from .mixture import MixedSamples, parse_mixture
from .samples import Sample, derive_seed


PROCEDURAL_KINDS = {
    "procedural-rooms": "room",
    "procedural-apartments": "apartment",
    "procedural-objects": "object",
}


def open_samples(
    name: str | Sequence[str],
    *,
    split: str = "train",
    seed: int = 0,
    rank: int = 0,
    world_size: int = 1,
    transform: Callable[[Sample], Any] | None = None,
    weights: Sequence[float] | None = None,
    allow: Allow = None,
    **options,
) -> IterableDataset:
    """Open a stream of samples that resumes exactly (`state_dict`, `load_state_dict`, `set_epoch`).

    Args:
        name: "procedural-rooms", "procedural-apartments", "procedural-objects", a folder of parquet shards, or a Hub
            repository id. Several, as a list or as a text with commas between them, are mixed: an endless stream that
            draws from them by their weights, "procedural-rooms:0.3,folder:0.7".
        split: "train", "test", or whatever splits the dataset has.
        seed: of the order and of every `Sample.seed`; for procedural scenes also of the scenes.
        rank: index of this process among `world_size` processes; ranks see disjoint samples.
        world_size: number of processes that share the data.
        transform: applied to each sample in the worker.
        weights: of the sources of a mixture, unless the name holds them; default: equal ones.
        allow: "commercial" for samples whose licence permits commercial use, a list of licence identifiers, or None
            for all. Procedural scenes are always allowed.
        options: further arguments of ProceduralSamples or StreamedSamples. In a mixture each goes to the sources that
            take it; a mapping under the name of a source goes to that one only, and wins.

    Raises:
        TypeError: naming the options that no source takes.
        ValueError: for weights that do not fit the names.
    """
    check_allow(allow)
    names, stated = parse_mixture(name) if isinstance(name, str) else (list(name), None)
    if stated is not None and weights is not None:
        raise ValueError(f"{name!r} holds weights, and weights={list(weights)} are given; accepted is one of both")
    common = {"split": split, "rank": rank, "world_size": world_size, "transform": transform, "allow": allow}
    _check_options(names, options)
    own = {one: _own_options(one, names, options) for one in names}
    if len(names) == 1:
        return _open_source(names[0], {**common, "seed": seed, **own[names[0]]})
    # a source that is named twice must not yield the same samples twice
    seeds = [derive_seed("source", seed, index) % 2**31 for index in range(len(names))]
    sources = [_open_source(one, {**common, "seed": s, **own[one]}) for one, s in zip(names, seeds, strict=True)]
    chosen = weights if stated is None else stated
    return MixedSamples(sources, chosen, names=names, seed=seed, rank=rank, world_size=world_size)


def _open_source(name: str, options: dict[str, Any]) -> IterableDataset:
    if name not in PROCEDURAL_KINDS:
        from .streaming import StreamedSamples

        return StreamedSamples(name, **options)
    from .procedural import ProceduralSamples

    del options["allow"]
    return ProceduralSamples(PROCEDURAL_KINDS[name], **options)


def _accepted(name: str) -> set[str]:
    """The options that a source takes beyond those of `open_samples`."""
    if name in PROCEDURAL_KINDS:
        from .procedural import ProceduralSamples as Source
    else:
        from .streaming import StreamedSamples as Source
    return set(list(inspect.signature(Source).parameters)[1:]) - set(inspect.signature(open_samples).parameters)


def _check_options(names: Sequence[str], options: dict[str, Any]) -> None:
    given = {name: value for name, value in options.items() if name not in names}
    accepted = {name: _accepted(name) for name in names}
    for name in names:
        own = set(options.get(name, ())) - {"split"}
        _refuse(name, own - accepted[name], accepted[name])
    everything = set().union(*accepted.values())
    _refuse(", ".join(names), set(given) - everything, everything)


def _refuse(name: str, unknown: set[str], accepted: set[str]) -> None:
    if unknown:
        listed = ", ".join(sorted(accepted))
        raise TypeError(f"{name} does not take {', '.join(sorted(unknown))}; accepted are {listed}")


def _own_options(name: str, names: Sequence[str], options: dict[str, Any]) -> dict[str, Any]:
    accepted = _accepted(name)
    general = {key: value for key, value in options.items() if key in accepted and key not in names}
    return {**general, **options.get(name, {})}
