"""`anyviews run` finds the method by the checkpoint, and does for every method what all have in common."""

import json
import re
import subprocess
import sys
import warnings
from types import ModuleType

import pytest
import torch
from hub.stub_hub import Repository, StubHub
from scenes import Page

from anyviews.cli import methods
from anyviews.cli.main import main
from anyviews.cli.page import heading


class Echo(ModuleType):
    """A method that writes what it was asked for."""

    TITLE = "Echo: a method for tests"
    FORMATS = ("npz", "ply")
    DEFAULT_FORMATS = ("ply",)

    def add_arguments(self, group):
        group.add_argument("--loudness", type=int, default=3)

    def run(self, arguments, folder):
        warnings.warn("quite loud", UserWarning, stacklevel=1)
        (folder / "echo.txt").write_text(" ".join(arguments.formats) * arguments.loudness)
        return {"parts": [], "photos": 1, "device": "cpu", "warnings": ["louder"], "shown": object()}

    def sections(self, result, folder):
        assert result["shown"] is not None
        return [heading((folder / "echo.txt").read_text())]

    def overview(self, result, folder):
        return [("nothing", torch.zeros(1, 3, 8, 8))]

    def describe(self, result):
        return [f"echoed {result['photos']}"]


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    """A checkpoint of a method that only this test knows."""
    monkeypatch.setitem(methods.METHODS, "EchoPipeline", "echo")
    monkeypatch.setitem(sys.modules, "anyviews.cli.methods.echo", Echo("anyviews.cli.methods.echo"))
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "model_index.json").write_text('{"_class_name": ["pipeline", "EchoPipeline"]}')
    return folder


def test_the_checkpoint_says_the_method(checkpoint, tmp_path, capsys):
    out = tmp_path / "out"
    argv = ["run", "photos", "--checkpoint", str(checkpoint), "-o", str(out), "--loudness", "2"]
    assert main(argv) == 0
    assert capsys.readouterr().out.splitlines() == [
        "warning: quite loud",
        "warning: louder",
        "echoed 1",
        f"look at {out / 'index.html'}",
    ]
    result = json.loads((out / "result.json").read_text())
    assert (out / "overview.jpg").stat().st_size > 0
    assert result["method"] == "echo" and result["settings"]["loudness"] == 2 and "shown" not in result
    assert f"anyviews run photos --output {out}" in result["command"] and "--formats ply" in result["command"]
    page = Page(out / "index.html")
    assert "plyply" in page.text and "photos: Echo" in page.text and "louder" in page.text

    # the command that is recorded does the same again
    assert main([*result["command"].split()[1:], "--overwrite", "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["command"].replace(" --overwrite", "") == result["command"]


def test_a_method_shows_its_options_and_run_those_of_all(checkpoint, capsys):
    with pytest.raises(SystemExit):
        main(["run", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "anyviews run --checkpoint CHECKPOINT --help" in text and "--loudness" not in text
    with pytest.raises(SystemExit):
        main(["run", f"--checkpoint={checkpoint}", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "Echo: a method for tests" in text and "--loudness" in text and "any of npz,ply (default: ply)" in text


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--frames", "3"), 2, "--frames"),
        (("--formats", "ply,glb"), 3, "--formats has glb; accepted are npz, ply"),
        (("--checkpoint",), 2, "--checkpoint"),
    ],
)
def test_options_of_other_methods_are_refused(checkpoint, tmp_path, capsys, options, code, message):
    out = tmp_path / "out"
    assert main(["run", "photos", "--checkpoint", str(checkpoint), "-o", str(out), *options]) == code
    assert message in capsys.readouterr().err and not out.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"model_index.json": '{"_class_name": "NoPipeline"}'}, "is a NoPipeline, .* accepted are .*MVGDPipeline"),
        ({"config.json": '{"model_type": "bert"}'}, "is a bert"),
        ({"config.json": "{}"}, "does not say what it is"),
        ({"config.json": "[]"}, "does not say what it is"),
        ({"model_index.json": "{"}, "is no JSON"),
        ({}, "has no model_index.json and no config.json"),
    ],
)
def test_what_is_no_known_checkpoint_is_named(tmp_path, capsys, content, message):
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    for name, text in content.items():
        (checkpoint / name).write_text(text)
    assert main(["run", "photos", "--checkpoint", str(checkpoint), "-o", str(tmp_path / "out")]) == 3
    assert re.search(message, capsys.readouterr().err)


def test_a_repository_says_its_method_also_offline(tmp_path):
    """Of a repository one small file is fetched; offline, the cache knows it, and what the repository has not."""
    code = (
        "import json, sys\nfrom anyviews.cli.methods import checkpoint_kind\nfound = []\n"
        "for name in sys.argv[1:]:\n"
        "    try:\n        found.append(checkpoint_kind(name))\n"
        "    except (OSError, ValueError) as error:\n        found.append(f'{type(error).__name__}: {error}')\n"
        "print(json.dumps(found))"
    )
    names = ["user/pipe", "user/model", "user/nothing", "user/gone"]
    with StubHub() as hub:
        for name, files in (
            ("user/pipe", {"model_index.json": b'{"_class_name": "MVGDPipeline"}'}),
            ("user/model", {"config.json": b'{"model_type": "mvdust3r"}'}),
            ("user/nothing", {"notes.txt": b"-"}),
        ):
            hub.repositories["model", name] = repository = Repository(private=False)
            repository.commit(files, "files")
        for offline in ("0", "1"):
            environment = hub.environment(tmp_path / "home", HF_HUB_OFFLINE=offline)
            command = [sys.executable, "-c", code, *names]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
            pipe, model, nothing, gone = json.loads(done.stdout)
            assert (pipe, model) == ("MVGDPipeline", "mvdust3r")
            assert nothing.startswith(
                "OSError" if offline == "1" else "FileNotFoundError: user/nothing has no model_index"
            )
            assert gone.startswith("OSError: the checkpoint user/gone is no folder here, and cannot be loaded")


def test_verbs_that_need_no_pipeline_load_none():
    code = (
        "import sys\nfrom anyviews.cli.main import build_parser\n"
        "for verb in ('refine', 'render', 'run'): build_parser(verb)\n"
        "print(*sorted({'diffusers', 'transformers', 'numba', 'datasets', 'viser'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
