"""Measure an MVGD checkpoint on the held-out procedural rooms, and write the figures into its card.

    python utils/evaluate_mvgd.py checkpoints/mvgd-tiny --card model_cards/mvgd-tiny.md

Quality (1 step, 10 steps, 10 steps with 5 samples) beside baselines that know no geometry; joint generation of four
targets against one at a time; and whether depth comes from parallax: error by number of context views and by baseline.
"""

import argparse
import json
import time
from pathlib import Path

import torch

from anyviews.evaluation.cards import fill, table
from anyviews.evaluation.conditions import conditions
from anyviews.evaluation.consistency import cross_view_consistency
from anyviews.evaluation.novel_views import (
    NovelViewScene,
    constant_depth_scores,
    evaluate_novel_views,
    held_out_scenes,
    scene_scales,
)
from anyviews.pipelines import MVGDPipeline


SETTINGS = {"1 step": (1, 1), "10 steps": (10, 1), "10 steps, mean of 5": (10, 5)}
CONTEXT_COUNTS = (1, 2, 3, 5, 8)
BASELINE_BINS = 4


def joint_generation(pipe: MVGDPipeline, size: int, count: int) -> dict:
    """Four targets of each scene, one at a time and in one pass: scores and agreement between the four."""
    scenes = held_out_scenes(count, size, context_views=3, targets=4)
    rows = {}
    for name, targets_per_pass in (("one at a time", 1), ("four in one pass", 4)):
        report = evaluate_novel_views(pipe, scenes, {name: (10, 1)}, targets_per_pass, keep_outputs=True)
        agreement = [
            cross_view_consistency(images, depths, scene.targets.depths, scene.targets.cameras)
            for scene, images, depths in zip(scenes, report["images"].split(4), report["depths"].split(4), strict=True)
        ]
        across = {
            f"{kind} disagreement": float(torch.tensor([scene[kind] for scene in agreement]).nanmean())
            for kind in ("color", "depth")
        }
        rows[name] = {**report["rows"][name], **across}
    return rows


def by_context_views(pipe: MVGDPipeline, size: int, count: int) -> dict:
    """One-step error against the number of context views, for the same targets."""
    rows = {}
    for views in CONTEXT_COUNTS:
        scenes = held_out_scenes(count, size, context_views=views)
        rows[f"{views} context views"] = evaluate_novel_views(pipe, scenes, {"model": (1, 1)})["rows"]["model"]
    return rows


def by_baseline(pipe: MVGDPipeline, size: int, count: int) -> dict:
    """One-step depth error by baseline: two context views per target, binned by scene scale over median depth."""
    tests = []
    for scene in held_out_scenes(count, size, context_views=8):
        pairs = [(0, 1), (2, 3), (4, 5), (6, 7)]
        tests += [NovelViewScene(scene.context[list(pair)], scene.targets) for pair in pairs]
    report = evaluate_novel_views(pipe, tests, {"model": (1, 1)}, keep_outputs=True)
    depths = torch.cat([test.targets.depths for test in tests])
    scales = torch.cat([scene_scales(test) for test in tests])
    parallax = scales / depths.flatten(1).median(1).values
    rows = {}
    for chosen in parallax.argsort().chunk(BASELINE_BINS):
        constant = constant_depth_scores(depths[chosen], scales[chosen])["absrel"].mean()
        name = f"{parallax[chosen].min():.2f} to {parallax[chosen].max():.2f}"
        absrel = torch.tensor([report["scenes"][i]["model"]["absrel"] for i in chosen.tolist()]).mean()
        rows[name] = {"absrel": float(absrel), "absrel of the best constant": float(constant)}
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--scenes", type=int, default=64)
    parser.add_argument("--card", type=Path, help="Markdown card whose marked sections are filled in")
    parser.add_argument("--output", type=Path, help="folder for report.json and the contact sheet")
    arguments = parser.parse_args()

    pipe = MVGDPipeline.from_pretrained(arguments.checkpoint)
    pipe.set_progress_bar_config(disable=True)
    size, count = pipe.transformer.config.image_size, arguments.scenes
    if arguments.output is not None:
        arguments.output.mkdir(parents=True, exist_ok=True)
    picture = None if arguments.output is None else arguments.output / "held_out.png"
    started = time.monotonic()
    quality = evaluate_novel_views(pipe, held_out_scenes(count, size), SETTINGS, picture=picture)
    sections = {
        "quality": (quality["rows"], f"{count} held-out rooms, 3 context views"),
        "joint": (joint_generation(pipe, size, count), "4 targets, 10 steps, one sample"),
        "views": (by_context_views(pipe, size, count), "1 step"),
        "baseline": (by_baseline(pipe, size, count), "scene scale / median depth"),
    }
    where = conditions(started)
    for name, (rows, first) in sections.items():
        print(f"\n{name}\n{table(rows, first)}")
    if arguments.output is not None:
        report = {name: rows for name, (rows, _) in sections.items()}
        (arguments.output / "report.json").write_text(json.dumps({**where, **report}, indent=1))
    if arguments.card is not None:
        card = arguments.card.read_text(encoding="utf-8")
        for name, (rows, first) in sections.items():
            card = fill(card, name, table(rows, first))
        card = fill(card, "measured", ", ".join(f"{key} {value}" for key, value in where.items()) + ".")
        arguments.card.write_text(card, encoding="utf-8")


if __name__ == "__main__":
    main()
