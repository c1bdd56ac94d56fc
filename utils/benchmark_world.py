"""Time the procedural world: CPU time per image on one thread, and images per second with several processes.

python utils/benchmark_world.py --kinds room apartment --resolutions 64 128
"""

import argparse
import time
from itertools import product
from multiprocessing import get_context

import torch

from anyviews.data.world import render_world


def measure(kind: str, resolution: int, maps: bool, arguments: argparse.Namespace) -> tuple[int, float, float, float]:
    """(images, seconds, seconds of CPU time, least seconds of CPU time of a batch) of one process."""
    torch.set_num_threads(arguments.threads)
    images = arguments.scenes * arguments.views

    def batch(index: int) -> float:
        start = time.process_time()
        seeds = torch.arange(arguments.scenes) + index * arguments.scenes
        size = (arguments.views, resolution, resolution)
        views = render_world(seeds, *size, kind, arguments.device, arguments.samples, maps)
        views.images.sum().item()  # waits for the device
        return time.process_time() - start

    batch(0)
    start = time.perf_counter()
    spent = [batch(index) for index in range(1, arguments.batches + 1)]
    return images * arguments.batches, time.perf_counter() - start, sum(spent), min(spent) / images


def report(kind: str, resolution: int, maps: bool, arguments: argparse.Namespace) -> str:
    """One row of the table."""
    if arguments.processes == 1:
        results = [measure(kind, resolution, maps, arguments)]
    else:
        with get_context("spawn").Pool(arguments.processes) as pool:
            results = pool.starmap(measure, [(kind, resolution, maps, arguments)] * arguments.processes)
    images, seconds = sum(r[0] for r in results), max(r[1] for r in results)
    mean, least = sum(r[2] for r in results) / images, min(r[3] for r in results)
    shown = "yes" if maps else "no"
    return f"| {kind} | {resolution} | {shown} | {1000 * least:.1f} | {1000 * mean:.1f} | {images / seconds:.0f} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", choices=["room", "apartment", "object"], default=["room", "apartment"])
    parser.add_argument("--resolutions", nargs="+", type=int, default=[64], help="height and width in pixels")
    parser.add_argument("--maps", choices=["yes", "no", "both"], default="both")
    parser.add_argument("--views", type=int, default=8)
    parser.add_argument("--scenes", type=int, default=4, help="scenes per batch")
    parser.add_argument("--samples", type=int, default=2, help="rays per pixel along each axis")
    parser.add_argument("--batches", type=int, default=5)
    parser.add_argument("--processes", type=int, default=1, help="that render at the same time")
    parser.add_argument("--threads", type=int, default=1, help="of each process")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    print(f"{arguments.processes} processes of {arguments.threads} threads on {arguments.device}, ", end="")
    print(f"{arguments.scenes} scenes of {arguments.views} views per batch, ", end="")
    print(f"{arguments.samples}x{arguments.samples} rays per pixel\n")
    print("| kind | pixels | maps | ms of CPU per image, best batch | mean | images/s |")
    print("|---|---:|---|---:|---:|---:|")
    maps = {"yes": [True], "no": [False], "both": [True, False]}[arguments.maps]
    for kind, resolution, with_maps in product(arguments.kinds, arguments.resolutions, maps):
        print(report(kind, resolution, with_maps, arguments), flush=True)


if __name__ == "__main__":
    main()
