"""Train LIRM: `accelerate launch training_scripts/train_lirm.py --config FILE` (see docs/methods/lirm.md).

The loop is anyviews.training's; this file holds what is LIRM's own: which photos of an object are read in which
update, which windows of which views are rendered, and what is minimised. A stage of the coarse-to-fine training is a
configuration file; the next one starts from its result by --pretrained_model_name_or_path.
"""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from anyviews.data.open import open_samples
from anyviews.data.samples import Sample
from anyviews.evaluation.objects import FREE, ObjectTest, evaluate_objects, held_out_objects, object_test
from anyviews.geometry.depth import distance_from_depth
from anyviews.geometry.rays import camera_rays, pixel_centers
from anyviews.models.lirm import LIRMModel, LIRMPlanes, deferred_loss
from anyviews.models.lirm.losses_lirm import LIRMTargets, lirm_losses
from anyviews.models.lirm.processing_lirm import (
    OBJECT_RADIUS,
    crop_inputs,
    crop_square,
    mask_squares,
    object_frame,
    on_white,
    square_rays,
    visible_bounds,
    visible_points,
)
from anyviews.models.lirm.rendering_lirm import LIRMRender
from anyviews.rendering.image_quality import multi_scale_ssim
from anyviews.training.arguments import DataArguments, TrainingArguments, argument, parse_arguments
from anyviews.training.card import write_card
from anyviews.training.loop import train
from anyviews.training.method import Method
from anyviews.views import Views


INPUT_FIELDS = ("images", "backgrounds", "origins", "directions")
TARGET_FIELDS = tuple(field.name for field in dataclasses.fields(LIRMTargets))

# Weight of each term; those that are switched by arguments are added there (spec: section 8).
WEIGHTS = {
    "radiance": 1.0,
    "radiance_perceptual": 2.0,
    "base_color": 1.0,
    "base_color_perceptual": 2.0,
    "roughness": 1.0,
    "metallic": 1.0,
    "mask": 1.0,
    "normal": 1.0,
}

# Added to a mask before windows are drawn by how much of the object they show, so that none is impossible.
WINDOW_FLOOR = 0.001


@dataclasses.dataclass
class LIRMArguments(TrainingArguments):
    """What the other methods do not have."""

    size: Literal["tiny", "small", "base"] = argument("tiny", "Preset of the model.")
    model_options: dict = dataclasses.field(
        default_factory=dict, metadata={"help": "Fields of LIRMConfig that differ from the preset, as JSON."}
    )
    min_views: int = argument(4, "Fewest photos of a set.")
    max_views: int = argument(8, "Most photos of a set.")
    max_updates: int = argument(1, "Sets of photos of an object are drawn from 1 to this number, per batch.")
    targets: int = argument(4, "Views that are rendered, per object.")
    target_resolution: int = argument(256, "Side of the whole views that windows are taken from, in pixels.")
    window: int = argument(128, "Side of the rendered windows in pixels.")
    samples: int = argument(128, "Samples along the diagonal of the box.")
    skipped_weight: float = argument(1e-4, "Of a ray's samples, in total, that are not decoded.")
    skip_empty: bool = argument(False, "Find cells that cannot be seen before rendering, and skip them.")
    ray_chunk: int | None = argument(None, "Render so many rays at a time in two passes, which bounds memory.")
    first_sharpness: float = argument(10.0, "Inverse deviation of the density at the first step.")
    warm_sharpness: float = argument(20.0, "After the warm-up.")
    last_sharpness: float = argument(200.0, "At the last step.")
    sharpness_warmup: int = argument(1000, "Steps of that warm-up.")
    perceptual_loss: Literal["none", "lpips", "multi-scale-ssim"] = argument(
        "multi-scale-ssim", "Second term of radiance and base colour; lpips needs --lpips_weights."
    )
    lpips_weights: str | None = argument(None, "Folder that utils/convert_lpips.py wrote.")
    depth_weight: float = argument(10.0, "Weight of the depth loss.")
    numerical_normal_weight: float = argument(0.0, "Weight of the loss of normals of the signed distances.")
    surface_weight: float = argument(0.0, "Weight of the loss of signed distances at points near the true surface.")
    free_weight: float = argument(0.0, "Weight of the loss of signed distances at points that views see through.")
    space_points: int = argument(1024, "Points per object of each of these two losses, where its weight is above 0.")
    color_augmentation: float = argument(0.5, "Share of objects whose colour channels are permuted.")
    mirror_augmentation: bool = argument(True, "Mirror half of the objects.")
    radius_augmentation: float = argument(0.3, "The sphere around an object is drawn larger by up to this share.")
    validation_objects: int = argument(16, "Held-out procedural objects per validation.")
    overfit: bool = argument(False, "Give and ask for the same views each time, and validate on them.")


