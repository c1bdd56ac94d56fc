"""Figures on pages are those of the reports, and say so when there are none."""

import pytest
from evaluation.fake_method import FACTS, PROTOCOL, installed, record

from anyviews.evaluation.cards import card_problems, model_index, refreshed_card, split_card
from anyviews.evaluation.figures import figure_text, refreshed
from anyviews.evaluation.report import build_report


CONDITIONS = {"commit": "abc", "hardware": "CPU", "torch": "2", "date": "2026-11-22"}
HEADER = """---
library_name: diffusers
pipeline_tag: image-to-3d
license: apache-2.0
tags:
- anyviews
datasets: []
---
"""
BODY = "\nTrained from scratch. Weights and code: Apache-2.0. Training data: its own.\n"


@pytest.fixture
def evaluations():
    report = build_report(PROTOCOL, [record("a", 20.0, 1.0), record("b", 21.5, 2.0)], FACTS)
    with installed():
        yield {"tiny": {"noise": {**report, "conditions": CONDITIONS}}}


def test_a_figure_stands_on_any_page(evaluations):
    page = "It has <!-- = tiny/noise/quality/blur/psnr -->99<!-- /= --> dB."
    fresh = refreshed(page, evaluations)
    assert fresh == page.replace("99", "20.8")
    assert refreshed(fresh, evaluations) == fresh


def test_formats_and_differences(evaluations):
    assert figure_text("tiny/noise/quality/blur/psnr | .1f", evaluations) == "20.8"
    assert figure_text("tiny/noise/spread/1 to 1/psnr | .0%", evaluations) == "2000 %"
    difference = "tiny/noise/spread/2 to 2/psnr minus tiny/noise/spread/1 to 1/psnr"
    assert figure_text(difference, evaluations) == "1.5"


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("tiny/noise/psnr", "is not checkpoint/protocol/table/variant/metric"),
        ("huge/noise/quality/blur/psnr", "huge has no report of the protocol noise"),
        ("tiny/gso/quality/blur/psnr", "tiny has no report of the protocol gso"),
        ("tiny/noise/quality/sharp/psnr", "is in no report"),
        ("tiny/noise/quality/blur/absrel", "is in no report"),
    ],
)
def test_a_figure_that_nobody_measured_is_refused(evaluations, key, says):
    with pytest.raises(ValueError, match=says):
        refreshed(f"<!-- = {key} -->1<!-- /= -->", evaluations)


def test_a_card_has_tables_conditions_and_index(evaluations):
    sections = "".join(f"\n<!-- eval {key} -->\nold\n<!-- /eval {key} -->\n" for key in ("noise/quality", "noise"))
    card = refreshed_card(HEADER + sections + BODY, "tiny", evaluations)
    assert "| cases of noise (2 scenes) | psnr | absrel |\n|---|---:|---:|\n| blur | 20.8 |  |" in card
    assert "--protocol noise --scenes 2 --seed 0` (commit abc, CPU, torch 2, 2026-11-22)" in card
    assert f"`{PROTOCOL.hash}`" in card and "psnr in dB" in card and "old" not in card
    header, body = split_card(card)
    assert header["model-index"] == model_index("tiny", evaluations["tiny"]) and body.endswith(BODY)
    assert header["model-index"][0]["results"][0]["metrics"][0]["value"] == 20.75
    assert refreshed_card(card, "tiny", evaluations) == card
    assert card_problems(card) == []


def test_a_table_belongs_to_a_card(evaluations):
    with pytest.raises(ValueError, match="no card"):
        refreshed("<!-- eval noise -->\n<!-- /eval noise -->", evaluations)
    with pytest.raises(ValueError, match="no table joint; accepted are quality, spread"):
        refreshed("<!-- eval noise/joint -->\n<!-- /eval noise/joint -->", evaluations, "tiny")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("license: apache-2.0\n", "", "states no licence"),
        ("license: apache-2.0", "license:", "states no licence"),
        ("license: apache-2.0", "license: other", "needs license_name"),
        ("library_name: diffusers", "library_name: keras", "library_name is 'keras'"),
        ("image-to-3d", "text-to-image", "pipeline_tag is 'text-to-image'"),
        ("- anyviews", "- three-d", "tags lack anyviews"),
        ("datasets: []\n", "", "datasets is missing"),
        ("Trained from scratch.", "", "base_model is missing"),
        ("Training data", "Data", "lacks a line 'Training data"),
        ("Weights", "Code", "lacks a line 'Weights and code"),
        ("---\nlibrary", "library", "has no metadata"),
        ("tags:", "tags: [", "is no YAML"),
    ],
)
def test_what_a_card_lacks_is_named(old, new, says):
    assert card_problems(HEADER + BODY) == []
    problems = card_problems((HEADER + BODY).replace(old, new, 1))
    assert len(problems) == 1 and says in problems[0]
