"""Where the scenes of a protocol come from: the procedural world, folders of photos, rendered objects, or a public
dataset."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch

from ...data.procedural import HELD_OUT_SEED_START
from ...data.samples import Sample, seeded_permutation
from ...data.world import WorldViews, render_world
from ...data.world.objects.turntable import turntable_views
from ...data.world.random_scene import random_room
from ...formats import load_views
from ...views import Views
from ..case import Case


@dataclass(frozen=True)
class Need:
    """What a protocol wants of every case.

    Args:
        context_views: how many may be given.
        target_views: how many are to be predicted.
        size: (height, width) of the images in pixels.
        data: folder with the data, where it is not generated.
    """

    context_views: int
    target_views: int
    size: tuple[int, int]
    data: Path | None = None


class Source(ABC):
    """Lists the cases there are, and reads one of them."""

    @abstractmethod
    def names(self, need: Need, count: int | None) -> list[str]:
        """The names of `count` cases, or of all.

        Raises:
            FileNotFoundError: if the data is not there; the message says how to get it.
            ValueError: if there are fewer cases.
        """

    @abstractmethod
    def read(self, name: str, need: Need) -> Case:
        """Read one case; its seed is set by the caller.

        Raises:
            ValueError: if it cannot be read, or has too few views.
        """


@dataclass(frozen=True)
class Procedural(Source):
    """Held-out scenes of the procedural world, which training cannot draw; nothing is downloaded.

    Args:
        world: "room", "object", or "turntable": objects from 8 level sides at equal turns and 4 raised ones.
        views: cameras of a scene, which depend on their number.
        shuffle: label of the permutation of these; empty for their own order.
        context_from: position of the first view to give.
        targets_from: position of the first view to predict.
        metric: whether the unit is the metre instead of one that is random per scene.
        relit: whether objects come a second time, under the light of another one.
    """

    world: Literal["room", "object", "turntable"]
    views: int
    shuffle: str = ""
    context_from: int = 0
    targets_from: int = 0
    metric: bool = False
    relit: bool = False

    def names(self, need: Need, count: int | None) -> list[str]:
        if count is None:
            raise ValueError("the procedural world has no end; say how many with --scenes")
        return [f"{self.world}-{HELD_OUT_SEED_START + index}" for index in range(count)]

    def read(self, name: str, need: Need) -> Case:
        seed = int(name.rpartition("-")[2])
        world = self._render(seed, need)
        views = self._arranged(world.scene(0), seed)
        context, targets = self._split(views, need)
        case = Case(name, 0, context, targets, world.environment(0))
        if not self.relit:
            return case
        light = self._render(seed + 1, replace(need, size=(8, 8))).environment(0)
        other = self._render(seed, need, environments=[light])
        relit = self._split(self._arranged(other.scene(0), seed), need)[1]
        return replace(case, relit=relit, relit_environment=other.environment(0))

    def _render(self, seed: int, need: Need, **options) -> WorldViews:
        if self.world == "turntable":
            return turntable_views(torch.tensor([seed]), need.size[0])
        return render_world(torch.tensor([seed]), self.views, *need.size, kind=self.world, **options)

    def _arranged(self, views: Views, seed: int) -> Views:
        if self.metric:
            unit = random_room(torch.tensor([seed]), self.views, "cpu").scale[0, 0]
            views = replace(views, cameras=views.cameras.scaled(1 / unit), depths=views.depths / unit)
        return views[seeded_permutation(self.views, self.shuffle, seed)] if self.shuffle else views

    def _split(self, views: Views, need: Need) -> tuple[Views, Views]:
        ends = self.context_from + need.context_views, self.targets_from + need.target_views
        if max(ends) > self.views:
            raise ValueError(f"views up to number {max(ends)} are needed of scenes that have {self.views}")
        return views[self.context_from : ends[0]], views[self.targets_from : ends[1]]


HOLDS = "folders of photos with cameras (cameras.json, transforms.json or a COLMAP model)"


@dataclass(frozen=True)
class PosedFolders(Source):
    """Folders of photos with cameras, in any form that anyviews reads; one case each.

    Args:
        subfolder: of the folder given, where it has one of this name.
    """

    subfolder: str = "posed"

    def names(self, need: Need, count: int | None) -> list[str]:
        root = root_folder(need.data, self.subfolder, HOLDS)
        names = sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
        return first_names(names, count, root)

    def read(self, name: str, need: Need) -> Case:
        root = root_folder(need.data, self.subfolder, HOLDS)
        views = load_views(root / name, need.size)
        if views.cameras is None:
            raise ValueError(f"{root / name} has photos without cameras; give cameras.json, transforms.json or COLMAP")
        return Case(name, 0, *spread_split(views, need, name))


@dataclass(frozen=True)
class PublicDataset(Source):
    """A public dataset through its adaptor.

    Args:
        adaptor: of `anyviews.data.adaptors`.
        split: of the dataset.
        options: of the adaptor, as (name, value).
        between: whether targets lie between the views given, all evenly spread over a scene; otherwise the views given
            are the first ones, and the targets the last ones.
        get: how to get it, and under which licence.
    """

    adaptor: str
    split: str = "test"
    options: tuple[tuple[str, Any], ...] = ()
    between: bool = True
    get: str = field(default="", metadata={"prose": True})

    def names(self, need: Need, count: int | None) -> list[str]:
        adaptor = self._open(need)
        names = adaptor.require_scenes()
        if count is None:
            return names
        if count > len(names):
            raise _too_few(count, len(names), need.data)
        return [names[int((index + 0.5) * len(names) / count)] for index in range(count)]

    def read(self, name: str, need: Need) -> Case:
        adaptor = self._open(need)
        samples: list[Sample] = adaptor.read(name)
        if not samples:
            raise ValueError(f"the scene {name} of {need.data} cannot be read: {adaptor.report()}")
        views = samples[0].views
        if self.between:
            parts = spread_split(views, need, name)
        else:
            _check_count(views, need, name)
            parts = views[: need.context_views], views[len(views) - need.target_views :]
        return Case(name, 0, *parts, samples[0].environment)

    def _open(self, need: Need):
        from ...data.adaptors import open_adaptor

        if need.data is None or not need.data.is_dir():
            given = "no folder is given" if need.data is None else f"{need.data} is not a folder"
            raise FileNotFoundError(f"{given}; give the unpacked dataset with --data FOLDER. {self.get}")
        total = need.context_views + need.target_views
        wanted = {"views_per_sample": total} if self.between else {}
        return open_adaptor(
            self.adaptor, need.data, split=self.split, size=need.size, min_views=total, **wanted, **dict(self.options)
        )


def spread_split(views: Views, need: Need, name: str) -> tuple[Views, Views]:
    """Views to give and views to predict, both spread over a scene, targets inside.

    Raises:
        ValueError: if there are too few views.
    """
    _check_count(views, need, name)
    total = need.context_views + need.target_views
    chosen = torch.linspace(0, len(views) - 1, total).round().int().tolist() if total > 1 else [0]
    # of two views or more to give, the outermost are given
    edge = int(need.context_views > 1)
    targets = [
        edge + int((index + 0.5) * (total - 2 * edge) / need.target_views) for index in range(need.target_views)
    ]
    context = [position for position in range(total) if position not in targets]
    return views[[chosen[i] for i in context]], views[[chosen[i] for i in targets]]


def _check_count(views: Views, need: Need, name: str) -> None:
    if len(views) < need.context_views + need.target_views:
        raise ValueError(
            f"{name} has {len(views)} views; needed are {need.context_views} to give and "
            f"{need.target_views} to predict"
        )


def root_folder(data: Path | None, subfolder: str, holds: str) -> Path:
    """The folder of the cases."""
    if data is None:
        raise FileNotFoundError(f"give the folder that holds {holds} with --data FOLDER")
    root = data / subfolder if (data / subfolder).is_dir() else data
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is not a folder; give the one that holds {holds} with --data FOLDER")
    return root


def first_names(names: Sequence[str], count: int | None, root: Path) -> list[str]:
    if not names:
        raise FileNotFoundError(f"{root} holds no folders; needed is one per scene or object")
    if count is not None and count > len(names):
        raise _too_few(count, len(names), root)
    return list(names[:count])


def _too_few(asked: int, found: int, folder: Path) -> ValueError:
    return ValueError(f"{asked} scenes are asked for and {folder} has {found}; give --scenes {found} or fewer")
