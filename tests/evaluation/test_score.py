import json
import math
from functools import partial

import pytest
import torch

from anyviews.evaluation.depth_metrics import score_depths, score_normals
from anyviews.evaluation.image_metrics import score_images
from anyviews.evaluation.material_metrics import score_base_color, score_material_map
from anyviews.evaluation.score import Score, check_finite, mean_score, mean_scores, named
from anyviews.evaluation.stanford_orb import score_orb_base_color, score_orb_depths, score_orb_images


def test_scores_go_through_json():
    score = Score("psnr", 21.5, "dB", {"resolution": "32x48"}).stating(resize_filter="area", views=3)
    read = Score(**json.loads(json.dumps(score.to_json(), allow_nan=False)))
    assert read == score and read.protocol == {"resolution": "32x48", "resize_filter": "area", "views": 3}
    for value in (math.nan, math.inf):
        assert json.loads(json.dumps(Score("psnr", value, "dB").to_json(), allow_nan=False))["value"] is None
    assert named(score, Score("ssim", 1.0, "1")).keys() == {"psnr", "ssim"}


def test_means_are_of_numbers_measured_alike():
    scores = [Score("rmse", value, "m", {"alignment": "none"}) for value in (1.0, math.nan, 3.0)]
    mean = mean_score(scores)
    assert mean.value == 2 and mean.protocol == {"alignment": "none", "results": 3, "undefined": 1}
    assert math.isnan(mean_score(scores[1:2]).value)
    for other in (Score("rmse", 1.0, "m", {"alignment": "median"}), Score("rmse", 1.0, "cm", {"alignment": "none"})):
        with pytest.raises(ValueError, match="not measured alike"):
            mean_score([*scores, other])
    views = [Score("psnr", 20.0, "dB", {"views": count}) for count in (5, 3, 9)]
    assert mean_score(views).protocol["views"] == "3 to 9" and mean_score(views[:1]).protocol["views"] == 5
    with pytest.raises(ValueError, match="alike have no mean: views is 5 and None"):
        mean_score([views[0], Score("psnr", 20.0, "dB")])
    with pytest.raises(ValueError, match="no scores"):
        mean_score([])


def test_means_of_results():
    results = [named(Score("psnr", value, "dB"), Score("ssim", 0.5, "1")) for value in (20.0, 24.0)]
    assert {name: score.value for name, score in mean_scores(results).items()} == {"psnr": 22, "ssim": 0.5}
    assert mean_scores([]) == {}


def failed(*shape: int) -> torch.Tensor:
    values = torch.rand(*shape)
    values[0, 0, 0, 0] = torch.nan
    return values


@pytest.mark.parametrize(
    ("score", "channels"),
    [
        (score_images, 3),
        (score_depths, 1),
        (score_normals, 3),
        (score_base_color, 3),
        (partial(score_material_map, "roughness"), 1),
        (partial(score_orb_images, scaled=True), 3),
        (score_orb_base_color, 3),
        (score_orb_depths, 1),
    ],
)
def test_a_failed_prediction_is_no_undefined_score(score, channels):
    """Undefined scores are left out of means, which would reward failing."""
    good, masks = torch.rand(2, channels, 16, 16), torch.ones(2, 1, 16, 16)
    score(good, good, masks)
    with pytest.raises(ValueError, match=r"1 of \d+ values of \w+ are NaN or infinite"):
        score(failed(2, channels, 16, 16), good, masks)
    with pytest.raises(ValueError, match="values of depths are NaN"):
        check_finite(masks=None, depths=failed(1, 1, 2, 2))
