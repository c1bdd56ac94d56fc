"""Measure MV-DUSt3R+ at the paper's size with random weights, against a literal rendition and against its floor.

1. rates: what matrix products of the model's sizes reach in this run through `torch.matmul`, in float32 and bfloat16.
2. model: one forward pass per number of views and precision, with its operations counted while it runs in its plain
   form. The floor is these operations at the rate of the matrix products. bfloat16 means bfloat16 weights of linear
   layers and convolutions; normalisations, the residual stream and the points' projection stay float32.
3. literal (`--literal`): the same weights through utils/literal_mvdust3r.py, in float32: the ratio and the difference.

Wall times mean something only on a quiet machine, so the load is printed. The time of the process (all threads
together) is given besides; it depends less on what else runs, and on one thread (`--threads 1`) hardly.
"""

import argparse
import json
import os
import platform
import resource
import time
from collections.abc import Callable

import torch
from literal_mvdust3r import literal_forward
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from anyviews.models.mvdust3r import MVDust3rPlusConfig, MVDust3rPlusModel


# rows, inputs and outputs of products in the encoder and the decoder at 4 views
PRODUCTS = ((784, 1024, 4096), (784, 4096, 1024), (3136, 768, 3072), (3136, 3072, 768))

Seconds = tuple[float, float]  # wall, process


def measure(work: Callable[[], object], repeats: int) -> Seconds:
    """The shortest wall and process time of several calls."""
    times = []
    for _ in range(repeats):
        wall, process = time.perf_counter(), time.process_time()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append((time.perf_counter() - wall, time.process_time() - process))
    walls, processes = zip(*times, strict=True)
    return min(walls), min(processes)


def make_model(config: MVDust3rPlusConfig, dtype: torch.dtype, device: str) -> MVDust3rPlusModel:
    """Random weights everywhere: what starts at zero or one is drawn, too, so that every part has an effect."""
    torch.manual_seed(0)
    model = MVDust3rPlusModel(config).eval().requires_grad_(False)
    for name, value in [*model.named_parameters(), *model.named_buffers()]:
        if name.endswith("running_var"):
            value.uniform_(0.5, 1.5)
        elif value.ndim > 1 and not value.any():
            nn.init.xavier_uniform_(value)
        elif value.ndim == 1 and value.is_floating_point():
            value.add_(torch.randn_like(value), alpha=0.1)
    if dtype != torch.float32:
        for name, module in model.named_modules():
            if isinstance(module, nn.Linear | nn.Conv2d) and not name.endswith("projection"):
                module.to(dtype)  # as from_pretrained(dtype=...) does
    return model.to(device)


def product_rate(dtype: torch.dtype, device: str, repeats: int) -> Seconds:
    """Operations per second of wall and process time, over the products of the model."""
    operations = wall = process = 0.0
    for rows, inputs, outputs in PRODUCTS:
        left = torch.randn(rows, inputs, device=device, dtype=dtype)
        right = torch.randn(inputs, outputs, device=device, dtype=dtype)
        left @ right
        times = measure(lambda left=left, right=right: left @ right, 5 * repeats)
        operations += 2 * rows * inputs * outputs
        wall, process = wall + times[0], process + times[1]
    return operations / wall, operations / process


@torch.no_grad()
def count_operations(config: MVDust3rPlusConfig, views: int) -> int:
    """Of a forward pass, with every convolution and product as it is written; only sizes are computed."""
    with torch.device("meta"):
        model = MVDust3rPlusModel(config).eval()
        images = torch.zeros(1, views, 3, config.image_size, config.image_size)
    with FlopCounterMode(display=False) as counter:
        model(images)
    return counter.get_total_flops()


