"""Which frames of a scene become a sample."""

from ..samples import derive_seed, seeded_permutation


SELECTIONS = ("spread", "window", "random")


def trial_order(count: int, wanted: int, selection: str, *parts: int | str) -> list[int]:
    """Indices of all frames: the wanted ones first, then those that stand in for any that cannot be read.

    Args:
        count: frames of the scene.
        wanted: frames of a sample.
        selection: "spread" evenly over the scene, a "window" of neighbours, or "random" ones.
        parts: what the random numbers depend on.
    """
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
