"""Measure the Gaussian renderer on the CPU, all ratios within one run.

1. compile: CPU time of the first forward and the first backward call of a process that has no kept kernels.
2. blend: blending alone, forward and backward with the sums over tiles, on one thread: operations, their time at the
   rate of a matrix product in the same process, and the ratio to it; against gsplat's PyTorch code and tiled PyTorch.
3. whole: from Gaussians to an image and back to all gradients, cameras included: stages on one thread, then all
   threads.
4. scale: the same at up to a million Gaussians and 1024x1024 pixels, with the process's peak memory.

CPU times are the minimum of several runs; wall times mean something only on a quiet machine (see the load average).
"""

import argparse
import importlib.metadata
import math
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from gaussian_baselines import Projected, gsplat_accumulate, list_pairs, tiled_torch

from anyviews.cameras import Cameras
from anyviews.gaussians import FIELDS, Gaussians
from anyviews.rendering.gaussians.cpu import passes, rasterize
from anyviews.rendering.gaussians.settings import TILE, RasterSettings


STAGES = {
    "project": "project",
    "tile_counts": "bin",
    "front_to_back": "bin",
    "fill_lists": "bin",
    "blend_tiles": "blend",
    "blend_tiles_backward": "blend backward",
    "add_pairs": "blend backward",
    "project_backward": "project backward",
}

# Floating-point operations of one pixel of a row, a fused product and sum counted as two: forward 5 for the falloff,
# 16 for its exponential, 6 for opacity and transmittance, 8 for the channels, 6 comparisons and selections.
FORWARD_OPERATIONS, BACKWARD_OPERATIONS = 41, 72

COUNTS, SIZES = (62_500, 250_000, 1_000_000), (256, 512, 1024)


def make_scene(kind: str, count: int = 65_536) -> Gaussians:
    """Gaussians with harmonics of degree 0.

    Args:
        kind: "object", small ones on a bumpy torus as a trained network predicts them, or "fresh", the large
            overlapping ones of an untrained network.
        count: how many.
    """
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    if kind == "object":
        u, v = 2 * math.pi * torch.rand(2, count, generator=generator)
        radius = 0.22 + 0.03 * torch.sin(5 * u) * torch.cos(3 * v)
        ring = 0.5 + radius * v.cos()
        means = torch.stack([ring * u.cos(), 1.3 * radius * v.sin(), ring * u.sin()], dim=-1) + 0.004 * normal(
            count, 3
        )
        # the surface stays covered alike
        scales = 0.006 * math.sqrt(65_536 / count) * torch.exp(0.5 * normal(count, 3))
        opacities = torch.sigmoid(1.5 * normal(count) + 1)
    else:
        means = (0.3 * normal(count, 3)).clamp(-1, 1)
        scales = 0.1 * torch.nn.functional.softplus(0.3 * normal(count, 3))
        opacities = torch.sigmoid(0.3 * normal(count))
    colors = torch.rand(count, 3, generator=generator)
    return Gaussians.from_colors(means, normal(count, 4), scales, opacities, colors)


def make_camera(size: int) -> Cameras:
    """One camera at distance 1.5 with a field of view of 49.1 degrees."""
    azimuth, elevation = 0.6, 0.35
    back = torch.tensor(
        [math.cos(elevation) * math.sin(azimuth), math.sin(elevation), math.cos(elevation) * math.cos(azimuth)]
    )
    right = torch.nn.functional.normalize(torch.linalg.cross(torch.tensor([0.0, 1.0, 0.0]), back), dim=0)
    pose = torch.eye(4)
    pose[:3] = torch.stack([right, -torch.linalg.cross(back, right), -back, 1.5 * back], dim=-1)
    focal = 0.5 * size / math.tan(math.radians(49.1) / 2)
    intrinsics = torch.tensor([[focal, 0.0, size / 2], [0.0, focal, size / 2], [0.0, 0.0, 1.0]])
    return Cameras.create(intrinsics[None], pose[None], size, size)