@torch.no_grad()
def benchmark_model(
    config: MVDust3rPlusConfig, images: Tensor, dtype: torch.dtype, repeats: int
) -> tuple[dict, dict[str, Tensor]]:
    device = images.device.type
    model = make_model(config, dtype, device)
    model(images[:, :2])  # kernels are chosen and compiled at the first call
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    rates = [product_rate(dtype, device, repeats)]
    output = {}
    times = measure(lambda: output.update(model(images)), repeats)
    rates.append(product_rate(dtype, device, repeats))
    rate = max(wall for wall, _ in rates), max(process for _, process in rates)
    operations = count_operations(config, images.shape[1])
    peak = torch.cuda.max_memory_allocated() if device == "cuda" else None
    row = {
        "operations": operations,
        "wall s": times[0],
        "process s": times[1],
        "matrix products, operations per wall s": rate[0],
        "matrix products, operations per process s": rate[1],
        "rate / matrix products, wall": operations / times[0] / rate[0],
        "rate / matrix products, process": operations / times[1] / rate[1],
        "GPU memory, GB": None if peak is None else peak / 1e9,
        "peak of the process so far, GB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
        "load": os.getloadavg()[0],
    }
    return row, {name: value for name, value in output.items() if torch.is_tensor(value)}


def difference(found: dict[str, Tensor], expected: dict[str, Tensor]) -> dict[str, float]:
    """Distances of points relative to their distance from the camera, and relative errors of the other outputs."""
    points = expected["points"]
    errors = (found["points"] - points).norm(dim=-1) / points.norm(dim=-1)
    row = {"points, median": errors.median().item(), "points, mean": errors.mean().item()}
    for name, value in expected.items():
        if name != "points":
            row[name] = ((found[name] - value).norm() / value.norm()).item()
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--size", default="base", help="tiny, small or base, the paper's (default)")
    parser.add_argument("--views", type=int, nargs="+", default=[4])
    parser.add_argument("--dtypes", nargs="+", choices=("float32", "bfloat16"), default=["float32", "bfloat16"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, help="default: PyTorch's choice")
    parser.add_argument("--literal", action="store_true", help="also the literal rendition: a minute or more")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    cuda = arguments.device == "cuda"
    machine = {
        "device": torch.cuda.get_device_name() if cuda else f"{platform.machine()} CPU",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    print(json.dumps({"machine": machine}, indent=1), flush=True)
    config = MVDust3rPlusConfig.from_size(arguments.size)
    for views in arguments.views:
        torch.manual_seed(1)
        images = torch.rand(1, views, 3, config.image_size, config.image_size).to(arguments.device) * 2 - 1
        outputs, seconds = {}, {}
        for dtype in arguments.dtypes:
            row, outputs[dtype] = benchmark_model(config, images, getattr(torch, dtype), arguments.repeats)
            seconds[dtype] = row["wall s"], row["process s"]
            if dtype != "float32" and "float32" in outputs:
                row["difference to float32"] = difference(outputs[dtype], outputs["float32"])
            print(json.dumps({f"{views} views, {dtype}": row}, indent=1), flush=True)
        if arguments.literal:
            row = benchmark_literal(config, images, seconds, outputs)
            print(json.dumps({f"{views} views, literal": row}, indent=1), flush=True)


def benchmark_literal(
    config: MVDust3rPlusConfig, images: Tensor, seconds: dict[str, Seconds], outputs: dict[str, dict[str, Tensor]]
) -> dict:
    model = make_model(config, torch.float32, images.device.type)
    expected: dict[str, Tensor] = {}
    times = measure(lambda: expected.update(literal_forward(model, images, config.num_references)), 1)
    expected = {name: value[:, :1] for name, value in expected.items()}  # the model runs the heads of the first path
    row: dict = {"wall s": times[0], "process s": times[1], "load": os.getloadavg()[0]}
    for dtype, (wall, process) in seconds.items():
        row[f"times the model in {dtype}, wall"] = times[0] / wall
        row[f"times the model in {dtype}, process"] = times[1] / process
        row[f"difference of {dtype}"] = difference(outputs[dtype], expected)
    return row


if __name__ == "__main__":
    main()
