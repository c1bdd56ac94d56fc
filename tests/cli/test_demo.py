import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from scenes import VIEWS, Page, write_checkpoint, write_scene
from script_modules import load_script

from anyviews.cli.main import main
from anyviews.data.example_photos import EXAMPLE_KINDS, example_views
from anyviews.data.procedural import HELD_OUT_SEED_START
from anyviews.data.world import render_world
from anyviews.formats import load_views
from anyviews.formats.npz import read_npz


FAST = ("--steps", "2", "--ensemble", "1", "--frames", "3")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    folder = write_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny")
    write_scene(folder / "sample")
    return folder


def test_the_sample_is_shown_on_one_page(checkpoint, tmp_path, capsys):
    out = tmp_path / "demo"
    argv = ["demo", "--checkpoint", str(checkpoint), "-o", str(out), *FAST]
    assert main(argv) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"look at {out.resolve() / 'index.html'}"
    page = Page(out / "index.html")
    assert all(source.startswith("data:") for source in page.sources)
    # a left-out photo with five pictures, three views of the path with three, and the photos given
    assert page.tags.count("img") == 5 + 3 * 3 + VIEWS
    assert page.tags.count("video") == page.tags.count("svg") == 2
    assert len(read_npz(out / "held-out/scene.npz")) == 1 and len(read_npz(out / "interpolate/scene.npz")) == 3
    parts = json.loads((out / "result.json").read_text())["parts"]
    assert [part["path"] for part in parts] == ["held-out", "interpolate"]
    assert all((out / file).exists() for part in parts for file in part["files"])

    # once more: the demo replaces its own folder, and no other
    assert main([*argv, "--json"]) == 0
    printed, progress = capsys.readouterr()
    assert json.loads(printed)["verb"] == "demo" and progress == ""
    (out / "result.json").write_text("{}")
    assert main(argv) == 3
    assert "--overwrite" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]


def test_an_own_scene_with_unposed_photos_is_refused(checkpoint, tmp_path, capsys):
    photos = checkpoint / "sample/images"
    assert main(["demo", str(photos), "--checkpoint", str(checkpoint), "-o", str(tmp_path / "demo"), *FAST]) == 3
    assert "photos without cameras" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_missing_checkpoint_and_sample_say_how_to_make_them(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["demo"]) == 3
    message = capsys.readouterr().err
    assert str(tmp_path / "checkpoints/mvgd-tiny") in message
    assert "accelerate launch training_scripts/train_mvgd.py --config" in message
    (tmp_path / "checkpoints/mvgd-tiny").mkdir(parents=True)
    assert main(["demo"]) == 3
    assert "python utils/make_sample.py" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoints"]


def test_checkpoints_of_other_methods_are_sent_to_run(tmp_path, capsys):
    (tmp_path / "model_index.json").write_text('{"_class_name": "LIRMPipeline"}')
    (tmp_path / "sample").mkdir()
    assert main(["demo", "--checkpoint", str(tmp_path), "-o", str(tmp_path / "demo")]) == 3
    message = capsys.readouterr().err
    assert not (tmp_path / "demo").exists() and "anyviews run PHOTOS" in message


def test_the_training_command_names_files_of_the_repository(repository):
    from anyviews.cli.demo import TRAINING_COMMAND

    files = [word for word in TRAINING_COMMAND.split() if word.startswith("training_scripts/")]
    assert len(files) == 2 and all((repository / file).is_file() for file in files)


@pytest.fixture(scope="module")
def make_sample(repository):
    return load_script(repository / "utils" / "make_sample.py")


def test_the_sample_is_small_held_out_and_always_the_same(make_sample, repository, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["make_sample.py", str(tmp_path / "sample")])
    make_sample.main()
    files = [file for file in (tmp_path / "sample").rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < 300_000
    views = load_views(tmp_path / "sample")
    expected = example_views("room")
    room = render_world(torch.tensor([HELD_OUT_SEED_START + EXAMPLE_KINDS["room"].scene]), 12, 96, 96).scene(0)
    torch.testing.assert_close(expected.images, room.images)
    assert views.images.shape == (12, 3, 96, 96)
    torch.testing.assert_close(views.images, expected.images, atol=0.5 / 255 + 1e-6, rtol=0)
    torch.testing.assert_close(views.depths, expected.depths, atol=1e-3, rtol=0)
    torch.testing.assert_close(views.cameras.camera_to_world, expected.cameras.camera_to_world)
    shipped = repository / "checkpoints" / "mvgd-tiny" / "sample"
    if shipped.is_dir():
        torch.testing.assert_close(load_views(shipped).images, views.images, atol=2 / 255, rtol=0)


def test_samples_of_other_methods_hold_what_these_take(make_sample, tmp_path, monkeypatch):
    for kind in ("photos", "object", "photo"):
        monkeypatch.setitem(EXAMPLE_KINDS, kind, replace(EXAMPLE_KINDS[kind], size=32))
        monkeypatch.setattr("sys.argv", ["make_sample.py", str(tmp_path / kind), "--kind", kind])
        make_sample.main()
    found = sorted(path.name for path in (tmp_path / "photos").iterdir())
    assert found == ["00.png", "01.png", "02.png", "03.png", "LICENSE"]
    views = load_views(tmp_path / "object")
    assert len(views) == 8 and 0.05 < views.masks.mean() < 0.8 and views.depths is None
    photo = Image.open(tmp_path / "photo" / "00.png")
    assert photo.mode == "RGBA" and photo.size == (32, 32) and photo.getextrema()[3] == (0, 255)
