"""Train MVBoost's parts: `accelerate launch training_scripts/train_mvboost.py --stage base --config FILE`.

Stage "base" trains LGM itself, on images of objects with known cameras; stage "boost" trains adapters of its attention
on data of utils/make_boost_dataset.py (docs/methods/mvboost.md). The loop is anyviews.training's; this file holds what
is LGM's own: how a sample becomes inputs and targets, and the loss.
"""

import dataclasses
import functools
import itertools
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import IterableDataset

from anyviews.cameras import Cameras
from anyviews.data.boosted import REFINED, azimuths_of, split_boosted
from anyviews.data.mixture import parse_mixture
from anyviews.data.open import open_samples
from anyviews.data.procedural import HELD_OUT_SEED_START, ProceduralSamples
from anyviews.data.rows import find_data_files
from anyviews.data.samples import Sample, derive_seed, seeded_permutation
from anyviews.data.world.objects.turntable import turntable_views
from anyviews.data.world.objects.views import object_views
from anyviews.evaluation.methods.mvboost import on_white as images_on_white
from anyviews.evaluation.pictures import grid_picture
from anyviews.models.lgm import (
    INPUT_AZIMUTHS,
    LARGEST_JITTER,
    LGMModel,
    distort_images,
    draw_grid,
    first_camera_frame,
    jitter_cameras,
    lgm_cameras,
    lgm_frame,
    lgm_lora_config,
    prepare_images,
)
from anyviews.rendering.gaussians import render_gaussians
from anyviews.rendering.image_quality import multi_scale_ssim, psnr
from anyviews.rendering.lpips import LPIPS
from anyviews.training.arguments import DataArguments, TrainingArguments, argument, parse_arguments
from anyviews.training.card import write_card
from anyviews.training.loop import train
from anyviews.training.method import Method
from anyviews.views import Views


ORBITS = "procedural-orbits"


@dataclasses.dataclass
class MVBoostArguments(TrainingArguments):
    """What the other methods do not have."""

    stage: Literal["base", "boost"] = argument(
        "base", "base: train LGM itself; boost: train adapters of its attention, from generated to refined views."
    )
    size: Literal["micro", "tiny", "small", "big"] = argument("big", "Preset of LGM.")
    model_options: dict = dataclasses.field(
        default_factory=dict, metadata={"help": "Fields of LGMConfig that differ from the preset, as JSON."}
    )
    supervised_views: int = argument(8, "Views that are rendered and compared.")
    supervised_inputs: int = argument(4, "How many of them are inputs, drawn at random.")
    input_candidates: int | None = argument(
        None, "Inputs are chosen among so many first views of a sample; default: all (procedural-orbits: its ring)."
    )
    alpha_weight: float = argument(1.0, "Weight of the squared error of alpha.")
    perceptual_weight: float = argument(1.0, "Weight of LPIPS, or of what stands in for it.")
    lpips: str | None = argument(
        None, "Folder of converted LPIPS weights (utils/convert_lpips.py); without it 1 - multi-scale SSIM stands in."
    )
    grid_distortion: float = argument(0.5, "Share of samples whose inputs, but the first, are distorted.")
    camera_jitter: float = argument(0.5, "Share of samples whose input cameras, but the first, are moved.")
    color_augmentation: bool = argument(False, "Permute colour channels at random, alike in all views.")
    mirror_augmentation: bool = argument(False, "Mirror objects at random.")
    validation_objects: int = argument(32, "Held-out objects per validation: procedural, or of a boost's test split.")
    lora_rank: int = argument(32, "Rank of the adapters that stage boost trains.")
    lora_alpha: int | None = argument(None, "The adapters are scaled by alpha / rank; default: the rank.")
    lora_dropout: float = argument(0.0, "Dropout of the adapters' inputs.")
    lora_weights: str | None = argument(None, "Folder of an adapter to go on with, of the same rank and model.")
    boost_target: Literal["refined", "generated"] = argument(
        "refined", "Views that stage boost learns: the refined ones, or for comparison the generated ones themselves."
    )


