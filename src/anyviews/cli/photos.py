"""What the verbs share about photos: loading those with cameras, choosing a device, context photos and targets."""

from dataclasses import dataclass
from pathlib import Path

import torch

from ..cameras import Cameras
from ..formats import load_views
from ..formats.image_folder import png_names
from ..geometry.paths import interpolate, orbit, spiral
from ..views import Views


HELD_OUT = "held-out"
NOVEL_PATHS = {"orbit": orbit, "interpolate": interpolate, "spiral": spiral}
DEFAULT_FRAMES = 24


@dataclass(frozen=True)
class Targets:
    """Which photos a method sees, and what it is asked for.

    Args:
        path: "held-out" or the name of a novel path.
        context: the photos that the method sees.
        cameras: T target cameras.
        names: T labels.
        photos: the T photos left out, for "held-out"; else None.
    """

    path: str
    context: Views
    cameras: Cameras
    names: tuple[str, ...]
    photos: Views | None = None


def load_posed(scene: Path | str, size: tuple[int, int] | None) -> Views:
    """Load a folder of photos with cameras; raises ValueError that says how to get cameras if it has none."""
    views = load_views(scene, size)
    if views.cameras is None:
        raise ValueError(
            f"{scene} has {len(views)} photos without cameras; needed is a folder with cameras.json, transforms.json "
            "or a COLMAP model. To make one: colmap automatic_reconstructor --workspace_path FOLDER --image_path "
            f"{scene}"
        )
    return views


def choose_device(name: str) -> str:
    """The device that a name such as auto, cpu, cuda:1 or mps stands for; raises ValueError where it is not there."""
    found = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    found += ["mps", "cpu"] if torch.backends.mps.is_available() else ["cpu"]
    if name == "auto":
        return found[0]
    if name not in (*found, *(device.partition(":")[0] for device in found)):
        raise ValueError(f"--device {name} is not here; accepted are auto, {', '.join(found)}")
    return name


def spread(count: int, chosen: int) -> list[int]:
    """Indices of `chosen` out of `count` items, evenly spaced from the first to the last."""
    if chosen == 1:
        return [count // 2]
    return torch.linspace(0, count - 1, chosen).round().int().tolist()


def choose_targets(
    views: Views, path: str, frames: int | None = None, context_views: int | None = None, hold_out_every: int = 4
) -> Targets:
    """Split the photos into context and left-out ones, or lay a path through the context cameras.

    Args:
        views: posed photos.
        path: "held-out", "orbit", "interpolate" or "spiral".
        frames: number of targets; by default every photo left out, or 24 of a path.
        context_views: how many photos the model sees, evenly spaced; by default all (that are not left out).
        hold_out_every: for "held-out": one photo out of so many is left out.

    Raises:
        ValueError: if there are too few photos, or the path cannot be laid.
    """
    count = len(views)
    if frames is not None and frames < 1:
        raise ValueError(f"--frames {frames}; accepted are 1 and more")
    held_out: list[int] = []
    if path == HELD_OUT:
        if count < 2 or hold_out_every < 2:
            raise ValueError(
                f"held-out needs at least 2 photos (found {count}) and --hold-out-every of at least 2 (found "
                f"{hold_out_every}), so that something is left to see"
            )
        # from the middle of the first group on, so that left-out photos have neighbours on both sides
        held_out = list(range(min(hold_out_every // 2, count - 1), count, hold_out_every))
    seen = [i for i in range(count) if i not in held_out]
    if context_views is not None:
        if not 1 <= context_views <= len(seen):
            raise ValueError(f"--context-views {context_views}; accepted are 1 to {len(seen)}, the photos there are")
        seen = [seen[i] for i in spread(len(seen), context_views)]
    context = views[seen]
    if path == HELD_OUT:
        if frames is not None:
            held_out = [held_out[i] for i in spread(len(held_out), min(frames, len(held_out)))]
        photos = views[held_out]
        names = tuple(name.removesuffix(".png") for name in png_names(photos.names))
        return Targets(path, context, photos.cameras, names, photos)
    cameras = NOVEL_PATHS[path](context.cameras, frames or DEFAULT_FRAMES)
    return Targets(path, context, cameras, tuple(f"{i:04d}" for i in range(len(cameras))))
