"""Example photos of each method: the sample that lies in its checkpoint, or a held-out procedural scene."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ..data.procedural import HELD_OUT_SEED_START
from ..data.world import WorldKind, render_world
from ..formats.cameras_json import write_cameras_json
from ..formats.image_folder import write_png


# The folder of a checkpoint that holds photos for it.
SAMPLE = "sample"
EXAMPLE = "example.zip"


@dataclass(frozen=True)
class Example:
    """What is rendered for a method: a scene, and how much is known about its photos."""

    world: WorldKind
    views: int
    size: int
    posed: bool


EXAMPLES = {
    "mvgd": Example("room", 8, 96, True),
    "mvdust3r": Example("room", 4, 96, False),
    "lirm": Example("object", 8, 128, True),
    "mvboost": Example("object", 1, 256, False),
}


def write_example(method: str, checkpoint: str, folder: Path) -> Path:
    """Write the example of a method as a .zip file.

    Args:
        method: its name.
        checkpoint: a folder, or the name of a Hub repository.
        folder: existing.

    Returns:
        The file, EXAMPLE in `folder`.
    """
    photos = find_sample(checkpoint)
    if photos is None:
        photos = folder / "photos"
        _render(EXAMPLES[method], photos)
    return Path(shutil.make_archive(str(folder / Path(EXAMPLE).stem), "zip", photos))


def find_sample(checkpoint: str) -> Path | None:
    """The sample in a checkpoint, fetched where the checkpoint lies on the Hub, or None."""
    folder = Path(checkpoint)
    if not folder.is_dir():
        from huggingface_hub import snapshot_download

        try:
            folder = Path(snapshot_download(checkpoint, allow_patterns=[f"{SAMPLE}/**"]))
        # offline, and not in the cache
        except OSError:
            return None
    sample = folder / SAMPLE
    return sample if sample.is_dir() else None


def _render(example: Example, folder: Path) -> None:
    seed = torch.tensor([HELD_OUT_SEED_START])
    views = render_world(seed, example.views, example.size, example.size, example.world).scene(0)
    names = tuple(f"{i:02d}" for i in range(example.views))
    views = replace(views, names=names, masks=views.masks if example.world == "object" else None)
    if example.posed:
        write_cameras_json(replace(views, depths=None), folder)
        return
    images = views.images if views.masks is None else torch.cat([views.images, views.masks], dim=1)
    for image, name in zip(images, names, strict=True):
        write_png(image, folder / f"{name}.png")
