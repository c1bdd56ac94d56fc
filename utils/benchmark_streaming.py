"""Time the streaming of shards against a plain loop of the libraries over the same files.

python utils/benchmark_streaming.py [FOLDER] [--json]

The plain loop is `load_dataset(streaming=True)` with pictures left encoded, and Pillow to decode them into the same
tensors. Without a FOLDER, shards of noisy pictures are written to a temporary one. Times are of the processor and of
one process, the smallest of several passes that take turns.
"""

import argparse
import io
import json
import tempfile
import time
from pathlib import Path

import datasets
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from anyviews.data import open_samples
from anyviews.data.samples import Sample
from anyviews.data.schema import PICTURE_COLUMNS, encode_sample, features
from anyviews.data.shards import write_shards
from anyviews.views import Views


SLACK = 0.15


def write_example(folder: Path, arguments: argparse.Namespace) -> None:
    """Write rows of smooth pictures with noise, which compress about as photos do."""

    def rows():
        for index in range(arguments.rows):
            coarse = torch.rand(arguments.views, 3, 8, 8)
            images = F.interpolate(coarse, size=(arguments.size, arguments.size), mode="bicubic")
            images = (images + 0.02 * torch.randn_like(images)).clamp(0, 1)
            yield encode_sample(Sample(f"{index:05d}", Views(images)), image_format=arguments.image_format)

    write_shards(rows(), folder, num_shards=min(4, arguments.rows))


def plain_pass(folder: str, split: str) -> int:
    """Read and decode everything with the libraries alone; returns the number of pictures."""
    rows = datasets.load_dataset(folder, split=split, streaming=True).cast(features(decode=False))
    count = 0
    for row in rows:
        for column in PICTURE_COLUMNS:
            views = []
            for picture in row[column] or ():
                pixels = torch.from_numpy(np.array(Image.open(io.BytesIO(picture["bytes"]))))
                values = pixels[None] if pixels.ndim == 2 else pixels.movedim(-1, 0)
                views.append(values.float().div_(255))
            if views:
                count += len(torch.stack(views))
    return count


def streamed_pass(folder: str, split: str) -> int:
    """Read and decode everything with open_samples; returns the number of samples."""
    return sum(1 for _ in open_samples(folder, split=split))


def processor_seconds(function, *arguments) -> tuple[float, int]:
    started = time.process_time()
    count = function(*arguments)
    return time.process_time() - started, count


def measure(folder: str, arguments: argparse.Namespace) -> dict:
    """Time both in turns; the warm-up pass is not counted."""
    plain, streamed = [], []
    for _ in range(arguments.passes + 1):
        seconds, pictures = processor_seconds(plain_pass, folder, arguments.split)
        plain.append(seconds)
        seconds, samples = processor_seconds(streamed_pass, folder, arguments.split)
        streamed.append(seconds)
    best_plain, best_streamed = min(plain[1:]), min(streamed[1:])
    return {
        "samples": samples,
        "pictures": pictures,
        "plain_pictures_per_second": round(pictures / best_plain, 1),
        "streamed_pictures_per_second": round(pictures / best_streamed, 1),
        "streamed_over_plain": round(best_plain / best_streamed, 3),
        "within_15_percent": best_plain / best_streamed >= 1 - SLACK,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", help="shards without radiance, which Pillow does not decode")
    parser.add_argument("--split", default="train")
    parser.add_argument("--rows", type=int, default=48)
    parser.add_argument("--views", type=int, default=8)
    parser.add_argument("--size", type=int, default=256, help="height and width in pixels")
    parser.add_argument("--image-format", choices=["png", "jpeg"], default="jpeg")
    parser.add_argument("--passes", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or temporary
        if not arguments.folder:
            write_example(Path(folder), arguments)
        result = measure(folder, arguments)
    if arguments.json:
        print(json.dumps(result))
        return
    print(
        f"{result['pictures']} pictures in {result['samples']} samples: plain loop "
        f"{result['plain_pictures_per_second']} pictures/s, open_samples "
        f"{result['streamed_pictures_per_second']} pictures/s, ratio {result['streamed_over_plain']}"
    )


if __name__ == "__main__":
    main()
