"""Write the sample that ships with a checkpoint: a held-out procedural scene, as its method takes it.

python utils/make_sample.py checkpoints/mvgd-tiny/sample                        # 12 photos of a room, cameras, depth
python utils/make_sample.py checkpoints/mvdust3r-plus-tiny/sample --kind photos # 4 photos of an apartment, no cameras
python utils/make_sample.py checkpoints/lirm-tiny/sample --kind object          # 8 photos of an object, cameras, masks
python utils/make_sample.py checkpoints/mvboost-tiny/sample --kind photo        # 1 photo of an object, transparent
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import torch

from anyviews.data.procedural import HELD_OUT_SEED_START
from anyviews.data.world import WorldKind, render_world
from anyviews.formats.cameras_json import write_cameras_json
from anyviews.formats.files import new_folder
from anyviews.formats.image_folder import write_image_folder, write_png
from anyviews.views import Views


# A depth map of 12 bits compresses better than one of 16, and is still exact to a few millimetres in a room.
DEPTH_LEVELS = 4095


@dataclass(frozen=True)
class SampleKind:
    """What is rendered, and which held-out scene unless another is asked for."""

    world: WorldKind
    views: int
    size: int
    scene: int


KINDS = {
    # a walk past solids of several colours that hide each other
    "room": SampleKind("room", 12, 96, 7),
    "photos": SampleKind("apartment", 4, 96, 4),
    "object": SampleKind("object", 8, 128, 8),
    "photo": SampleKind("object", 1, 256, 25),
}


def sample_views(kind: str, scene: int | None = None) -> Views:
    """The photos of a held-out scene, named by number.

    Args:
        kind: one of KINDS; masks are kept of objects only, for they are 1 everywhere else, and depth of rooms only.
        scene: which held-out scene, from 0; default that of the kind.
    """
    settings = KINDS[kind]
    seed = HELD_OUT_SEED_START + (settings.scene if scene is None else scene)
    views = render_world(torch.tensor([seed]), settings.views, settings.size, settings.size, settings.world).scene(0)
    depths = None
    if kind == "room":
        step = views.depths.max() / DEPTH_LEVELS
        depths = (views.depths / step).round() * step
    masks = views.masks if settings.world == "object" else None
    names = tuple(f"{i:02d}" for i in range(settings.views))
    return Views(views.images, views.cameras, depths=depths, masks=masks, names=names)


def write_sample(kind: str, views: Views, folder: Path, overwrite: bool) -> None:
    """Write the photos: with cameras, or alone where the method takes none."""
    if kind in ("room", "object"):
        write_cameras_json(views, folder, overwrite)
        return
    if kind == "photos":
        write_image_folder(views.images, folder, views.names, overwrite)
        return
    with new_folder(folder, overwrite) as temporary:
        for picture, name in zip(torch.cat([views.images, views.masks], dim=1), views.names, strict=True):
            write_png(picture, temporary / f"{name}.png")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="new or empty folder")
    parser.add_argument("--kind", choices=KINDS, default="room", help="what the method takes (default: room)")
    parser.add_argument("--scene", type=int, help="which held-out scene, from 0 (default: one that shows much)")
    parser.add_argument("--overwrite", action="store_true", help="replace the folder where it has content")
    arguments = parser.parse_args()
    if arguments.scene is not None and arguments.scene < 0:
        parser.error(f"--scene {arguments.scene} is no held-out scene; accepted are 0 and more")
    write_sample(arguments.kind, sample_views(arguments.kind, arguments.scene), arguments.output, arguments.overwrite)
    files = [path for path in arguments.output.rglob("*") if path.is_file()]
    print(f"{arguments.output}: {len(files)} files, {sum(path.stat().st_size for path in files) / 1000:.0f} kB")


if __name__ == "__main__":
    main()
