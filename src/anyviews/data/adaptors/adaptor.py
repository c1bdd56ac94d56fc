"""Adaptor: a public dataset in its own form on disk, as samples."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from ...environment import Environment
from ...scene import Scale
from ...views import Views
from ..samples import Sample, derive_seed
from .selection import SELECTIONS, trial_order


# Errors in a message about a dataset of which nothing could be read.
SHOWN_PROBLEMS = 5

# What broken files and annotations raise; everything else is a mistake of ours or of the caller.
READING_ERRORS = (ValueError, OSError, EOFError, KeyError, TypeError)


@dataclass(frozen=True)
class Reading:
    """What is taken of a dataset.

    Args:
        split: "train", "test", or whatever the dataset has.
        views_per_sample: images of a sample; None takes all frames of the scene.
        size: (height, width) every image is fitted to; None keeps the files' size, and frames of another size than
            their scene's first are left out.
        stride: every stride-th frame of a scene is taken into account.
        selection: which of too many frames: "spread" over the scene, a "window" of neighbours, or "random" ones.
        samples_per_scene: samples that are drawn from each scene, with different frames.
        min_views: a sample with fewer readable frames is left out.
        seed: of the selection.
        licence: Hub identifier, if you know it better than the dataset's default.

    Raises:
        ValueError: for a count that is not positive, or an unknown selection.
    """

    split: str = "train"
    views_per_sample: int | None = None
    size: tuple[int, int] | None = None
    stride: int = 1
    selection: str = "spread"
    samples_per_scene: int = 1
    min_views: int = 2
    seed: int = 0
    licence: str | None = None

    def __post_init__(self):
        for name in ("views_per_sample", "stride", "samples_per_scene", "min_views"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}={value}; accepted are 1 and more")
        if self.selection not in SELECTIONS:
            raise ValueError(f"selection={self.selection!r}; accepted are {', '.join(SELECTIONS)}")
        if self.samples_per_scene > 1 and self.views_per_sample is None:
            raise ValueError("samples_per_scene > 1 needs views_per_sample: all frames are in each sample without it")
        if self.views_per_sample is not None and self.views_per_sample < self.min_views:
            object.__setattr__(self, "min_views", self.views_per_sample)


@dataclass(frozen=True)
class Frame:
    """One view on disk.

    Args:
        name: unique in its scene.
        load: reads it as Views of one image, fitted to (height, width) or in the file's size for None. It raises
            one of READING_ERRORS where it cannot.
    """

    name: str
    load: Callable[[tuple[int, int] | None], Views]


@dataclass(frozen=True)
class Problem:
    """Something that could not be read; `frame` is empty where it concerns the whole scene."""

    scene: str
    frame: str
    reason: str

    def __str__(self) -> str:
        place = f"{self.scene}, frame {self.frame}" if self.frame else self.scene
        return f"{place}: {self.reason}"


class Adaptor(ABC):
    """Reads one public dataset; iterating over it yields its samples, scene by scene, in the order of their names.

    A frame that cannot be read is replaced by another one of its scene, a scene without enough frames is left out;
    both are listed in `problems`. A subclass lists scenes and frames, and knows how a frame is read.

    Args:
        folder: the dataset, as its authors' tools unpack it.
        reading: what to take of it.

    Raises:
        FileNotFoundError: if there is no such folder.
    """

    name: ClassVar[str]
    licence: ClassVar[str] = "unknown"
    scale: ClassVar[Scale] = "relative"
    # what a scene's folder looks like, for the message when there is none
    layout: ClassVar[str]

    def __init__(self, folder: Path | str, reading: Reading | None = None):
        self.folder = Path(folder)
        self.reading = reading or Reading()
        self.problems: list[Problem] = []
        if not self.folder.is_dir():
            raise FileNotFoundError(f"{self.folder} is not a folder; give the one that holds {self.layout}")

    @abstractmethod
    def scenes(self) -> list[str]:
        """The names of the scenes of the split, sorted."""

    @abstractmethod
    def frames(self, scene: str) -> list[Frame]:
        """The frames of a scene in their order; raises one of READING_ERRORS if its cameras cannot be read."""

    def environment(self, scene: str) -> Environment | None:
        """The light around a scene, in its world frame, where the dataset has it."""
        return None

    def licence_of(self, scene: str) -> str:
        """The licence of a scene's images."""
        return self.reading.licence or self.licence

    def __iter__(self) -> Iterator[Sample]:
        """Every sample that can be read.

        Raises:
            FileNotFoundError: if the folder holds no scene of this dataset.
            ValueError: if there are scenes, and none could be read.
        """
        found = 0
        scenes = self.require_scenes()
        for scene in scenes:
            for sample in self.read(scene):
                found += 1
                yield sample
        if found == 0:
            raise ValueError(f"none of {len(scenes)} scenes in {self.folder} could be read: {self.report()}")

    def require_scenes(self) -> list[str]:
        """The scenes, at least one.

        Raises:
            FileNotFoundError: if there is none.
        """
        scenes = self.scenes()
        if not scenes:
            raise FileNotFoundError(
                f"no scenes of {self.name}, split {self.reading.split!r}, in {self.folder}; looked for {self.layout}"
            )
        return scenes

    def read(self, scene: str) -> list[Sample]:
        """The samples of one scene, none where it cannot be read; what went wrong is added to `problems`."""
        try:
            frames = self.frames(scene)[:: self.reading.stride]
            environment = self.environment(scene)
        except READING_ERRORS as error:
            self.add_problem(scene, "", error)
            return []
        samples = []
        for draw in range(self.reading.samples_per_scene):
            views = self._read_views(scene, frames, draw)
            if views is not None:
                samples.append(self._sample(scene, draw, views, environment))
        return samples

    def add_problem(self, scene: str, frame: str, reason: Exception | str) -> None:
        """Note what could not be read."""
        text = str(reason) if isinstance(reason, str) else f"{type(reason).__name__}: {reason}"
        self.problems.append(Problem(scene, frame, text))

    def report(self) -> str:
        """How many scenes and frames could not be read, and the first reasons."""
        scenes = len({problem.scene for problem in self.problems if not problem.frame})
        frames = sum(bool(problem.frame) for problem in self.problems)
        shown = "; ".join(str(problem) for problem in self.problems[:SHOWN_PROBLEMS])
        more = len(self.problems) - SHOWN_PROBLEMS
        text = f"{scenes} scenes and {frames} frames have problems"
        return text + (f": {shown}" if shown else "") + (f"; and {more} more" if more > 0 else "")

    def _read_views(self, scene: str, frames: list[Frame], draw: int) -> Views | None:
        """The chosen frames, in their order in the scene; None where there are too few."""
        reading = self.reading
        wanted = len(frames) if reading.views_per_sample is None else reading.views_per_sample
        parts: dict[int, Views] = {}
        for index in trial_order(len(frames), wanted, reading.selection, reading.seed, self.name, scene, draw):
            if len(parts) == wanted:
                break
            try:
                parts[index] = self._loaded(frames[index], next(iter(parts.values()), None))
            except READING_ERRORS as error:
                self.add_problem(scene, frames[index].name, error)
        if len(parts) < reading.min_views:
            self.add_problem(
                scene, "", f"{len(parts)} of {len(frames)} frames can be read, {reading.min_views} are needed"
            )
            return None
        return Views.cat([parts[index] for index in sorted(parts)])

    def _loaded(self, frame: Frame, first: Views | None) -> Views:
        views = replace(frame.load(self.reading.size), names=(frame.name,)).validate()
        if first is not None and (views.height, views.width) != (first.height, first.width):
            raise ValueError(
                f"it is {views.height}x{views.width} and the others are {first.height}x{first.width} (height x "
                "width); give a size"
            )
        return views

    def _sample(self, scene: str, draw: int, views: Views, environment: Environment | None) -> Sample:
        key = scene if self.reading.samples_per_scene == 1 else f"{scene}-{draw}"
        return Sample(
            key,
            views,
            seed=derive_seed(self.reading.seed, self.name, key),
            environment=environment,
            scale=self.scale,
            licence=self.licence_of(scene),
            source=f"{self.name}/{scene}",
        )
