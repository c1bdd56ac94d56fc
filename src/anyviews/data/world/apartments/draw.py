"""Random choices of one scene, as many as it needs, as a function of its seed alone."""

import math
import random
from collections.abc import Sequence
from typing import TypeVar

from ..lighting.draw import Draw


T = TypeVar("T")


class EndlessDraw(Draw):
    """A stream of choices that is the same on every machine and Python: only `random()` is relied on."""

    def __init__(self, seed: int):
        super().__init__(())
        self.random = random.Random(seed).random

    def unit(self) -> float:
        """The next number in [0, 1)."""
        return self.random()

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """The items in random order."""
        return sorted(items, key=lambda _: self.unit())

    def normal(self) -> float:
        """Normally distributed with unit variance (Box-Muller)."""
        return math.sqrt(-2 * math.log(1 - self.unit())) * math.cos(2 * math.pi * self.unit())
