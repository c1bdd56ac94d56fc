import json
import math

import pytest

from anyviews.evaluation.score import Score, mean_score, named


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
    with pytest.raises(ValueError, match="no scores"):
        mean_score([])
