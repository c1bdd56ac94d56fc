"""`anyviews eval` measures, continues after a kill, gives the same rows in two processes, and finds drift."""

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from evaluation import fake_method
from evaluation.fake_method import PROTOCOL, installed
from scenes import Page

from anyviews.cli import methods
from anyviews.cli.main import main


CARD = """---
library_name: diffusers
pipeline_tag: image-to-3d
license: apache-2.0
tags:
- anyviews
datasets: []
---

# fake

Trained from scratch; <!-- = fake/noise/quality/blur/psnr -->0<!-- /= --> dB.

<!-- eval noise/quality -->
<!-- /eval noise/quality -->

<!-- eval noise -->
<!-- /eval noise -->

Weights and code: Apache-2.0. Training data: none.
"""


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    """A checkpoint of the method of the tests, in a folder of its own."""
    monkeypatch.setitem(methods.METHODS, "fake", "fake")
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "checkpoints" / "fake"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "fake"}', encoding="utf-8")
    with installed():
        yield folder


def measure(checkpoint, *options) -> int:
    return main(["eval", str(checkpoint), "--protocol", "noise", "--device", "cpu", *map(str, options)])


def rows(folder: Path) -> list[dict]:
    return json.loads((folder / "report.json").read_text(encoding="utf-8"))["rows"]


def test_results_without_a_protocol_are_refused(checkpoint, tmp_path, capsys):
    assert main(["eval", str(checkpoint), "-o", str(tmp_path / "out")]) == 3
    assert "give --protocol NAME" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_protocols_are_listed(checkpoint, capsys):
    assert main(["eval", str(checkpoint)]) == 0
    assert "noise            Random pixels" in capsys.readouterr().out
    assert main(["eval", str(checkpoint), "--protocol", "gso"]) == 3
    assert "no protocol 'gso'; accepted are noise" in capsys.readouterr().err


def test_a_report_a_table_and_a_page(checkpoint, tmp_path, capsys):
    assert measure(checkpoint) == 0
    out = tmp_path / "evaluation-fake-noise"
    printed = capsys.readouterr()
    assert "| blur |" in printed.out and f"look at {out / 'index.html'}" in printed.out
    assert "noise-3 (0 more" in printed.err
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert report["protocol"]["hash"] == PROTOCOL.hash and report["protocol"]["size"] is None
    assert report["checkpoint"] == "fake" and len(report["checkpoint_hash"]) == 16 and report["seed"] == 0
    assert {"commit", "hardware", "torch", "date"} <= set(report["conditions"])
    assert [row["scene"] for row in report["rows"]] == ["noise-0", "noise-1", "noise-2", "noise-3"]
    page = Page(out / "index.html")
    assert "The best: noise-" in page.text and "The median: noise-" in page.text and "The worst: noise-" in page.text
    assert (out / "index.html").read_text(encoding="utf-8").count("data:image/png") == 6


