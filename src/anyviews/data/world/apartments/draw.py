"""Random choices of one scene, as a function of its seed alone."""

import math
import random
from collections.abc import Sequence
from typing import TypeVar


T = TypeVar("T")


class Draw:
    """A stream of random choices that is the same on every machine and Python: only `random()` is relied on."""

    def __init__(self, seed: int):
        self.random = random.Random(seed).random

    def between(self, low: float, high: float) -> float:
        """Uniform in [low, high)."""
        return low + (high - low) * self.random()

    def log_between(self, low: float, high: float) -> float:
        """Log-uniform in [low, high)."""
        return math.exp(self.between(math.log(low), math.log(high)))

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return self.random() < probability

    def choice(self, options: Sequence[T]) -> T:
        """One of the options, each as likely."""
        return options[min(int(self.random() * len(options)), len(options) - 1)]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """The items in random order."""
        return sorted(items, key=lambda _: self.random())

    def normal(self) -> float:
        """Normally distributed with unit variance (Box-Muller)."""
        return math.sqrt(-2 * math.log(1 - self.random())) * math.cos(2 * math.pi * self.random())