class OrbitObjects(ProceduralSamples):
    """Procedural objects on white from LGM's own cameras: a ring of 8 at elevation 0, then any number around it.

    Args:
        options: of `ProceduralSamples`, without kind and maps.
    """

    RING = 8
    ELEVATIONS = (-30.0, 60.0)

    def __init__(self, **options):
        super().__init__("object", **options)

    def _samples(self, reader: int, readers: int) -> Iterator:
        while True:
            block_index = self._block_index * readers + reader
            seeds = self.scene_seeds(block_index)
            scenes = [orbit_views(seed, self.views, self.height, self.samples) for seed in seeds]
            order = seeded_permutation(self.block * self.repeats, "order", self.seed, block_index)
            for offset in range(self._offset, len(order)):
                scene, repeat = order[offset] % self.block, order[offset] // self.block
                sample = Sample(
                    f"orbit-{seeds[scene]}", scenes[scene], derive_seed("sample", self.seed, seeds[scene], repeat)
                )
                # moved on before the yield: a state taken between two samples points at the second
                self._offset = offset + 1
                yield self.transform(sample) if self.transform else sample
            self._block_index, self._offset = self._block_index + 1, 0


@torch.no_grad()
def orbit_views(seed: int, views: int, size: int, samples: int = 2) -> Views:
    """Views of one procedural object on white, from a ring and from random places around it."""
    generator = torch.Generator().manual_seed(seed)
    ring = torch.arange(OrbitObjects.RING) * (360 / OrbitObjects.RING)
    low, high = OrbitObjects.ELEVATIONS
    free = max(0, views - len(ring))
    azimuths = torch.cat([ring, 360 * torch.rand(free, generator=generator)])[:views]
    elevations = torch.cat([0 * ring, low + (high - low) * torch.rand(free, generator=generator)])[:views]
    cameras = lgm_cameras(azimuths, elevations, size=size)
    return dataclasses.replace(object_views(seed, cameras, samples), depths=None)


