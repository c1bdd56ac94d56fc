"""Every shipped checkpoint has a valid card, whose figures are those of its evaluation.json; no page is stale."""

import json
from pathlib import Path

import pytest
from script_modules import load_script

from anyviews.evaluation.cards import card_problems, read_evaluation, split_card
from anyviews.evaluation.figures import SECTION
from anyviews.evaluation.report import build_report, check_report
from anyviews.evaluation.runner import checkpoint_hash


REPOSITORY = Path(__file__).resolve().parents[2]
CHECKPOINTS = sorted(folder.name for folder in (REPOSITORY / "checkpoints").iterdir() if folder.is_dir())


@pytest.fixture(scope="module")
def fresh_pages():
    return load_script(REPOSITORY / "utils" / "benchmarks_page.py").fresh_pages(REPOSITORY)


@pytest.mark.parametrize("checkpoint", CHECKPOINTS)
def test_the_card_is_fit_to_be_published(checkpoint):
    card = (REPOSITORY / "model_cards" / f"{checkpoint}.md").read_text(encoding="utf-8")
    assert card_problems(card) == []
    header, body = split_card(card)
    assert header["model-index"][0]["name"] == checkpoint
    assert list(SECTION.finditer(body)), "the card shows no table of its evaluation.json"


@pytest.mark.parametrize("checkpoint", CHECKPOINTS)
def test_the_reports_are_of_these_weights(checkpoint):
    folder = REPOSITORY / "checkpoints" / checkpoint
    reports = read_evaluation(folder)
    assert reports["procedural"]["scenes"] >= 64
    for name, report in reports.items():
        assert report["checkpoint"] == checkpoint and report["protocol"]["name"] == name
        assert report["checkpoint_hash"] == checkpoint_hash(str(folder)), "weights changed after they were measured"


@pytest.mark.parametrize("checkpoint", CHECKPOINTS)
def test_means_are_those_of_the_rows(checkpoint):
    for name, report in read_evaluation(REPOSITORY / "checkpoints" / checkpoint).items():
        again = build_report(check_report(report, name), report["rows"], {})
        assert json.loads(json.dumps(again["tables"])) == report["tables"]


def test_no_page_states_a_stale_figure(fresh_pages):
    stale = [path for path, text in fresh_pages.items() if path.read_text(encoding="utf-8") != text]
    assert not stale, f"run python utils/benchmarks_page.py; stale are {[str(path) for path in stale]}"


def test_a_stale_figure_is_found(tmp_path):
    utility = load_script(REPOSITORY / "utils" / "benchmarks_page.py")
    for folder in ("checkpoints", "model_cards"):
        (tmp_path / folder).symlink_to(REPOSITORY / folder)
    (tmp_path / "docs").mkdir()
    key = "mvgd-tiny/procedural/quality/1 step/psnr"
    (tmp_path / "README.md").write_text(f"<!-- = {key} -->99.9<!-- /= --> dB\n", encoding="utf-8")
    text = utility.fresh_pages(tmp_path)[tmp_path / "README.md"]
    value = read_evaluation(REPOSITORY / "checkpoints" / "mvgd-tiny")["procedural"]["tables"]["quality"]["1 step"]
    assert text == f"<!-- = {key} -->{value['psnr']:.3g}<!-- /= --> dB\n"
