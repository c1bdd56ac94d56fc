"""Scores of LIRM on held-out procedural objects: further views, materials, shape, before and after an update."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ..data.procedural import HELD_OUT_SEED_START
from ..data.world import render_world
from ..geometry.context import nearest_cameras
from ..geometry.rays import camera_rays, pixel_centers
from ..models.lirm import LIRMModel, LIRMPlanes, LIRMRender
from ..models.lirm.processing_lirm import (
    LIRMInputs,
    crop_inputs,
    mask_squares,
    object_frame,
    on_white,
    visible_bounds,
)
from ..rendering.image_quality import psnr
from ..views import Views
from .pictures import grid_picture


# Fixed, because the procedural world's cameras depend on the number of views.
VIEWS_PER_OBJECT = 12
VIEWS_PER_SET, SETS = 4, 2
# Share of the frame's radius that is left free around the object.
FREE = 1.08

RAY_CHUNK = 1 << 14


@dataclass(frozen=True)
class ObjectTest:
    """One object: sets of photos to read one after the other, and views to render.

    Args:
        sets: photos with cameras in the object frame.
        targets: views with all maps, in the object frame.
    """

    sets: tuple[Views, ...]
    targets: Views

    def inputs(self, index: int, size: int) -> LIRMInputs:
        """A set as the model reads it, at `size` pixels."""
        views = self.sets[index]
        return crop_inputs(views.images, views.masks, views.cameras, mask_squares(views.masks), size)


def held_out_objects(count: int, size: int, targets: int = 4) -> list[ObjectTest]:
    """The first `count` held-out objects of the procedural world; training never sees them.

    Args:
        count: number of objects.
        size: side of the images in pixels.
        targets: views to render of each, up to 4.
    """
    world = render_world(
        HELD_OUT_SEED_START + torch.arange(count), VIEWS_PER_OBJECT, size, size, kind="object", maps=True
    )
    return [object_test(world.scene(index), targets) for index in range(count)]


def object_test(views: Views, targets: int = 4, views_per_set: int = VIEWS_PER_SET, sets: int = SETS) -> ObjectTest:
    """The test that the views of an object make: sets of photos, and the next views to render."""
    center, radius = visible_bounds(views.depths, views.masks, views.cameras)
    frame = object_frame(center, radius * FREE, views.cameras.rotation[0])
    views = replace(
        views,
        cameras=frame.apply_cameras(views.cameras),
        depths=views.depths * frame.scale,
        normals=torch.einsum("ij,vjhw->vihw", frame.rotation, views.normals),
    )
    parts = tuple(views[i * views_per_set : (i + 1) * views_per_set] for i in range(sets))
    first = sets * views_per_set
    return ObjectTest(parts, views[first : first + targets])


@torch.no_grad()
def render_views(
    model: LIRMModel, planes: LIRMPlanes, views: Views, samples: int | None, sharpness: float | None
) -> LIRMRender:
    """Maps of one object in the cameras of views, each [V, H * W, C]."""
    pixels = pixel_centers(views.height, views.width).flatten(0, 1).expand(len(views), -1, 2)
    rays = [part.flatten(0, 1)[None] for part in camera_rays(views.cameras, pixels)]
    render = model.render(planes, *rays, samples=samples, sharpness=sharpness, chunk=RAY_CHUNK)
    return LIRMRender(**{name: value[0].unflatten(0, (len(views), -1)) for name, value in render.maps().items()})


@torch.no_grad()
def evaluate_objects(
    model: LIRMModel,
    tests: Sequence[ObjectTest],
    *,
    samples: int = 128,
    sharpness: float | None = None,
    picture: Path | None = None,
) -> dict:
    """Read the sets of all objects and score the targets after each.

    Args:
        model: LIRM, on the CPU.
        tests: objects.
        samples: along the diagonal of the box.
        sharpness: of the density; by default the model's.
        picture: where to write a contact sheet of the first targets.

    Returns:
        "rows": for "1 set", "2 sets" and the baselines "nearest view" and "white" the means over objects: "psnr"
        (dB, sRGB, on white, all pixels), "mask_iou" (opacity above 0.5), "depth" (mean error of depth over the
        radius of the object's frame where both know it), "base_color_psnr" (scaled per object as in the loss),
        "roughness" and "metallic" (mean errors on the mask); "objects": the same per object.
    """
    rows: dict[str, list[dict[str, float]]] = {}
    sheets: list[list[Tensor]] = []
    for index, test in enumerate(tests):
        state, pictures = None, []
        truth = on_white(test.targets.images, test.targets.masks)
        nearest = nearest_cameras(test.targets.cameras, test.sets[0].cameras, 1)[:, 0]
        known = on_white(test.sets[0].images, test.sets[0].masks)[nearest]
        baselines = {"nearest view": known, "white": torch.ones_like(truth)}
        for name, images in baselines.items():
            rows.setdefault(name, []).append({"psnr": float(psnr(images, truth).mean())})
        for update in range(len(test.sets)):
            inputs = vars(test.inputs(update, model.config.image_size))
            output = model(**{name: value[None] for name, value in inputs.items()}, state=state)
            state = output.state
            render = render_views(model, output.planes, test.targets, samples, sharpness)
            maps = {
                name: value.mT.unflatten(-1, (test.targets.height, test.targets.width))
                for name, value in render.maps().items()
            }
            rows.setdefault(f"{update + 1} set{'s' * (update > 0)}", []).append(object_scores(maps, test.targets))
            pictures.append(maps)
        if picture is not None and index < 8:
            sheets.append(_sheet(test, truth, known, pictures))
    if picture is not None:
        grid_picture([torch.cat(row) for row in zip(*sheets, strict=True)], picture, columns=len(sheets))
    names = {name: sorted({metric for row in found for metric in row}) for name, found in rows.items()}
    means = {
        name: {metric: sum(row[metric] for row in found) / len(found) for metric in names[name]}
        for name, found in rows.items()
    }
    return {"rows": means, "objects": rows}


def object_scores(maps: dict[str, Tensor], targets: Views) -> dict[str, float]:
    """Scores of rendered maps [V, C, H, W] of one object."""
    inside = targets.masks > 0.5
    seen = maps["opacity"] > 0.5
    distance = _distances(targets)
    both = inside & (maps["depth"] > 0) & (distance > 0)
    scores = {
        "mask_iou": float((inside & seen).sum() / (inside | seen).sum()),
        "depth": float((maps["depth"] - distance).abs()[both].mean() / 0.5) if both.any() else float("inf"),
    }
    if "radiance" in maps:
        truth = on_white(targets.images, targets.masks)
        scores["psnr"] = float(psnr(maps["radiance"].clamp(0, 1), truth).mean())
    if "base_colors" in maps:
        wanted = targets.base_colors + (1 - targets.masks)
        own = maps["base_colors"] - (1 - maps["opacity"])
        scale = (targets.base_colors * targets.masks).sum() / (own * targets.masks).sum().clamp(min=1e-6)
        aligned = (own * scale + 1 - maps["opacity"]).clamp(0, 1)
        scores["base_color_psnr"] = float(psnr(aligned, wanted.clamp(0, 1)).mean())
        for name in ("roughness", "metallic"):
            scores[name] = float((maps[name] - getattr(targets, name)).abs()[targets.masks > 0.99].mean())
    return scores


def _distances(views: Views) -> Tensor:
    """Distances along the rays, 0 where unknown."""
    pixels = pixel_centers(views.height, views.width).flatten(0, 1).expand(len(views), -1, 2)
    _, directions = camera_rays(views.cameras, pixels)
    cosine = (directions * views.cameras.rotation[:, None, :, 2]).sum(-1)
    return views.depths / cosine.unflatten(-1, (views.height, views.width))[:, None]


def _sheet(test: ObjectTest, truth: Tensor, nearest: Tensor, pictures: list[dict[str, Tensor]]) -> list[Tensor]:
    """The first target: truth, nearest photo, renders after each set, base colour and normals true and found."""
    last = pictures[-1]
    normals = test.targets.normals[:1] / 2 + 0.5
    rows = [nearest[:1], truth[:1], *(maps["radiance"][:1] for maps in pictures if "radiance" in maps)]
    if "base_colors" in last:
        rows += [test.targets.base_colors[:1] + 1 - test.targets.masks[:1], last["base_colors"][:1]]
        rows += [last["roughness"][:1].expand(-1, 3, -1, -1), last["metallic"][:1].expand(-1, 3, -1, -1)]
    return [*rows, normals, last["normals"][:1] / 2 + 0.5]
