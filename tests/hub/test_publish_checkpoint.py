"""utils/publish_checkpoint.py uploads what belongs to a checkpoint, and refuses what should not be published."""

import json
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
from hub.stub_hub import TOKEN, Repository, StubHub
from safetensors.numpy import save_file
from script_modules import load_script

from anyviews.publishing.repository_files import repository_files


REPO_ID = "user/model"

CARD = """---
license: apache-2.0
library_name: diffusers
pipeline_tag: image-to-3d
tags: [anyviews]
datasets: []
---
A model that was trained from scratch.
Weights and code: apache-2.0. Training data: generated.
"""


@pytest.fixture(scope="module")
def hub():
    with StubHub() as running:
        yield running


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    """A folder as a training run leaves it, without a card."""
    folder = tmp_path / "run"
    index = {
        "_class_name": ["pipeline", "Pipeline"],
        "transformer": ["anyviews", "Model"],
        "safety_checker": [None, None],
        "azimuths": [0.0, 90.0],
    }
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
    path.write_text(CARD, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def script(repository):
    return load_script(repository / "utils" / "publish_checkpoint.py")


@pytest.fixture
def publish(hub, script, monkeypatch, capsys):
    """The script: publish(arguments...) -> (exit code, what it printed, errors)."""
    hub.repositories.clear()
    hub.unknown.clear()
    hub.token, hub.organisations = {"displayName": "laptop", "role": "write"}, []
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", hub.endpoint)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        try:
            script.main([str(argument) for argument in arguments])
            code = 0
        except SystemExit as stopped:
            code = stopped.code
        printed, errors = capsys.readouterr()
        assert hub.unknown == []
        return code, printed, errors

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
    first, *lines = printed.splitlines()
    assert first == f"{REPO_ID}:"
    listed = dict(reversed(line.split()) for line in lines[:-2])
    assert listed == {name: f"{path.stat().st_size:,}" for name, path in expected.items()}
    assert lines[-2].split()[0] == f"{sum(path.stat().st_size for path in expected.values()):,}"
    assert "nothing was uploaded" in lines[-1]
    assert len(hub.requests) == asked and not hub.repositories


def test_uploads_in_one_commit_and_removes_outdated_weights(hub, publish, checkpoint, card):
    (checkpoint / "README.md").write_text(f"{CARD}It is that of the folder.", encoding="utf-8")
    shard = checkpoint / "transformer" / "model-00001-of-00001.safetensors"
    save_file({"weight": np.zeros(1)}, shard)
    code, printed, errors = publish(checkpoint, REPO_ID)
    assert (code, errors) == (0, "")
    assert f"{hub.endpoint}/{REPO_ID}" in printed
    first = dict(remote(hub).files)
    assert first["README.md"].endswith(b"It is that of the folder.")
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


def test_the_card_names_the_repository_instead_of_a_folder():
    code = 'P.from_pretrained("checkpoints/mine")\nload_views("checkpoints/mine/sample")'
    card = f"{CARD}```python\n{code}\n```\n```bash\nanyviews run checkpoints/mine/sample\n```\n"
    (found,) = (content.decode() for content in repository_files({}, "user/mine", card).values())
    assert (
        "```python\nfrom huggingface_hub import snapshot_download\n"
        'P.from_pretrained("user/mine")\nload_views(snapshot_download("user/mine") + "/sample")\n```' in found
    )
    assert "```bash\nanyviews run checkpoints/mine/sample\n```" in found


def test_private(hub, publish, checkpoint, card):
    assert publish(checkpoint, REPO_ID, "--card", card, "--private")[0] == 0
    assert remote(hub).private
    remote(hub).private = False
    before = remote(hub).sha
    code, _, errors = publish(checkpoint, REPO_ID, "--card", card, "--private")
    assert code == 1 and "nothing was uploaded" in errors
    assert "is public" in errors and "leave --private out" in errors
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


def test_cards_and_samples_need_a_licence(hub, publish, checkpoint, card, tmp_path):
    asked = len(hub.requests)
    card.write_text(CARD.replace("license: apache-2.0\n", ""), encoding="utf-8")
    (checkpoint / "sample").mkdir()
    (checkpoint / "sample" / "00.png").write_bytes(b"a photo")
    code, _, errors = publish(checkpoint, REPO_ID, "--card", card)
    assert code == 2
    assert "the card states no licence" in errors
    assert "sample has no LICENSE file" in errors and "--sample-licence" in errors
    assert len(hub.requests) == asked

    card.write_text(CARD, encoding="utf-8")
    other = tmp_path / "other"
    other.mkdir()
    (other / "photo.png").write_bytes(b"another photo")
    options = ("--card", card, "--sample", other, "--sample-licence", "CC0-1.0, own photo")
    assert publish(checkpoint, REPO_ID, *options)[0] == 0
    sample = {name: content for name, content in remote(hub).files.items() if name.startswith("sample/")}
    assert sample == {"sample/photo.png": b"another photo", "sample/LICENSE": b"CC0-1.0, own photo\n"}


def test_samples_that_are_not_there(publish, checkpoint, card, tmp_path):
    code, _, errors = publish(checkpoint, REPO_ID, "--card", card, "--sample-licence", "CC0-1.0")
    assert code == 2 and "without a sample" in errors
    code, _, errors = publish(checkpoint, REPO_ID, "--card", card, "--sample", tmp_path / "absent")
    assert code == 2 and "absent is not a folder" in errors


SCOPED = {"entity": {"type": "user", "name": "user"}, "permissions": ["repo.content.read", "repo.write"]}


@pytest.mark.parametrize(
    ("name", "token", "organisations", "message"),
    [
        ("model", {}, [], "names no owner; give OWNER/NAME"),
        ("user/model", {"displayName": "ci", "role": "read"}, [], "the token ci may only read"),
        ("user/model", {"role": "fineGrained", "fineGrained": {"scoped": []}}, [], "no permission to write to user"),
        ("org/model", {"role": "fineGrained", "fineGrained": {"scoped": [SCOPED]}}, [{"name": "org"}], "write to org"),
        ("other/model", {"role": "write"}, [{"name": "org"}], "no place called other; yours are user, org"),
        (
            "org/model",
            {"role": "write"},
            [{"name": "org", "roleInOrg": "read"}],
            "may only read in the organisation org",
        ),
        ("user/taken", {"role": "write"}, [], "user/taken is a data set already"),
    ],
)
def test_what_the_hub_would_refuse_is_refused_first(
    hub, publish, checkpoint, card, name, token, organisations, message
):
    hub.token, hub.organisations = token, organisations
    hub.repositories["dataset", "user/taken"] = Repository(private=False)
    asked = len(hub.requests)
    code, _, errors = publish(checkpoint, name, "--card", card)
    assert code != 0 and message in errors
    assert list(hub.repositories) == [("dataset", "user/taken")]
    assert not any(request.startswith("POST") for request in hub.requests[asked:])


def test_a_fine_grained_token_that_may_write(hub, publish, checkpoint, card):
    hub.token = {"role": "fineGrained", "fineGrained": {"scoped": [SCOPED]}}
    assert publish(checkpoint, REPO_ID, "--card", card)[0] == 0


def test_no_token_and_a_wrong_one(hub, publish, checkpoint, card, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    code, _, errors = publish(checkpoint, REPO_ID, "--card", card)
    assert code == 1 and "does not know your token" in errors and "hf auth login" in errors
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "absent"))
    code, _, errors = publish(checkpoint, REPO_ID, "--card", card)
    assert code == 1 and "not logged in" in errors and "hf auth login" in errors
    assert not hub.repositories


def test_a_space_goes_up_with_the_checkpoint(hub, script, publish, checkpoint, card, monkeypatch):
    monkeypatch.setattr(script, "space_files", lambda repository: {"app.py": f"# {repository}".encode()})
    code, printed, errors = publish(checkpoint, REPO_ID, "--card", card, "--space")
    assert (code, errors) == (0, "")
    space = hub.repositories["space", "user/model-app"]
    assert space.sdk == "gradio"
    assert space.files == {"app.py": b"# user/model"}
    assert "user/model-app:" in printed and remote(hub).files["README.md"].decode() == CARD

    space.sdk = "docker"
    before = remote(hub).sha
    code, _, errors = publish(checkpoint, REPO_ID, "--card", card, "--space")
    assert code == 1 and "is a Space of docker" in errors
    assert remote(hub).sha == before, "all is checked before anything is uploaded"