def test_the_same_seed_gives_the_same_rows_and_another_one_others(checkpoint, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        assert measure(checkpoint, "-o", tmp_path / name, "--seed", seed) == 0
    first, second, other = (rows(tmp_path / name) for name in "abc")
    assert first == second != other


def test_a_killed_evaluation_continues(checkpoint, tmp_path, capsys):
    assert measure(checkpoint, "-o", tmp_path / "whole") == 0
    seen = []

    def killed(model, case, protocol):
        seen.append(case.name)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return fake_method.evaluate(model, case, protocol)

    with installed(evaluate=killed):
        assert measure(checkpoint, "-o", tmp_path / "out") == 130
        assert not (tmp_path / "out" / "report.json").exists()
        assert measure(checkpoint, "-o", tmp_path / "out") == 0
    assert seen == ["noise-0", "noise-1", "noise-2", "noise-2", "noise-3"]
    assert rows(tmp_path / "out") == rows(tmp_path / "whole")
    # more scenes go on from those that are there; another seed or protocol does not
    assert measure(checkpoint, "-o", tmp_path / "out", "--scenes", 5) == 0
    assert len(rows(tmp_path / "out")) == 5
    capsys.readouterr()
    assert measure(checkpoint, "-o", tmp_path / "out", "--seed", 1) == 3
    assert "another seed; give another folder, or --overwrite" in capsys.readouterr().err
    assert measure(checkpoint, "-o", tmp_path / "out", "--seed", 1, "--overwrite") == 0
    with installed(PROTOCOLS=(replace(PROTOCOL, version=2),)):
        assert measure(checkpoint, "-o", tmp_path / "out", "--seed", 1) == 3
    assert "another protocol_hash" in capsys.readouterr().err


def test_a_foreign_folder_is_left_alone(checkpoint, tmp_path, capsys):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").touch()
    assert measure(checkpoint, "-o", tmp_path / "photos", "--overwrite") == 3
    assert "holds no evaluation" in capsys.readouterr().err and (tmp_path / "photos" / "a.png").exists()


def test_the_card_gets_the_figures_and_a_check_finds_drift(checkpoint, tmp_path, capsys):
    card = tmp_path / "card.md"
    card.write_text(CARD, encoding="utf-8")
    assert measure(checkpoint, "--card", card) == 0
    text = card.read_text(encoding="utf-8")
    value = json.loads((checkpoint / "evaluation.json").read_text())["noise"]["tables"]["quality"]["blur"]["psnr"]
    assert f"-->{value:.3g}<!-- /= --> dB" in text and f"| blur | {value:.3g} |  |" in text
    assert f"value: {value}" in text and "Measured by `anyviews eval checkpoints/fake" in text
    check = ["eval", str(checkpoint), "--check", "--device", "cpu", "--card", str(card)]
    assert main(check) == 0
    assert "4 scenes of noise): nothing has drifted" in capsys.readouterr().out
    assert main([*check, "--scenes", "1"]) == 0

    def worse(model, case, protocol):
        return fake_method.evaluate(model, replace(case, seed=case.seed + 9), protocol)

    with installed(evaluate=worse):
        assert main([*check, "--json"]) == 1
    problems = json.loads(capsys.readouterr().out.splitlines()[-1])["problems"]
    assert any("spread had the rows" in problem for problem in problems)
    card.write_text(text.replace("license: apache-2.0\n", "").replace(f"{value:.3g}<!--", "99<!--"), encoding="utf-8")
    (checkpoint / "config.json").write_text('{"model_type": "fake", "size": 2}', encoding="utf-8")
    assert main(check) == 1
    out = capsys.readouterr().out
    assert "states no licence" in out and "other figures than evaluation.json" in out and "other weights" in out


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--check"], "has no evaluation.json with a report"),
        (["--check", "--overwrite"], "--check writes nothing"),
        (["--scenes", "0"], "accepted are 1 and more"),
        (["--card", "nowhere.md"], "nowhere.md does not exist"),
    ],
)
def test_what_cannot_be_done_is_said_at_once(checkpoint, capsys, options, says):
    assert main(["eval", str(checkpoint), *options]) == 3
    assert says in capsys.readouterr().err


PROCESS = """
import sys
from evaluation.fake_method import installed
from anyviews.cli import methods
from anyviews.cli.main import main
methods.METHODS["fake"] = "fake"
with installed():
    sys.exit(main(sys.argv[1:]))
"""


def test_two_processes_give_the_rows_of_one(checkpoint, tmp_path):
    assert measure(checkpoint, "-o", tmp_path / "one") == 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    tests = Path(__file__).resolve().parents[1]
    world = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    command = [
        sys.executable,
        "-c",
        PROCESS,
        "eval",
        checkpoint,
        "--protocol",
        "noise",
        "--device",
        "cpu",
        "-o",
        "two",
    ]
    running = [
        subprocess.Popen(
            [*map(str, command)],
            cwd=tmp_path,
            env={**os.environ, **world, "RANK": str(rank), "LOCAL_RANK": str(rank), "PYTHONPATH": str(tests)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    done = [process.communicate(timeout=600) for process in running]
    assert [process.returncode for process in running] == [0, 0], done
    assert "process 1 is done" in done[1][0]
    assert "noise-0" in done[0][1] and "noise-1" not in done[0][1] and "noise-1" in done[1][1]
    assert rows(tmp_path / "two") == rows(tmp_path / "one")
