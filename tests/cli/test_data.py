"""`anyviews data`: info, verify and push, on folders and against a stand-in for the Hub."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hub.stub_hub import StubHub

from anyviews.cli import main as cli
from anyviews.data.publishing import push_shards
from anyviews.data.samples import Sample
from anyviews.data.schema import encode_sample
from anyviews.data.shards import write_shards
from anyviews.views import Views


def rows(count, bad=()):
    for i in range(count):
        licence = "cc-by-4.0" if i % 3 else "cc-by-nc-4.0"
        row = encode_sample(Sample(f"{i:03d}", Views(torch.full((2, 3, 4, 4), i / 255)), licence=licence))
        if i in bad:
            row["images"][1]["bytes"] = b"not a picture"
        yield row


def run_json(capsys, *arguments):
    code = cli.main(["data", *map(str, arguments), "--json"])
    return code, json.loads(capsys.readouterr().out)


@pytest.fixture
def folder(tmp_path):
    write_shards(rows(9), tmp_path / "scenes", num_shards=3)
    write_shards(rows(2), tmp_path / "scenes", num_shards=1, split="test")
    return tmp_path / "scenes"


def test_info(folder, capsys):
    code, summary = run_json(capsys, "info", folder)
    assert code == 0
    train = summary["splits"]["train"]
    assert train["rows"] == 9 and train["shards"] == 3 and train["schema_versions"] == {"2": 9}
    assert train["licences"] == {"cc-by-4.0": 6, "cc-by-nc-4.0": 3}
    assert train["bytes"] == sum(path.stat().st_size for path in (folder / "data").glob("train-*"))
    assert summary["splits"]["test"]["rows"] == 2 and "images" in summary["columns"]
    assert cli.main(["data", "info", str(folder)]) == 0
    text = capsys.readouterr().out
    assert "9 in 3 shards" in text and "cc-by-nc-4.0 (3)" in text
    assert run_json(capsys, "info", "procedural-rooms")[1]["endless"] is True


def test_verify(folder, tmp_path, capsys):
    assert run_json(capsys, "verify", folder)[0] == 0
    write_shards(rows(6, bad={4}), tmp_path / "bad", num_shards=1)
    code, summary = run_json(capsys, "verify", tmp_path / "bad")
    assert code == 1
    (problem,) = summary["problems"]
    assert problem["scene"] == "004" and problem["column"] == "images" and problem["shard"].startswith("data/train-")
    assert cli.main(["data", "verify", str(tmp_path / "bad")]) == 1
    text = capsys.readouterr().out
    assert f"{problem['shard']}, row {problem['row']}: scene 004: column images, view 1" in text
    assert "(train: 6 rows in 1 shards): checked checksums and every row; 1 broken" in text
    code, summary = run_json(capsys, "verify", tmp_path / "bad", "--quick")
    assert code == 0 and summary["problems"] == [] and summary["quick"] is True


def test_unusable_arguments(folder, tmp_path, capsys):
    for arguments, message in (
        (["info", folder, "--quick"], "--quick is for `anyviews data verify`, not for info"),
        (["push", folder], "anyviews data push FOLDER --to OWNER/NAME"),
        (["verify", tmp_path], "manifest.json does not exist"),
        (["push", folder, "--to", "not a name"], "not a name"),
    ):
        code, summary = run_json(capsys, *arguments)
        assert code == 3 and message in summary["error"]["message"]
    assert cli.main(["data", "dance", str(folder)]) == 2
    capsys.readouterr()


READ_BACK = """
import json, sys
from torchdata.stateful_dataloader import StatefulDataLoader
from anyviews.data import open_samples
from anyviews.data.description import describe_dataset

def key(sample):
    return sample.key

samples = open_samples("user/scenes", transform=key, block=2)
keys = [sorted(StatefulDataLoader(samples, None, num_workers=workers)) for workers in (0, 2)]
stream = iter(samples)
first = [next(stream) for _ in range(4)]
resumed = open_samples("user/scenes", transform=key, block=2)
resumed.load_state_dict(json.loads(json.dumps(samples.state_dict())))
found = {
    "keys": keys,
    "whole": first + list(resumed),
    "test": list(open_samples("user/scenes", split="test", transform=key)),
    "info": describe_dataset("user/scenes"),
}
print(json.dumps(found))
"""


def test_push_and_read_back_by_repository_id(folder, tmp_path):
    def run(*command):
        environment = {**hub.environment(tmp_path / "home"), "HF_DATASETS_CACHE": str(tmp_path / "cache")}
        done = subprocess.run([sys.executable, *map(str, command)], env=environment, capture_output=True, text=True)
        assert hub.unknown == []
        return done

    push = ("-m", "anyviews.cli.main", "data", "push", folder, "--to", "scenes", "--json")
    with StubHub() as hub:
        done = run(*push)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["repository"] == "user/scenes"
        files = hub.repositories["dataset", "user/scenes"].files
        local = {path.relative_to(folder).as_posix(): path.read_bytes() for path in files_of(folder)}
        assert files == local
        done = run("-c", READ_BACK)
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout.splitlines()[-1])
        wanted = [f"{i:03d}" for i in range(9)]
        assert found["keys"] == [wanted, wanted]
        assert sorted(found["whole"]) == wanted and sorted(found["test"]) == wanted[:2]
        assert found["info"]["splits"]["train"]["licences"] == {"cc-by-4.0": 6, "cc-by-nc-4.0": 3}

        # another version with fewer shards leaves none of the old ones
        other = tmp_path / "other"
        write_shards(rows(4), other, num_shards=2)
        assert run(*push[:4], other, *push[5:]).returncode == 0
        files = hub.repositories["dataset", "user/scenes"].files
        assert sorted(files) == sorted(path.relative_to(other).as_posix() for path in files_of(other))
        # as in the middle of an upload of several commits
        del files["data/train-00001-of-00002.parquet"]
        done = run("-c", "from anyviews.data import open_samples; open_samples('user/scenes')")
        assert "user/scenes: data/train-00001-of-00002.parquet is missing" in done.stderr


def test_changed_shards_are_not_pushed(folder):
    (folder / "data" / "train-00000-of-00003.parquet").write_bytes(b"")
    with pytest.raises(ValueError, match=r"train-00000-of-00003\.parquet was changed"):
        push_shards(folder, "user/scenes")


def files_of(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]
