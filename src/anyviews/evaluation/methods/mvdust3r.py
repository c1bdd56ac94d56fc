"""MV-DUSt3R+: points and recovered cameras of unposed views, by references and by views; and rendered novel views."""

import math
from dataclasses import replace
from functools import lru_cache

import torch
from torch import Tensor

from ...cameras import Cameras
from ...data.procedural import HELD_OUT_SEED_START
from ...gaussians import Gaussians
from ...geometry.pose_recovery import recover_cameras
from ...models.mvdust3r import MVDust3rPlusConfig, MVDust3rPlusModel, pixel_gaussians
from ...pipelines import MVDust3rPlusPipeline
from ...rendering.gaussians import render_on_white
from ...views import Views
from ..case import Case, CaseResult, Row
from ..mvdust3r_metrics import score_pointmaps
from ..pointmaps import (
    Prediction,
    focal_error_of,
    held_out_rooms,
    mean_pointmap,
    predict,
    score_room,
    standing_cameras,
    true_points,
)
from ..protocols import Protocol
from ..protocols.sources import Procedural
from .scoring import image_scores


MODEL = MVDust3rPlusPipeline

# What the paper gives the Gaussians of a network without Gaussian heads, in units of the mean distance.
ROUND_SCALE = 1e-3
# Training rooms whose mean pointmap is the constant answer.
ROOMS_OF_MEAN = 128


def image_size(model: MVDust3rPlusPipeline) -> int:
    """Side of the images in pixels."""
    return model.model.config.image_size


def evaluate(model: MVDust3rPlusPipeline, case: Case, protocol: Protocol) -> CaseResult:
    """All tables that the protocol has."""
    network, room = model.model, case.context[: protocol.context_views]
    columns = protocol.table("quality").metrics
    rows = _blind(room, protocol, columns)
    most = network.config.num_references
    for count in range(1, most + 1):
        prediction, confidence = predict(_with_references(network, count), room)
        scores = _scores(prediction, confidence, room, columns)
        rows.append(Row("quality", f"{count} reference{'s'[: count > 1]}", scores))
    pictures = _pictures(prediction, room)
    if protocol.has("views"):
        for count in protocol.view_counts:
            seen = case.context[:count]
            rows.append(Row("views", f"{count} views", _scores(*predict(network, seen), seen, columns)))
    if protocol.has("rotation"):
        turned = score_room(Prediction(None, standing_cameras(room)), room)["rotation"]
        chosen = {metric: scores[metric] for metric in protocol.table("rotation").metrics}
        rows.append(Row("rotation", f"{most} references", chosen, turned))
    if protocol.has("rendering") and network.config.use_gaussians:
        found, images = _rendering(network, room, case.targets)
        rows += found
        pictures |= images
    if protocol.has("rooms"):
        rows.append(Row("rooms", "mean", _spread(room)))
    return CaseResult(rows, pictures)


def _blind(room: Views, protocol: Protocol, columns: tuple[str, ...]) -> list[Row]:
    """Answers that look at no photo, and what recovering cameras from perfect points loses."""
    answers = {}
    if isinstance(protocol.source, Procedural):
        points = _mean_pointmap(len(room), room.height)
        answers["constant mean pointmap"] = Prediction(points, recover_cameras(points, torch.ones(points.shape[:-1])))
        points = true_points(room)
        answers["true points"] = Prediction(points, recover_cameras(points, torch.ones(points.shape[:-1])))
    answers["identity poses"] = Prediction(None, standing_cameras(room))
    return [Row("quality", name, _scores(answer, None, room, columns)) for name, answer in answers.items()]


def _scores(
    prediction: Prediction, confidence: Tensor | None, room: Views, columns: tuple[str, ...]
) -> dict[str, float]:
    """The columns of a table; NaN for what the answer does not have, and for points without known depth."""
    known = room.depths is not None and bool((room.depths > 0).any())
    points = prediction.points if known else None
    scores = score_room(Prediction(points, prediction.cameras), room)
    if confidence is not None:
        scores["focal_error"] = focal_error_of(prediction.points, confidence, room)
    if "cd" in columns and points is not None:
        found = score_pointmaps(points, true_points(room), room.depths[:, 0] > 0)
        scores["cd"] = found["mvdust3r_cd"].value
    return {name: scores.get(name, math.nan) for name in columns}


@lru_cache(maxsize=2)
def _mean_pointmap(views: int, size: int) -> Tensor:
    first = HELD_OUT_SEED_START - ROOMS_OF_MEAN
    return mean_pointmap(held_out_rooms(ROOMS_OF_MEAN, size, views, first_seed=first))


@lru_cache(maxsize=8)
def _with_references(model: MVDust3rPlusModel, count: int) -> MVDust3rPlusModel:
    """The same weights with fewer references; with one, the layers that fuse paths are left out."""
    if count == model.config.num_references:
        return model
    config = MVDust3rPlusConfig(**{**model.config.to_diff_dict(), "num_references": count})
    other = MVDust3rPlusModel(config).to(model.device).eval()
    wanted = other.state_dict()
    other.load_state_dict({name: value for name, value in model.state_dict().items() if name in wanted})
    return other


def _rendering(model: MVDust3rPlusModel, room: Views, targets: Views) -> tuple[list[Row], dict[str, Tensor]]:
    """Views that the model did not see: its Gaussians, and answers that need no Gaussian heads."""
    pixel_values = 2 * room.images[None].to(model.device) - 1
    output = model(pixel_values, all_paths=False)
    known = room.depths[:, 0] > 0
    unit = output.points[0, 0].cpu()[known].norm(dim=-1).mean() / true_points(room)[known].norm(dim=-1).mean()
    cameras = targets.cameras.relative_to(room.cameras[0]).scaled(unit)
    learned = pixel_gaussians(output, pixel_values)[0, 0].to("cpu")
    images = {
        "mean colour of the photos": room.images.mean((0, 2, 3))[:, None, None].expand_as(targets.images),
        "first photo": room.images[:1].expand_as(targets.images),
        "equal round Gaussians": _render(_round_gaussians(learned), cameras),
        "Gaussian heads": _render(learned, cameras),
    }
    rows = [Row("rendering", name, image_scores(guess, targets.images)) for name, guess in images.items()]
    shown = {"novel views, truth": targets.images}
    return rows, shown | {f"novel views, {name}": images[name] for name in ("equal round Gaussians", "Gaussian heads")}


def _render(gaussians: Gaussians, cameras: Cameras) -> Tensor:
    return render_on_white(gaussians, cameras).images.clamp(0, 1)


def _round_gaussians(gaussians: Gaussians) -> Gaussians:
    """The same points and colours, opaque and of one size."""
    scale = ROUND_SCALE * gaussians.means.norm(dim=-1).mean()
    opacities = torch.ones_like(gaussians.opacities)
    return replace(gaussians, scales=torch.full_like(gaussians.scales, float(scale)), opacities=opacities)


def _pictures(prediction: Prediction, room: Views) -> dict[str, Tensor]:
    """Photos, and distances from the first camera."""
    pictures = {"photos": room.images}
    if room.depths is not None:
        pictures["true distance from the first camera"] = true_points(room).norm(dim=-1)[:, None]
    return pictures | {"distance from the first camera": prediction.points.norm(dim=-1)[:, None]}


def _spread(room: Views) -> dict[str, float]:
    """How far points and cameras are from the first camera."""
    cameras = room.cameras.relative_to(room.cameras[0])
    return {
        "distance_to_points": float(true_points(room).norm(dim=-1).mean()),
        "distance_between_cameras": float(cameras.centers[1:].norm(dim=-1).mean()),
    }
