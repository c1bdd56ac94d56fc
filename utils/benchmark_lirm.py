"""Measure LIRM's speed against its own floors, all ratios within one run.

1. transformer: one of the paper's blocks over all tokens of an object and of one 256-pixel photo, against a plain
   matrix product on the same processor. All 24 blocks are equal.
2. distances: signed distances at points, looked up in planes that have passed the first layer (whose own time stands
   apart: it is per object), against features looked up by torch's grid_sample, concatenated and decoded.
3. rendering: rays through a ball of radius 0.35 with a fresh tiny model's decoders, with and without gradients, with a
   soft and a sharp surface, with and without the occupancy grid. Samples are those inside the box.
4. on a GPU only: the whole paper's model on four photos of 512 pixels, and all maps of one view.

On a CPU, seconds are processor time (the least of several), which other programs disturb less than wall time.
"""

import argparse
import json
import math
import platform
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from anyviews.models.lirm import LIRMConfig, LIRMModel, LIRMPlanes, deferred_loss
from anyviews.models.lirm.decoders_lirm import LIRMTables
from anyviews.models.lirm.layers_lirm import LIRMLayer
from anyviews.models.lirm.planes_lirm import PLANE_AXES


# Without what the paper does not have.
PAPER = {"sweep_size": 0, "use_photos": False}

POINTS, RAYS_PER_SIDE, SAMPLES, CHUNK = 1 << 15, 64, 64, 1024
PRODUCT_SIDE = 4096


def seconds(work: Callable[[], object], repeats: int, warm: bool = True) -> float:
    """The least time of `work`."""
    cuda = torch.cuda.is_available()
    clock = time.perf_counter if cuda else time.process_time
    times = []
    for _ in range(repeats + warm):
        start = clock()
        work()
        if cuda:
            torch.cuda.synchronize()
        times.append(clock() - start)
    return min(times[warm:])