class LGMMethod(Method):
    """LGM's examples and loss."""

    name = "mvboost"

    def __init__(self, arguments: MVBoostArguments, data: DataArguments):
        self.arguments, self.data = arguments, data
        self.lpips = None if arguments.lpips is None else LPIPS.from_pretrained(arguments.lpips)

    def build(self, arguments: MVBoostArguments) -> LGMModel:
        if arguments.pretrained_model_name_or_path is not None:
            model = LGMModel.from_pretrained(arguments.pretrained_model_name_or_path, dtype=torch.float32)
        else:
            model = LGMModel.from_size(arguments.size, **arguments.model_options)
        self.config = model.config
        return model

    def place(self, device: torch.device, dtype: torch.dtype) -> None:
        if self.lpips is not None:
            self.lpips.to(device)

    def open_dataset(self, data: DataArguments, rank: int, world_size: int) -> IterableDataset:
        if data.dataset_name != ORBITS:
            return super().open_dataset(data, rank, world_size)
        options = {"seed": data.data_seed, "split": data.dataset_split, "rank": rank, "world_size": world_size}
        return OrbitObjects(**options, transform=self.transform, **data.dataset_options)

    def transform(self, sample: Sample) -> dict[str, Tensor]:
        """Inputs of the network and views to compare, in the frame of the first input."""
        arguments, config = self.arguments, self.config
        generator = sample.generator()
        views, flip = sample.views, torch.rand((), generator=generator)
        colors = torch.randperm(3, generator=generator)
        if arguments.mirror_augmentation and flip < 0.5:
            views = views.mirror()
        if views.height != views.width:
            views = views.fit(views.height, views.height)
        images = on_white(views)
        if arguments.color_augmentation:
            images = images[:, colors]
        candidates = arguments.input_candidates or (OrbitObjects.RING if self.data.dataset_name == ORBITS else None)
        chosen = choose_inputs(views.cameras[:candidates], config.num_views, generator)
        others = [i for i in torch.randperm(len(views), generator=generator).tolist() if i not in chosen]
        again = torch.randperm(len(chosen), generator=generator)[: arguments.supervised_inputs].tolist()
        compared = ([chosen[i] for i in again] + others)[: arguments.supervised_views]
        frame = lgm_frame(views.cameras[chosen], config)
        input_cameras, cameras = (frame.apply_cameras(views.cameras[some]) for some in (chosen, compared))

        inputs = images[chosen]
        if torch.rand((), generator=generator) < arguments.grid_distortion:
            distorted = distort_images(inputs[1:], *draw_grid(len(inputs) - 1, generator))
            inputs = torch.cat([inputs[:1], distorted])
        if torch.rand((), generator=generator) < arguments.camera_jitter:
            turns = (2 * torch.rand(len(inputs), 2, generator=generator) - 1) * torch.tensor(LARGEST_JITTER)
            turns[0] = 0
            input_cameras = jitter_cameras(input_cameras, turns)
        size = config.output_size
        return {
            "pixel_values": prepare_images(inputs, input_cameras, config.input_size),
            "images": resized(images[compared], size),
            "masks": resized(views.masks[compared], size),
            "intrinsics": cameras.resize(size, size).intrinsics,
            "camera_to_world": cameras.camera_to_world,
        }

    def loss(self, model: nn.Module, batch: dict, generator: torch.Generator) -> dict[str, Tensor]:
        output = model(batch["pixel_values"])
        images, alphas = self.render(output.gaussians, batch)
        losses = {
            "rgb": F.mse_loss(images, batch["images"]),
            "alpha": F.mse_loss(alphas, batch["masks"]),
            self.perceptual: self.perceptual_distance(images.flatten(0, 1), batch["images"].flatten(0, 1)),
        }
        weights = {"rgb": 1.0, "alpha": self.arguments.alpha_weight, self.perceptual: self.arguments.perceptual_weight}
        losses["loss"] = sum(weights[name] * value for name, value in losses.items())
        return losses

    @property
    def perceptual(self) -> str:
        """What the perceptual loss is, as logs name it."""
        return "1 - ms_ssim" if self.lpips is None else f"lpips_{self.lpips.net}"

    def perceptual_distance(self, images: Tensor, references: Tensor) -> Tensor:
        if self.lpips is None:
            return 1 - multi_scale_ssim(images, references).mean()
        small = [F.interpolate(one, (256, 256), mode="bilinear", align_corners=False) for one in (images, references)]
        return self.lpips(*small).mean()

    def render(self, gaussians, batch: dict) -> tuple[Tensor, Tensor]:
        """Images on white and alphas of the batch's cameras."""
        size = batch["images"].shape[-1]
        cameras = Cameras.create(batch["intrinsics"], batch["camera_to_world"], size, size)
        white = torch.ones(3, device=cameras.device)
        rendered = render_gaussians(gaussians, cameras, background=white, near=0.2)
        return rendered.images.clamp(0, 1), rendered.alphas

    def validate(self, model: LGMModel, step: int, folder: Path) -> dict[str, float]:
        orbits = self.data.dataset_name == ORBITS
        held_out = range(self.arguments.validation_objects)
        objects = [held_out_views(index, self.config.output_size, orbits) for index in held_out]
        scores, rows = evaluate_objects(model, objects)
        grid_picture(rows, folder / f"step-{step}.png", columns=12)
        (folder / f"step-{step}.json").write_text(json.dumps(scores, indent=1))
        return scores

    def export(self, model: LGMModel, folder: Path) -> None:
        model.save_pretrained(folder)
        summary = (
            f"LGM ({self.arguments.size}): four images of an object at {self.config.input_size} pixels to "
            f"{self.config.num_views * self.config.splat_size**2:,} 3D Gaussians. Perceptual loss: {self.perceptual}."
        )
        tags = ["mvboost", "lgm", "gaussian-splatting"]
        write_card(folder, "image-to-3d", tags, summary, self.arguments, self.data)


