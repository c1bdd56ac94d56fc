"""Cases of the input view's evaluation: what a photo and Gaussians are, and that a stopped run goes on."""

import json
import sys

import pytest
import torch
from script_modules import load_script

from anyviews.evaluation.angles import rotation_angles
from anyviews.evaluation.input_view import (
    MOST_TURNED,
    InputViewCase,
    evaluate_case,
    input_view_case,
    mismatched,
    photo_camera,
    summary,
)
from anyviews.models.lgm import LGMModel, lgm_cameras
from anyviews.rendering.gaussians import render_on_white
from anyviews.rendering.image_quality import psnr
from anyviews.rendering.input_pose import PoseSearch
from anyviews.rendering.input_view import InputViewFit


SIZE = 24
SEARCH = PoseSearch((0,), (0,), (0,), grid_size=16, candidates=1, coarse_steps=1, size=16, steps=1)


@pytest.fixture(scope="module")
def case() -> InputViewCase:
    return input_view_case(1, SIZE)


def test_stand_ins_look_like_the_object_and_know_their_views(case):
    images = render_on_white(case.gaussians, case.near.cameras).images.clamp(0, 1)
    assert psnr(images, case.near.images).mean() > psnr(torch.ones_like(images), case.near.images).mean() + 3
    assert case.view_of.unique().tolist() == [0, 1, 2, 3] and len(case.view_of) == len(case.gaussians)
    # those of the front and of the back are where they are seen
    depth = case.gaussians.means[:, 2]
    assert depth[case.view_of == 0].mean() > depth[case.view_of == 2].mean()
    again = input_view_case(1, SIZE)
    assert torch.equal(again.gaussians.means, case.gaussians.means) and torch.equal(
        again.photo.images, case.photo.images
    )


def test_photos_are_within_the_stated_turn():
    front = lgm_cameras([0.0], size=SIZE)[0]
    turns = [
        float(rotation_angles(front.rotation, photo_camera(front, torch.Generator().manual_seed(seed)).rotation))
        for seed in range(50)
    ]
    assert max(turns) <= MOST_TURNED + 1e-3 and max(turns) > 25 and min(turns) < 5


def test_a_mismatched_photo_is_of_another_object_from_the_same_place(case):
    other = mismatched(case, 2)
    assert torch.equal(other.photo.cameras.camera_to_world, case.photo.cameras.camera_to_world)
    assert (other.photo.masks != case.photo.masks).float().mean() > 0.05


def test_gaussians_of_a_model_are_its_own():
    """By its own cameras: here far away, with a long lens."""
    model = LGMModel.from_size(
        "micro",
        input_size=16,
        camera_radius=13.7,
        field_of_view=5.72,
        output_size=SIZE,
        down_channels=(32, 32),
        up_channels=(32, 32),
        down_attention=(False, True),
        up_attention=(True, False),
    ).eval()
    made = input_view_case(1, SIZE, model)
    assert made.inputs.centers.norm(dim=-1).tolist() == pytest.approx([13.7] * 4, rel=1e-5)
    found = evaluate_case(made, SEARCH, InputViewFit(steps=1))
    assert found["overlap"] >= 0 and found["start"] <= MOST_TURNED
    assert len(made.gaussians) == 4 * 16**2 and made.view_of.bincount().tolist() == [256] * 4


def test_scores_and_their_summary(case):
    row = evaluate_case(case, SEARCH, InputViewFit(steps=2))
    assert row["start"] == pytest.approx(
        float(rotation_angles(lgm_cameras([0.0], size=SIZE).rotation[0], case.photo.cameras.rotation[0]))
    )
    assert set(row) >= {"turn", "error_before", "error", "near_psnr_before", "far_psnr", "dissimilarity"}
    good = {**row, "turn": 1.0, "error_before": 0.2, "error": 0.1, "converged": True}
    poor = {**row, "turn": 3.0, "error_before": 0.2, "error": 0.11, "converged": False}
    found = summary([good, poor])
    assert found["within 2 degrees"] == found["error halved"] == found["converged"] == 0.5
    assert found["within 5 degrees"] == 1 and found["median turn"] == 2 and found["cases"] == 2


def test_a_stopped_run_goes_on_and_other_settings_are_refused(repository, tmp_path, monkeypatch, capsys, case):
    script = load_script(repository / "utils" / "evaluate_input_view.py")
    made = []
    monkeypatch.setattr(script, "input_view_case", lambda index, *options: made.append(index) or case)
    row = {**dict.fromkeys(("turn", "start", "overlap", "true_error", "process_s"), 1.0), "converged": True}
    row |= {f"{n}{s}": 1.0 for n in ("error", "dissimilarity", "near_psnr", "far_psnr") for s in ("", "_before")}
    monkeypatch.setattr(script, "evaluate_case", lambda case: row)
    for count, expected in ((2, [0, 1]), (3, [0, 1, 2])):
        monkeypatch.setattr(sys, "argv", ["evaluate_input_view.py", str(tmp_path / "out"), "--cases", str(count)])
        script.main()
        assert made == expected
    assert json.loads((tmp_path / "out" / "report.json").read_text())["summary"]["cases"] == 3
    monkeypatch.setattr(sys, "argv", ["evaluate_input_view.py", str(tmp_path / "out"), "--size", "32"])
    with pytest.raises(ValueError, match="give another folder"):
        script.main()
