"""MVGDPipeline: posed photos and target cameras to novel images and scale-consistent depth."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from anyviews.cameras import Cameras
from anyviews.geometry.context import nearest_cameras
from anyviews.geometry.depth import depth_from_distance
from anyviews.geometry.rays import camera_rays, pixel_centers
from anyviews.models.memory import parse_memory
from anyviews.models.mvgd import (
    MemoryPlan,
    MVGDImageEncoder,
    MVGDSceneContext,
    MVGDTransformerModel,
    Workload,
    check_scheduler,
    decode_depth,
    decode_rgb,
    noise_levels,
    normalize_cameras,
    plan_memory,
    plane_sweep,
    ray_map,
    set_timesteps,
    unpatchify,
)
from anyviews.models.mvgd.modeling_mvgd import TASK_CHANNELS
from anyviews.models.mvgd.processing_mvgd import scene_scale as camera_scale
from anyviews.views import Views

from .inputs import ImageInput, views_from_images
from .output_mvgd import MVGDPipelineOutput, as_output
from .published_index import PublishedIndexMixin


# A baseline below so many roundings of the cameras' distance from the origin is noise, not parallax.
ROUNDINGS = 8

# Depth states above this are counted as saturated: the scene goes on beyond depth_max.
SATURATED_STATE = 0.99


@dataclass(frozen=True)
class EncodedViews:
    """Context views after the image encoder: valid for every target.

    Args:
        features: [V, tokens, channels].
        images: [V, 3, H, W], the resized views.
        cameras: V cameras of the resized views.
    """

    features: Tensor
    images: Tensor
    cameras: Cameras

    def __getitem__(self, index) -> "EncodedViews":
        return EncodedViews(self.features[index], self.images[index], self.cameras[index])

    def append(self, other: "EncodedViews") -> "EncodedViews":
        return EncodedViews(
            torch.cat([self.features, other.features]),
            torch.cat([self.images, other.images.to(self.images.device)]),
            Cameras.cat([self.cameras, other.cameras]),
        )


class MVGDPipeline(PublishedIndexMixin):
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
        if image_encoder.config.channels != transformer.config.image_feature_dim:
            raise ValueError(
                f"image_encoder has channels={image_encoder.config.channels} but transformer has image_feature_dim="
                f"{transformer.config.image_feature_dim}; they must be equal, as in one checkpoint"
            )
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
            scene_scale, max_context_views, callback_on_step_end_tensor_inputs,
        )  # fmt: skip
        set_timesteps(self.scheduler, num_inference_steps, self._execution_device)
        self._interrupt, self._current_timestep = False, None
        passes = [targets[i : i + targets_per_pass] for i in range(0, len(targets), targets_per_pass)]
        self._num_timesteps = num_inference_steps
        limit = None if max_memory is None else parse_memory(max_memory)
        incremental = incremental and "rgb" in tasks and output_type != "latent"
        # one plan for all passes, made for the most context and the most targets that any of them has
        count = len(views) + incremental * (len(targets) - len(passes[-1]))
        plan = self.plan(views, count, passes[0], tasks, ensemble_size, max_context_views, limit, cache_scene)

        context = self.encode(views, plan.encoded_views)
        decoded = []
        with self.progress_bar(total=len(passes) * num_inference_steps) as progress:
            for i, group in enumerate(passes):
                scene, rays, scale = self.prepare_scene(
                    self.select_context(context, group, max_context_views), group, plan, scene_scale
                )
                sample = self.prepare_latents(len(group), rays.shape[1], tasks, ensemble_size, generator)
                step_callback = (callback_on_step_end, callback_on_step_end_tensor_inputs)
                sample = self.denoise(sample, scene, rays, tasks, plan, progress, step_callback)
                del scene  # the next pass must not hold two
                result = sample if output_type == "latent" else self.decode(sample, group, tasks, scale)
                decoded.append((result, scale, len(group)))
                if self.interrupt:
                    targets = targets[: i * targets_per_pass + len(group)]
                    break
                if incremental and i + 1 < len(passes):
                    # targets of another aspect ratio are cropped: all context views have one grid of tokens
                    generated = Views(result["images"], group).fit(views.height, views.width)
                    context = context.append(self.encode(generated, plan.encoded_views))
        self.maybe_free_model_hooks()
        return self._output(decoded, targets, output_type, return_dict)

    def check_inputs(
        self, images, cameras, target_cameras, tasks, ensemble_size, targets_per_pass, output_type, generator,
        scene_scale, max_context_views, callback_tensors,
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
        if not tasks or not set(tasks) <= set(known) or len(set(tasks)) < len(tasks):
            raise ValueError(f"tasks={tasks}; accepted are some of {known}, each once")
        counts = {
            "ensemble_size": ensemble_size,
            "targets_per_pass": targets_per_pass,
            "max_context_views": max_context_views,
        }
        for name, value in counts.items():
            if value is not None and value < 1:
                raise ValueError(f"{name}={value}; accepted are 1 and more")
        if output_type not in ("pil", "np", "pt", "latent"):
            raise ValueError(f"output_type={output_type!r}; accepted are pil, np, pt, latent")
        if isinstance(generator, list) and len(generator) != ensemble_size:
            raise ValueError(
                f"generator holds {len(generator)} generators for ensemble_size={ensemble_size}; give one per member"
            )
        unknown = set(callback_tensors) - set(self._callback_tensor_inputs)
        if unknown:
            raise ValueError(
                f"callback_on_step_end_tensor_inputs holds {sorted(unknown)}; accepted are some of "
                f"{self._callback_tensor_inputs}"
            )
        if scene_scale is not None and not (scene_scale > 0 and math.isfinite(scene_scale)):
            raise ValueError(f"scene_scale={scene_scale}; accepted are positive numbers in units of the cameras")

        height, width = self.resolution(views.cameras)
        target_height, target_width = self.resolution(target_cameras)
        views = views.resize(height, width)
        targets = target_cameras.resize(target_height, target_width)
        self.check_geometry(views.cameras, targets, scene_scale)
        return views, targets

    def check_geometry(self, context: Cameras, targets: Cameras, scene_scale: float | None) -> None:
        """Raise ValueError for targets without a scale, and for targets that see nothing the context sees."""
        config = self.transformer.config
        pixels = pixel_centers(4, 4, dtype=torch.float64).flatten(0, 1)
        depths = torch.logspace(math.log10(config.depth_min), math.log10(config.depth_max), 24, dtype=torch.float64)
        has_scale = [scene_scale is not None or _has_baseline(context, target) for target in targets]
        context, targets = _exact(context), _exact(targets)
        for i in range(len(targets)):
            if not has_scale[i]:
                raise ValueError(
                    f"target_cameras[{i}] is at the same place as every context camera (zero baseline), so depth has "
                    "no scale; add a photo from elsewhere, or give scene_scale in units of the cameras"
                )
            scale = scene_scale
            if scale is None:
                scale = float(camera_scale(context.relative_to(targets[i])[None], config.scale_from))
            origins, directions = camera_rays(targets[i].resize(4, 4), pixels, normalize=False)
            points = (origins[:, None] + directions[:, None] * depths[:, None] * scale).flatten(0, 1)
            # a few views at a time, since the first ones mostly settle it and thousands would take memory
            if not any(_sees_any(context[j : j + 4], points) for j in range(0, len(context), 4)):
                raise ValueError(
                    f"target_cameras[{i}] sees nothing that any context view sees: no point of its frustum from "
                    f"{config.depth_min:g} to {config.depth_max:g} times the scene scale ({scale:.3g}) falls into a "
                    "photo; check the pose convention (camera-to-world, OpenCV axes) or move the target"
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
        cache_scene: bool = True,
    ) -> MemoryPlan:
        """The memory plan of passes of so many context views and targets; raises ValueError if none fits."""
        config = self.transformer.config
        work = Workload(
            views=context_views if max_context_views is None else min(context_views, max_context_views),
            stored_views=context_views,
            generated_views=context_views - len(views),
            pixels_per_view=views.height * views.width,
            prediction_tokens=len(targets) * targets.height * targets.width // config.patch_size**2,
            tasks=tuple(TASK_CHANNELS[task] for task in tasks),
            members=ensemble_size,
            bytes_per_value=self.transformer.dtype.itemsize,
        )
        return plan_memory(config, work, max_memory, cache_scene)

    def encode(self, views: Views, views_at_once: int) -> EncodedViews:
        """Image features of context views, computed once for all targets and steps."""
        device, config = self._execution_device, self.transformer.config
        features = torch.empty(
            len(views),
            views.height // 4 * (views.width // 4),
            config.image_feature_dim,
            device=device,
            dtype=self.transformer.dtype,
        )
        for start in range(0, len(views), views_at_once):
            window = slice(start, start + views_at_once)
            images = views.images[window].to(device, self.image_encoder.dtype)
            features[window] = self.image_encoder(images).flatten(2).mT
        return EncodedViews(features, views.images, _exact(views.cameras))

    def select_context(self, context: EncodedViews, targets: Cameras, count: int | None) -> EncodedViews:
        """The `count` context views nearest to the targets; all of them for None."""
        if count is None or count >= len(context.features):
            return context
        nearest = nearest_cameras(_exact(targets), context.cameras, count)
        ranked = nearest.T.flatten().tolist()  # the nearest of every target first
        chosen = list(dict.fromkeys(ranked))[:count]
        return context[chosen]

    def prepare_scene(
        self, context: EncodedViews, targets: Cameras, plan: MemoryPlan, scene_scale: float | None
    ) -> tuple[MVGDSceneContext, Tensor, float]:
        """Scene tokens in the frame of the first target, rays [1, tokens, 12] of the targets, and the scale."""
        config, device = self.transformer.config, self._execution_device
        if scene_scale is None and not _has_baseline(context.cameras, targets[0]):
            raise ValueError(
                f"max_context_views={len(context.features)} leaves only photos taken from the place of a target "
                "(zero baseline), so depth has no scale; raise it, or give scene_scale in units of the cameras"
            )
        scale = None if scene_scale is None else torch.tensor([float(scene_scale)], dtype=torch.float64)
        normalized = normalize_cameras(context.cameras[None], _exact(targets)[None], config.scale_from, scale)
        context_cameras, target_cameras = (
            c.to(device, torch.float32) for c in (normalized.context, normalized.targets)
        )
        rows, columns = context.cameras.height // 4, context.cameras.width // 4
        per_view = rows * columns
        shape = (1, len(context.features) * per_view, config.token_dim)
        tokens = torch.empty(shape, device=device, dtype=self.transformer.dtype)
        for start in range(0, len(context.features), plan.encoded_views):
            window = slice(start, start + plan.encoded_views)
            rays = ray_map(context_cameras[:, window], rows, columns, config.normalize_rays)
            embedded = self.transformer.embed_scene(context.features[None, window].flatten(1, 2), rays.flatten(1, 2))
            tokens[:, start * per_view : (start + plan.encoded_views) * per_view] = embedded
        codes = None
        if config.sweep_depths:
            photos = context.images[None].to(device)
            sweep = plane_sweep(photos, context_cameras, target_cameras, config, views_at_once=1)
            codes = dict.fromkeys(config.tasks, self.transformer.embed_sweep(sweep))
        scene = MVGDSceneContext(tokens, chunk_tokens=plan.chunk_tokens, target_codes=codes)
        patch = config.patch_size
        rays = ray_map(target_cameras, targets.height // patch, targets.width // patch, config.normalize_rays)
        if plan.cached:
            scene = self.transformer.cache_scene(scene)
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
        scene_scale = torch.tensor([scale for _, scale, count in decoded for _ in range(count)])
        if output_type == "latent":
            states = torch.cat([states for states, _, _ in decoded], dim=1)
            output = MVGDPipelineOutput(states, None, None, None, scene_scale, torch.zeros_like(scene_scale), targets)
            return output if return_dict else (states,)

        def joined(name: str) -> Tensor | None:
            parts = [result.get(name) for result, _, _ in decoded]
            return None if parts[0] is None else torch.cat(parts).float().cpu()

        saturated = joined("saturated")
        output = MVGDPipelineOutput(
            images=as_output(joined("images"), output_type),
            depths=as_output(joined("depths"), output_type),
            depth_uncertainty=as_output(joined("depth_uncertainty"), output_type),
            image_uncertainty=as_output(joined("image_uncertainty"), output_type),
            scene_scale=scene_scale,
            saturated_depth=torch.zeros_like(scene_scale) if saturated is None else saturated,
            cameras=targets,
        )
        return output if return_dict else (output.images, output.depths)


def _exact(cameras: Cameras) -> Cameras:
    """Cameras in double precision: worlds may lie far from their origin (georeferenced photos)."""
    return cameras.to("cpu", torch.float64)


def _has_baseline(context: Cameras, target: Cameras) -> bool:
    """Whether any context camera is elsewhere than the target."""
    rounding = ROUNDINGS * max(torch.finfo(cameras.dtype).eps for cameras in (context, target))
    context, target = _exact(context), _exact(target)
    extent = max(context.centers.abs().amax(), target.centers.abs().amax())
    return bool((context.centers - target.centers).abs().amax() > extent * rounding)


def _sees_any(cameras: Cameras, points: Tensor) -> bool:
    """Whether any of the world points [N, 3] falls into the image of any of the cameras [V]."""
    pixels, depth = cameras.project(points.expand(len(cameras), -1, -1))
    bounds = cameras.image_sizes.flip(-1)[:, None]
    return bool(((depth > 0) & (pixels >= 0).all(-1) & (pixels < bounds).all(-1)).any())
