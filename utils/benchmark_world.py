"""Time the procedural world: milliseconds per scene and images per second."""

import argparse
import time

import torch

from anyviews.data.world import render_world


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", choices=["room", "object"], default="room")
    parser.add_argument("--resolution", type=int, default=32, help="height and width in pixels")
    parser.add_argument("--views", type=int, default=6)
    parser.add_argument("--scenes", type=int, default=16, help="scenes per batch")
    parser.add_argument("--samples", type=int, default=2, help="rays per pixel along each axis")
    parser.add_argument("--batches", type=int, default=10)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    size = (arguments.resolution, arguments.resolution)

    def batch(index: int):
        seeds = torch.arange(arguments.scenes) + index * arguments.scenes
        views = render_world(seeds, arguments.views, *size, arguments.kind, arguments.device, arguments.samples)
        views.images.sum().item()  # waits for the device

    batch(0)
    start = time.perf_counter()
    for index in range(1, arguments.batches + 1):
        batch(index)
    seconds = (time.perf_counter() - start) / (arguments.batches * arguments.scenes)
    print(f"{1000 * seconds:.2f} ms per {arguments.kind}, {arguments.views / seconds:.0f} images/s")


if __name__ == "__main__":
    main()
