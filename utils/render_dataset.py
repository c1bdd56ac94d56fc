"""Render a folder of meshes into shards of multi-view samples with all their maps, by path tracing.

python utils/render_dataset.py MESHES -o SHARDS --licence cc0-1.0 --views 24 --size 256 --spp 64 --processes 4
python utils/render_dataset.py MESHES -o SHARDS --licence cc-by-4.0 --environments HDR_FOLDER --denoise

Needs mitsuba: pip install "anyviews[data]". The same command continues a run that was interrupted.
"""

import argparse
import os
import sys
from pathlib import Path

from anyviews.data.path_tracing import Settings, choose_variant, render_dataset
from anyviews.data.path_tracing.denoise import require_denoiser
from anyviews.data.path_tracing.light import environment_files
from anyviews.data.path_tracing.render import BACKGROUNDS
from anyviews.data.path_tracing.variants import VARIANTS


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("meshes", type=Path, help="folder, searched for .glb, .obj and PLY files")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder; other splits in it are kept")
    parser.add_argument("--licence", required=True, help="of the meshes, as a Hub identifier such as cc0-1.0")
    parser.add_argument("--views", type=int, default=24, help="per object")
    parser.add_argument("--size", type=int, default=256, help="of the square images in pixels")
    parser.add_argument("--spp", type=int, default=64, help="paths per pixel")
    parser.add_argument(
        "--environments", default="procedural", metavar="FOLDER", help=".hdr or .exr files, or procedural (default)"
    )
    parser.add_argument("--background", choices=BACKGROUNDS, default="environment", help="beside the object")
    parser.add_argument("--denoise", action="store_true", help="with Open Image Denoise: pip install pyoidn")
    parser.add_argument("--up", choices=["y", "z"], default="y", help="the axis of the files that points up")
    parser.add_argument("--variant", choices=["auto", *VARIANTS], default="auto", help="of Mitsuba")
    parser.add_argument("--processes", type=int, default=1, help="that render at the same time")
    parser.add_argument("--timeout", type=float, default=3600, help="seconds after which an object is given up")
    parser.add_argument("--limit", type=int, help="take the first so many meshes only")
    parser.add_argument("--seed", type=int, default=0, help="of cameras, light, noise, and the order of rows")
    parser.add_argument("--split", default="train")
    parser.add_argument("--shards", type=int, default=8, help="a multiple of processes x workers of the reader")
    arguments = parser.parse_args()
    for name in ("processes", "limit", "shards", "timeout"):
        value = getattr(arguments, name)
        if value is not None and value <= 0:
            parser.error(f"--{name} {value}: accepted is 1 or more")
    return arguments


def settings(arguments: argparse.Namespace) -> Settings:
    """The options of rendering, with the variant of Mitsuba that works here."""
    files = [] if arguments.environments == "procedural" else environment_files(arguments.environments)
    if arguments.denoise:
        require_denoiser()
    variant, why = choose_variant(arguments.variant)
    print(f"mitsuba {variant}, {why}", flush=True)
    return Settings(
        variant,
        views=arguments.views,
        size=arguments.size,
        samples=arguments.spp,
        seed=arguments.seed,
        environments=tuple(str(file.resolve()) for file in files),
        background=arguments.background,
        denoise=arguments.denoise,
        up=arguments.up,
        licence=arguments.licence,
        threads=max(1, (os.cpu_count() or 1) // arguments.processes),
    )


def main() -> int:
    arguments = parse_arguments()
    try:
        report = render_dataset(
            arguments.meshes,
            arguments.output,
            settings(arguments),
            processes=arguments.processes,
            limit=arguments.limit,
            split=arguments.split,
            num_shards=arguments.shards,
            timeout=arguments.timeout,
            log=lambda line: print(line, flush=True),
        )
    except (FileNotFoundError, FileExistsError, ImportError, RuntimeError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{arguments.output}: {report.rows} objects of split {arguments.split}, {report.resumed} rendered earlier")
    if report.failures:
        counts = ", ".join(f"{count} {reason}" for reason, count in sorted(report.counts().items()))
        print(f"{len(report.failures)} objects failed ({counts}); {arguments.output / 'failures.json'} says why")
    return 0


if __name__ == "__main__":
    sys.exit(main())
