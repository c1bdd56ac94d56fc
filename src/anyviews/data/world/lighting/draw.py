"""Scalar random numbers for things that are composed in plain Python."""

from collections.abc import Sequence
from typing import TypeVar


Item = TypeVar("Item")


class Draw:
    """Consumes a list of uniform numbers in order.

    Args:
        values: numbers in [0, 1), as `Uniforms` gives them for a seed.
    """

    def __init__(self, values: Sequence[float]):
        self.values = values
        self.used = 0

    def unit(self) -> float:
        """The next number in [0, 1)."""
        assert self.used < len(self.values), "draw more uniforms per seed"
        self.used += 1
        return self.values[self.used - 1]

    def between(self, low: float, high: float) -> float:
        """The next number, uniform in [low, high)."""
        return low + (high - low) * self.unit()

    def log_between(self, low: float, high: float) -> float:
        """The next number, log-uniform in [low, high)."""
        return low * (high / low) ** self.unit()

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self.unit() < probability

    def integer(self, low: int, high: int) -> int:
        """A whole number in [low, high]."""
        return low + min(int(self.unit() * (high - low + 1)), high - low)

    def pick(self, items: Sequence[Item]) -> Item:
        """One of these, with equal probability."""
        return items[self.integer(0, len(items) - 1)]
