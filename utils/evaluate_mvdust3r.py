"""Measure an MV-DUSt3R+ checkpoint on the held-out procedural rooms, and write the figures into its card.

    python utils/evaluate_mvdust3r.py checkpoints/mvdust3r-plus-tiny --card model_cards/mvdust3r-plus-tiny.md

Points and recovered cameras of four unposed views, with one to four references, beside answers that look at no photo;
by number of views; by how far apart the views are; and rendered novel views.
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from anyviews.cameras import Cameras
from anyviews.cli.camera_map import camera_map
from anyviews.data.procedural import HELD_OUT_SEED_START
from anyviews.evaluation.cards import fill, table
from anyviews.evaluation.conditions import conditions
from anyviews.evaluation.pictures import grid_picture
from anyviews.evaluation.pointmaps import (
    Prediction,
    evaluate_pointmaps,
    held_out_rooms,
    mean_pointmap,
    means,
    predict,
    score_room,
    standing_cameras,
    true_points,
)
from anyviews.gaussians import Gaussians
from anyviews.geometry.pose_recovery import recover_cameras
from anyviews.models.mvdust3r import MVDust3rPlusConfig, MVDust3rPlusModel, pixel_gaussians
from anyviews.rendering.gaussians import render_gaussians
from anyviews.rendering.image_quality import psnr
from anyviews.views import Views


VIEW_COUNTS = (2, 4, 6, 8)
BASELINE_BINS = 4
# What the paper gives the Gaussians of a network without Gaussian heads.
ROUND_SCALE = 1e-3
# Training rooms whose mean pointmap is the constant answer.
ROOMS_OF_MEAN = 512


def with_references(model: MVDust3rPlusModel, count: int) -> MVDust3rPlusModel:
    """The same weights with fewer references; with one, the layers that fuse paths are left out."""
    config = MVDust3rPlusConfig(**{**model.config.to_diff_dict(), "num_references": count})
    other = MVDust3rPlusModel(config).eval()
    wanted = other.state_dict()
    other.load_state_dict({name: value for name, value in model.state_dict().items() if name in wanted})
    return other


def blind_answers(rooms: Sequence[Views], training_rooms: Sequence[Views]) -> dict:
    """Scores of answers that look at no photo."""
    points = mean_pointmap(training_rooms)
    cameras = recover_cameras(points, torch.ones(points.shape[:-1]))
    return {
        "constant mean pointmap": means([score_room(Prediction(points, cameras), room) for room in rooms]),
        "identity poses": means([score_room(Prediction(None, standing_cameras(room)), room) for room in rooms]),
        "true points": means([score_room(exact(room), room) for room in rooms]),
    }


def exact(room: Views) -> Prediction:
    """What a perfect network would say, with the cameras recovered from it."""
    points = true_points(room)
    return Prediction(points, recover_cameras(points, torch.ones(points.shape[:-1])))


def quality(model: MVDust3rPlusModel, rooms: Sequence[Views], picture: Path | None) -> tuple[dict, list[dict]]:
    """Scores by number of references, and those of each room with all."""
    most = model.config.num_references
    report = evaluate_pointmaps(model, rooms, picture)
    rows = {}
    for count in range(1, most):
        name = f"{count} references" if count > 1 else "1 reference"
        rows[name] = evaluate_pointmaps(with_references(model, count), rooms)["means"]
    rows[f"{most} references"] = report["means"]
    return rows, report["rooms"]


def by_views(model: MVDust3rPlusModel, count: int, size: int) -> dict:
    """Scores by number of views of the same rooms; the model was trained on four."""
    rows = {}
    for views in VIEW_COUNTS:
        rows[f"{views} views"] = evaluate_pointmaps(model, held_out_rooms(count, size, views))["means"]
    return rows


def by_rotation(rooms: Sequence[Views], scores: Sequence[dict]) -> dict:
    """Scores by how far the cameras turn, which is the error of identity poses."""
    turned = torch.tensor([score_room(Prediction(None, standing_cameras(r)), r)["rotation"] for r in rooms])
    rows = {}
    for chosen in turned.argsort().chunk(BASELINE_BINS):
        name = f"{turned[chosen].min():.0f} to {turned[chosen].max():.0f} degrees"
        found = means([scores[index] for index in chosen.tolist()])
        rows[name] = {key: found[key] for key in ("error", "nd", "rotation", "rra@15")}
    return rows


def draw_cameras(model: MVDust3rPlusModel, rooms: Sequence[Views], folder: Path) -> None:
    """True (filled) and predicted (outlined) cameras of the first rooms from above, in one unit, as SVG files."""
    for index, room in enumerate(rooms[:4]):
        prediction, _ = predict(model, room)
        unit = true_points(room).norm(dim=-1).mean() / prediction.points.norm(dim=-1).mean()
        truth, found = room.cameras.relative_to(room.cameras[0]), prediction.cameras.scaled(unit)
        (folder / f"cameras-{index}.svg").write_text(camera_map(truth, found), encoding="utf-8")


def rendering(model: MVDust3rPlusModel, count: int, size: int, picture: Path | None) -> dict:
    """PSNR of views that the model did not see, of its Gaussians and of answers that need no Gaussian heads."""
    rooms, found, shown = held_out_rooms(count, size, views=6), {}, []
    for room in rooms:
        pixel_values, targets = 2 * room.images[None, :4] - 1, room.images[4:]
        with torch.no_grad():
            output = model(pixel_values, all_paths=False)
        unit = output.points.norm(dim=-1).mean() / true_points(room[:4]).norm(dim=-1).mean()
        cameras = room.cameras.relative_to(room.cameras[0])[4:].scaled(unit)
        learned = pixel_gaussians(output, pixel_values)[0, 0]
        images = {
            "Gaussian heads": render_gaussians(learned, cameras, background=torch.ones(3)).images.clamp(0, 1),
            "equal round Gaussians": render_gaussians(
                round_gaussians(learned), cameras, background=torch.ones(3)
            ).images.clamp(0, 1),
            "mean colour of the photos": room.images[:4].mean((0, 2, 3))[:, None, None].expand_as(targets),
            "first photo": room.images[:1].expand_as(targets),
        }
        for name, guess in images.items():
            found.setdefault(name, []).append(float(psnr(guess, targets).mean()))
        shown += [targets, images["Gaussian heads"], images["equal round Gaussians"]]
    if picture is not None:
        grid_picture(shown[:18], picture, columns=2)
    return {name: {"psnr": sum(values) / len(values)} for name, values in found.items()}


def round_gaussians(gaussians: Gaussians) -> Gaussians:
    """The same points and colours, opaque, with the paper's constant scale in units of their mean distance."""
    scale = ROUND_SCALE * gaussians.means.norm(dim=-1).mean()
    opacities = torch.ones_like(gaussians.opacities)
    return replace(gaussians, scales=torch.full_like(gaussians.scales, float(scale)), opacities=opacities)


