"""Measure the forward pass of LGM against a plain float32 rendition of its arithmetic, within one run.

    python utils/benchmark_lgm.py --size big --threads 2

`plain_maps` is the network as it is written down: every convolution, normalisation and attention product by itself, in
float32. It and the model take turns; of each the least process time (all threads added up) and wall time count.
"""

import argparse
import json
import platform
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from anyviews.models.lgm import LGM_SIZES, LGMConfig, LGMModel


def plain_maps(weights: Mapping[str, Tensor], images: Tensor, config: LGMConfig) -> Tensor:
    """Maps [views, 14, splat_size, splat_size] of inputs [views, 9, size, size] of one object."""
    maps = convolve(weights, "unet.conv_in", images, padding=1)
    skips = [maps]
    for level in range(len(config.down_channels)):
        block = f"unet.down_blocks.{level}"
        for layer in range(config.layers_per_block):
            maps = residual(weights, f"{block}.nets.{layer}", maps, config)
            maps = attend(weights, f"{block}.attns.{layer}", maps, config)
            skips.append(maps)
        if f"{block}.downsample.weight" in weights:
            maps = convolve(weights, f"{block}.downsample", maps, stride=2, padding=1)
            skips.append(maps)
    maps = residual(weights, "unet.mid_block.nets.0", maps, config)
    maps = attend(weights, "unet.mid_block.attns.0", maps, config)
    maps = residual(weights, "unet.mid_block.nets.1", maps, config)
    for level in range(len(config.up_channels)):
        block = f"unet.up_blocks.{level}"
        for layer in range(config.layers_per_block + 1):
            maps = torch.cat([maps, skips.pop()], dim=1)
            maps = residual(weights, f"{block}.nets.{layer}", maps, config)
            maps = attend(weights, f"{block}.attns.{layer}", maps, config)
        if f"{block}.upsample.weight" in weights:
            maps = F.interpolate(maps, scale_factor=2.0, mode="nearest")
            maps = convolve(weights, f"{block}.upsample", maps, padding=1)
    maps = convolve(weights, "unet.conv_out", F.silu(normalize(weights, "unet.norm_out", maps)), padding=1)
    return convolve(weights, "conv", maps)


def residual(weights: Mapping[str, Tensor], name: str, maps: Tensor, config: LGMConfig) -> Tensor:
    hidden = convolve(weights, f"{name}.conv1", F.silu(normalize(weights, f"{name}.norm1", maps)), padding=1)
    hidden = convolve(weights, f"{name}.conv2", F.silu(normalize(weights, f"{name}.norm2", hidden)), padding=1)
    shortcut = convolve(weights, f"{name}.shortcut", maps) if f"{name}.shortcut.weight" in weights else maps
    return (hidden + shortcut) * config.skip_scale


def attend(weights: Mapping[str, Tensor], name: str, maps: Tensor, config: LGMConfig) -> Tensor:
    """Attention of all pixels of all views, where this place has one."""
    if f"{name}.norm.weight" not in weights:
        return maps
    views, channels, height, width = maps.shape
    tokens = normalize(weights, f"{name}.norm", maps).permute(0, 2, 3, 1).reshape(-1, channels)
    qkv = tokens @ weights[f"{name}.attn.qkv.weight"].T
    query, key, value = qkv.reshape(len(tokens), 3, config.num_heads, -1).permute(1, 2, 0, 3)
    products = (query * query.shape[-1] ** -0.5) @ key.mT
    attended = (products.softmax(-1) @ value).transpose(0, 1).reshape(-1, channels)
    attended = attended @ weights[f"{name}.attn.proj.weight"].T + weights[f"{name}.attn.proj.bias"]
    attended = attended.reshape(views, height, width, channels).permute(0, 3, 1, 2)
    return (attended + maps) * config.skip_scale


def normalize(weights: Mapping[str, Tensor], name: str, maps: Tensor) -> Tensor:
    return F.group_norm(maps, 32, weights[f"{name}.weight"], weights[f"{name}.bias"], 1e-5)


def convolve(weights: Mapping[str, Tensor], name: str, maps: Tensor, stride: int = 1, padding: int = 0) -> Tensor:
    return F.conv2d(maps, weights[f"{name}.weight"], weights[f"{name}.bias"], stride, padding)


def measure(work: Callable[[], Any], repeats: int) -> tuple[float, float, Any]:
    """Least process time and wall time in seconds, and what `work` gave."""
    process, wall = [], []
    for _ in range(repeats):
        start = time.process_time(), time.perf_counter()
        output = work()
        process.append(time.process_time() - start[0])
        wall.append(time.perf_counter() - start[1])
    return min(process), min(wall), output


@torch.inference_mode()
def benchmark(size: str, repeats: int) -> dict:
    torch.manual_seed(0)
    model = LGMModel.from_size(size, anchor="origin").eval()
    values = torch.randn(1, 4, 9, model.config.input_size, model.config.input_size)
    plain = measure(partial(plain_maps, model.state_dict(), values[0], model.config), repeats)
    rows = {"plain float32": {"process s": plain[0], "wall s": plain[1]}}
    for dtype in (torch.float32, torch.bfloat16):
        model = model.to(dtype)
        process, wall, output = measure(partial(model, values), repeats)
        error = (output.maps[0] - plain[2]).abs()
        rows[str(dtype).removeprefix("torch.")] = {
            "process s": process,
            "wall s": wall,
            "times as fast, process": plain[0] / process,
            "times as fast, wall": plain[1] / wall,
            "largest difference": float(error.max()),
            "mean difference": float(error.mean()),
        }
    return {**rows, "standard deviation of the maps": float(plain[2].std())}


def main() -> None:
    """Print what is measured, as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="big", choices=LGM_SIZES)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    machine = {"device": f"{platform.machine()} CPU", "threads": arguments.threads, "torch": torch.__version__}
    print(json.dumps({"machine": machine, arguments.size: benchmark(arguments.size, arguments.repeats)}, indent=1))


if __name__ == "__main__":
    main()
