"""Sample: what every data source yields, and how random numbers are derived so that a resumed run repeats them."""

import hashlib
from dataclasses import dataclass

import torch

from ..environment import Environment
from ..scene import Scale
from ..views import Views


@dataclass(frozen=True)
class Sample:
    """One scene or object on its way to a training or evaluation step.

    Args:
        key: scene id, unique in its dataset.
        views: images with cameras, and masks, depths and surface maps where known.
        seed: the only source of randomness for this sample (picking views, augmentation); the same position of the
            same stream always carries the same seed, so a resumed run is exact.
        environment: the light around the scene, in its world frame, or None.
        scale: what a world unit means.
        licence: of the images, as a Hub licence identifier ("cc-by-4.0").
        source: where the scene came from.
    """

    key: str
    views: Views
    seed: int = 0
    environment: Environment | None = None
    scale: Scale = "relative"
    licence: str = ""
    source: str = ""

    def generator(self) -> torch.Generator:
        """A new CPU generator seeded with `seed`."""
        return torch.Generator().manual_seed(self.seed)


def derive_seed(*parts: int | str) -> int:
    """A seed in [0, 2**63) that depends on every part and on nothing else (not on Python's hash or its version)."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def seeded_permutation(count: int, *parts: int | str) -> list[int]:
    """A permutation of range(count) that depends on the parts only."""
    generator = torch.Generator().manual_seed(derive_seed(*parts))
    return torch.randperm(count, generator=generator).tolist()
