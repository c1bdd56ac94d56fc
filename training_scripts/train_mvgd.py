"""Train MVGD: `accelerate launch training_scripts/train_mvgd.py --config FILE` (see docs/methods/mvgd.md).

The loop is anyviews.training's; this file holds what is MVGD's own: the two trained modules, how a sample becomes
context and target views, and the loss (section 6 of the method page).
"""

import dataclasses
import json
from pathlib import Path
from typing import Literal

import torch
from diffusers.training_utils import compute_density_for_timestep_sampling
from torch import Tensor, nn

from anyviews.cameras import Cameras
from anyviews.data.samples import Sample
from anyviews.evaluation.novel_views import evaluate_novel_views, held_out_scenes
from anyviews.geometry.depth import distance_from_depth
from anyviews.models.mvgd import (
    MVGDExplicitAttentionProcessor,
    MVGDImageEncoder,
    MVGDSceneContext,
    MVGDTransformerModel,
    NormalizedCameras,
    default_scheduler,
    encode_depth,
    encode_rgb,
    limit_scale,
    normalize_cameras,
    patchify,
    plane_sweep,
    ray_map,
)
from anyviews.pipelines import MVGDPipeline
from anyviews.training.arguments import DataArguments, TrainingArguments, argument, parse_arguments
from anyviews.training.card import write_card
from anyviews.training.loop import train
from anyviews.training.method import Method


@dataclasses.dataclass
class MVGDArguments(TrainingArguments):
    """What the other methods do not have."""

    size: Literal["tiny", "small", "base"] = argument("tiny", "Preset of the transformer.")
    transformer_options: dict = dataclasses.field(
        default_factory=dict, metadata={"help": "Fields of MVGDTransformerModel that differ from the preset, as JSON."}
    )
    encoder_type: Literal["conv_stem", "efficientvit_l2"] = argument("conv_stem", "Image encoder.")
    encoder_weights: str | None = argument(
        None, "Folder of a pretrained MVGDImageEncoder (utils/convert_efficientvit.py)."
    )
    min_context_views: int = argument(2, "Fewest conditioning views of a batch.")
    max_context_views: int = argument(5, "Most conditioning views of a batch.")
    max_targets: int = argument(4, "Most target views generated in one pass; the paper has 1.")
    max_scene_tokens: int | None = argument(None, "Scene tokens kept per sample, drawn at random (paper: 1024).")
    max_prediction_tokens: int | None = argument(None, "Prediction tokens kept per sample and task (paper: 4096).")
    target_in_context: float = argument(0.05, "Share of batches whose first target is also a conditioning view.")
    task_sampling: Literal["joint", "alternate"] = argument("joint", "Both tasks in every batch, or one at a time.")
    depth_weight: float = argument(1.0, "Weight of the depth loss against the RGB loss.")
    noise_time_power: float = argument(1.0, "Noise time is u**power; below 1 trains more on high noise (paper: 1).")
    self_conditioning_rate: float = argument(0.9, "Share of samples that see the latents of a first pass.")
    scale_augmentation: float = argument(1.0, "The scene scale is enlarged by a random factor up to this one.")
    scale_quantile: float = argument(1.0, "Quantile of known depth that the scale must bring into the depth range.")
    color_augmentation: bool = argument(True, "Permute colour channels at random, alike in all views.")
    mirror_augmentation: bool = argument(True, "Mirror scenes at random, images and cameras.")
    validation_scenes: int = argument(16, "Held-out procedural scenes per validation.")


