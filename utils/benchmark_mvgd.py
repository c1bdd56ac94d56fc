"""Measure MVGD's speed against its own floors, all ratios within one run: `make bench`.

1. caches: ten-step RGB-D generation of five samples with image features, scene tokens, keys and values kept, against
   computing them again at every step, and against doing so for every step, task and sample apart (the hundred network
   evaluations of a plain implementation), at several numbers of context views.
2. backbone: one forward pass of the paper's base model at its training shape (4,096 prediction tokens, 1,024 scene
   tokens), against one plain matrix product of as many operations.
3. memory: a thousand context views through a stated memory.
"""

import argparse
import json
import platform
import resource
import statistics
import time
from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode

from anyviews.cameras import Cameras
from anyviews.data.world import render_world
from anyviews.models.mvgd import (
    MVGDImageEncoder,
    MVGDSceneContext,
    MVGDTransformerModel,
    default_scheduler,
    noise_levels,
    set_timesteps,
)
from anyviews.pipelines import MVGDPipeline
from anyviews.views import Views


STEPS, MEMBERS = 10, 5


def seconds(work: Callable[[], object], repeats: int) -> float:
    """Median wall time of `work`, which was called before."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def make_pipeline(size: str, device: str) -> MVGDPipeline:
    torch.manual_seed(0)
    transformer = MVGDTransformerModel.from_size(size)
    encoder_type = "efficientvit_l2" if size == "base" else "conv_stem"
    encoder = MVGDImageEncoder(encoder_type, transformer.config.image_feature_dim)
    pipe = MVGDPipeline(encoder.eval(), transformer.eval(), default_scheduler(transformer.config)).to(device)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@torch.no_grad()
def sample_without_caches(
    pipe: MVGDPipeline, views: Views, targets: Cameras, tasks: tuple[str, ...], members: int
) -> torch.Tensor:
    """Ten steps of the pipeline's sampling with nothing kept between them; equal to it for equal seeds."""
    generator = torch.Generator().manual_seed(0)
    views = views.resize(*pipe.resolution(views.cameras))
    targets = targets.resize(*pipe.resolution(targets))
    plan = pipe.plan(views, len(views), targets, tasks, members, None, None)
    set_timesteps(pipe.scheduler, STEPS, pipe.device)
    timesteps = pipe.scheduler.timesteps
    widths = [pipe.transformer.heads[task].out_features for task in tasks]
    sample = None
    for timestep, level in zip(timesteps, noise_levels(pipe.scheduler, timesteps), strict=True):
        scene, rays, _ = pipe.prepare_scene(pipe.encode(views, plan.encoded_views), targets, plan, None)
        if sample is None:
            sample = pipe.prepare_latents(len(targets), rays.shape[1], tasks, members, generator)
        output = pipe.transformer(
            dict(zip(tasks, sample.split(widths, dim=-1), strict=True)),
            dict.fromkeys(tasks, rays.expand(members, -1, -1)),
            level.to(pipe.device).expand(members),
            scene,
        )
        prediction = torch.cat([output.predictions[task] for task in tasks], dim=-1)
        sample = pipe.scheduler.step(prediction, timestep, sample, use_clipped_model_output=True).prev_sample
    return sample.clamp(-1, 1)


def benchmark_caches(size: str, device: str, repeats: int) -> dict:
    pipe = make_pipeline(size, device)
    pipe.transformer.register_to_config(latent_self_conditioning=False)
    resolution = pipe.transformer.config.image_size
    tasks = tuple(pipe.transformer.config.tasks)
    rows = {}
    for context_views in (3, 8, 24):
        world = render_world(torch.tensor([5]), context_views + 1, resolution, resolution).scene(0)
        context, target = world[1:], world[:1].cameras

        def cached(context=context, target=target):
            return pipe(
                context,
                target_cameras=target,
                num_inference_steps=STEPS,
                ensemble_size=MEMBERS,
                output_type="latent",
                generator=torch.Generator().manual_seed(0),
            ).images

        def again_at_every_step(context=context, target=target):
            return sample_without_caches(pipe, context, target, tasks, MEMBERS)

        def again_for_everything(context=context, target=target):
            for task in tasks:
                for _ in range(MEMBERS):
                    sample_without_caches(pipe, context, target, (task,), 1)

        difference = float((cached() - again_at_every_step()).abs().max())
        kept = seconds(cached, repeats)
        per_step, everything = seconds(again_at_every_step, repeats), seconds(again_for_everything, 1)
        rows[f"{context_views} context views"] = {
            "cached s": kept,
            "again at every step s": per_step,
            "again for every step, task and member s": everything,
            "ratio to every step": per_step / kept,
            "ratio to every step, task and member": everything / kept,
            "largest difference to every step": difference,
        }
    return rows


@torch.no_grad()
def benchmark_backbone(device: str, dtype: torch.dtype, repeats: int) -> dict:
    """The base model's forward against a square matrix product of equal operations, interleaved in time."""
    torch.manual_seed(0)
    with torch.device(device):
        model = MVGDTransformerModel().to(dtype).eval()
    scene_tokens, prediction_tokens = 1024, 4096
    scene = MVGDSceneContext(torch.randn(1, scene_tokens, model.config.token_dim, device=device, dtype=dtype))
    sample = {"rgb": torch.randn(1, prediction_tokens, 3, device=device, dtype=dtype)}
    rays = {"rgb": torch.randn(1, prediction_tokens, 12, device=device)}
    level = torch.full((1,), 0.5, device=device)

    def forward():
        return model(sample, rays, level, scene)

    with FlopCounterMode(display=False) as counter:
        forward()
    operations = counter.get_total_flops()
    side = round((operations / 2) ** (1 / 3))
    left, right = torch.randn(2, side, side, device=device, dtype=dtype)
    left @ right
    pairs = [(seconds(forward, 1), seconds(lambda: left @ right, 1)) for _ in range(repeats)]
    forward_s, product_s = (statistics.median(times) for times in zip(*pairs, strict=True))
    return {
        "operations": operations,
        "forward s": forward_s,
        "matrix product s": product_s,
        "forward rate / product rate": product_s / forward_s,
    }


def benchmark_memory(views: int, limit: str, device: str) -> dict:
    pipe = make_pipeline("tiny", device)
    world = render_world(torch.arange(views // 10), 10, 32, 32)
    photos = Views(world.images.flatten(0, 1), world.cameras.reshape(-1))
    options = {"target_cameras": photos.cameras[:1], "ensemble_size": 1, "max_memory": limit, "output_type": "latent"}
    pipe(photos[:10], **options)  # what is loaded at the first call is not the plan's
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    pipe(photos, **options)
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {
        "context views": views,
        "limit": limit,
        "seconds": time.perf_counter() - start,
        "growth of the process's peak, MB": used / 1000,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--size", default="tiny", help="preset for the caches (default: tiny, the shipped one)")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    device = torch.cuda.get_device_name() if arguments.device == "cuda" else f"{platform.machine()} CPU"
    parts = {
        "machine": lambda: {"device": device, "threads": torch.get_num_threads(), "torch": torch.__version__},
        "memory": lambda: benchmark_memory(1000, "100MB", arguments.device),
        "backbone float32": lambda: benchmark_backbone(arguments.device, torch.float32, arguments.repeats),
        "backbone bfloat16": lambda: benchmark_backbone(arguments.device, torch.bfloat16, arguments.repeats),
        "caches": lambda: benchmark_caches(arguments.size, arguments.device, arguments.repeats),
    }
    for name, measure in parts.items():
        print(json.dumps({name: measure()}, indent=1), flush=True)


if __name__ == "__main__":
    main()