# The squares around masks are drawn larger by up to this share.
WIDENED = 0.15

# Points near the surface lie between so far inside and so far outside of it, in units of the object frame. There is no
# telling from views what is further inside.
SURFACE_RANGE = (-0.01, 0.05)
# Points that a view sees through lie at least so far outside; it is not known how far.
FREE_MARGIN = 0.02


class LIRMObjective(nn.Module):
    """The model with its loss, so that all of it happens in one call."""

    def __init__(self, lirm: LIRMModel, arguments: LIRMArguments, perceptual: Callable | None):
        super().__init__()
        self.lirm, self.arguments = lirm, arguments
        # of the batches seen, which the sharpness follows; a buffer, so that it is resumed
        self.register_buffer("batches", torch.zeros((), dtype=torch.long))
        self.perceptual = [perceptual]  # hidden: its weights are neither trained nor saved

    def forward(self, batch: dict) -> dict[str, Tensor]:
        arguments = self.arguments
        targets = LIRMTargets(**{name: batch[f"target_{name}"] for name in TARGET_FIELDS})
        sharpness, state, sums = self.sharpness(), None, {}
        if self.training:
            self.batches += 1
        for update in range(batch["updates"]):
            photos = slice(update * arguments.max_views, update * arguments.max_views + batch["views"])
            output = self.lirm(**{name: batch[name][:, photos] for name in INPUT_FIELDS}, state=state)
            state = output.state
            for name, value in self.losses(output.planes, batch, targets, sharpness).items():
                sums[name] = sums.get(name, 0) + value / batch["updates"]
        return sums

    def losses(self, planes: LIRMPlanes, batch: dict, targets: LIRMTargets, sharpness: float) -> dict[str, Tensor]:
        """All terms, and their weighted sum as "loss"."""
        arguments, kept = self.arguments, {}
        rays = [batch[name].movedim(2, -1).flatten(1, -2) for name in ("target_origins", "target_directions")]
        options = {
            "samples": arguments.samples,
            "sharpness": sharpness,
            "numerical_normals": arguments.numerical_normal_weight > 0,
            "skipped_weight": arguments.skipped_weight,
        }

        def total(render: LIRMRender) -> Tensor:
            losses = lirm_losses(render, targets, self.perceptual[0])
            kept.update({name: value.detach() for name, value in losses.items()})
            weights = WEIGHTS | {
                "depth": arguments.depth_weight,
                "numerical_normal": arguments.numerical_normal_weight,
            }
            return sum(weights[name] * value for name, value in losses.items())

        with torch.autocast(planes.planes.device.type, enabled=False):
            if arguments.skip_empty:
                seen = {"samples": arguments.samples, "sharpness": sharpness}
                options["occupancy"] = self.lirm.find_occupancy(planes.detach(), **seen)
            if arguments.ray_chunk is None:
                loss = total(self.lirm.render(planes, *rays, **options))
            else:
                loss = deferred_loss(self.lirm, planes, *rays, total, chunk=arguments.ray_chunk, **options)[0]
        further = {}
        if arguments.surface_weight > 0:
            found = self.lirm.signed_distances(planes, batch["surface_points"])
            further["surface"] = (found - batch["surface_distances"]).abs().mean()
        if arguments.free_weight > 0:
            found = self.lirm.signed_distances(planes, batch["free_points"])
            further["free"] = (FREE_MARGIN - found).clamp(min=0).mean()
        loss = loss + sum(getattr(arguments, f"{name}_weight") * value for name, value in further.items())
        return {**kept, **{name: value.detach() for name, value in further.items()}, "loss": loss}

    def sharpness(self) -> float:
        """Of the density, by the batches seen."""
        arguments = self.arguments
        step = int(self.batches) / arguments.gradient_accumulation_steps
        warm = min(step / max(arguments.sharpness_warmup, 1), 1.0)
        if warm < 1:
            return arguments.first_sharpness + warm * (arguments.warm_sharpness - arguments.first_sharpness)
        rest = (step - arguments.sharpness_warmup) / max(arguments.max_train_steps - arguments.sharpness_warmup, 1)
        return arguments.warm_sharpness + min(rest, 1.0) * (arguments.last_sharpness - arguments.warm_sharpness)