class MVGDNetwork(nn.Module):
    """The trained modules as one, so that accelerate wraps one forward pass."""

    def __init__(self, image_encoder: MVGDImageEncoder, transformer: MVGDTransformerModel):
        super().__init__()
        self.image_encoder = image_encoder
        self.transformer = transformer

    def enable_gradient_checkpointing(self) -> None:
        self.transformer.enable_gradient_checkpointing()

    def forward(
        self,
        images: Tensor,  # [B, N, 3, H, W]
        scene_rays: Tensor,  # [B, N * tokens, 12]
        kept_scene_tokens: Tensor | None,  # [B, kept]
        sweeps: dict[str, Tensor] | None,  # per task [B, tokens, features]
        inputs: dict,  # of MVGDTransformerModel.forward
    ) -> tuple[dict[str, Tensor], Tensor]:
        features = self.image_encoder(images.flatten(0, 1))  # [B * N, C, H / 4, W / 4]
        features = features.flatten(2).mT.reshape(len(images), -1, features.shape[1])
        if kept_scene_tokens is not None:
            features = take_tokens(features, kept_scene_tokens)
            scene_rays = take_tokens(scene_rays, kept_scene_tokens)
        codes = None
        if sweeps is not None:
            codes = {task: self.transformer.embed_sweep(sweep) for task, sweep in sweeps.items()}
        scene = MVGDSceneContext(self.transformer.embed_scene(features, scene_rays), target_codes=codes)
        output = self.transformer(scene=scene, **inputs)
        return output.predictions, output.latents


