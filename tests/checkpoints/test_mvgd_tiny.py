"""The shipped checkpoint does what its card says, on a few of the card's scenes."""

import pytest
import torch
from safetensors.torch import load_file

from anyviews.evaluation.consistency import cross_view_consistency
from anyviews.evaluation.novel_views import evaluate_novel_views, held_out_scenes
from anyviews.formats import load_views
from anyviews.pipelines import MVGDPipeline


@pytest.fixture(scope="module")
def pipe(repository) -> MVGDPipeline:
    pipe = MVGDPipeline.from_pretrained(repository / "checkpoints" / "mvgd-tiny")
    pipe.set_progress_bar_config(disable=True)
    return pipe


def test_it_is_small_and_in_bfloat16(repository):
    folder = repository / "checkpoints" / "mvgd-tiny"
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 10e6
    for weights in folder.rglob("*.safetensors"):
        assert {tensor.dtype for tensor in load_file(weights).values()} == {torch.bfloat16}


def test_it_beats_answers_that_know_no_geometry(pipe):
    rows = evaluate_novel_views(pipe, held_out_scenes(10, 32), {"mean of 5": (10, 5)})["rows"]
    baseline = max(rows["nearest context view"]["psnr"], rows["mean colour"]["psnr"])
    assert rows["mean of 5"]["psnr"] > baseline + 2
    constant = min(row["absrel"] for name, row in rows.items() if "constant" in name)
    assert rows["mean of 5"]["absrel"] < 0.8 * constant


def test_four_targets_in_one_pass_are_as_good_and_agree_better(pipe):
    scenes = held_out_scenes(8, 32, targets=4)
    single, joint = (
        evaluate_novel_views(pipe, scenes, {"model": (10, 1)}, targets_per_pass=n, keep_outputs=True) for n in (1, 4)
    )
    assert joint["rows"]["model"]["psnr"] > single["rows"]["model"]["psnr"] - 0.5
    disagreement = {}
    for kind in ("color", "depth"):
        for name, report in (("single", single), ("joint", joint)):
            generated = zip(scenes, report["images"].split(4), report["depths"].split(4), strict=True)
            scores = [
                cross_view_consistency(images, depths, scene.targets.depths, scene.targets.cameras)[kind]
                for scene, images, depths in generated
            ]
            disagreement[name, kind] = torch.tensor(scores).nanmean()
    assert disagreement["joint", "depth"] < 0.8 * disagreement["single", "depth"]
    assert disagreement["joint", "color"] < 1.1 * disagreement["single", "color"]


def test_the_bundled_sample_runs(pipe, repository):
    views = load_views(repository / "checkpoints" / "mvgd-tiny" / "sample")
    output = pipe(views[1:], target_cameras=views.cameras[:1], ensemble_size=2, output_type="pt")
    assert output.images.shape == (1, 3, 32, 32)
    assert output.depths.min() > 0


def test_every_real_scene_runs(pipe, shared_data):
    """Real photos of every kind: each middle photo is generated from its four nearest ones."""
    scenes = sorted(path.parent for path in (shared_data / "posed").glob("*/cameras.json"))
    assert scenes
    for scene in scenes:
        views = load_views(scene)
        middle = len(views) // 2
        context = views[[i for i in range(len(views)) if i != middle]]
        target = views[[middle]].cameras
        output = pipe(context, target_cameras=target, ensemble_size=2, max_context_views=4, output_type="pt")
        assert output.images.isfinite().all() and output.images.std() > 0.01, scene.name
        assert output.depths.isfinite().all() and (output.depths > 0).all(), scene.name
        assert (output.depths.max() / output.depths.min()) > 1.2, scene.name