class Workload:
    """One image of a scene, and its gradients by everything."""

    def __init__(self, kind: str, size: int, count: int = 65_536, degree: int = 0):
        self.gaussians, self.cameras, self.size = make_scene(kind, count).with_degree(degree), make_camera(size), size
        self.slopes = torch.randn(1, 5, size, size, generator=torch.Generator().manual_seed(1))

    def forward(self) -> torch.Tensor:
        leaves = [getattr(self.gaussians, name).detach().requires_grad_() for name in FIELDS]
        leaves += [self.cameras.intrinsics.detach().requires_grad_()]
        leaves += [self.cameras.camera_to_world.detach().requires_grad_()]
        cameras = Cameras(*leaves[5:], self.cameras.image_sizes)
        return rasterize(Gaussians(*leaves[:5]), cameras, None, RasterSettings())

    def step(self) -> None:
        self.forward().backward(self.slopes)


def least(work: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Least CPU and wall time in ms; `work` was called before."""
    cpu, wall = [], []
    for _ in range(repeats):
        start = time.process_time(), time.perf_counter()
        work()
        cpu.append(1e3 * (time.process_time() - start[0]))
        wall.append(1e3 * (time.perf_counter() - start[1]))
    return min(cpu), min(wall)


def stage_times(work: Callable[[], object], repeats: int) -> tuple[dict[str, float], dict[str, tuple]]:
    """Least CPU time in ms of each stage on one thread, and the arguments that the kernels were last called with."""
    spent, arguments, genuine = [], {}, {name: getattr(passes, name) for name in STAGES}

    def timed(name: str) -> Callable:
        def call(*given):
            start = time.process_time()
            result = genuine[name](*given)
            spent[-1][STAGES[name]] = spent[-1].get(STAGES[name], 0) + 1e3 * (time.process_time() - start)
            arguments[name] = given
            return result

        return call

    for name in STAGES:
        setattr(passes, name, timed(name))
    for _ in range(repeats):
        spent.append({})
        work()
    for name, function in genuine.items():
        setattr(passes, name, function)
    return {stage: min(run[stage] for run in spent) for stage in spent[0]}, arguments


def matrix_product_rate() -> float:
    """Operations per ms of one thread."""
    left, right = torch.randn(2, 1024, 1024)
    return 2 * 1024**3 / least(lambda: left @ right, 10)[0]


def evaluated_pixels(arguments: dict[str, tuple]) -> tuple[int, int]:
    """Pixels at which blending evaluates a Gaussian, and pairs of a Gaussian and a tile, of the last image."""
    _, _, (window, offsets, members), (starts, used), (placed, shaded), *_ = arguments["blend_tiles_backward"]
    tiles = torch.arange(len(used)).repeat_interleave(torch.from_numpy(used))
    places = torch.arange(len(tiles)) - torch.from_numpy(starts)[tiles] + torch.from_numpy(offsets)[tiles]
    chosen = torch.from_numpy(members)[places].long()
    middle, reach = torch.from_numpy(placed)[chosen, 1], torch.from_numpy(shaded)[chosen, 6]
    top = TILE * (window[2] + tiles // (window[1] - window[0]))
    rows = (middle + reach + 0.5).floor().minimum(top + TILE) - (middle - reach - 0.5).ceil().maximum(top)
    return int(rows.clamp(min=0).sum()) * TILE, len(tiles)


def benchmark_blending(kind: str, size: int, rate: float, repeats: int, baselines: bool) -> None:
    work = Workload(kind, size)
    work.step()
    stages, arguments = stage_times(work.step, repeats)
    pixels, pairs = evaluated_pixels(arguments)
    ours = stages["blend"], stages["blend backward"]
    print(f"\n{kind} {size}x{size}: {pairs:,} pairs with tiles, {pixels / 1e6:.1f} M pixels evaluated, CPU ms:")
    for name, spent, each in zip(
        ("forward", "backward"), ours, (FORWARD_OPERATIONS, BACKWARD_OPERATIONS), strict=True
    ):
        floor = each * pixels / rate
        print(f"  {name:<9}{spent:8.1f}   floor {floor:6.1f}: {each * pixels / 1e9:.2f} GFLOP, x{spent / floor:.2f}")
    if not baselines:
        return
    _, _, lists, records, _, out, *_ = arguments["blend_tiles"]
    scene = Projected.from_records(lists, records, size, size)
    slopes = work.slopes[0].permute(1, 2, 0)
    for name, blend in (("gsplat accumulate", gsplat_accumulate), ("tiled PyTorch", tiled_torch)):
        blended, alphas = blend(scene)
        found = torch.cat([blended[..., :3], alphas[..., None], blended[..., 3:]], dim=-1)
        assert (found.detach() - torch.from_numpy(out).permute(1, 2, 0)).abs().mean() < 1e-4

        def both(blend: Callable = blend) -> None:
            blended, alphas = blend(scene)
            grads = slopes[..., [0, 1, 2, 4]], slopes[..., 3]
            torch.autograd.grad((blended, alphas), scene.leaves, grads, materialize_grads=True)

        spent, _ = least(both, 3)
        print(f"  {name:<18} forward and backward {spent:8.0f}: x{spent / sum(ours):.0f} of ours")
        if blend is gsplat_accumulate:
            spent -= least(lambda: list_pairs(scene), 3)[0]
            print(f"    without listing its pairs, a stand-in    {spent:8.0f}: x{spent / sum(ours):.0f} of ours")


def benchmark_whole(kind: str, size: int, degree: int, threads: int, repeats: int) -> None:
    work = Workload(kind, size, degree=degree)
    work.step()
    stages, _ = stage_times(work.step, repeats)
    alone, _ = least(work.step, repeats)
    torch.set_num_threads(threads)
    work.step()
    cpu, wall = least(work.step, repeats)
    torch.set_num_threads(1)
    shares = ", ".join(f"{name} {spent:.1f}" for name, spent in stages.items())
    print(f"{kind} {size}x{size} degree {degree}: one thread {alone:.1f} CPU ms ({shares})")
    print(f"    {threads} threads: {wall:.1f} ms wall, {cpu:.1f} CPU ms", flush=True)


def measure_scale(count: int, size: int) -> None:
    """Called in a process of its own, whose peak memory is that of the renderer."""
    work = Workload("object", size, count)
    before = peak_memory()
    work.step()
    growth = peak_memory() - before
    cpu, wall = least(work.step, 3)
    print(f"{count:>9,} {size:>5}: {cpu:8.0f} CPU ms, {wall:8.0f} ms wall, peak +{growth / 1e6:.0f} MB")


def peak_memory() -> int:
    """Most memory in bytes that this process held so far; getrusage would count its parent's."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return 1024 * int(line.split()[1])


def benchmark_compilation() -> None:
    code = (
        "import time; from benchmark_gaussians import Workload; work = Workload('object', 64, 100);"
        "start = time.process_time(); out = work.forward(); middle = time.process_time(); out.backward(work.slopes);"
        "print(f'first forward {middle - start:.1f} s, first backward {time.process_time() - middle:.1f} s of CPU')"
    )
    with tempfile.TemporaryDirectory() as folder:
        for state in ("nothing kept", "kernels kept"):
            print(f"{state}: ", end="", flush=True)
            run_python(["-c", code], NUMBA_CACHE_DIR=folder)


def run_python(arguments: list[str], **environment: str) -> None:
    subprocess.run([sys.executable, *arguments], check=True, cwd=Path(__file__).parent, env=os.environ | environment)


def describe_machine(threads: int) -> None:
    info = Path("/proc/cpuinfo")
    names = (
        [line.split(": ")[1] for line in info.read_text().splitlines() if "model name" in line]
        if info.exists()
        else []
    )
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}" for name in ("torch", "numba", "gsplat", "numpy")
    )
    print(f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores, {threads} threads; {versions}")
    print("load average", *(f"{load:.1f}" for load in os.getloadavg()), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="without the slow baselines and the large scenes")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--scale", type=int, nargs=2, metavar=("COUNT", "SIZE"), help="measure one large scene only")
    arguments = parser.parse_args()
    if arguments.scale:
        return measure_scale(*arguments.scale)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    describe_machine(threads)
    print("\n== compile")
    benchmark_compilation()
    rate = matrix_product_rate()
    print(f"\n== blend, one thread; a matrix product does {rate / 1e6:.0f} GFLOP/s")
    for kind in ("object", "fresh"):
        for size in (256, 512):
            benchmark_blending(kind, size, rate, arguments.repeats, kind == "object" and not arguments.quick)
    print("\n== whole")
    for kind, size, degree in (("object", 256, 0), ("object", 256, 3), ("object", 512, 0), ("fresh", 256, 0)):
        benchmark_whole(kind, size, degree, threads, arguments.repeats)
    print(f"\n== scale, object, {threads} threads, Gaussians and pixels per side", flush=True)
    for count in COUNTS[:1] if arguments.quick else COUNTS:
        for size in SIZES:
            run_python([__file__, "--scale", str(count), str(size)])
    print("load average", *(f"{load:.1f}" for load in os.getloadavg()))


if __name__ == "__main__":
    main()