class MVGDMethod(Method):
    """MVGD's model, examples and loss."""

    name = "mvgd"

    def __init__(self, arguments: MVGDArguments, data: DataArguments):
        self.arguments, self.data = arguments, data

    def build(self, arguments: MVGDArguments) -> MVGDNetwork:
        if arguments.pretrained_model_name_or_path is not None:
            pipe = MVGDPipeline.from_pretrained(arguments.pretrained_model_name_or_path)
            image_encoder, transformer = pipe.image_encoder, pipe.transformer
        else:
            transformer = MVGDTransformerModel.from_size(
                arguments.size, image_size=arguments.resolution, **arguments.transformer_options
            )
            if arguments.encoder_weights is not None:
                image_encoder = MVGDImageEncoder.from_pretrained(arguments.encoder_weights)
            else:
                image_encoder = MVGDImageEncoder(arguments.encoder_type, transformer.config.image_feature_dim)
        if not torch.accelerator.is_available():
            transformer.set_attn_processor(MVGDExplicitAttentionProcessor())
        self.config = transformer.config
        self.scheduler = default_scheduler(self.config)
        return MVGDNetwork(image_encoder, transformer).float()

    def transform(self, sample: Sample) -> dict[str, Tensor]:
        """Shuffled, augmented views of one scene, as many as a batch may need."""
        count = self.arguments.max_context_views + self.arguments.max_targets
        generator = sample.generator()
        order = torch.randperm(len(sample.views), generator=generator)
        views = sample.views[order.repeat(-(-count // len(order)))[:count].tolist()]
        flip, colors = torch.rand((), generator=generator), torch.randperm(3, generator=generator)
        if self.arguments.mirror_augmentation and flip < 0.5:
            views = views.mirror()
        size = self.arguments.resolution
        if (views.height, views.width) != (size, size):
            views = views.fit(size, size)
        images = views.images[:, colors] if self.arguments.color_augmentation else views.images
        depths = torch.zeros_like(images[:, :1]) if views.depths is None else views.depths
        return {
            "images": images,
            "depths": depths,
            "intrinsics": views.cameras.intrinsics,
            "camera_to_world": views.cameras.camera_to_world,
            "seed": torch.tensor(sample.seed),
        }

    def collate(self, examples: list[dict[str, Tensor]]) -> dict:
        """A batch with one number of context and target views, drawn from the first example's seed."""
        batch = super().collate(examples)
        arguments = self.arguments
        generator = torch.Generator().manual_seed(int(batch.pop("seed")[0]))
        contexts = torch.randint(
            arguments.min_context_views, arguments.max_context_views + 1, (), generator=generator
        ).item()
        targets = torch.randint(1, arguments.max_targets + 1, (), generator=generator).item()
        if torch.rand((), generator=generator) < arguments.target_in_context:
            first_target = contexts - 1
        else:
            first_target = contexts
        return {**batch, "contexts": contexts, "first_target": first_target, "targets": targets}

    def loss(self, model: nn.Module, batch: dict, generator: torch.Generator) -> dict[str, Tensor]:
        arguments, config, device = self.arguments, self.config, batch["images"].device
        context_images = batch["images"][:, : batch["contexts"]]
        normalized, clean, valid = self.examples(batch, generator)
        size = context_images.shape[-1]
        grid = size // config.patch_size
        rays = ray_map(normalized.targets, grid, grid, config.normalize_rays).flatten(1, 2)
        if arguments.task_sampling == "alternate":
            chosen = config.tasks[torch.randint(len(config.tasks), (), generator=generator, device=device)]
            clean = {chosen: clean[chosen]}

        sweep = None
        if config.sweep_depths:
            sweep = plane_sweep(context_images, normalized.context, normalized.targets, config)
        rays_of, masks, sweeps = {}, {}, {}
        for task in clean:
            exists = valid[task].any(-1)
            kept = sample_tokens(exists, arguments.max_prediction_tokens, generator)
            clean[task], valid[task] = take_tokens(clean[task], kept), take_tokens(valid[task], kept)
            rays_of[task], masks[task] = take_tokens(rays, kept), exists.gather(1, kept)
            if sweep is not None:
                sweeps[task] = take_tokens(sweep, kept)

        count = len(context_images)
        noise_level, signal, spread = self.draw_noise_level(count, generator, device)
        noise = {task: randn_like(state, generator) for task, state in clean.items()}
        noisy = {task: signal * clean[task] + spread * noise[task] for task in clean}
        goals = {task: self.goal(clean[task], noise[task], signal, spread) for task in clean}

        scene_grid = size // 4
        scene_rays = ray_map(normalized.context, scene_grid, scene_grid, config.normalize_rays).flatten(1, 2)
        all_scene_tokens = torch.ones(scene_rays.shape[:2], dtype=torch.bool, device=device)
        kept_scene = None
        if arguments.max_scene_tokens is not None:
            kept_scene = sample_tokens(all_scene_tokens, arguments.max_scene_tokens, generator)
        every_token_exists = all(bool(mask.all()) for mask in masks.values())
        sweeps = sweeps or None
        inputs = {
            "sample": noisy,
            "rays": rays_of,
            "noise_level": noise_level,
            "masks": None if every_token_exists else masks,
        }
        if config.latent_self_conditioning:
            with torch.no_grad():
                _, latents = model(context_images, scene_rays, kept_scene, sweeps, inputs)
            chosen = torch.rand(count, generator=generator, device=device) < arguments.self_conditioning_rate
            inputs["previous_latents"] = latents * chosen[:, None, None]
        predictions, _ = model(context_images, scene_rays, kept_scene, sweeps, inputs)

        losses = {}
        for task, prediction in predictions.items():
            error = prediction.float() - goals[task]
            error = error.abs() if task == "depth" else error.square()
            # reduced per sample first, so that a sample with sparse depth counts as much as a dense one
            weight = valid[task].float()
            losses[task] = ((error * weight).sum((1, 2)) / weight.sum((1, 2)).clamp(min=1)).mean()
        weights = {"rgb": 1.0, "depth": arguments.depth_weight}
        losses["loss"] = sum(weights[task] * losses[task] for task in predictions)
        return losses

    def examples(
        self, batch: dict, generator: torch.Generator
    ) -> tuple[NormalizedCameras, dict[str, Tensor], dict[str, Tensor]]:
        """Normalised cameras of context and targets, clean states per task, and which of their values are known."""
        arguments, config = self.arguments, self.config
        window = slice(batch["first_target"], batch["first_target"] + batch["targets"])
        images, depths = batch["images"][:, window], batch["depths"][:, window]
        size = images.shape[-1]
        cameras = Cameras.create(batch["intrinsics"], batch["camera_to_world"], size, size)
        context, targets = cameras[:, : batch["contexts"]], cameras[:, window]

        scale = normalize_cameras(context, targets, config.scale_from).scale
        scale = limit_scale(scale, depths, depths > 0, config.depth_max, arguments.scale_quantile)
        stretch = torch.rand(len(images), generator=generator, device=images.device)
        scale = (scale * arguments.scale_augmentation**stretch).clamp(min=1e-6)

        clean, valid = {}, {}
        if "rgb" in config.tasks:
            clean["rgb"] = patchify(encode_rgb(images), config.patch_size)
            valid["rgb"] = torch.ones_like(clean["rgb"], dtype=torch.bool)
        if "depth" in config.tasks:
            known = patchify((depths > 0).float(), config.patch_size) > 0
            if config.depth_type == "distance":
                depths = distance_from_depth(depths, targets)
            relative = depths / scale[:, None, None, None, None]
            encoded = patchify(encode_depth(relative, config.depth_min, config.depth_max), config.patch_size)
            clean["depth"], valid["depth"] = encoded * known, known
        return normalize_cameras(context, targets, scale=scale), clean, valid

    def draw_noise_level(
        self, batch: int, generator: torch.Generator, device: torch.device
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Noise level told to the model [B], and the factors [B, 1, 1] of clean state and noise."""
        if self.config.noise_parametrization == "flow_sigma":
            sigma = compute_density_for_timestep_sampling(
                "logit_normal", batch, logit_mean=0.0, logit_std=1.0, device=device, generator=generator
            )
            return sigma, 1 - sigma[:, None, None], sigma[:, None, None]
        total = self.scheduler.config.num_train_timesteps
        time = torch.rand(batch, generator=generator, device=device) ** self.arguments.noise_time_power
        gamma = self.scheduler.alphas_cumprod.to(device)[(time * total).long().clamp(max=total - 1)]
        return gamma, gamma.sqrt()[:, None, None], (1 - gamma).sqrt()[:, None, None]

    def goal(self, clean: Tensor, noise: Tensor, signal: Tensor, spread: Tensor) -> Tensor:
        """What the model must predict for these states."""
        return {
            "epsilon": lambda: noise,
            "sample": lambda: clean,
            "v_prediction": lambda: signal * noise - spread * clean,
            "flow": lambda: noise - clean,
        }[self.config.prediction_type]()

    def pipeline(self, model: MVGDNetwork) -> MVGDPipeline:
        pipe = MVGDPipeline(model.image_encoder, model.transformer, self.scheduler)
        pipe.set_progress_bar_config(disable=True)
        return pipe

    def validate(self, model: MVGDNetwork, step: int, folder: Path) -> dict[str, float]:
        scenes = held_out_scenes(self.arguments.validation_scenes, self.config.image_size, context_views=3)
        report = evaluate_novel_views(
            self.pipeline(model), scenes, {"1 step": (1, 1), "10 steps": (10, 1)}, picture=folder / f"step-{step}.png"
        )
        (folder / f"step-{step}.json").write_text(json.dumps(report, indent=1))
        return {f"{name}/{metric}": value for name, row in report["rows"].items() for metric, value in row.items()}

    def export(self, model: MVGDNetwork, folder: Path) -> None:
        self.pipeline(model).save_pretrained(folder)
        summary = (
            f"MVGD ({self.arguments.size}): posed photos and target cameras to novel images and scale-consistent "
            f"depth at {self.config.image_size} pixels, predicting {' and '.join(self.config.tasks)}."
        )
        tags = ["mvgd", "novel-view-synthesis", "multi-view-depth"]
        write_card(folder, "image-to-3d", tags, summary, self.arguments, self.data)


def sample_tokens(exists: Tensor, count: int | None, generator: torch.Generator) -> Tensor:
    """Indices [B, count] of tokens drawn without replacement, existing ones first; all of them in order for None."""
    if count is None or count >= exists.shape[1]:
        return torch.arange(exists.shape[1], device=exists.device).expand(len(exists), -1)
    keys = torch.rand(exists.shape, generator=generator, device=exists.device) + exists.float()
    return keys.topk(count, dim=1).indices


def take_tokens(tokens: Tensor, indices: Tensor) -> Tensor:
    """Gather tokens [B, tokens, C] at indices [B, kept]."""
    return tokens.gather(1, indices[..., None].expand(-1, -1, tokens.shape[-1]))


def randn_like(values: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(values.shape, generator=generator, device=values.device)


if __name__ == "__main__":
    training_arguments, data_arguments = parse_arguments(MVGDArguments, DataArguments)
    train(MVGDMethod(training_arguments, data_arguments), training_arguments, data_arguments)
