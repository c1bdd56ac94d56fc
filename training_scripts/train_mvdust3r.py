"""Train MV-DUSt3R+: `accelerate launch training_scripts/train_mvdust3r.py --config FILE` (docs/methods/mvdust3r.md).

The loop is anyviews.training's; this file holds what is MV-DUSt3R+'s own: which views of a sample are seen together,
how stages build on each other, and what is minimised.
"""

import dataclasses
import json
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from anyviews.cameras import Cameras
from anyviews.data.samples import Sample
from anyviews.evaluation.pointmaps import evaluate_pointmaps, held_out_rooms
from anyviews.geometry.depth import reproject_depth
from anyviews.models.mvdust3r import MVDust3rPlusConfig, MVDust3rPlusImageProcessor, MVDust3rPlusModel
from anyviews.models.mvdust3r.losses_mvdust3r import point_losses, points_in_references, render_losses
from anyviews.training.arguments import DataArguments, TrainingArguments, argument, parse_arguments
from anyviews.training.card import write_card
from anyviews.training.loop import train
from anyviews.training.method import Method


# Parts that a checkpoint may lack: they are drawn anew, and the fusion of paths then starts as the identity.
NEW_PARTS = ("decoder.fusion_layers.", "reference_gaussian_head.", "source_gaussian_head.")


@dataclasses.dataclass
class MVDust3rArguments(TrainingArguments):
    """What the other methods do not have."""

    size: Literal["tiny", "small", "base"] = argument("tiny", "Preset of the model.")
    model_options: dict = dataclasses.field(
        default_factory=dict,
        metadata={"help": "Fields of MVDust3rPlusConfig that differ from the preset or the given model, as JSON."},
    )
    min_views: int = argument(8, "Fewest input views of a batch (paper: 8; 4 in its second stage).")
    max_views: int = argument(8, "Most input views of a batch (paper: 8; 12 in its second stage).")
    novel_views: int = argument(2, "Views that are only rendered, with --render_weight above 0.")
    min_overlap: float = argument(0.0, "Every view shares at least this part with an earlier one (paper: 0.3).")
    color_jitter: float = argument(0.5, "Brightness, contrast and saturation of each view vary by this share.")
    render_weight: float = argument(0.0, "Weight of the rendering loss of the Gaussian heads (paper: 1).")
    freeze_geometry: bool = argument(False, "Train the Gaussian heads alone.")
    validation_scenes: int = argument(64, "Held-out procedural rooms per validation.")


