"""Write the sample that ships with a checkpoint: a held-out procedural scene, as its method takes it.

python utils/make_sample.py checkpoints/mvgd-tiny/sample                        # 12 photos of a room, cameras, depth
python utils/make_sample.py checkpoints/mvdust3r-plus-tiny/sample --kind photos # 4 photos of an apartment, no cameras
python utils/make_sample.py checkpoints/lirm-tiny/sample --kind object          # 8 photos of an object, cameras, masks
python utils/make_sample.py checkpoints/mvboost-tiny/sample --kind photo        # 1 photo of an object, transparent
"""

import argparse
from pathlib import Path

from anyviews.data.example_photos import EXAMPLE_KINDS, write_example_photos


LICENCE = "Apache-2.0: rendered by the procedural world of anyviews (utils/make_sample.py).\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="new or empty folder")
    parser.add_argument("--kind", choices=EXAMPLE_KINDS, default="room", help="what the method takes (default: room)")
    parser.add_argument("--scene", type=int, help="which held-out scene, from 0 (default: one that shows much)")
    parser.add_argument("--overwrite", action="store_true", help="replace the folder where it has content")
    arguments = parser.parse_args()
    if arguments.scene is not None and arguments.scene < 0:
        parser.error(f"--scene {arguments.scene} is no held-out scene; accepted are 0 and more")
    write_example_photos(arguments.kind, arguments.output, arguments.scene, arguments.overwrite)
    # a checkpoint is published with it
    (arguments.output / "LICENSE").write_text(LICENCE, encoding="utf-8")
    files = [path for path in arguments.output.rglob("*") if path.is_file()]
    print(f"{arguments.output}: {len(files)} files, {sum(path.stat().st_size for path in files) / 1000:.0f} kB")


if __name__ == "__main__":
    main()
