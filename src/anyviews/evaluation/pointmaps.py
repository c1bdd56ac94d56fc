"""Pointmaps and cameras of MV-DUSt3R+ on held-out procedural rooms, with baselines that look at no photo."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from ..cameras import Cameras
from ..data.procedural import HELD_OUT_SEED_START
from ..data.samples import seeded_permutation
from ..data.world import render_world
from ..data.world.random_scene import random_room
from ..geometry.pose_recovery import centered_intrinsics, recover_cameras, recover_focals
from ..models.mvdust3r import MVDust3rPlusModel
from ..models.mvdust3r.losses_mvdust3r import point_losses, points_in_references
from ..views import Views
from .mvdust3r_metrics import score_pointmaps
from .pictures import grid_picture
from .pose_metrics import accuracy_within, mean_average_accuracy, pair_errors


# Fixed, because the procedural world's cameras depend on the number of views.
VIEWS_PER_ROOM = 8


@dataclass(frozen=True)
class Prediction:
    """What a method says about one scene.

    Args:
        points: [V, H, W, 3] in the frame of the first view, in any unit; None for a method without points.
        cameras: [V]; the frame and the unit do not matter.
    """

    points: Float[Tensor, "views height width 3"] | None
    cameras: Cameras


def held_out_rooms(count: int, size: int, views: int = 4, first_seed: int = HELD_OUT_SEED_START) -> list[Views]:
    """Views of procedural rooms that training never sees, in metres: rooms are 4 to 8 m long and 2.4 to 3.6 m high.

    Args:
        count: number of rooms.
        size: side of the images in pixels.
        views: up to 8, drawn at random; more are added to the same first ones.
        first_seed: of the rooms; those below `HELD_OUT_SEED_START` are training's.
    """
    seeds = first_seed + torch.arange(count)
    world = render_world(seeds, VIEWS_PER_ROOM, size, size, "room", maps=False)
    units = random_room(seeds, VIEWS_PER_ROOM, "cpu").scale[:, 0]
    rooms = []
    for index, (seed, unit) in enumerate(zip(seeds.tolist(), units, strict=True)):
        # half of the rooms are walks in order
        room = world.scene(index)[seeded_permutation(VIEWS_PER_ROOM, "pointmaps", seed)[:views]]
        rooms.append(Views(room.images, room.cameras.scaled(1 / unit), room.masks, room.depths / unit))
    return rooms


def predict(model: MVDust3rPlusModel, room: Views) -> tuple[Prediction, Tensor]:
    """Points and the cameras recovered from them, and the confidence [V, H, W]."""
    with torch.no_grad():
        output = model(2 * room.images[None].to(model.device) - 1, all_paths=False)
    points, confidence = output.points[0, 0].cpu(), output.confidence[0, 0].cpu()
    return Prediction(points, recover_cameras(points, confidence)), confidence


def mean_pointmap(rooms: Sequence[Views]) -> Float[Tensor, "views height width 3"]:
    """The one answer that fits all rooms best on average: the mean of their normalised points."""
    total = 0.0
    for room in rooms:
        points = true_points(room)
        total = total + points / points.norm(dim=-1).mean()
    return total / len(rooms)


def true_points(room: Views) -> Float[Tensor, "views height width 3"]:
    """Points of all pixels in the frame of the first view."""
    return points_in_references(room.depths[None], room.cameras[None], [0])[0, 0]


def standing_cameras(room: Views) -> Cameras:
    """All cameras at the place of the first, with its rotation: the answer that no photo has moved."""
    focals = room.cameras.intrinsics[:, 0, 0]
    poses = torch.eye(4).repeat(len(focals), 1, 1)
    return Cameras.create(centered_intrinsics(focals, room.height, room.width), poses, room.height, room.width)


def score_room(prediction: Prediction, room: Views) -> dict[str, float]:
    """Every score of one room; those of points are left out where there are none.

    Returns:
        "error": mean distance of points in units of their mean distance from the first camera, each side normalised by
        its own; "nd" and "dac@t": of `score_pointmaps`, in metres; "rra@15", "rta@15", "maa@30": of all pairs, poses
        in the frame of the first camera, as MV-DUSt3R+ has them; "rotation": median error in degrees.
    """
    scores = {}
    if prediction.points is not None:
        truth, valid = true_points(room), room.depths[:, 0] > 0
        batch = (prediction.points[None, None], torch.ones(1, 1, *valid.shape), truth[None, None], valid[None])
        scores["error"] = point_losses(*batch, references=[0]).error.item()
        found = score_pointmaps(prediction.points, truth, valid, chamfer=False)
        scores["nd"] = found["mvdust3r_nd"].value
        scores |= {f"dac@{limit}": found[f"mvdust3r_dac@{limit}"].value for limit in ("0.2", "0.5")}
    frames = (cameras.relative_to(cameras[0]) for cameras in (prediction.cameras, room.cameras))
    pairs = pair_errors(*frames, motion="world")
    return scores | {
        "rra@15": accuracy_within(pairs.rotation, 15),
        "rta@15": accuracy_within(pairs.translation, 15),
        "maa@30": mean_average_accuracy(pairs.larger, 30),
        "rotation": float(pairs.rotation.median()),
    }


def focal_error_of(points: Tensor, confidence: Tensor, room: Views) -> float:
    """Relative error of the focal length that the first view's points say."""
    wanted = float(room.cameras.intrinsics[0, 0, 0])
    return abs(float(recover_focals(points[:1], confidence[:1])[0]) - wanted) / wanted


def evaluate_pointmaps(model: MVDust3rPlusModel, rooms: Sequence[Views], picture: Path | None = None) -> dict:
    """Predict and score all rooms.

    Args:
        model: in evaluation mode.
        rooms: from `held_out_rooms`.
        picture: where to write photos, true and predicted distances of the first rooms.

    Returns:
        "means": means over rooms of the scores of `score_room`, and "focal_error", relative; "rooms": the same each.
    """
    rows, shown = [], []
    for room in rooms:
        prediction, confidence = predict(model, room)
        rows.append(
            {**score_room(prediction, room), "focal_error": focal_error_of(prediction.points, confidence, room)}
        )
        if len(shown) < 6:
            shown.append(picture_rows(prediction.points, room))
    if picture is not None:
        grid_picture([row for three in shown for row in three], picture, columns=len(rooms[0].images))
    return {"means": means(rows), "rooms": rows}


def means(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """Means over rooms of every score."""
    return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}


def picture_rows(points: Tensor, room: Views) -> list[Tensor]:
    """Photos, true and predicted distances from the first camera, a row each."""
    return [room.images, *(values.norm(dim=-1)[:, None] for values in (true_points(room), points))]