@torch.no_grad()
def benchmark_transformer(device: str, dtype: torch.dtype, repeats: int) -> dict:
    config = LIRMConfig(attn_implementation="sdpa")
    width = config.hidden_size
    tokens = config.num_plane_tokens + config.num_panorama_tokens + (256 // config.patch_size) ** 2
    with torch.device(device):
        layer = LIRMLayer(config).to(dtype).eval()
        states = torch.randn(1, tokens, width, dtype=dtype)
        left, right = torch.randn(2, PRODUCT_SIDE, PRODUCT_SIDE, dtype=dtype)
    for weight in layer.parameters():
        torch.nn.init.normal_(weight, std=0.02)
    operations = 24 * tokens * width**2 + 4 * tokens**2 * width
    layer(states[:, :1024], 1024)
    left @ right
    pairs = [
        (seconds(lambda: layer(states, tokens), 1, warm=False), seconds(lambda: left @ right, 2, warm=False))
        for _ in range(repeats)
    ]
    block_s, product_s = (min(times) for times in zip(*pairs, strict=True))
    rate, floor = operations / block_s, 2 * PRODUCT_SIDE**3 / product_s
    return {
        "tokens": tokens,
        "block s": block_s,
        "block Gflop/s": rate / 1e9,
        "matrix product Gflop/s": floor / 1e9,
        "ratio": rate / floor,
    }


def plain_distances(model: LIRMModel, planes: Tensor, points: Tensor) -> Tensor:
    """Signed distances of one object: look up 3 x 32 channels by grid_sample, concatenate, then decode."""
    config = model.config
    size, places = config.plane_resolution, points / config.box_radius
    pairs = planes.view(3, 2 * size, size, -1).permute(0, 3, 1, 2)  # + above -; no look-up blends across
    grid = []
    for column, row, dropped in PLANE_AXES:
        texel = (places[:, row] + 1) / 2 * (size - 1) + torch.where(points[:, dropped] > 0, 0, size)
        grid.append(torch.stack([places[:, column], texel / (2 * size - 1) * 2 - 1], dim=-1))
    features = F.grid_sample(pairs, torch.stack(grid)[:, None], padding_mode="border", align_corners=True)
    head = model.decoders.heads["sdf"]
    learned = head(head.first(features[:, :, 0].permute(2, 0, 1).flatten(1)))
    first = points.norm(dim=-1) - config.sdf_bias_radius * config.box_radius
    return model.decoders.correct(learned, first)


def fast_distances(model: LIRMModel, table: Tensor, points: Tensor) -> Tensor:
    """The same from planes that have passed the first layer."""
    objects, tables = torch.zeros(len(points), dtype=torch.int32, device=points.device), LIRMTables({"sdf": table}, 1)
    rows = model.decoders.corners(points, objects)
    return model.decoders.signed_distances(tables, rows, model.decoders.first_distances(tables, points, objects))


def panoramas(model: LIRMModel, device: torch.device) -> Tensor:
    size = model.config.panorama_resolution
    return torch.zeros(1, model.config.nde_panoramas, size, size, model.config.nde_dim, device=device)


def benchmark_distances(size: str, device: str, repeats: int) -> dict:
    config = LIRMConfig.from_size(size)
    with torch.device(device):
        model = LIRMModel(
            LIRMConfig.from_size("tiny", plane_token_size=config.plane_token_size, sweep_size=0, use_photos=False)
        )
        planes = torch.randn(6, *[config.plane_resolution] * 2, config.plane_dim).requires_grad_()
        points = (torch.rand(POINTS, 3) * 2 - 1) * config.box_radius
    project = model.decoders.heads["sdf"].project
    table = project(planes[None]).detach().requires_grad_()

    def project_both() -> None:
        project(planes[None]).backward(table.detach())

    project_both_s = seconds(project_both, repeats)
    rows = {"texels per side": config.plane_resolution, "projection, forward and backward, s": project_both_s}
    results = {}
    for name, work, values in (("projected ahead", fast_distances, table), ("plain", plain_distances, planes)):

        def forward(work=work, values=values):
            with torch.no_grad():
                return work(model, values, points)

        def both(work=work, values=values):
            work(model, values, points).sum().backward()

        results[name] = forward()
        forward_s, both_s = seconds(forward, repeats), seconds(both, repeats)
        rows[name] = {"forward points/s": POINTS / forward_s, "and backward points/s": POINTS / both_s}
    difference = (results["plain"] - results["projected ahead"]).abs().max()
    return {**rows, "largest difference": float(difference)}


def ball_rays(device: str) -> tuple[Tensor, Tensor]:
    """One view of the box, [1, R, 3] each."""
    line = (torch.arange(RAYS_PER_SIDE, device=device) + 0.5) / RAYS_PER_SIDE - 0.5
    y, x = torch.meshgrid(line, line, indexing="ij")
    directions = F.normalize(torch.stack([x, y, torch.ones_like(x)], dim=-1).flatten(0, 1)[None], dim=-1)
    return torch.tensor([0.0, 0.0, -1.4], device=device).expand_as(directions).contiguous(), directions


def benchmark_rendering(device: str, repeats: int) -> dict:
    with torch.device(device):
        model = LIRMModel(LIRMConfig.from_size("tiny", **PAPER))
        shape = 1, 6, *[model.config.plane_resolution] * 2, model.config.plane_dim
        planes = LIRMPlanes(torch.randn(shape).requires_grad_(), panoramas(model, device).requires_grad_())
    model.config.sdf_bias_radius = 0.35 / model.config.box_radius
    origins, directions = ball_rays(device)
    radius = model.config.box_radius
    first, second = (-radius - origins) / directions, (radius - origins) / directions
    inside = torch.maximum(first, second).amin(-1) - torch.minimum(first, second).amax(-1)
    count = float(inside.clamp(min=0).sum()) / (2 * math.sqrt(3) * radius / SAMPLES)

    def loss(render):
        return sum(value.mean() for value in render.maps().values())

    rows = {"rays": origins.shape[1], "samples in the box": round(count)}
    for sharpness in (20.0, 200.0):
        options = {"samples": SAMPLES, "sharpness": sharpness}
        grid = model.find_occupancy(planes, **options)
        for occupancy in (None, grid):

            def forward(options=options, occupancy=occupancy):
                with torch.no_grad():
                    model.render(planes, origins, directions, chunk=CHUNK, occupancy=occupancy, **options)

            def deferred(options=options, occupancy=occupancy):
                options = {**options, "occupancy": occupancy}
                deferred_loss(model, planes, origins, directions, loss, chunk=CHUNK, **options)[0].backward()

            def direct(options=options, occupancy=occupancy):
                for part in range(0, origins.shape[1], CHUNK):
                    rays = origins[:, part : part + CHUNK], directions[:, part : part + CHUNK]
                    loss(model.render(planes, *rays, occupancy=occupancy, **options)).backward()

            name = f"sharpness {sharpness:g}, {'all cells' if occupancy is None else 'occupied cells'}"
            works = {"forward": forward, "and backward": direct, "in two passes": deferred}
            rows[name] = {f"{key}, samples/s": count / seconds(work, repeats) for key, work in works.items()}
    return rows


@torch.no_grad()
def benchmark_whole(repeats: int) -> dict:
    """The paper's model on a GPU."""
    with torch.device("cuda"):
        model = LIRMModel.from_size("base").eval()
        photos = torch.rand(1, 4, 3, 512, 512) * 2 - 1
        origins = torch.randn(1, 4, 3, 1, 1).expand_as(photos)
        directions = F.normalize(torch.randn(1, 4, 3, 512, 512), dim=2)
    rays = ball_rays("cuda")
    with torch.autocast("cuda", dtype=torch.bfloat16):
        planes = model(photos, origins, directions).planes
        torch.cuda.reset_peak_memory_stats()
        reconstruct_s = seconds(lambda: model(photos, origins, directions), repeats)
        render_s = seconds(lambda: model.render(planes, *rays, chunk=1 << 14), repeats)
    return {
        "reconstruction s": reconstruct_s,
        f"all maps of {RAYS_PER_SIDE}x{RAYS_PER_SIDE} rays s": render_s,
        "peak GB": torch.cuda.max_memory_allocated() / 1e9,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--parts", nargs="+", help="names of parts to run; by default all")
    arguments = parser.parse_args()
    device, repeats = arguments.device, arguments.repeats
    name = torch.cuda.get_device_name() if device == "cuda" else f"{platform.machine()} CPU"
    parts = {
        "machine": lambda: {"device": name, "threads": torch.get_num_threads(), "torch": torch.__version__},
        "distances-tiny": lambda: benchmark_distances("tiny", device, repeats),
        "distances-base": lambda: benchmark_distances("base", device, repeats),
        "rendering": lambda: benchmark_rendering(device, repeats),
        "transformer-float32": lambda: benchmark_transformer(device, torch.float32, repeats),
        "transformer-bfloat16": lambda: benchmark_transformer(device, torch.bfloat16, repeats),
    }
    if device == "cuda":
        parts["whole"] = lambda: benchmark_whole(repeats)
    for part in arguments.parts or parts:
        print(json.dumps({part: parts[part]()}, indent=1), flush=True)


if __name__ == "__main__":
    main()
