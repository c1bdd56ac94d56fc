"""Which frames of a scene become a sample."""

from typing import Literal, get_args

from ..samples import derive_seed, seeded_permutation


Selection = Literal["spread", "window", "random"]


def trial_order(count: int, wanted: int, selection: Selection, *parts: int | str) -> list[int]:
    """Indices of all frames: the wanted ones first, then those that stand in for any that cannot be read.

    Args:
        count: frames of the scene.
        wanted: frames of a sample.
        selection: "spread" evenly over the scene, a "window" of neighbours, or "random" ones.
        parts: what the random numbers depend on.

    Raises:
        ValueError: for an unknown selection.
    """
    if selection not in get_args(Selection):
        raise ValueError(f"selection={selection!r}; accepted are {', '.join(get_args(Selection))}")
    if count <= wanted:
        return list(range(count))
    shuffled = seeded_permutation(count, "frames", *parts)
    if selection == "random":
        return shuffled
    fraction = derive_seed("phase", *parts) / 2**63
    if selection == "window":
        start = int(fraction * (count - wanted + 1))
        # what follows the window stands in for its broken frames, then what goes before it
        return [*range(start, count), *reversed(range(start))]
    chosen = [int((i + fraction) * count / wanted) for i in range(wanted)]
    return chosen + [index for index in shuffled if index not in set(chosen)]