class BoostMethod(LGMMethod):
    """MVBoost's fine-tuning: generated views in, adapters on the attention, refined views as the truth."""

    def build(self, arguments: MVBoostArguments) -> LGMModel:
        if arguments.pretrained_model_name_or_path is None:
            raise ValueError("--stage boost fine-tunes a model; give --pretrained_model_name_or_path, an LGM")
        model = super().build(arguments)
        if arguments.lora_weights is None:
            model.add_lora(lgm_lora_config(arguments.lora_rank, arguments.lora_alpha, arguments.lora_dropout))
            return model
        model.load_lora_weights(arguments.lora_weights, trainable=True)
        rank = model.peft_config["default"].r
        if rank != arguments.lora_rank:
            raise ValueError(
                f"the adapter in {arguments.lora_weights} has rank {rank}, not {arguments.lora_rank}; give "
                f"--lora_rank {rank}, or leave --lora_weights out to begin with a fresh one"
            )
        return model

    def open_dataset(self, data: DataArguments, rank: int, world_size: int) -> IterableDataset:
        if data.dataset_name.startswith("procedural-"):
            raise ValueError(
                f"--dataset_name {data.dataset_name}: stage boost learns from generated and refined views; give a "
                "folder that utils/make_boost_dataset.py wrote"
            )
        return super().open_dataset(data, rank, world_size)

    def transform(self, sample: Sample) -> dict[str, Tensor]:
        """Inputs of the network from the generated views, and all refined views to compare with."""
        config, generator = self.config, sample.generator()
        generated, refined = split_boosted(sample)
        azimuths = azimuths_of(generated)
        missing = [azimuth for azimuth in INPUT_AZIMUTHS if azimuth not in azimuths]
        if missing:
            raise ValueError(f"{sample.key} has no views at {missing} degrees, which LGM's inputs are")
        chosen = [azimuths.index(azimuth) for azimuth in INPUT_AZIMUTHS]
        self._check_cameras(sample.key, generated.cameras[chosen])
        truth = refined if self.arguments.boost_target == REFINED else generated
        colors = torch.randperm(3, generator=generator) if self.arguments.color_augmentation else torch.arange(3)
        compared = torch.randperm(len(truth), generator=generator)[: self.arguments.supervised_views].tolist()
        inputs, cameras = generated[chosen], truth.cameras[compared]
        size = config.output_size
        return {
            "pixel_values": prepare_images(inputs.images[:, colors], inputs.cameras, config.input_size),
            "images": resized(truth.images[compared][:, colors], size),
            "masks": resized(truth.masks[compared], size),
            "intrinsics": cameras.resize(size, size).intrinsics,
            "camera_to_world": cameras.camera_to_world,
        }

    def _check_cameras(self, key: str, cameras: Cameras) -> None:
        """Refuse data that was made for an LGM with other cameras, which would learn nothing of its own."""
        config = self.config
        own = lgm_cameras(radius=config.camera_radius, field_of_view=config.field_of_view, size=cameras.width)
        same = torch.allclose(own.camera_to_world, cameras.camera_to_world, atol=1e-3)
        if not same or not torch.allclose(own.intrinsics, cameras.intrinsics, rtol=1e-3, atol=1e-3):
            raise ValueError(
                f"{key} was made for an LGM with other cameras than this one's (radius {config.camera_radius:g}, "
                f"{config.field_of_view:g} degrees); make the data with the model that is to be boosted"
            )

    @functools.cached_property
    def held_out(self) -> list[Sample]:
        """Samples of the test split, if the data set has one."""
        names, _ = parse_mixture(self.data.dataset_name)
        if not all("test" in find_data_files(name) for name in names):
            return []
        count = self.arguments.validation_objects
        samples = open_samples(self.data.dataset_name, split="test", seed=0, block=1)
        return list(itertools.islice(samples, count))

    def validate(self, model: LGMModel, step: int, folder: Path) -> dict[str, float]:
        if not self.held_out:
            return {}
        own = dataclasses.replace(self.arguments, color_augmentation=False, supervised_views=10**6)
        method = BoostMethod(own, self.data)
        method.config = self.config
        batch = self.collate([method.transform(sample) for sample in self.held_out])
        images, alphas = self.render(model(batch["pixel_values"].to(model.device)).gaussians.to("cpu"), batch)
        found, truth = images.flatten(0, 1), batch["images"].flatten(0, 1)
        scores = {
            "psnr": float(psnr(found, truth).mean()),
            "ms_ssim": float(multi_scale_ssim(found, truth).mean()),
            "alpha_mae": float((alphas - batch["masks"]).abs().mean()),
        }
        rows = [batch["images"][:, 0], images[:, 0]]
        grid_picture(rows, folder / f"step-{step}.png", columns=12)
        return scores

    def export(self, model: LGMModel, folder: Path) -> None:
        model.save_lora_weights(folder, overwrite=True)
        arguments = self.arguments
        summary = (
            f"A boosting adapter (LoRA of rank {arguments.lora_rank} on the cross-view attention) for LGM, in peft's "
            f"format. Base: {arguments.pretrained_model_name_or_path}. Perceptual loss: {self.perceptual}."
        )
        tags = ["mvboost", "lgm", "lora", "gaussian-splatting"]
        write_card(folder, "image-to-3d", tags, summary, arguments, self.data)


