"""utils/publish_checkpoint.py uploads what belongs to a checkpoint, and refuses what should not be published."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hub.stub_hub import Repository, StubHub
from safetensors.numpy import save_file


REPO_ID = "user/model"


@pytest.fixture(scope="module")
def hub():
    with StubHub() as running:
        yield running


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    """A folder as a training run leaves it, without a card."""
    folder = tmp_path / "run"
    index = {"_class_name": "Pipeline", "transformer": ["anyviews", "Model"], "safety_checker": [None, None]}
    texts = {
        "model_index.json": json.dumps(index),
        "transformer/config.json": "{}",
        "losses.jsonl": "{}\n",
        "sample.png": "a picture",
        "checkpoint-10/optimizer.bin": "state of the training",
        "logs/events": "a log",
        ".cache/huggingface/entry": "hidden",
    }
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    save_file({"weight": np.arange(3.0)}, folder / "transformer" / "model.safetensors")
    return folder


@pytest.fixture
def card(tmp_path) -> Path:
    path = tmp_path / "card.md"
    path.write_text("---\nlicense: apache-2.0\n---\nA card.\n", encoding="utf-8")
    return path


@pytest.fixture
def publish(hub, repository, tmp_path):
    """The script: publish(arguments...) -> (exit code, what it printed, errors)."""
    hub.repositories.clear()

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        done = subprocess.run(
            [sys.executable, repository / "utils" / "publish_checkpoint.py", *map(str, arguments)],
            env=hub.environment(tmp_path / "home"),
            capture_output=True,
            text=True,
        )
        assert hub.unknown == []
        return done.returncode, done.stdout, done.stderr

    return run


def remote(hub: StubHub) -> Repository:
    return hub.repositories["model", REPO_ID]


def test_dry_run_lists_every_file_and_uploads_nothing(hub, publish, checkpoint, card):
    asked = len(hub.requests)
    code, printed, errors = publish(checkpoint, REPO_ID, "--card", card, "--dry-run")
    assert (code, errors) == (0, "")
    expected = {
        "README.md": card,
        **{
            name: checkpoint / name
            for name in (
                "losses.jsonl",
                "model_index.json",
                "sample.png",
                "transformer/config.json",
                "transformer/model.safetensors",
            )
        },
    }
    lines = printed.splitlines()
    listed = dict(reversed(line.split()) for line in lines[:-2])
    assert listed == {name: f"{path.stat().st_size:,}" for name, path in expected.items()}
    assert lines[-2].split()[0] == f"{sum(path.stat().st_size for path in expected.values()):,}"
    assert "nothing was uploaded" in lines[-1]
    assert len(hub.requests) == asked and not hub.repositories


def test_uploads_in_one_commit_and_removes_outdated_weights(hub, publish, checkpoint, card):
    (checkpoint / "README.md").write_text("the card of the folder", encoding="utf-8")
    shard = checkpoint / "transformer" / "model-00001-of-00001.safetensors"
    save_file({"weight": np.zeros(1)}, shard)
    code, printed, errors = publish(checkpoint, REPO_ID)
    assert (code, errors) == (0, "")
    assert f"{hub.endpoint}/{REPO_ID}" in printed
    first = dict(remote(hub).files)
    assert first["README.md"] == b"the card of the folder"
    assert first["sample.png"] == b"a picture"
    assert "checkpoint-10/optimizer.bin" not in first

    shard.unlink()
    (checkpoint / "sample.png").unlink()
    code, printed, errors = publish(checkpoint, REPO_ID, "--card", card)
    assert (code, errors) == (0, "")
    assert f"removed transformer/{shard.name}" in printed
    expected = {**first, "README.md": card.read_bytes()}
    del expected[f"transformer/{shard.name}"]
    assert remote(hub).files == expected, "only weights are removed"
    assert [message for _, message in remote(hub).commits[1:]] == ["Publish checkpoint"] * 2
    assert not remote(hub).private


def test_private(hub, publish, checkpoint, card):
    assert publish(checkpoint, REPO_ID, "--card", card, "--private")[0] == 0
    assert remote(hub).private
    remote(hub).private = False
    before = remote(hub).sha
    code, _, errors = publish(checkpoint, REPO_ID, "--card", card, "--private")
    assert code == 1 and "is public" in errors and "leave --private out" in errors
    assert remote(hub).sha == before


def test_every_problem_is_named_and_nothing_is_uploaded(hub, publish, checkpoint):
    asked = len(hub.requests)
    (checkpoint / "transformer" / "model.safetensors").rename(checkpoint / "transformer" / "model.bin")
    (checkpoint / "model_index.json").unlink()
    (checkpoint / "extra.pt").write_bytes(b"")
    (checkpoint / "other.pkl").write_bytes(b"")
    code, _, errors = publish(checkpoint, REPO_ID)
    assert code == 2
    assert "neither model_index.json nor config.json" in errors
    assert "extra.pt, other.pkl, transformer/model.bin" in errors and "optimizer.bin" not in errors
    assert "no .safetensors" in errors
    assert "no README.md" in errors and "--card" in errors
    assert len(hub.requests) == asked


def test_incomplete_folders_and_wrong_arguments_are_refused(publish, checkpoint, tmp_path):
    for path in (checkpoint / "transformer").iterdir():
        path.unlink()
    code, _, errors = publish(checkpoint, REPO_ID, "--card", tmp_path / "absent.md")
    assert code == 2
    assert "components without a folder: transformer" in errors
    assert "absent.md does not exist" in errors
    code, _, errors = publish(tmp_path / "absent", REPO_ID)
    assert code == 2 and "absent is not a folder" in errors
    code, _, errors = publish(checkpoint, "a/b/c")
    assert code == 2 and "a/b/c" in errors