def spread(rooms: Sequence[Views]) -> dict[str, float]:
    """What the rooms are like: mean distance of points and mean baseline in metres, from the first camera."""
    cameras = Cameras.stack([room.cameras.relative_to(room.cameras[0]) for room in rooms])
    return {
        "metres to the points": float(torch.stack([true_points(room).norm(dim=-1).mean() for room in rooms]).mean()),
        "metres between cameras": float(cameras.centers[:, 1:].norm(dim=-1).mean()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--scenes", type=int, default=64)
    parser.add_argument(
        "--card", type=Path, help="Markdown card to fill in; also writes the checkpoint's evaluation.json"
    )
    parser.add_argument("--output", type=Path, help="folder for report.json and pictures")
    arguments = parser.parse_args()

    started = time.monotonic()
    model = MVDust3rPlusModel.from_pretrained(arguments.checkpoint).float().eval()
    size, count = model.config.image_size, arguments.scenes
    if arguments.output is not None:
        arguments.output.mkdir(parents=True, exist_ok=True)
    rooms = held_out_rooms(count, size)
    picture = None if arguments.output is None else arguments.output / "pointmaps.png"
    rows, per_room = quality(model, rooms, picture)
    training_rooms = held_out_rooms(ROOMS_OF_MEAN, size, first_seed=HELD_OUT_SEED_START - ROOMS_OF_MEAN)
    sections = {
        "quality": (blind_answers(rooms, training_rooms) | rows, f"{count} held-out rooms, 4 views"),
        "views": (by_views(model, count, size), f"{model.config.num_references} references"),
        "rotation": (by_rotation(rooms, per_room), "median rotation between views"),
    }
    if model.config.use_gaussians:
        novel = None if arguments.output is None else arguments.output / "novel_views.png"
        sections["rendering"] = (rendering(model, count, size, novel), "2 novel views, 4 references")
    where = {
        **conditions(started),
        **{name: round(value, 2) for name, value in spread(rooms).items()},
    }
    for name, (found, first) in sections.items():
        print(f"\n{name}\n{table(found, first)}")
    report = json.dumps({**where, **{name: found for name, (found, _) in sections.items()}}, indent=1)
    if arguments.output is not None:
        draw_cameras(model, rooms, arguments.output)
        (arguments.output / "report.json").write_text(report, encoding="utf-8")
    if arguments.card is not None:
        card = arguments.card.read_text(encoding="utf-8")
        for name, (found, first) in sections.items():
            card = fill(card, name, table(found, first))
        card = fill(card, "measured", ", ".join(f"{key} {value}" for key, value in where.items()) + ".")
        arguments.card.write_text(card, encoding="utf-8")
        (arguments.checkpoint / "evaluation.json").write_text(report, encoding="utf-8")


if __name__ == "__main__":
    main()