def on_white(views: Views) -> Tensor:
    """Images with white around the object; those that have it already stay as they are."""
    if views.masks is None:
        raise ValueError("a sample has no masks; LGM learns objects, whose background is cut out")
    return images_on_white(views)


def choose_inputs(cameras: Cameras, count: int, generator: torch.Generator) -> list[int]:
    """A random first view, then those that are nearest to equal turns around it about its own up axis."""
    first = int(torch.randint(len(cameras), (), generator=generator))
    if len(cameras) < count:
        raise ValueError(f"{len(cameras)} views to choose {count} inputs from; give samples of more views")
    frame = first_camera_frame(cameras[[first]], float(cameras.centers[first].norm()))
    wanted = lgm_cameras([360 * i / count for i in range(count)])
    centers = F.normalize(frame.apply(cameras.centers), dim=-1)
    distances = torch.cdist(F.normalize(wanted.centers, dim=-1), centers)
    chosen = [first]
    for row in distances[1:]:
        row[chosen] = math.inf
        chosen.append(int(row.argmin()))
    return chosen


def resized(values: Tensor, size: int) -> Tensor:
    if values.shape[-1] == size:
        return values
    return F.interpolate(values, (size, size), mode="bilinear", align_corners=False)


@functools.cache
def held_out_views(index: int, size: int, orbits: bool) -> Views:
    """An object that training never sees; rendered once, because every validation needs it."""
    seed = HELD_OUT_SEED_START + index
    return orbit_views(seed, 12, size) if orbits else turntable_views(torch.tensor([seed]), size).scene(0)


@torch.no_grad()
def evaluate_objects(model: LGMModel, objects: list[Views]) -> tuple[dict[str, float], list[Tensor]]:
    """Scores of views between and above LGM's four inputs.

    Args:
        model: what is judged.
        objects: 12 views each, of which the first eight stand in a ring.

    Returns:
        "psnr" and "ms_ssim" of novel views, "input_psnr" of the inputs, "alpha_mae", and "nearest_psnr" and
        "white_psnr" of answers that know no geometry; and rows of pictures: inputs, truth, and what was rendered.
    """
    config = model.config
    totals: dict[str, list[Tensor]] = {}
    rows: list[list[Tensor]] = [[], [], []]
    for views in objects:
        chosen, novel = [0, 2, 4, 6], [1, 3, 5, 7, 8, 9, 10, 11]
        cameras = lgm_frame(views.cameras[chosen], config).apply_cameras(views.cameras)
        pixel_values = prepare_images(views.images[chosen], cameras[chosen], config.input_size)[None].to(model.device)
        gaussians = model(pixel_values).gaussians[0].to("cpu")
        rendered = render_gaussians(gaussians, cameras, background=torch.ones(3), near=0.2)
        images, truth = rendered.images.clamp(0, 1), views.images
        nearest = torch.cdist(views.cameras.centers[novel], views.cameras.centers[chosen]).argmin(1)
        found = {
            "psnr": psnr(images[novel], truth[novel]),
            "ms_ssim": multi_scale_ssim(images[novel], truth[novel]),
            "input_psnr": psnr(images[chosen], truth[chosen]),
            "alpha_mae": (rendered.alphas - views.masks)[novel].abs().flatten(1).mean(1),
            "nearest_psnr": psnr(truth[chosen][nearest], truth[novel]),
            "white_psnr": psnr(torch.ones_like(truth[novel]), truth[novel]),
        }
        for name, values in found.items():
            totals.setdefault(name, []).append(values.mean())
        for row, picture in zip(rows, (truth[[0]], truth[[9]], images[[9]]), strict=True):
            row.append(picture)
    return {name: float(torch.stack(values).mean()) for name, values in totals.items()}, [torch.cat(r) for r in rows]


if __name__ == "__main__":
    training_arguments, data_arguments = parse_arguments(MVBoostArguments, DataArguments)
    method = {"base": LGMMethod, "boost": BoostMethod}[training_arguments.stage]
    train(method(training_arguments, data_arguments), training_arguments, data_arguments)
