"""Depth scores against values worked out by hand and numpy's; alignments undo what they name."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from strategies import property_settings, seeds

from anyviews.evaluation.depth_metrics import (
    absolute_relative_error,
    align_depths,
    depth_accuracy,
    depth_scores,
    score_depths,
    score_normals,
)


def maps(seed: int, views: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Predicted and true depth, of which a fifth is unknown."""
    generator = torch.Generator().manual_seed(seed)
    references = 1 + 4 * torch.rand(views, 1, 9, 8, generator=generator)
    depths = references * (0.5 + torch.rand(references.shape, generator=generator))
    return depths, references * (torch.rand(references.shape, generator=generator) > 0.2)


def test_depth_scores_look_only_at_known_depth():
    references = torch.tensor([[[[1.0, 2.0, 0.0, 4.0]]]])
    depths = torch.tensor([[[[1.1, 1.0, 9.0, 4.0]]]])
    valid = references > 0
    assert absolute_relative_error(depths, references, valid).item() == pytest.approx((0.1 + 0.5 + 0) / 3)
    assert depth_accuracy(depths, references, valid).item() == pytest.approx(2 / 3)
    scores = score_depths(depths, references)
    assert scores["absrel"].value == pytest.approx(0.2) == depth_scores(depths, references)["absrel"].item()
    assert scores["rmse"].value == pytest.approx(math.sqrt((0.01 + 1 + 0) / 3))
    assert scores["rmse"].unit == "world units" and scores["absrel"].unit == "1"
    assert scores["absrel"].protocol["alignment"] == "none"


def test_depth_accuracy_is_symmetric_in_the_factor():
    references = torch.full((1, 1, 1, 2), 2.0)
    valid = references > 0
    assert depth_accuracy(torch.tensor([[[[2.4, 2.0 / 1.2]]]]), references, valid).item() == 1
    assert depth_accuracy(torch.tensor([[[[2.6, 2.0 / 1.3]]]]), references, valid).item() == 0
    assert depth_accuracy(torch.zeros(1, 1, 1, 2), references, valid).item() == 0


@property_settings
@given(seeds)
def test_scores_are_those_of_numpy(seed):
    depths, references = maps(seed)
    scores = score_depths(depths, references, alignment="median")
    expected = []
    for depth, reference in zip(depths.double().numpy(), references.double().numpy(), strict=True):
        a, b = depth[reference > 0], reference[reference > 0]
        a = a * np.median(b) / np.median(a)
        ratio = np.maximum(a / b, b / a)
        shares = [(ratio < 1.25**power).mean() for power in (1, 2, 3)]
        expected.append([(np.abs(a - b) / b).mean(), np.sqrt(((a - b) ** 2).mean()), *shares])
    assert [score.value for score in scores.values()] == pytest.approx(np.mean(expected, 0), abs=1e-5)


@property_settings
@given(seeds)
def test_least_squares_alignments_are_those_of_numpy(seed):
    depths, references = maps(seed)
    valid = references > 0
    for alignment, per in (("scale", "view"), ("scale", "scene"), ("scale_shift", "view"), ("scale_shift", "scene")):
        aligned = align_depths(depths, references, valid, alignment, per)
        groups = [slice(None)] if per == "scene" else [slice(i, i + 1) for i in range(len(depths))]
        for group in groups:
            a, b = (values[group][valid[group]].double().numpy() for values in (depths, references))
            columns = np.stack([a, np.ones_like(a)], 1) if alignment == "scale_shift" else a[:, None]
            fitted = columns @ np.linalg.lstsq(columns, b, rcond=None)[0]
            assert aligned[group][valid[group]].numpy() == pytest.approx(fitted, abs=1e-4)


@pytest.mark.parametrize(("alignment", "scale", "shift"), [("median", 3, 0), ("scale", 0.2, 0), ("scale_shift", 2, 1)])
def test_alignment_undoes_what_it_names(alignment, scale, shift):
    _, references = maps(0)
    depths = torch.where(references > 0, scale * references + shift, 0)
    aligned = align_depths(depths, references, references > 0, alignment)
    torch.testing.assert_close(aligned, references)
    assert torch.equal(aligned > 0, references > 0)
    assert score_depths(depths, references)["absrel"].value > 0.5
    scores = score_depths(depths, references, alignment=alignment)
    assert scores["absrel"].value < 1e-6 and scores["absrel"].protocol["alignment"] == f"{alignment} per view"


def test_one_scale_for_all_views_shows_where_they_disagree():
    references = torch.full((2, 1, 4, 4), 2.0)
    depths = references * torch.tensor([1.0, 1.1])[:, None, None, None]
    assert score_depths(depths, references, alignment="scale")["absrel"].value < 1e-6
    assert score_depths(depths, references, alignment="scale", per="scene")["absrel"].value > 0.04


def test_unknown_prediction_is_wrong_but_does_not_decide_the_alignment():
    references = torch.tensor([[[[2.0, 4.0, 6.0, 5.0, 9.0, 7.0, 8.0]]]])
    depths = torch.tensor([[[[1.0, 2.0, 3.0, 0.0, 0.0, 0.0, 0.0]]]])
    for alignment in ("median", "scale", "scale_shift"):
        scores = score_depths(depths, references, alignment=alignment)
        assert scores["absrel"].value == pytest.approx(4 / 7) and scores["delta1.25"].value == pytest.approx(3 / 7)


def test_equal_depths_are_aligned_to_the_mean():
    references = torch.tensor([[[[1.0, 2.0, 3.0]]]])
    aligned = align_depths(torch.full_like(references, 0.7), references, references > 0, "scale_shift")
    torch.testing.assert_close(aligned, torch.full_like(references, 2.0))


def test_views_without_a_valid_pixel_are_left_out():
    depths, references = maps(1)
    references[1] = 0
    alone = score_depths(depths[[0, 2]], references[[0, 2]], alignment="scale")
    for name, score in score_depths(depths, references, alignment="scale").items():
        assert score.value == pytest.approx(alone[name].value)
    nothing = score_depths(depths, references, masks=torch.zeros_like(depths), alignment="median")
    assert all(math.isnan(score.value) and score.to_json()["value"] is None for score in nothing.values())
    with pytest.raises(ValueError, match=r"'mode' per 'view'; accepted are none, median, scale, scale_shift"):
        score_depths(depths, references, alignment="mode")


def test_angles_of_normals():
    references = torch.zeros(1, 3, 1, 5)
    references[:, 2, :, :4] = 1
    angles = torch.tensor([0.0, 10.0, 25.0]).deg2rad()
    normals = torch.zeros(1, 3, 1, 5)
    normals[0, 0, 0, :3], normals[0, 2, 0, :3] = 7 * angles.sin(), 7 * angles.cos()
    normals[..., 4] = 1
    scores = {name: score.value for name, score in score_normals(normals, references).items()}
    assert scores["normal_mean"] == pytest.approx((0 + 10 + 25 + 90) / 4, abs=1e-4)
    assert scores["normal_median"] == pytest.approx(17.5, abs=1e-4)
    assert [scores[f"normal_within_{angle}"] for angle in ("11.25", "22.5", "30")] == [0.5, 0.5, 0.75]
    assert scores["normal_cosine_distance"] == pytest.approx(1 - (1 + angles[1:].cos().sum().item()) / 4)
    assert math.isnan(score_normals(normals, 0 * references)["normal_median"].value)