class MVDust3rMethod(Method):
    """MV-DUSt3R+'s model, examples and losses."""

    name = "mvdust3r"

    def __init__(self, arguments: MVDust3rArguments, data: DataArguments):
        if not 2 <= arguments.min_views <= arguments.max_views:
            raise ValueError(
                f"found --min_views {arguments.min_views} and --max_views {arguments.max_views}; accepted are two or "
                "more, the first not above the second"
            )
        self.arguments, self.data = arguments, data
        self.rooms = None

    def build(self, arguments: MVDust3rArguments) -> MVDust3rPlusModel:
        options = {"use_gaussians": arguments.render_weight > 0, **arguments.model_options}
        if arguments.pretrained_model_name_or_path is not None:
            model = grown(MVDust3rPlusModel.from_pretrained(arguments.pretrained_model_name_or_path), options)
        else:
            model = MVDust3rPlusModel.from_size(arguments.size, **{"image_size": arguments.resolution, **options})
        if arguments.render_weight > 0 and model.reference_gaussian_head is None:
            raise ValueError("--render_weight needs Gaussian heads; leave use_gaussians out of --model_options")
        if arguments.freeze_geometry:
            for name, parameter in model.named_parameters():
                parameter.requires_grad_("gaussian_head" in name)
        if not torch.accelerator.is_available():
            model.set_attn_implementation("eager")  # the backward pass of the fused kernel is slow on a CPU
        self.config = model.config
        return model.float()

    def transform(self, sample: Sample) -> dict[str, Tensor]:
        """Views of one scene in random order, each with an overlap with an earlier one."""
        arguments, generator = self.arguments, sample.generator()
        views, size = sample.views, arguments.resolution
        if (views.height, views.width) != (size, size):
            views = views.fit(size, size)
        if views.depths is None or views.cameras is None:
            raise ValueError(f"sample {sample.key} has no depth or no cameras; MV-DUSt3R+ is trained on posed RGB-D")
        count = arguments.max_views + (arguments.novel_views if arguments.render_weight > 0 else 0)
        order = torch.randperm(len(views), generator=generator).tolist()
        if arguments.min_overlap > 0:
            order = connected_order(view_overlaps(views.depths, views.cameras), order, arguments.min_overlap)
        views = views[(order * -(-count // len(order)))[:count]]
        return {
            "images": jitter_colors(views.images, arguments.color_jitter, generator),
            "depths": views.depths,
            "intrinsics": views.cameras.intrinsics,
            "camera_to_world": views.cameras.camera_to_world,
            "seed": torch.tensor(sample.seed),
        }

    def collate(self, examples: list[dict[str, Tensor]]) -> dict:
        """A batch of one number of input views, drawn from the first example's seed."""
        batch = super().collate(examples)
        generator = torch.Generator().manual_seed(int(batch.pop("seed")[0]))
        bounds = self.arguments.min_views, self.arguments.max_views + 1
        return {**batch, "inputs": torch.randint(*bounds, (), generator=generator).item()}

    def loss(self, model: nn.Module, batch: dict, generator: torch.Generator) -> dict[str, Tensor]:
        arguments, inputs = self.arguments, slice(batch["inputs"])
        pixel_values, depths = 2 * batch["images"] - 1, batch["depths"][:, inputs]
        cameras = Cameras.create(batch["intrinsics"], batch["camera_to_world"], *depths.shape[-2:])
        output = model(pixel_values[:, inputs])
        targets = points_in_references(depths, cameras[:, inputs], output.references)
        points = point_losses(output.points, output.confidence, targets, depths[:, :, 0] > 0, output.references)
        losses = {"points": points.loss, "error": points.error, "loss": points.loss}
        if arguments.render_weight > 0:
            rendered = render_losses(
                output, pixel_values[:, inputs], pixel_values, cameras[:, inputs], cameras, points
            )
            losses |= {"color": rendered.color, "scale": rendered.scale}
            losses["loss"] = points.loss + arguments.render_weight * (rendered.color + rendered.scale)
        return losses

    def validate(self, model: MVDust3rPlusModel, step: int, folder: Path) -> dict[str, float]:
        if self.rooms is None:
            self.rooms = held_out_rooms(self.arguments.validation_scenes, model.config.image_size, views=4)
        report = evaluate_pointmaps(model, self.rooms, picture=folder / f"step-{step}.png")
        (folder / f"step-{step}.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
        return report["means"]

    def export(self, model: MVDust3rPlusModel, folder: Path) -> None:
        model.save_pretrained(folder)
        MVDust3rPlusImageProcessor(self.config.image_size).save_pretrained(folder)
        name = "MV-DUSt3R+" if self.config.has_fusion else "MV-DUSt3R"
        summary = (
            f"{name} ({self.arguments.size}): unposed photos of a scene to points, cameras and Gaussians in one pass, "
            f"at {self.config.image_size} pixels."
        )
        tags = ["mvdust3r", "multi-view-reconstruction", "gaussian-splatting"]
        write_card(folder, "image-to-3d", tags, summary, self.arguments, self.data)


def grown(model: MVDust3rPlusModel, options: dict) -> MVDust3rPlusModel:
    """A model with other options and the same weights; parts that it did not have are drawn anew.

    Raises:
        ValueError: if the options change or remove trained weights.
    """
    larger = MVDust3rPlusModel(MVDust3rPlusConfig(**{**model.config.to_diff_dict(), **options}))
    weights, wanted = model.state_dict(), larger.state_dict()
    other = [name for name in weights if name not in wanted or wanted[name].shape != weights[name].shape]
    other += [name for name in wanted if name not in weights and not name.startswith(NEW_PARTS)]
    if other:
        raise ValueError(
            f"--model_options {json.dumps(options)} do not fit the given model, first at {other[0]}; a given model "
            "can get more references or Gaussian heads, nothing else"
        )
    larger.load_state_dict(weights, strict=False)
    return larger


def view_overlaps(depths: Tensor, cameras: Cameras) -> Tensor:
    """Share of their pixels [V, V] that two views both see, the mean of both directions."""
    here, there = torch.cartesian_prod(*[torch.arange(len(depths))] * 2).T
    shared = reproject_depth(depths[here], cameras[here], depths[there], cameras[there]).covisible
    shares = shared.float().mean((1, 2, 3)).view(len(depths), -1)
    return (shares + shares.T) / 2


def connected_order(overlaps: Tensor, order: list[int], least: float) -> list[int]:
    """The views in `order`, but each next one is the first that overlaps with an earlier one by `least` or more.

    Where no view is left that does, the one that overlaps most is taken.
    """
    waiting, chosen = list(order[1:]), [order[0]]
    while waiting:
        shared = overlaps[waiting][:, chosen].amax(1)
        found = (shared >= least).nonzero()
        chosen.append(waiting.pop(int(found[0]) if len(found) else int(shared.argmax())))
    return chosen


def jitter_colors(images: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Brightness, contrast and saturation of each image [V, 3, H, W] times a factor in [1 - share, 1 + share]."""
    if share == 0:
        return images
    factors = 1 + share * (2 * torch.rand(3, len(images), 1, 1, 1, generator=generator) - 1)
    images = (images * factors[0]).clamp(0, 1)
    grey = images.mean((1, 2, 3), keepdim=True)
    images = (grey + (images - grey) * factors[1]).clamp(0, 1)
    grey = images.mean(1, keepdim=True)
    return (grey + (images - grey) * factors[2]).clamp(0, 1)


if __name__ == "__main__":
    training_arguments, data_arguments = parse_arguments(MVDust3rArguments, DataArguments)
    train(MVDust3rMethod(training_arguments, data_arguments), training_arguments, data_arguments)
