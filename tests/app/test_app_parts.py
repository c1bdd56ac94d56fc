"""Uploads become folders, options become words of the command line, and the verb says what it lacks."""

import argparse
import json
import socket
import sys
import zipfile
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
from PIL import Image

from anyviews.app import examples, uploads
from anyviews.app.uploads import unpack
from anyviews.cli import app as verb
from anyviews.cli.main import main
from anyviews.data.example_photos import EXAMPLE_KINDS
from anyviews.formats import load_views


METHODS = ("mvgd", "mvdust3r", "lirm", "mvboost")


def photo(folder: Path, name: str = "a.png") -> Path:
    folder.mkdir(exist_ok=True, parents=True)
    Image.new("RGB", (4, 4)).save(folder / name)
    return folder / name


def zipped(path: Path, **entries: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


@pytest.fixture
def target(tmp_path) -> Path:
    (tmp_path / "target").mkdir()
    return tmp_path / "target"


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_photos_of_one_name_are_all_kept(tmp_path, target):
    files = [photo(tmp_path / str(i)) for i in range(3)]
    assert names(unpack(files, target)) == ["a-2.png", "a-3.png", "a.png"]


@pytest.mark.parametrize(
    ("entries", "found"),
    [
        (("a.png", "b.png"), ["a.png", "b.png"]),
        (("room/cameras.json", "room/images/a.png"), ["cameras.json", "images/a.png"]),
        (("images/a.png",), ["images/a.png"]),
        (("room/a.png", "__MACOSX/room/._a.png"), ["a.png"]),
    ],
)
def test_archives_may_hold_photos_or_their_folder(tmp_path, target, entries, found):
    archive = zipped(tmp_path / "my room!.zip", **dict.fromkeys(entries, b"-"))
    assert names(unpack([archive], target)) == found


def test_archives_stay_in_their_folder(tmp_path, target):
    archive = zipped(tmp_path / "a.zip", **{"../../out.png": b"-", "/tmp/out.png": b"-", "b.png": b"-"})
    folder = unpack([archive], target)
    assert folder.is_relative_to(target) and not (tmp_path / "out.png").exists()
    assert all(path.is_relative_to(target) for path in tmp_path.rglob("*.png"))


def test_too_much_is_not_unpacked(tmp_path, target, monkeypatch):
    archive = zipped(tmp_path / "a.zip", **{"a.png": b"-" * 2000, "b.png": b"-"})
    monkeypatch.setattr(uploads, "MOST_BYTES", 1000)
    with pytest.raises(ValueError, match=r"a\.zip holds 2 files"):
        unpack([archive], target)
    monkeypatch.setattr(uploads, "MOST_BYTES", 10_000)
    monkeypatch.setattr(uploads, "MOST_FILES", 1)
    with pytest.raises(ValueError, match="accepted are 1 files"):
        unpack([archive], target)
    assert not names(target)


@pytest.mark.parametrize("entries", [{}, {"__MACOSX/a.png": b"-"}])
def test_archives_of_nothing_are_named(tmp_path, target, entries):
    with pytest.raises(ValueError, match=r"a\.zip is empty; accepted are photos"):
        unpack([zipped(tmp_path / "a.zip", **entries)], target)


def test_photos_and_archives_are_not_mixed_and_may_be_gone(tmp_path, target):
    files = [photo(tmp_path), zipped(tmp_path / "a.zip", **{"b.png": b"-"})]
    with pytest.raises(ValueError, match=r"a\.zip is no photo"):
        unpack(files, target)
    files[0].unlink()
    with pytest.raises(ValueError, match=r"a\.png is no longer here; upload it again"):
        unpack(files[:1], target)


@pytest.mark.parametrize("name", METHODS)
def test_options_are_those_of_the_command_line(name):
    pytest.importorskip("gradio", reason="needs gradio (the extra app)")
    from anyviews.app.options import command_line, control_of, method_options

    method = import_module(f"anyviews.cli.methods.{name}")
    options = method_options(method)
    parser = argparse.ArgumentParser(allow_abbrev=False)
    method.add_arguments(parser.add_argument_group())
    defaults = vars(parser.parse_args([]))
    assert command_line({option.dest: control_of(option).value for option in options}, options) == []
    for option in options:
        if option.nargs == 0:
            value = True
        elif option.choices is not None:
            value = list(option.choices)[-1]
        else:
            value = {int: 3, float: 0.25}.get(option.type, "-1,2 x --seed=4")
        parsed = vars(parser.parse_args(command_line({option.dest: value}, options)))
        assert parsed == {**defaults, option.dest: value}
        if option.type is int:
            # 0 is a value as any other
            assert vars(parser.parse_args(command_line({option.dest: 0}, options)))[option.dest] == 0
        assert control_of(option).label


@pytest.mark.parametrize("name", METHODS)
def test_methods_say_what_they_take(name):
    assert "photo" in import_module(f"anyviews.cli.methods.{name}").INPUT


def test_the_sample_of_a_checkpoint_is_the_example(tmp_path):
    photo(tmp_path / "checkpoint" / "sample")
    with zipfile.ZipFile(examples.write_example("mvdust3r", str(tmp_path / "checkpoint"), tmp_path)) as archive:
        assert archive.namelist() == ["a.png"]


@pytest.mark.parametrize("name", METHODS)
def test_examples_are_made_where_there_is_no_sample(tmp_path, target, name, monkeypatch):
    kind = examples.EXAMPLES[name]
    monkeypatch.setitem(EXAMPLE_KINDS, kind, replace(EXAMPLE_KINDS[kind], size=32))
    (tmp_path / "checkpoint").mkdir()
    photos = unpack([examples.write_example(name, str(tmp_path / "checkpoint"), tmp_path)], target)
    views = load_views(photos)
    expected = EXAMPLE_KINDS[kind]
    assert len(views) == expected.views and (views.cameras is not None) == expected.posed
    assert (views.masks is not None) == (expected.world == "object")


def test_checkpoints_are_given_by_method(tmp_path, monkeypatch):
    for kind, name in (("MVGDPipeline", "first"), ("LIRMPipeline", "second")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model_index.json").write_text(json.dumps({"_class_name": kind}))
    monkeypatch.chdir(tmp_path)
    assert verb.chosen_checkpoints([]) == {}
    given = [f"mvgd={tmp_path / 'first'}", f"lirm={tmp_path / 'second'}"]
    assert verb.chosen_checkpoints(given) == {"mvgd": str(tmp_path / "first"), "lirm": str(tmp_path / "second")}
    (tmp_path / "checkpoints" / "mvgd-tiny").mkdir(parents=True)
    assert verb.chosen_checkpoints(given[1:])["mvgd"] == "checkpoints/mvgd-tiny"
    with pytest.raises(ValueError, match="it is a checkpoint of lirm; give lirm="):
        verb.chosen_checkpoints([f"mvgd={tmp_path / 'second'}"])
    for text in ("mvgd", "mvgd=", "other=first", str(tmp_path / "first")):
        with pytest.raises(ValueError, match="accepted is METHOD=CHECKPOINT with a METHOD of mvgd, mvdust3r"):
            verb.chosen_checkpoints([text])
    with pytest.raises(FileNotFoundError, match="does not exist"):
        verb.chosen_checkpoints(["mvgd=nowhere"])


def test_a_port_in_use_is_refused(capsys):
    pytest.importorskip("gradio", reason="needs gradio (the extra app)")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["app", "--port", str(port)]) == 3
    assert f"127.0.0.1:{port} cannot be served at" in capsys.readouterr().err
    assert main(["app", "--port", "0"]) == 3
    assert "--port 0; accepted are 1 to 65535" in capsys.readouterr().err


def test_without_gradio_the_message_says_how_to_get_it(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert main(["app"]) == 4
    assert 'the app needs gradio, which is not installed: pip install "anyviews[app]"' in capsys.readouterr().err
