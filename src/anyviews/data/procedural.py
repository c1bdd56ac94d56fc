"""Endless training scenes, rendered on the fly by the procedural world."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import IterableDataset

from ..formats.hdr import read_environment
from ..scene import Scale
from .readers import check_rank, check_readers, current_reader
from .samples import Sample, derive_seed, seeded_permutation
from .world import WorldKind, render_world


# Scene seeds in [0, 2**31) are for training, those in [2**31, 2**32) are held out for tests and benchmarks. There are
# no more, because torch's CPU generator drops all but the low 32 bits of a seed: 2**32 would be scene 0 again.
HELD_OUT_SEED_START = 2**31
SCENE_SEED_END = 2**32

LICENCE, SOURCE = "apache-2.0", "anyviews procedural world"

SPLIT_SEED_STARTS = {"train": 0, "test": HELD_OUT_SEED_START}

# Odd, so that seed -> first scene is one-to-one; the golden ratio keeps the ranges of neighbouring seeds far apart.
SEED_STRIDE = 0x4F1BBCDD


class ProceduralSamples(IterableDataset):
    """Endless rooms, apartments or objects; a pure function of its arguments, the worker and the position.

    Scenes are rendered in blocks, and each is yielded several times in an order shuffled within the block, every time
    with another `Sample.seed`, because rendering a scene costs as much as a small training step.
    Ranks and workers take turns at the blocks, so no two of them ever see the same scene.

    Args:
        kind: "room", "apartment" or "object".
        views: images per scene.
        height: image height in pixels.
        width: image width in pixels.
        split: "train", or "test" for the scene seeds from HELD_OUT_SEED_START on, which training never sees.
        seed: another seed gives other scenes in another order.
        rank: index of this process among `world_size` processes.
        world_size: number of processes that share the stream.
        samples: rays per pixel along each axis, for smooth edges; the cost grows with its square.
        block: scenes rendered at once.
        repeats: how often each scene is yielded.
        device: where to render; samples stay there.
        maps: whether samples carry radiance, normals, materials and environments; without them rendering is faster.
        metric: apartments in metres, rather than in a random unit per scene.
        trajectory: of apartments: "walk", "star", "tree", or "any" by scene.
        environments: .hdr or .exr files to light objects with, instead of random light.
        transform: applied to each sample in the worker.

    Raises:
        ValueError: for an unknown split, a rank outside the world, or options that the kind does not have.
    """

    def __init__(
        self,
        kind: WorldKind = "room",
        *,
        views: int = 8,
        height: int = 64,
        width: int = 64,
        split: str = "train",
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        samples: int = 2,
        block: int = 64,
        repeats: int = 4,
        device: str | torch.device = "cpu",
        maps: bool = False,
        metric: bool = False,
        trajectory: str = "any",
        environments: Sequence[Path | str] = (),
        transform: Callable[[Sample], Any] | None = None,
    ):
        super().__init__()
        if split not in SPLIT_SEED_STARTS:
            raise ValueError(f"split {split!r} is unknown; procedural scenes have {sorted(SPLIT_SEED_STARTS)}")
        check_rank(rank, world_size)
        if kind != "apartment" and (metric or trajectory != "any"):
            raise ValueError(
                f"metric and trajectory are for apartments; {kind!r} has a random unit and its own cameras"
            )
        if kind != "object" and environments:
            raise ValueError(f"environments light objects; {kind!r} has its own light")
        self.options = {"metric": metric, "trajectory": trajectory} if kind == "apartment" else {}
        if environments:
            self.options["environments"] = [read_environment(path) for path in environments]
        self.scale: Scale = "metric" if metric else "relative"
        self.maps = maps
        self.kind, self.views, self.height, self.width = kind, views, height, width
        self.split, self.seed, self.rank, self.world_size = split, seed, rank, world_size
        self.samples, self.block, self.repeats = samples, block, repeats
        self.device, self.transform = device, transform
        self._block_index, self._offset, self._resumed = 0, 0, False

    def state_dict(self) -> dict[str, int]:
        """Where the next sample stands: block of this stream, offset in it, and the number of readers."""
        return {"block": self._block_index, "offset": self._offset, "readers": self._readers()[1]}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue from a state at the next `iter`.

        Raises:
            ValueError: if the state was taken with another number of processes or workers, which share the scenes
                differently.
        """
        check_readers(state, self._readers()[1])
        self._block_index, self._offset, self._resumed = state["block"], state["offset"], True

    def _readers(self) -> tuple[int, int]:
        return current_reader(self.rank, self.world_size)

    def set_epoch(self, epoch: int) -> None:
        """Does nothing: the stream is endless and has no epochs; here so that all sources are driven alike."""

    def scene_seeds(self, block_index: int) -> list[int]:
        """Scene seeds of a block, counted over all ranks and workers."""
        first = self.seed * SEED_STRIDE + block_index * self.block
        return [SPLIT_SEED_STARTS[self.split] + (first + i) % HELD_OUT_SEED_START for i in range(self.block)]

    def __iter__(self) -> Iterator[Any]:
        # not itself a generator, so that a resumed state is used up here and not at some later first sample
        if not self._resumed:
            self._block_index, self._offset = 0, 0
        self._resumed = False
        return self._samples(*self._readers())

    def _samples(self, reader: int, readers: int) -> Iterator[Any]:
        while True:
            block_index = self._block_index * readers + reader
            scene_seeds = self.scene_seeds(block_index)
            size = (self.views, self.height, self.width)
            how = (self.kind, self.device, self.samples, self.maps)
            world = render_world(torch.tensor(scene_seeds), *size, *how, **self.options)
            order = seeded_permutation(self.block * self.repeats, "order", self.seed, block_index)
            for offset in range(self._offset, len(order)):
                scene, repeat = order[offset] % self.block, order[offset] // self.block
                seed = derive_seed("sample", self.seed, scene_seeds[scene], repeat)
                key, light = f"{self.kind}-{scene_seeds[scene]}", world.environment(scene)
                sample = Sample(key, world.scene(scene), seed, light, self.scale, LICENCE, SOURCE)
                # moved on before the yield: a state taken between two samples points at the second
                self._offset = offset + 1
                yield self.transform(sample) if self.transform else sample
            self._block_index, self._offset = self._block_index + 1, 0
