"""MVGDPipeline: posed photos and target cameras to novel images and scale-consistent depth."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from diffusers import DDIMScheduler, DiffusionPipeline, FlowMatchEulerDiscreteScheduler
from diffusers.utils import BaseOutput
from diffusers.utils.torch_utils import randn_tensor
from PIL import Image
from torch import Tensor

from anyviews.cameras import Cameras
from anyviews.geometry.context import nearest_cameras
from anyviews.geometry.depth import depth_from_distance
from anyviews.geometry.rays import camera_rays, pixel_centers
from anyviews.models.mvgd import (
    MemoryPlan,
    MVGDImageEncoder,
    MVGDSceneContext,
    MVGDTransformerModel,
    check_scheduler,
    decode_depth,
    decode_rgb,
    noise_levels,
    normalize_cameras,
    parse_memory,
    plan_memory,
    ray_map,
    set_timesteps,
    unpatchify,
)
from anyviews.models.mvgd.modeling_mvgd import TASK_CHANNELS
from anyviews.scene import Scene
from anyviews.views import Views

from .inputs import ImageInput, views_from_images


# A baseline below this share of the cameras' distance from the origin is rounding, not parallax.
SMALLEST_BASELINE = 1e-7

# Depth states above this are counted as saturated: the scene goes on beyond depth_max.
SATURATED_STATE = 0.99


@dataclass
class MVGDPipelineOutput(BaseOutput):
    """Novel views of T target cameras.

    Args:
        images: T PIL images, or array [T, H, W, 3], or tensor [T, 3, H, W], sRGB in [0, 1]; None without task "rgb".
        depths: [T, 1, H, W] z-depth in the unit of the given cameras (array [T, H, W] for output_type "pil" and
            "np"); None without task "depth".
        depth_uncertainty: like depths, standard deviation of log depth over the ensemble; None for one member.
        image_uncertainty: like depths, standard deviation of colour over the ensemble; None for one member.
        scene_scale: [T], unit of the model in units of the given cameras.
        saturated_depth: [T], share of pixels at the far end of the depth range; if it is big, enlarge scene_scale.
        cameras: T cameras of the generated images, in their pixels.
    """

    images: list[Image.Image] | np.ndarray | Tensor | None
    depths: np.ndarray | Tensor | None
    depth_uncertainty: np.ndarray | Tensor | None
    image_uncertainty: np.ndarray | Tensor | None
    scene_scale: Tensor
    saturated_depth: Tensor
    cameras: Cameras

    def to_scene(self) -> Scene:
        """The result as a `Scene` for the exporters; depth is in the unit of the given cameras ("aligned")."""
        return Scene(
            self.cameras,
            images=_as_maps(self.images),
            depths=_as_maps(self.depths),
            depth_uncertainty=_as_maps(self.depth_uncertainty),
            scale="aligned",
        )


@dataclass(frozen=True)
class EncodedViews:
    """Context views after the image encoder: valid for every target.

    Args:
        features: [V, tokens, channels].
        cameras: V cameras of the resized views.
    """

    features: Tensor
    cameras: Cameras

    def __getitem__(self, index) -> "EncodedViews":
        return EncodedViews(self.features[index], self.cameras[index])

    def append(self, other: "EncodedViews") -> "EncodedViews":
        return EncodedViews(torch.cat([self.features, other.features]), Cameras.cat([self.cameras, other.cameras]))


class MVGDPipeline(DiffusionPipeline):
    """Generates images and depth of target cameras from posed photos.

    Args:
        image_encoder: encodes the photos.
        transformer: denoises the target pixels.
        scheduler: DDIM or flow matching, of the family the transformer was trained with.
    """

    model_cpu_offload_seq = "image_encoder->transformer"
    _callback_tensor_inputs = ["sample", "latents"]

    def __init__(
        self,
        image_encoder: MVGDImageEncoder,
        transformer: MVGDTransformerModel,
        scheduler: DDIMScheduler | FlowMatchEulerDiscreteScheduler,
    ):
        super().__init__()
        self.register_modules(image_encoder=image_encoder, transformer=transformer, scheduler=scheduler)
        check_scheduler(scheduler, transformer.config)

    @property
    def num_timesteps(self) -> int:
        return self._num_timesteps

    @property
    def current_timestep(self) -> Tensor | None:
        return self._current_timestep

    @property
    def interrupt(self) -> bool:
        return self._interrupt

    @torch.no_grad()
    def __call__(
        self,
        images: ImageInput,
        cameras: Cameras | None = None,
        target_cameras: Cameras | None = None,
        tasks: tuple[str, ...] | None = None,
        num_inference_steps: int = 10,
        ensemble_size: int = 5,
        targets_per_pass: int = 1,
        incremental: bool = False,
        scene_scale: float | None = None,
        max_context_views: int | None = None,
        max_memory: int | str | None = None,
        cache_scene: bool = True,
        generator: torch.Generator | list[torch.Generator] | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
        callback_on_step_end: Callable | None = None,
        callback_on_step_end_tensor_inputs: tuple[str, ...] = ("sample",),
    ) -> MVGDPipelineOutput | tuple:
        """Generate the views of `target_cameras`.

        Args:
            images: posed photos, see `views_from_images`.
            cameras: their cameras, unless `images` are `Views` that have them.
            target_cameras: batch shape [T]; generated at the model's resolution in the aspect ratio of each camera.
            tasks: any of the transformer's tasks; by default all, generated jointly.
            num_inference_steps: denoising steps; for DDIM a divisor of the training steps (1000).
            ensemble_size: independent samples per target; colour is their mean, depth their median.
            targets_per_pass: target views generated jointly; the paper has 1.
            incremental: let later targets see the images generated before them.
            scene_scale: unit of the model in units of the given cameras; by default the largest baseline component.
            max_context_views: use only so many context views, those nearest to each pass's targets.
            max_memory: bytes, or a text such as "2GB", that a pass may take beside the weights.
            cache_scene: keep keys and values of the context for all steps and members (as far as memory allows).
            generator: one, or one per ensemble member.
            output_type: "pil", "np", "pt", or "latent" for the undecoded states.
            return_dict: return an `MVGDPipelineOutput` instead of a tuple.
            callback_on_step_end: called as (pipeline, step, timestep, tensors) after every step.
            callback_on_step_end_tensor_inputs: names of tensors given to it, of "sample" and "latents".

        Raises:
            ValueError, TypeError: naming the argument, what was found and what is accepted.
        """
        tasks = tuple(self.transformer.config.tasks if tasks is None else tasks)
        views, targets = self.check_inputs(
            images, cameras, target_cameras, tasks, ensemble_size, targets_per_pass, output_type, generator,
            scene_scale, callback_on_step_end_tensor_inputs,
        )  # fmt: skip
        set_timesteps(self.scheduler, num_inference_steps, self._execution_device)
        self._interrupt, self._current_timestep = False, None
        passes = [targets[i : i + targets_per_pass] for i in range(0, len(targets), targets_per_pass)]
        self._num_timesteps = num_inference_steps
        limit = None if max_memory is None else parse_memory(max_memory)

        history: EncodedViews | None = None
        context: EncodedViews | None = None
        decoded = []
        with self.progress_bar(total=len(passes) * num_inference_steps) as progress:
            for group in passes:
                count = len(views) + (len(history.features) if history is not None else 0)
                plan = self.plan(views, count, group, tasks, ensemble_size, max_context_views, limit)
                if not cache_scene and plan.cached:
                    plan = replace(plan, cached=False)
                if context is None:
                    context = self.encode(views, plan.encoded_views)
                available = context if history is None else context.append(history)
                chosen = self.select_context(available, group, max_context_views)
                scene, rays, scale = self.prepare_scene(chosen, group, plan, scene_scale)
                sample = self.prepare_latents(len(group), rays.shape[1], tasks, ensemble_size, generator)
                step_callback = (callback_on_step_end, callback_on_step_end_tensor_inputs)
                sample = self.denoise(sample, scene, rays, tasks, plan, progress, step_callback)
                result = sample if output_type == "latent" else self.decode(sample, group, tasks, scale)
                decoded.append((result, scale))
                if incremental and "rgb" in tasks and output_type != "latent":
                    generated = self.encode(Views(result["images"], group), plan.encoded_views)
                    history = generated if history is None else history.append(generated)
        self.maybe_free_model_hooks()
        return self._output(decoded, targets, output_type, return_dict)

    def check_inputs(
        self, images, cameras, target_cameras, tasks, ensemble_size, targets_per_pass, output_type, generator,
        scene_scale, callback_tensors,
    ) -> tuple[Views, Cameras]:  # fmt: skip
        """Validate the arguments of a call; returns the context views and targets at the model's resolution."""
        check_scheduler(self.scheduler, self.transformer.config)
        views = views_from_images(images, cameras)
        if target_cameras is None:
            raise ValueError("target_cameras is missing; give Cameras of batch shape [T]")
        if len(target_cameras.batch_shape) != 1 or len(target_cameras) == 0:
            raise ValueError(f"target_cameras has batch shape {target_cameras.batch_shape}; accepted is [T], T >= 1")
        target_cameras.validate("target_cameras")
        known = tuple(self.transformer.config.tasks)
        if not tasks or not set(tasks) <= set(known):
            raise ValueError(f"tasks={tasks}; accepted are some of {known}")
        for name, value in (("ensemble_size", ensemble_size), ("targets_per_pass", targets_per_pass)):
            if value < 1:
                raise ValueError(f"{name}={value}; accepted are 1 and more")
        if output_type not in ("pil", "np", "pt", "latent"):
            raise ValueError(f"output_type={output_type!r}; accepted are pil, np, pt, latent")
        if isinstance(generator, list) and len(generator) != ensemble_size:
            raise ValueError(f"{len(generator)} generators for ensemble_size={ensemble_size}; give one per member")
        unknown = set(callback_tensors) - set(self._callback_tensor_inputs)
        if unknown:
            raise ValueError(f"callback tensors {sorted(unknown)}; accepted are {self._callback_tensor_inputs}")
        if scene_scale is not None and not (scene_scale > 0 and math.isfinite(scene_scale)):
            raise ValueError(f"scene_scale={scene_scale}; accepted are positive numbers in units of the cameras")

        height, width = self.resolution(views.cameras)
        target_height, target_width = self.resolution(target_cameras)
        views = views.resize(height, width)
        targets = target_cameras.resize(target_height, target_width)
        self._check_geometry(views.cameras, targets, scene_scale)
        return views, targets

    def _check_geometry(self, context: Cameras, targets: Cameras, scene_scale: float | None) -> None:
        """Raise ValueError for targets without a scale, and for targets that see nothing the context sees."""
        config = self.transformer.config
        extent = torch.cat([context.centers, targets.centers]).abs().amax().clamp(min=1e-12)
        pixels = pixel_centers(4, 4, targets.device, targets.dtype).flatten(0, 1)
        depths = torch.logspace(
            math.log10(config.depth_min), math.log10(config.depth_max), 24, device=targets.device, dtype=targets.dtype
        )
        for i in range(len(targets)):
            baseline = (context.centers - targets.centers[i]).abs().amax()
            if scene_scale is None and baseline <= extent * SMALLEST_BASELINE:
                raise ValueError(
                    f"target_cameras[{i}] is at the same place as every context camera (zero baseline), so depth has "
                    "no scale; add a photo from elsewhere, or give scene_scale in units of the cameras"
                )
            scale = baseline if scene_scale is None else scene_scale
            origins, directions = camera_rays(targets[i].resize(4, 4), pixels, normalize=False)
            points = (origins[:, None] + directions[:, None] * depths[:, None] * scale).flatten(0, 1)
            projected, depth = context.project(points.expand(len(context), -1, -1))
            bounds = context.image_sizes.flip(-1)[:, None]
            if not ((depth > 0) & (projected >= 0).all(-1) & (projected < bounds).all(-1)).any():
                raise ValueError(
                    f"target_cameras[{i}] sees nothing that any context view sees: no point of its frustum from "
                    f"{config.depth_min:g} to {config.depth_max:g} times the scene scale ({float(scale):.3g}) falls "
                    "into a photo; check the pose convention (camera-to-world, OpenCV axes) or move the target"
                )

    def resolution(self, cameras: Cameras) -> tuple[int, int]:
        """Height and width at which these cameras' images are processed: longest side config.image_size."""
        config = self.transformer.config
        multiple = math.lcm(4, config.patch_size)
        scale = config.image_size / max(cameras.height, cameras.width)

        def rounded(size: int) -> int:
            return max(multiple, round(size * scale / multiple) * multiple)

        return rounded(cameras.height), rounded(cameras.width)

    def plan(
        self,
        views: Views,
        context_views: int,
        targets: Cameras,
        tasks: tuple[str, ...],
        ensemble_size: int,
        max_context_views: int | None,
        max_memory: int | None,
    ) -> MemoryPlan:
        """The memory plan of one pass; raises ValueError if none fits."""
        config = self.transformer.config
        per_task = len(targets) * targets.height * targets.width // config.patch_size**2
        used = context_views if max_context_views is None else min(context_views, max_context_views)
        return plan_memory(
            config,
            used,
            views.height * views.width,
            per_task * len(tasks),
            ensemble_size,
            self.transformer.dtype.itemsize,
            max_memory,
        )

    def encode(self, views: Views, views_at_once: int) -> EncodedViews:
        """Image features of context views, computed once for all targets and steps."""
        device, dtype = self._execution_device, self.image_encoder.dtype
        features = [
            self.image_encoder(images.to(device, dtype)).flatten(2).mT for images in views.images.split(views_at_once)
        ]
        return EncodedViews(torch.cat(features), views.cameras.to(device, torch.float32))

    def select_context(self, context: EncodedViews, targets: Cameras, count: int | None) -> EncodedViews:
        """The `count` context views nearest to the targets; all of them for None."""
        if count is None or count >= len(context.features):
            return context
        nearest = nearest_cameras(targets.to(context.cameras.device, torch.float32), context.cameras, count)
        ranked = nearest.T.flatten().tolist()  # the nearest of every target first
        chosen = list(dict.fromkeys(ranked))[:count]
        return context[chosen]

    def prepare_scene(
        self, context: EncodedViews, targets: Cameras, plan: MemoryPlan, scene_scale: float | None
    ) -> tuple[MVGDSceneContext, Tensor, float]:
        """Scene tokens in the frame of the first target, rays [1, tokens, 12] of the targets, and the scale."""
        config, device = self.transformer.config, self._execution_device
        targets = targets.to(device, torch.float32)
        scale = None if scene_scale is None else torch.tensor([scene_scale], device=device)
        normalized = normalize_cameras(context.cameras[None], targets[None], config.scale_from, scale)
        rows, columns = context.cameras.height // 4, context.cameras.width // 4
        tokens = []
        for start in range(0, len(context.features), plan.encoded_views):
            window = slice(start, start + plan.encoded_views)
            rays = ray_map(normalized.context[:, window], rows, columns, config.normalize_rays)
            embedded = self.transformer.embed_scene(context.features[None, window].flatten(1, 2), rays.flatten(1, 2))
            tokens.append(embedded)
        scene = MVGDSceneContext(torch.cat(tokens, dim=1), chunk_tokens=plan.chunk_tokens)
        if plan.cached:
            scene = self.transformer.cache_scene(scene)
        patch = config.patch_size
        rays = ray_map(normalized.targets, targets.height // patch, targets.width // patch, config.normalize_rays)
        return scene, rays.flatten(1, 2), float(normalized.scale)

    def prepare_latents(
        self,
        targets: int,
        tokens: int,
        tasks: tuple[str, ...],
        ensemble_size: int,
        generator: torch.Generator | list[torch.Generator] | None,
    ) -> Tensor:
        """Pure noise [ensemble_size, tokens, channels] for the states of all tasks, side by side."""
        channels = sum(TASK_CHANNELS[task] for task in tasks) * self.transformer.config.patch_size**2
        shape = (ensemble_size, tokens, channels)
        return randn_tensor(shape, generator=generator, device=self._execution_device, dtype=torch.float32)

    def denoise(
        self,
        sample: Tensor,
        scene: MVGDSceneContext,
        rays: Tensor,
        tasks: tuple[str, ...],
        plan: MemoryPlan,
        progress,
        step_callback: tuple[Callable | None, tuple[str, ...]] = (None, ()),
    ) -> Tensor:
        """Run the scheduler's steps on states [members, tokens, channels]; members go together as the plan allows."""
        callback, callback_tensors = step_callback
        dtype = self.transformer.dtype
        widths = [TASK_CHANNELS[task] * self.transformer.config.patch_size**2 for task in tasks]
        members = sample.split(plan.members)
        latents = [None] * len(members)
        timesteps = self.scheduler.timesteps
        levels = noise_levels(self.scheduler, timesteps).to(sample.device)
        if isinstance(self.scheduler, FlowMatchEulerDiscreteScheduler):
            # the scheduler counts its own steps: start again for every pass
            self.scheduler.set_begin_index(0)
            self.scheduler._step_index = None
        for step, (timestep, level) in enumerate(zip(timesteps, levels, strict=True)):
            if self.interrupt:
                continue
            self._current_timestep = timestep
            predictions = []
            for i, states in enumerate(members):
                output = self.transformer(
                    {task: s.to(dtype) for task, s in zip(tasks, states.split(widths, dim=-1), strict=True)},
                    dict.fromkeys(tasks, rays.expand(len(states), -1, -1)),
                    level.expand(len(states)),
                    scene,
                    previous_latents=latents[i],
                )
                latents[i] = output.latents
                predictions.append(torch.cat([output.predictions[task] for task in tasks], dim=-1).float())
            sample = self._scheduler_step(torch.cat(predictions), timestep, torch.cat(members))
            if callback is not None:
                values = {"sample": sample, "latents": torch.cat(latents)}
                given = callback(self, step, timestep, {name: values[name] for name in callback_tensors})
                sample = given.pop("sample", sample)
                latents = list(given.pop("latents", values["latents"]).split(plan.members))
            members = sample.split(plan.members)
            progress.update()
        self._current_timestep = None
        return sample.clamp(-1, 1)

    def _scheduler_step(self, prediction: Tensor, timestep: Tensor, sample: Tensor) -> Tensor:
        if isinstance(self.scheduler, FlowMatchEulerDiscreteScheduler):
            return self.scheduler.step(prediction, timestep, sample).prev_sample
        # the noise must be recomputed from the clipped clean state, as RIN's sampler does; diffusers' default does not
        return self.scheduler.step(prediction, timestep, sample, eta=0.0, use_clipped_model_output=True).prev_sample

    def decode(self, sample: Tensor, targets: Cameras, tasks: tuple[str, ...], scale: float) -> dict[str, Tensor]:
        """States of all members to images and depth of each target, and the members' disagreement."""
        config = self.transformer.config
        patch, depth_range = config.patch_size, (config.depth_min, config.depth_max)
        widths = [TASK_CHANNELS[task] * patch**2 for task in tasks]
        grid = (len(targets), targets.height // patch, targets.width // patch)
        result = {}
        for task, states in zip(tasks, sample.split(widths, dim=-1), strict=True):
            maps = unpatchify(states, *grid, patch)  # [members, T, C, H, W]
            if task == "rgb":
                colors = decode_rgb(maps)
                result["images"] = colors.mean(0)
                result["image_uncertainty"] = colors.std(0, correction=0).mean(1, keepdim=True)
            else:
                median = maps.quantile(0.5, dim=0)
                depths = decode_depth(median, *depth_range) * scale
                if config.depth_type == "distance":
                    depths = depth_from_distance(depths, targets.to(depths.device, depths.dtype))
                result["depths"] = depths
                log_depth_per_state = math.log(config.depth_max / config.depth_min) / 2
                result["depth_uncertainty"] = maps.std(0, correction=0) * log_depth_per_state
                result["saturated"] = (median > SATURATED_STATE).float().flatten(1).mean(1)
        if len(sample) == 1:
            result.pop("image_uncertainty", None)
            result.pop("depth_uncertainty", None)
        return result

    def _output(self, decoded: list[tuple], targets: Cameras, output_type: str, return_dict: bool):
        scales = torch.tensor([scale for _, scale in decoded])
        if output_type == "latent":
            states = torch.cat([states for states, _ in decoded], dim=1)
            return (
                MVGDPipelineOutput(states, None, None, None, scales, scales * 0, targets) if return_dict else (states,)
            )
        per_pass = [len(next(iter(result.values()))) for result, _ in decoded]
        scene_scale = scales.repeat_interleave(torch.tensor(per_pass))

        def joined(name: str) -> Tensor | None:
            parts = [result.get(name) for result, _ in decoded]
            return None if parts[0] is None else torch.cat(parts).float().cpu()

        saturated = joined("saturated")
        output = MVGDPipelineOutput(
            images=_as_output(joined("images"), output_type),
            depths=_as_output(joined("depths"), output_type),
            depth_uncertainty=_as_output(joined("depth_uncertainty"), output_type),
            image_uncertainty=_as_output(joined("image_uncertainty"), output_type),
            scene_scale=scene_scale,
            saturated_depth=torch.zeros_like(scene_scale) if saturated is None else saturated,
            cameras=targets,
        )
        return output if return_dict else (output.images, output.depths)


def _as_output(maps: Tensor | None, output_type: str) -> list[Image.Image] | np.ndarray | Tensor | None:
    """Maps [T, C, H, W] as asked for; only colour becomes PIL images, an 8-bit depth map would lose the depth."""
    if maps is None or output_type == "pt":
        return maps
    array = maps.movedim(1, -1).numpy()
    if maps.shape[1] == 1:
        return array[..., 0]
    if output_type == "np":
        return array
    return [Image.fromarray(image) for image in (array * 255).round().astype(np.uint8)]


def _as_maps(values: list[Image.Image] | np.ndarray | Tensor | None) -> Tensor | None:
    """The inverse of `_as_output`."""
    if values is None or isinstance(values, Tensor):
        return values
    if isinstance(values, list):
        values = np.stack([np.asarray(image) for image in values]).astype(np.float32) / 255
    maps = torch.from_numpy(values)
    return maps[:, None] if maps.ndim == 3 else maps.movedim(-1, 1)