class LIRMMethod(Method):
    """LIRM's model, examples and losses."""

    name = "lirm"

    def __init__(self, arguments: LIRMArguments, data: DataArguments):
        if not 1 <= arguments.min_views <= arguments.max_views or arguments.max_updates < 1:
            raise ValueError(
                f"found --min_views {arguments.min_views}, --max_views {arguments.max_views} and --max_updates "
                f"{arguments.max_updates}; accepted are 1 or more, the first not above the second"
            )
        if arguments.window > arguments.target_resolution:
            raise ValueError(
                f"--window {arguments.window} is larger than --target_resolution {arguments.target_resolution}, the "
                "views that it is taken from"
            )
        if (arguments.perceptual_loss == "lpips") != (arguments.lpips_weights is not None):
            raise ValueError("--perceptual_loss lpips and --lpips_weights FILE belong together; give both or neither")
        self.arguments, self.data = arguments, data
        self.tests: list[ObjectTest] | None = None

    def build(self, arguments: LIRMArguments) -> LIRMObjective:
        options = {"image_size": arguments.resolution, "sdf_inv_std": arguments.last_sharpness}
        options |= arguments.model_options
        if arguments.pretrained_model_name_or_path is not None:
            model = LIRMModel.from_pretrained(arguments.pretrained_model_name_or_path, **options)
        else:
            model = LIRMModel.from_size(arguments.size, **options)
        self.perceptual = perceptual_loss(arguments)
        return LIRMObjective(model.float(), arguments, self.perceptual)

    def place(self, device: torch.device, dtype: torch.dtype) -> None:
        if isinstance(self.perceptual, nn.Module):
            self.perceptual.to(device)

    def transform(self, sample: Sample) -> dict[str, Tensor]:
        """Photos of one object and windows of further views, in the frame of the first photo."""
        arguments, generator = self.arguments, sample.generator()
        views = self._augmented(sample.views, generator)
        if views.depths is None or views.masks is None or views.base_colors is None or views.normals is None:
            raise ValueError(f"sample {sample.key} lacks masks, depth, normals or materials; LIRM is trained on all")
        center, radius = visible_bounds(views.depths, views.masks, views.cameras)
        inputs = arguments.max_views * arguments.max_updates
        order = torch.arange(len(views)) if arguments.overfit else torch.randperm(len(views), generator=generator)
        views = views[
            order.repeat(-(-(inputs + arguments.targets) // len(order))).tolist()[: inputs + arguments.targets]
        ]
        # learning by heart needs the very frame that validation asks in
        stretch = 1 + arguments.radius_augmentation * torch.rand((), generator=generator).item()
        stretch = FREE if arguments.overfit else stretch
        frame = object_frame(center, radius * stretch, views.cameras.rotation[0])
        views = dataclasses.replace(
            views,
            cameras=frame.apply_cameras(views.cameras),
            depths=views.depths * frame.scale,
            normals=torch.einsum("ij,vjhw->vihw", frame.rotation, views.normals),
        )
        points = self._near_surface(views, generator) if arguments.surface_weight > 0 else {}
        if arguments.free_weight > 0:
            points["free_points"] = self._seen_through(views, generator)
        photos = views[:inputs]
        squares = mask_squares(photos.masks)
        if not arguments.overfit:
            squares = widened(squares, 1 + WIDENED * torch.rand(len(squares), generator=generator))
        read = crop_inputs(photos.images, photos.masks, photos.cameras, squares, arguments.resolution)
        return {
            **{name: getattr(read, name) for name in INPUT_FIELDS},
            **self._targets(views[inputs:], generator),
            **points,
            "seed": torch.tensor(sample.seed),
        }

    def _augmented(self, views: Views, generator: torch.Generator) -> Views:
        draws, colors = torch.rand(2, generator=generator), torch.randperm(3, generator=generator)
        if self.arguments.mirror_augmentation and draws[0] < 0.5:
            views = views.mirror()
        if draws[1] < self.arguments.color_augmentation and views.base_colors is not None:
            views = dataclasses.replace(
                views, images=views.images[:, colors], base_colors=views.base_colors[:, colors]
            )
        return views

    def _near_surface(self, views: Views, generator: torch.Generator) -> dict[str, Tensor]:
        """Points along the normals of what views show, and their signed distances."""
        surface, kept = visible_points(views.depths, views.masks, views.cameras)
        places = torch.randint(len(surface), (self.arguments.space_points,), generator=generator)
        surface, normals = surface[places], views.normals.movedim(1, -1)[kept][places]
        low, high = SURFACE_RANGE
        distances = low + (high - low) * torch.rand(len(places), generator=generator)
        return {"surface_points": surface + distances[:, None] * normals, "surface_distances": distances}

    def _seen_through(self, views: Views, generator: torch.Generator) -> Tensor:
        """Points of the object's sphere that lie in front of what a view shows there, or where it shows nothing."""
        count = self.arguments.space_points
        pixels = pixel_centers(views.height, views.width).flatten(0, 1).expand(len(views), -1, 2)
        origins, directions = (part.flatten(0, 1) for part in camera_rays(views.cameras, pixels))
        reach = distance_from_depth(views.depths, views.cameras).flatten()
        reach = torch.where((reach == 0) & (views.masks.flatten() == 0), torch.inf, reach)
        middle = -(origins * directions).sum(-1)
        half = (OBJECT_RADIUS**2 - origins.square().sum(-1) + middle.square()).clamp(min=0).sqrt()
        first, last = middle - half, torch.minimum(middle + half, reach - FREE_MARGIN)
        chosen = (last > first).nonzero()[:, 0]
        chosen = chosen[torch.randint(len(chosen), (count,), generator=generator)]
        along = torch.lerp(first[chosen], last[chosen], torch.rand(count, generator=generator))
        return origins[chosen] + directions[chosen] * along[:, None]

    def _targets(self, views: Views, generator: torch.Generator) -> dict[str, Tensor]:
        """Windows of views, drawn by how much of the object they show."""
        arguments = self.arguments
        size = arguments.target_resolution
        if (views.height, views.width) != (size, size):
            views = views.fit(size, size)
        squares = torch.stack([draw_window(mask, arguments.window, generator) for mask in views.masks[:, 0]])
        # maps are mixed with nothing at the object's edge
        values = {
            "masks": views.masks,
            "radiance": on_white(views.images, views.masks),
            "base_colors": views.base_colors + (1 - views.masks),
            "roughness": views.roughness + (1 - views.masks),
            "metallic": views.metallic + (1 - views.masks),
            "normals": views.normals,
            "depth": views.depths,
        }
        stacked = torch.cat(list(values.values()), dim=1)
        windows = torch.stack(
            [crop_square(maps, square, arguments.window, 0.0) for maps, square in zip(stacked, squares, strict=True)]
        )
        found = dict(zip(values, windows.split([value.shape[1] for value in values.values()], dim=1), strict=True))
        origins, directions = square_rays(views.cameras, squares, arguments.window)
        # a ray's distance is its depth over the cosine between it and the optical axis
        cosine = (directions * views.cameras.rotation[:, :, 2, None, None]).sum(1, keepdim=True)
        found["depth"] = found["depth"] / cosine
        found |= {"origins": origins, "directions": directions}
        return {f"target_{name}": value for name, value in found.items()}

    def collate(self, examples: list[dict[str, Tensor]]) -> dict:
        """A batch of one number of photos per set and of sets, drawn from the first example's seed."""
        batch = super().collate(examples)
        generator = torch.Generator().manual_seed(int(batch.pop("seed")[0]))
        bounds = self.arguments.min_views, self.arguments.max_views + 1
        views = torch.randint(*bounds, (), generator=generator).item()
        updates = torch.randint(1, self.arguments.max_updates + 1, (), generator=generator).item()
        return {**batch, "views": views, "updates": updates}

    def loss(self, model: nn.Module, batch: dict, generator: torch.Generator) -> dict[str, Tensor]:
        return model(batch)

    def validate(self, model: LIRMObjective, step: int, folder: Path) -> dict[str, float]:
        if self.tests is None:
            self.tests = self._tests()
        report = evaluate_objects(
            model.lirm, self.tests, sharpness=model.sharpness(), picture=folder / f"step-{step}.png"
        )
        (folder / f"step-{step}.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
        return {f"{name}/{metric}": value for name, row in report["rows"].items() for metric, value in row.items()}

    def _tests(self) -> list[ObjectTest]:
        arguments = self.arguments
        if not arguments.overfit:
            return held_out_objects(arguments.validation_objects, arguments.target_resolution)
        samples = open_samples(
            self.data.dataset_name,
            split=self.data.dataset_split,
            seed=self.data.data_seed,
            **self.data.dataset_options,
        )
        return [object_test(next(iter(samples)).views, arguments.targets, arguments.max_views, arguments.max_updates)]

    def export(self, model: LIRMObjective, folder: Path) -> None:
        model.lirm.save_pretrained(folder)
        summary = (
            f"LIRM ({self.arguments.size}): posed photos of an object to its shape, materials and radiance, refined "
            f"by further photos, at {model.lirm.config.image_size} pixels."
        )
        tags = ["lirm", "inverse-rendering", "multi-view-reconstruction", "pbr"]
        write_card(folder, "image-to-3d", tags, summary, self.arguments, self.data)


def perceptual_loss(arguments: LIRMArguments) -> Callable[[Tensor, Tensor], Tensor] | None:
    """The second term of image losses: a dissimilarity of images in [0, 1]."""
    if arguments.perceptual_loss == "none":
        return None
    if arguments.perceptual_loss == "multi-scale-ssim":
        return lambda images, references: 1 - multi_scale_ssim(images, references)
    from anyviews.rendering.lpips import LPIPS

    return LPIPS.from_pretrained(arguments.lpips_weights)


def widened(squares: Tensor, factors: Tensor) -> Tensor:
    """Squares (left, top, side) [V, 3], enlarged around their centres."""
    left, top, side = squares.unbind(-1)
    grown = side * factors
    return torch.stack([left - (grown - side) / 2, top - (grown - side) / 2, grown], dim=-1)


def draw_window(mask: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """A square (left, top, side), whose rows and columns are drawn by how much of the mask [H, W] they hold."""
    starts = []
    for axis in (0, 1):  # sums of columns give the left side, of rows the top
        mass = (mask + WINDOW_FLOOR).sum(axis)
        windows = mass.unfold(0, size, 1).sum(-1)
        starts.append(float(torch.multinomial(windows, 1, generator=generator)))
    return torch.tensor([*starts, float(size)])


if __name__ == "__main__":
    training_arguments, data_arguments = parse_arguments(LIRMArguments, DataArguments)
    train(LIRMMethod(training_arguments, data_arguments), training_arguments, data_arguments)
