"""Write multi-view samples as parquet shards: procedural scenes, or folders of posed photos.

python utils/make_shards.py --kind rooms --scenes 100 --views 8 --size 64x64 [--maps] -o FOLDER
python utils/make_shards.py --from SCENE_FOLDER ... --size 256x256 -o FOLDER
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from anyviews.data.procedural import HELD_OUT_SEED_START, LICENCE, SCENE_SEED_END, SOURCE
from anyviews.data.samples import Sample
from anyviews.data.schema import Row, encode_sample
from anyviews.data.shards import write_shards


SCENES_PER_PASS = 16

KINDS = {"rooms": "room", "apartments": "apartment", "objects": "object"}
# Objects as Era3D and MVBoost's LGM are trained on them: on white, by nearly orthographic cameras.
TURNTABLES = "turntables"


def image_size(text: str) -> tuple[int, int]:
    """(height, width) from "HxW"."""
    parts = text.split("x")
    if len(parts) != 2 or not all(part.isdigit() and int(part) for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size; accepted is HEIGHTxWIDTH in pixels, such as 64x64")
    return int(parts[0]), int(parts[1])


def procedural_rows(arguments: argparse.Namespace, facts: dict, encoding: dict) -> Iterator[Row]:
    """Rows of the scenes with seeds first_seed, first_seed + 1, ..."""
    from anyviews.data.world import render_world

    kind, (height, width) = KINDS[arguments.kind], arguments.size or (64, 64)
    seeds = torch.arange(arguments.scenes) + arguments.first_seed
    for some in seeds.split(SCENES_PER_PASS):
        world = render_world(some, arguments.views, height, width, kind, arguments.device, maps=arguments.maps)
        for index, seed in enumerate(some.tolist()):
            light = world.environment(index)
            sample = Sample(f"{kind}-{seed}", world.scene(index), environment=light, source=SOURCE, **facts)
            yield encode_sample(sample, **encoding)


def turntable_rows(arguments: argparse.Namespace, facts: dict, encoding: dict) -> Iterator[Row]:
    """Rows of twelve views, with normals, of the objects with seeds first_seed, first_seed + 1, ..."""
    from anyviews.data.world.objects.turntable import turntable_views

    height, width = arguments.size or (64, 64)
    if height != width:
        raise ValueError(f"--size {height}x{width}; turntables are square, such as 64x64")
    for seed in range(arguments.first_seed, arguments.first_seed + arguments.scenes):
        views = turntable_views(torch.tensor([seed]), height, arguments.device).scene(0)
        kept = replace(views, radiance=None, base_colors=None, roughness=None, metallic=None)
        yield encode_sample(Sample(f"turntable-{seed}", kept, source=SOURCE, **facts), **encoding)


def folder_rows(arguments: argparse.Namespace, facts: dict, encoding: dict) -> Iterator[Row]:
    """Rows of posed photo folders in any format that anyviews reads."""
    from anyviews.formats import load_views

    for folder in arguments.folders:
        views = load_views(folder, size=arguments.size)
        if views.cameras is None:
            raise ValueError(f"{folder} holds photos without cameras; give a COLMAP, transforms.json or cameras.json")
        name = folder.resolve().name
        yield encode_sample(Sample(name, views, source=name, **facts), **encoding)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument("--kind", choices=sorted([*KINDS, TURNTABLES]), help="procedural scenes")
    kind.add_argument(
        "--from", dest="folders", nargs="+", type=Path, metavar="FOLDER", help="posed photos, a scene each"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder; other splits in it are kept")
    parser.add_argument("--split", default="train")
    parser.add_argument("--shards", type=int, default=8, help="a multiple of processes x workers of the reader")
    parser.add_argument("--seed", type=int, default=0, help="of the order of rows")
    parser.add_argument("--size", type=image_size, help="HEIGHTxWIDTH; default 64x64, or that of the photos")
    parser.add_argument("--image-format", choices=["png", "jpeg"], default="png")
    parser.add_argument("--quality", type=int, default=92, help="of JPEG")
    parser.add_argument("--licence", help=f"Hub identifier; default {LICENCE} for procedural scenes, else unknown")
    parser.add_argument("--scale", choices=["relative", "aligned", "metric"], default="relative", help="of photos")
    parser.add_argument("--maps", action="store_true", help="radiance, normals, materials and light, where known")
    parser.add_argument("--scenes", type=int, default=100)
    parser.add_argument("--views", type=int, default=8, help="images per procedural scene; turntables have 12")
    parser.add_argument("--device", default="cpu", help="where procedural scenes are rendered")
    parser.add_argument(
        "--first-seed",
        type=int,
        help=f"of the procedural scenes; default 0 for train, {HELD_OUT_SEED_START} (held out) for other splits",
    )
    arguments = parser.parse_args()
    if arguments.first_seed is None:
        arguments.first_seed = 0 if arguments.split == "train" else HELD_OUT_SEED_START
    if arguments.kind and arguments.scale != "relative":
        parser.error(f"--scale {arguments.scale} is for photos; procedural scenes have a random unit")
    if arguments.folders and arguments.maps:
        parser.error("--maps is for procedural scenes; of photos all that their folders hold is stored")
    if arguments.kind == TURNTABLES and arguments.maps:
        parser.error("--maps is for the other procedural scenes; turntables have depth and normals")
    last, end = arguments.first_seed + arguments.scenes, SCENE_SEED_END
    if arguments.split == "train":
        end = HELD_OUT_SEED_START
    if arguments.kind and not 0 <= arguments.first_seed < last <= end:
        parser.error(
            f"--first-seed {arguments.first_seed} with --scenes {arguments.scenes}: the split {arguments.split} takes "
            f"at least one scene, with seeds from 0 to {end - 1}"
        )
    return arguments


def write(arguments: argparse.Namespace) -> None:
    """Encode and write the scenes, and say how many there are."""
    licence = arguments.licence or ("unknown" if arguments.folders else LICENCE)
    facts = {"scale": arguments.scale, "licence": licence}
    encoding = {"image_format": arguments.image_format, "quality": arguments.quality}
    if arguments.folders:
        rows, count = folder_rows(arguments, facts, encoding), len(arguments.folders)
    else:
        make = turntable_rows if arguments.kind == TURNTABLES else procedural_rows
        rows, count = make(arguments, facts, encoding), arguments.scenes
    entry = write_shards(
        rows,
        arguments.output,
        # never more shards than scenes
        num_shards=min(arguments.shards, count),
        split=arguments.split,
        seed=arguments.seed,
        license=licence,
    )
    print(f"{arguments.output}: {entry['rows']} scenes of split {arguments.split} in {len(entry['shards'])} shards")


def main():
    arguments = parse_arguments()
    try:
        write(arguments)
    except (ValueError, OSError) as error:
        sys.exit(f"make_shards.py: {error}")


if __name__ == "__main__":
    main()
