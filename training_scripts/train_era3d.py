"""Train Era3D: `accelerate launch training_scripts/train_era3d.py --config FILE` (see docs/methods/era3d.md).

The loop is anyviews.training's; this file holds what is Era3D's own: the trained modules, how objects become condition
image and views, and the loss.
"""

import dataclasses
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler, DDPMScheduler
from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import StableUnCLIPImageNormalizer
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import IterableDataset
from transformers import CLIPImageProcessorPil, CLIPVisionConfig, CLIPVisionModelWithProjection

from anyviews.data.procedural import HELD_OUT_SEED_START, LICENCE, SOURCE, ProceduralSamples
from anyviews.data.samples import Sample, derive_seed, seeded_permutation
from anyviews.data.world.objects.turntable import render_turntables
from anyviews.data.world.views import WorldViews
from anyviews.foreground import Foreground
from anyviews.models.era3d import (
    ERA3D_SIZES,
    VIEW_AZIMUTHS,
    ZERO_SNR_SCHEDULER,
    Era3DPixelAutoencoder,
    Era3DPrompts,
    Era3DUNetModel,
    encode_normals,
    in_rows,
    min_snr_weights,
    noised_embeddings,
)
from anyviews.models.mvgd import MVGDExplicitAttentionProcessor
from anyviews.pipelines.pipeline_era3d import Era3DPipeline
from anyviews.training.arguments import DataArguments, TrainingArguments, argument, parse_arguments
from anyviews.training.card import write_card
from anyviews.training.loop import train
from anyviews.training.method import Method
from anyviews.views import Views


