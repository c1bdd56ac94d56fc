"""Reports hold every row once, average what is defined, and are not compared across protocols."""

import json
import math
from dataclasses import replace

import pytest
import torch
from evaluation.fake_method import FACTS, PROTOCOL, installed, record, rows

from anyviews.evaluation.case import CaseResult, Row
from anyviews.evaluation.methods.scoring import depth_map_scores, image_scores
from anyviews.evaluation.report import (
    build_report,
    case_record,
    check_report,
    drift,
    dump_report,
    ranked,
    table_means,
    write_report,
)
from anyviews.evaluation.runner import evaluate_case, need_of, prepare_folder, read_cases
from anyviews.views import Views


@pytest.fixture
def report():
    records = [record(f"n{index}", 10.0 + index, index) for index in range(4)]
    return build_report(PROTOCOL, records, FACTS)


def test_means_leave_out_and_count_what_is_not_defined():
    records = [record("a", 10.0, absrel=0.5), record("b", 20.0), record("c", math.nan)]
    report = build_report(PROTOCOL, records, FACTS)
    assert report["tables"]["quality"]["blur"] == {"psnr": 15.0, "absrel": 0.5}
    assert report["undefined"] == {"quality": {"blur": {"psnr": 1, "absrel": 2}}, "spread": {"blur": {"psnr": 1}}}


def test_what_no_case_has_is_empty_and_not_counted(report):
    assert report["tables"]["quality"]["blur"]["absrel"] is None and report["undefined"] == {}


def test_bins_are_quantiles_of_the_position():
    records = [record(str(position), float(position), position) for position in (5, 1, 4, 2, 3)]
    means = table_means(PROTOCOL.table("spread"), records)
    assert means == {"1 to 2": {"psnr": 1.5}, "3 to 5": {"psnr": 4.0}}


def test_equal_positions_share_a_group():
    records = [record(str(index), float(index), 7.0) for index in range(4)]
    assert table_means(PROTOCOL.table("spread"), records) == {"7 to 7": {"psnr": 1.5}}


def test_a_report_survives_its_file(report, tmp_path):
    with installed():
        write_report(report, tmp_path / "report.json")
        found = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
        assert check_report(found, "report.json") == PROTOCOL and found == json.loads(json.dumps(report))
    lines = dump_report(report).splitlines()
    assert sum('"scene":' in line for line in lines) == 4


def test_a_report_of_another_version_is_refused(report):
    with installed(PROTOCOLS=(replace(PROTOCOL, version=2),)):
        with pytest.raises(ValueError, match=r"version 1 .* and this is version 2 .*run anyviews eval again"):
            check_report(report, "report.json")
    with installed(PROTOCOLS=(replace(PROTOCOL, size=(8, 8)),)), pytest.raises(ValueError, match="cannot be compared"):
        check_report(report, "report.json")
    with pytest.raises(ValueError, match="format version 0; accepted is 1"):
        check_report({**report, "format_version": 0}, "report.json")
    with pytest.raises(ValueError, match="is no report"):
        check_report({"psnr": 3}, "other.json")


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ([Row("joint", "blur", {"psnr": 1.0})], "no table 'joint'"),
        ([Row("quality", "blur", {"psnr": 1.0})], r"has \['psnr'\]; the protocol declares \['absrel', 'psnr'\]"),
        ([Row("quality", "blur", {"psnr": math.inf, "absrel": 1.0})], "psnr of 'blur' in table quality is infinite"),
    ],
)
def test_rows_that_the_protocol_does_not_declare_are_refused(wrong, says):
    with pytest.raises(ValueError, match=says):
        case_record("n", 0, wrong, PROTOCOL)


def test_every_scene_must_have_every_row():
    lacking = case_record("b", 0, rows(1.0)[:1], PROTOCOL)
    with pytest.raises(ValueError, match="the scene b has other rows than a"):
        build_report(PROTOCOL, [record("a", 1.0), lacking], FACTS)
    with pytest.raises(ValueError, match="more than once: a"):
        build_report(PROTOCOL, [record("a", 1.0), record("a", 1.0)], FACTS)
    with pytest.raises(ValueError, match="no scenes"):
        build_report(PROTOCOL, [], FACTS)


def test_drift_is_found_and_rounding_is_none(report):
    with installed():
        again = [record(f"n{index}", (10.0 + index) * 1.002, index) for index in range(4)]
        assert drift(report, again) == []
        worse = [record(f"n{index}", (10.0 + index) * 0.9, index) for index in range(2)]
        found = drift(report, worse)
        assert "quality, blur, psnr: 10.5 before, 9.45 now" in found
        assert drift(report, [record("n0", 10.0, 0.0, absrel=0.1)]) == ["quality, blur, absrel: None before, 0.1 now"]
        with pytest.raises(ValueError, match="lacks 1 of the scenes, the first is n9"):
            drift(report, [record("n9", 1.0)])


def test_scenes_are_ranked_by_what_is_better(report):
    assert [name for name, _ in ranked(report, PROTOCOL)] == ["n3", "n2", "n1", "n0"]
    by_error = replace(PROTOCOL, ranking=replace(PROTOCOL.ranking, metric="absrel"))
    rows_of = [record("a", 1.0, absrel=0.3), record("b", 2.0, absrel=0.1), record("c", 3.0)]
    assert ranked(build_report(by_error, rows_of, FACTS), by_error) == [("b", 0.1), ("a", 0.3)]


def test_predictions_of_another_size_or_with_nan_are_refused():
    images = torch.rand(2, 3, 16, 16)
    with pytest.raises(ValueError, match=r"\[1, 3, 16, 16\] and its reference \[2, 3, 16, 16\]"):
        image_scores(images[:1], images)
    with pytest.raises(ValueError, match="NaN or infinite"):
        image_scores(images / 0 * 0, images)
    targets = Views(images, depths=torch.ones(2, 1, 16, 16))
    with pytest.raises(ValueError, match="NaN or infinite"):
        depth_map_scores(torch.full((2, 1, 16, 16), math.nan), targets)
    assert math.isnan(depth_map_scores(torch.ones(2, 1, 16, 16), Views(images))["absrel"])
    unknown = Views(images, depths=torch.zeros(2, 1, 16, 16))
    assert math.isnan(depth_map_scores(torch.ones(2, 1, 16, 16), unknown)["absrel"])


def test_empty_masks_are_not_defined():
    images = torch.rand(1, 3, 16, 16)
    scores = image_scores(images, images * 0.5, torch.zeros(1, 1, 16, 16))
    assert math.isnan(scores["psnr"]) and math.isnan(scores["ssim"])


def test_a_failing_case_is_named():
    def failing(model, case, protocol):
        return CaseResult([Row("quality", "blur", image_scores(case.targets.images[..., :8], case.targets.images))])

    with installed(evaluate=failing) as method, pytest.raises(ValueError, match="noise-3: the prediction is"):
        evaluate_case(PROTOCOL, method, None, need_of(PROTOCOL, method, None, None), "noise-3", 0)


def test_a_folder_holds_one_evaluation(tmp_path):
    prepare_folder(tmp_path / "new", {"seed": 0})
    prepare_folder(tmp_path / "new", {"seed": 0})
    with pytest.raises(ValueError, match="an evaluation with another seed"):
        prepare_folder(tmp_path / "new", {"seed": 1})
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "photo.png").touch()
    with pytest.raises(ValueError, match="holds no evaluation"):
        prepare_folder(tmp_path / "other", {"seed": 0})
    with pytest.raises(ValueError, match="lacks 2 of 2 scenes, the first is a"):
        read_cases(tmp_path / "new", ["a", "b"])
