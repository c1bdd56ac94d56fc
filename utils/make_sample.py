"""Write the sample scene that ships with a checkpoint: a held-out procedural room, 12 photos with cameras and depth.

python utils/make_sample.py checkpoints/mvgd-tiny/sample
"""

import argparse
from pathlib import Path

import torch

from anyviews.data.procedural import HELD_OUT_SEED_START
from anyviews.data.world import render_world
from anyviews.formats.cameras_json import write_cameras_json
from anyviews.views import Views


VIEWS, SIZE = 12, 96
# A walk past solids of several colours that hide each other.
ROOM = 7
# A depth map of 12 bits compresses better than one of 16, and is still exact to a few millimetres in a room.
DEPTH_LEVELS = 4095


def sample_views(seed: int) -> Views:
    """The photos of one room, named by number; masks are dropped, for they are 1 everywhere in rooms."""
    views = render_world(torch.tensor([seed]), VIEWS, SIZE, SIZE, "room").scene(0)
    step = views.depths.max() / DEPTH_LEVELS
    depths = (views.depths / step).round() * step
    return Views(views.images, views.cameras, depths=depths, names=tuple(f"{i:02d}" for i in range(VIEWS)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="new or empty folder")
    parser.add_argument("--room", type=int, default=ROOM, help=f"which held-out room, from 0 (default: {ROOM})")
    parser.add_argument("--overwrite", action="store_true", help="replace the folder where it has content")
    arguments = parser.parse_args()
    if arguments.room < 0:
        parser.error(f"--room {arguments.room} is no held-out room; accepted are 0 and more")
    write_cameras_json(sample_views(HELD_OUT_SEED_START + arguments.room), arguments.output, arguments.overwrite)
    size = sum(path.stat().st_size for path in arguments.output.rglob("*") if path.is_file())
    print(f"{arguments.output}: {VIEWS} photos of {SIZE}x{SIZE}, {size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