# Azimuths that an object is rendered at; any of them can be the front.
TURNS = 8
VIEW_TURNS = [azimuth * TURNS // 360 for azimuth in VIEW_AZIMUTHS.values()]
# tan of half the field of view is 18 mm / focal length on a 36 mm sensor; what is regressed is 24 mm / focal length
FOCAL_PER_TANGENT = 24 / 18

# Parts of fresh models beside the U-Net.
FRESH = {
    "tiny": {"image_size": 32, "patch_size": 8, "hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 2},
    "small": {"image_size": 64, "patch_size": 8, "hidden_size": 256, "num_hidden_layers": 6, "num_attention_heads": 4},
}


@dataclasses.dataclass
class Era3DArguments(TrainingArguments):
    """What the other methods do not have."""

    size: Literal["tiny", "small", "base"] = argument("tiny", "Preset of the U-Net; base needs a pretrained model.")
    unet_options: dict = dataclasses.field(
        default_factory=dict, metadata={"help": "Fields of Era3DUNetModel that differ from the preset, as JSON."}
    )
    snr_gamma: float = argument(5.0, "Min-SNR weighting of the loss; 0 weights all noise levels alike.")
    condition_dropout: float = argument(
        0.05, "Share of samples without the image's latents, as many without its embedding, and as many without both."
    )
    train_all: bool | None = argument(
        None, "Train image encoder and prompts too; default: only if they start from nothing."
    )
    camera_weight: float = argument(1.0, "Weight of elevation and focal length in the loss.")
    max_elevation: float = argument(40.0, "Degrees above the horizon of condition images, if it is regressed.")
    min_elevation: float = argument(-10.0, "The lower end of those elevations.")
    mirror_augmentation: bool = argument(True, "Mirror objects at random.")
    color_augmentation: bool = argument(True, "Permute colour channels at random, alike in all views.")
    validation_objects: int = argument(16, "Held-out procedural objects per validation.")
    validation_steps_of_pipeline: int = argument(10, "Denoising steps of the pipeline in validation.")
    guidance_scale: float = argument(3.0, "What the exported pipeline does by default.")
    num_inference_steps: int = argument(40, "Denoising steps of the exported pipeline by default.")
    eta: float = argument(1.0, "Eta of its scheduler by default.")


class Era3DNetwork(nn.Module):
    """The trained modules as one, so that accelerate wraps one forward pass."""

    def __init__(self, unet: Era3DUNetModel, image_encoder: CLIPVisionModelWithProjection, prompts: Era3DPrompts):
        super().__init__()
        self.unet = unet
        self.image_encoder = image_encoder
        self.prompts = prompts

    def forward(self, pixels: Tensor, label: Any, noisy: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor | None]:
        """Prediction and poses; `label` makes class labels of image embeddings."""
        labels = label(self.image_encoder(pixels).image_embeds)
        output = self.unet(noisy, timesteps, self.prompts(), labels)
        return output.sample, output.poses


class Turntables(ProceduralSamples):
    """Procedural objects at eight azimuths, then, if asked for, as many condition images of the same azimuths.

    Args:
        tilted: elevations of the condition images in degrees, lowest and highest; None for no condition images.
        options: of `ProceduralSamples`.
    """

    def __init__(self, tilted: tuple[float, float] | None = None, **options):
        super().__init__("object", views=TURNS, **options)
        self.tilted = tilted

    def _samples(self, reader: int, readers: int) -> Iterator[Any]:
        while True:
            block_index = self._block_index * readers + reader
            seeds = self.scene_seeds(block_index)
            world = [render_turns([seed], self.height, self.samples, self.device, self.tilted)[0] for seed in seeds]
            order = seeded_permutation(self.block * self.repeats, "order", self.seed, block_index)
            for offset in range(self._offset, len(order)):
                scene, repeat = order[offset] % self.block, order[offset] // self.block
                seed = derive_seed("sample", self.seed, seeds[scene], repeat)
                sample = Sample(f"object-{seeds[scene]}", world[scene], seed, licence=LICENCE, source=SOURCE)
                self._offset = offset + 1
                yield self.transform(sample) if self.transform else sample
            self._block_index, self._offset = self._block_index + 1, 0


def render_turns(
    seeds: list[int], size: int, samples: int, device: Any = "cpu", tilted: tuple[float, float] | None = None
) -> list[Views]:
    """Views of each object: eight level ones, and eight tilted ones through a common lens if asked for."""
    azimuths = torch.arange(TURNS) * (2 * math.pi / TURNS)
    level = render_turntables(torch.tensor(seeds), azimuths, size, size, device=device, samples=samples)
    if tilted is None:
        return [level.scene(i) for i in range(len(seeds))]
    numbers = torch.stack([torch.rand(TURNS, 2, generator=torch.Generator().manual_seed(seed)) for seed in seeds])
    elevations = torch.deg2rad(tilted[0] + (tilted[1] - tilted[0]) * numbers[..., 0])
    tangents = 0.05 + 0.45 * numbers[..., 1]
    above: WorldViews = render_turntables(
        torch.tensor(seeds), azimuths, size, size, elevations, tangents, device=device, samples=samples
    )
    return [Views.cat([level.scene(i), above.scene(i)]) for i in range(len(seeds))]


class Era3DMethod(Method):
    """Era3D's models, examples and loss."""

    name = "era3d"

    def __init__(self, arguments: Era3DArguments, data: DataArguments):
        self.arguments, self.data = arguments, data
        self._held_out: list[dict[str, Tensor]] | None = None

    def build(self, arguments: Era3DArguments) -> Era3DNetwork:
        pretrained = arguments.pretrained_model_name_or_path
        self.parts = Era3DPipeline.from_pretrained(pretrained) if pretrained else fresh_pipeline(arguments)
        pipe = self.parts
        if not torch.accelerator.is_available():
            pipe.unet.set_attn_processor(MVGDExplicitAttentionProcessor())
        train_all = pretrained is None if arguments.train_all is None else arguments.train_all
        for module in (pipe.image_encoder, pipe.prompts):
            module.requires_grad_(train_all)
        pipe.vae.requires_grad_(False)
        if pipe.image_size != arguments.resolution:
            raise ValueError(f"--resolution {arguments.resolution}, but the model generates {pipe.image_size} pixels")
        return Era3DNetwork(pipe.unet, pipe.image_encoder, pipe.prompts).float()

    def place(self, device: torch.device, dtype: torch.dtype) -> None:
        self.parts.vae.to(device, dtype)

    def open_dataset(self, data: DataArguments, rank: int, world_size: int) -> IterableDataset:
        if data.dataset_name != "procedural-objects":
            if data.dataset_name.startswith("procedural-"):
                raise ValueError(
                    f"--dataset_name {data.dataset_name}: six level views and normals are known of procedural-objects "
                    "only, and of shards that `utils/make_shards.py --kind turntables` writes"
                )
            if self.tilted is not None:
                raise ValueError(
                    f"--dataset_name {data.dataset_name}: this model regresses the camera of its input, for which "
                    "only procedural-objects has examples; give that, or a size without regressors"
                )
            return super().open_dataset(data, rank, world_size)
        options = {"height": self.arguments.resolution, "width": self.arguments.resolution, **data.dataset_options}
        return Turntables(
            self.tilted, split=data.dataset_split, seed=data.data_seed, rank=rank, world_size=world_size,
            transform=self.transform, **options,
        )  # fmt: skip

    @property
    def tilted(self) -> tuple[float, float] | None:
        regressed = ERA3D_SIZES[self.arguments.size] | self.arguments.unet_options
        if not regressed.get("regress_elevation", True):
            return None
        return self.arguments.min_elevation, self.arguments.max_elevation

    def transform(self, sample: Sample) -> dict[str, Tensor]:
        """Condition image and six views in both domains, from a random side of the object."""
        generator = sample.generator()
        front = int(torch.randint(TURNS, (), generator=generator))
        mirror = bool(torch.rand((), generator=generator) < 0.5) and self.arguments.mirror_augmentation
        colors = torch.randperm(3, generator=generator) if self.arguments.color_augmentation else torch.arange(3)
        views = sample.views
        if self.tilted is None:
            check_level(sample)
            views = views[:TURNS]
        return make_example(views, front, mirror, colors, self.parts.config.foreground_share)

    def loss(self, model: nn.Module, batch: dict, generator: torch.Generator) -> dict[str, Tensor]:
        pipe, views = self.parts, len(VIEW_TURNS)
        device, count = batch["condition"].device, len(batch["condition"])
        rows = batch["views"].transpose(0, 1).flatten(0, 2)  # [2 * B * views, 3, H, W]: domain, object, view
        with torch.no_grad():
            clean, image = self.latents(rows), self.latents(batch["condition"])
        scheduler = pipe.scheduler
        steps = torch.randint(scheduler.config.num_train_timesteps, (count,), generator=generator, device=device)
        alphas = in_rows(scheduler.alphas_cumprod.to(device)[steps], views)
        signal, spread = alphas.sqrt()[:, None, None, None], (1 - alphas).sqrt()[:, None, None, None]
        noise = torch.randn(clean.shape, generator=generator, device=device)
        goal = signal * noise - spread * clean

        part = torch.rand(count, generator=generator, device=device) / max(self.arguments.condition_dropout, 1e-9)
        # the first share of samples loses the latents, the second the embedding, the third both
        has_latents = in_rows(((part >= 1) & (part < 2) | (part >= 3)).float(), views)
        has_embedding = in_rows(((part < 1) | (part >= 3)).float(), views)
        width = pipe.unet.config.projection_class_embeddings_input_dim // 2
        embedding_noise = torch.randn(len(clean), width, generator=generator, device=device)

        def label(embeddings: Tensor) -> Tensor:
            given = in_rows(embeddings, views), embedding_noise
            labels = noised_embeddings(*given, pipe.image_normalizer, pipe.image_noising_scheduler)
            return labels * has_embedding[:, None]

        images = in_rows(image, views) * has_latents[:, None, None, None]
        noisy = torch.cat([signal * clean + spread * noise, images], dim=1)
        prediction, poses = model(self.clip_pixels(batch["condition"]), label, noisy, in_rows(steps, views))
        error = (prediction.float() - goal).square().mean((1, 2, 3))
        weighted = error * min_snr_weights(alphas, self.arguments.snr_gamma or None)
        normal, color = weighted.chunk(2)
        losses = {"normal": normal.mean(), "color": color.mean(), "loss": weighted.mean()}
        if poses is not None:
            losses["camera"] = F.mse_loss(poses.float(), batch["pose"], reduction="none").sum(1).mean()
            losses["loss"] = losses["loss"] + self.arguments.camera_weight * losses["camera"]
        return losses

    def latents(self, images: Tensor) -> Tensor:
        """Latents of images in [0, 1]."""
        vae = self.parts.vae
        found = vae.encode((2 * images - 1).to(vae.dtype)).latent_dist.mode()
        return found.float() * vae.config.scaling_factor

    def clip_pixels(self, images: Tensor) -> Tensor:
        """Images in [0, 1] as the image encoder takes them."""
        extractor = self.parts.feature_extractor
        size = (extractor.crop_size["height"], extractor.crop_size["width"])
        if images.shape[-2:] != size:
            images = F.interpolate(images, size, mode="bicubic", antialias=True).clamp(0, 1)
        mean, std = (images.new_tensor(value)[:, None, None] for value in (extractor.image_mean, extractor.image_std))
        return (images - mean) / std

    def pipeline(self, model: Era3DNetwork) -> Era3DPipeline:
        parts = {**self.parts.components, "unet": model.unet, "image_encoder": model.image_encoder}
        arguments = self.arguments
        pipe = Era3DPipeline(
            **{**parts, "prompts": model.prompts},
            guidance_scale=arguments.guidance_scale,
            num_inference_steps=arguments.num_inference_steps,
            eta=arguments.eta,
        )
        pipe.set_progress_bar_config(disable=True)
        return pipe

    def validate(self, model: Era3DNetwork, step: int, folder: Path) -> dict[str, float]:
        if self._held_out is None:
            seeds = [HELD_OUT_SEED_START + i for i in range(self.arguments.validation_objects)]
            objects = render_turns(seeds, self.arguments.resolution, 2, tilted=self.tilted)
            share = self.parts.config.foreground_share
            self._held_out = [make_example(views, 0, False, torch.arange(3), share) for views in objects]
        many = self.arguments.validation_steps_of_pipeline
        runs = {
            "1 step": (1, 1.0),
            f"{many} steps": (many, 1.0),
            f"{many} steps guided": (many, self.arguments.guidance_scale),
        }
        return evaluate(self.pipeline(model), self._held_out, runs, folder / f"step-{step}.png")

    def export(self, model: Era3DNetwork, folder: Path) -> None:
        self.pipeline(model).save_pretrained(folder)
        summary = (
            f"Era3D ({self.arguments.size}): one image of an object to six normal maps and six colour images at "
            f"{self.arguments.resolution} pixels."
        )
        write_card(folder, "image-to-3d", ["era3d", "multi-view-diffusion"], summary, self.arguments, self.data)


def check_level(sample: Sample) -> None:
    """Raise ValueError unless the first views of a sample are level ones at 0, 45, ... degrees, with normals."""
    views = sample.views[:TURNS]
    if views.normals is not None and views.depths is not None and views.masks is not None and len(views) == TURNS:
        backward = -views.cameras.rotation[..., 2]
        azimuths = torch.arange(TURNS) * (2 * math.pi / TURNS)
        wanted = torch.stack([azimuths.sin(), 0 * azimuths, azimuths.cos()], dim=-1)
        if (backward - wanted).abs().max() < 1e-3 and views.height == views.width:
            return
    raise ValueError(
        f"{sample.key}: needed are {TURNS} level views first, at 0, 45, ... degrees, square and with masks, depths "
        "and normals, as `utils/make_shards.py --kind turntables` writes them"
    )


def fresh_pipeline(arguments: Era3DArguments) -> Era3DPipeline:
    """Untrained parts: pixels as latents, a small image encoder, and free prompts of one token."""
    if arguments.size not in FRESH:
        raise ValueError(
            f"--size {arguments.size} needs --pretrained_model_name_or_path: a folder of utils/convert_era3d.py"
        )
    unet = Era3DUNetModel.from_size(arguments.size, **arguments.unet_options)
    block = arguments.resolution // unet.config.sample_size
    width = unet.config.projection_class_embeddings_input_dim // 2
    options = FRESH[arguments.size]
    clip = CLIPVisionConfig(**options, intermediate_size=2 * options["hidden_size"], projection_dim=width)
    return Era3DPipeline(
        image_encoder=CLIPVisionModelWithProjection(clip),
        feature_extractor=CLIPImageProcessorPil(
            size={"shortest_edge": clip.image_size}, crop_size={"height": clip.image_size, "width": clip.image_size}
        ),
        image_normalizer=StableUnCLIPImageNormalizer(width),
        image_noising_scheduler=DDPMScheduler(beta_schedule="squaredcos_cap_v2"),
        vae=Era3DPixelAutoencoder(block),
        unet=unet,
        prompts=Era3DPrompts(unet.config.num_views, 1, unet.config.cross_attention_dim),
        scheduler=DDIMScheduler(**ZERO_SNR_SCHEDULER),
        guidance_scale=arguments.guidance_scale,
    )


def make_example(views: Views, front: int, mirror: bool, colors: Tensor, foreground_share: float) -> dict[str, Tensor]:
    """Condition image [3, S, S], views [2, 6, 3, S, S] (normal maps first) and pose [2] of the input camera.

    Args:
        views: of `render_turns`.
        front: which of the eight azimuths is the front.
        mirror: exchange left and right.
        colors: permutation of the colour channels.
        foreground_share: of the condition image's side.
    """
    turns = [(front + (-turn if mirror else turn)) % TURNS for turn in VIEW_TURNS]
    chosen, condition = views[turns], views[[front + TURNS if len(views) > TURNS else front]]
    rotation = chosen.cameras.camera_to_world[0, :3, :3]
    in_front = torch.einsum("vchw,ck->vkhw", chosen.normals, rotation)
    if mirror:
        in_front = in_front * in_front.new_tensor([-1, 1, 1])[:, None, None]
    normals = encode_normals(in_front, (chosen.depths > 0).float())
    image = Foreground(condition.images[0], condition.masks[0]).centered(views.height, foreground_share)
    stacked = torch.stack([normals, chosen.images[:, colors]])
    camera = condition.cameras
    tangent = views.width / (2 * camera.intrinsics[0, 0, 0])
    # the third axis points forward: down for a camera above the horizon
    elevation = -camera.camera_to_world[0, 1, 2].asin()
    pose = torch.stack([elevation, FOCAL_PER_TANGENT * tangent])
    image = image[colors]
    return {
        "views": stacked.flip(-1) if mirror else stacked,
        "condition": image.flip(-1) if mirror else image,
        "pose": pose if len(views) > TURNS else pose * 0,
    }


def evaluate(
    pipe: Era3DPipeline,
    objects: list[dict[str, Tensor]],
    runs: dict[str, tuple[int, float]],
    picture: Path | None = None,
    seed: int = 0,
) -> dict[str, float]:
    """PSNR of views against the truth: of the front, of the others, of normal maps; and of two baselines.

    Args:
        pipe: what is judged.
        objects: of `make_example`.
        runs: name to number of steps and guidance scale.
        picture: where to draw the first objects.
        seed: of the noise.
    """
    truth = torch.stack([example["views"] for example in objects], dim=1)  # [2, B, 6, 3, H, W]
    conditions = [example["condition"] for example in objects]
    copied = truth[:, :, :1].expand_as(truth)
    predictions = {"front repeated": copied, "mean picture": truth.mean(1, keepdim=True).expand_as(truth)}
    for name, (steps, guidance) in runs.items():
        generator = torch.Generator(pipe.device).manual_seed(seed)
        output = pipe(
            conditions, prepared=True, num_inference_steps=steps, guidance_scale=guidance, generator=generator,
            output_type="pt",
        )  # fmt: skip
        found = torch.stack([output.normals, output.images])
        predictions[name] = found.unflatten(1, (len(objects), -1))
    scores = {}
    for name, found in predictions.items():
        error = (found - truth).square().mean((-3, -2, -1))  # [2, B, 6]
        psnr = -10 * error.clamp(min=1e-10).log10()
        scores |= {
            f"{name}/front": psnr[1, :, 0].mean().item(),
            f"{name}/others": psnr[1, :, 1:].mean().item(),
            f"{name}/normals": psnr[0, :, 1:].mean().item(),
        }
    if picture is not None:
        shown = [truth, *(predictions[name] for name in runs)]
        write_picture(conditions, shown, picture)
        picture.with_suffix(".json").write_text(json.dumps(scores, indent=1), encoding="utf-8")
    return scores


def write_picture(conditions: list[Tensor], shown: list[Tensor], path: Path, count: int = 6) -> None:
    """Objects below each other: the condition image, then a row of colours and one of normals per prediction."""
    rows = []
    for i in range(min(count, len(conditions))):
        for found in shown:
            for domain in (1, 0):
                rows.append(torch.cat([conditions[i], *found[domain, i]], dim=-1))
    pixels = torch.cat(rows, dim=-2).clamp(0, 1).mul(255).round().byte().movedim(0, -1)
    Image.fromarray(pixels.cpu().numpy()).save(path)


if __name__ == "__main__":
    training_arguments, data_arguments = parse_arguments(Era3DArguments, DataArguments)
    train(Era3DMethod(training_arguments, data_arguments), training_arguments, data_arguments)
