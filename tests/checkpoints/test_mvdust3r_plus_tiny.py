"""The shipped checkpoint does what its card says, on the card's rooms."""

import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from anyviews import MVDust3rPlusPipeline
from anyviews.evaluation.pointmaps import (
    Prediction,
    evaluate_pointmaps,
    held_out_rooms,
    mean_pointmap,
    means,
    score_room,
    standing_cameras,
)
from anyviews.models.mvdust3r import MVDust3rPlusModel, pixel_gaussians


ROOMS = 12


@pytest.fixture(scope="module")
def folder(repository):
    return repository / "checkpoints" / "mvdust3r-plus-tiny"


@pytest.fixture(scope="module")
def model(folder) -> MVDust3rPlusModel:
    return MVDust3rPlusModel.from_pretrained(folder).float().eval()


@pytest.fixture(scope="module")
def rooms():
    return held_out_rooms(ROOMS, 64)


def test_it_is_small_and_in_bfloat16(folder):
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 10e6
    assert {tensor.dtype for tensor in load_file(folder / "model.safetensors").values()} == {torch.bfloat16}


def test_it_has_four_references_and_gaussians(model):
    assert model.config.num_references == 4 and model.config.use_gaussians


def test_it_beats_answers_that_look_at_no_photo(model, rooms):
    found = evaluate_pointmaps(model, rooms)["means"]
    points = mean_pointmap(held_out_rooms(32, 64, first_seed=0))
    constant = means([score_room(Prediction(points, standing_cameras(room)), room) for room in rooms])
    assert found["nd"] < 0.75 * constant["nd"]
    assert found["rra@15"] > max(0.7, constant["rra@15"])


def test_its_gaussians_show_the_photos(model, rooms):
    pixel_values = 2 * rooms[0].images[None] - 1
    with torch.no_grad():
        gaussians = pixel_gaussians(model(pixel_values, all_paths=False), pixel_values)
    assert gaussians.opacities.min() > 0 and gaussians.opacities.max() > 0.5


def test_a_fresh_process_reconstructs_the_bundled_sample(folder):
    code = f"""
from pathlib import Path
from anyviews import MVDust3rPlusPipeline
pipe = MVDust3rPlusPipeline.from_pretrained({str(folder)!r})
photos = sorted(Path({str(folder / "sample")!r}).glob("*.png"))
output = pipe(photos)
assert len(output.cameras) == len(photos) == 4
assert output.points.isfinite().all() and output.found.float().mean() > 0.5
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=240)


def test_the_result_does_not_depend_on_the_order_of_other_references(model, rooms):
    pixel_values = 2 * rooms[0].images[None] - 1
    with torch.no_grad():
        found, other = model(pixel_values).points, model(pixel_values[:, [0, 3, 1, 2]]).points
    torch.testing.assert_close(other, found[:, :, [0, 3, 1, 2]], atol=1e-4, rtol=1e-3)


def test_the_pipeline_takes_it(folder):
    assert MVDust3rPlusPipeline.from_pretrained(folder).model.config.image_size == 64
