"""utils/convert_dataset.py: a folder of a public dataset becomes shards, whatever is broken in it."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from painted_points import assert_points_seen, blender, orbit, paint, save, to_blender

from anyviews.data import open_samples
from anyviews.data.verification import verify_shards


SCRIPT = Path(__file__).resolve().parents[3] / "utils" / "convert_dataset.py"


@pytest.fixture
def scenes(tmp_path):
    """Four scenes of Blender's, of which the last is broken."""
    folder, angle = tmp_path / "nerf_synthetic", 0.8
    for name in ("chair", "drums", "ficus", "hotdog"):
        frames = []
        for index, pose in enumerate(orbit(4)):
            image, _ = paint(blender(to_blender(pose), 24 / np.tan(angle / 2), 48, 48), 48, 48)
            save(image, folder / name / "train" / f"r_{index}.png")
            frames.append({"file_path": f"./train/r_{index}", "transform_matrix": to_blender(pose).tolist()})
        content = {"camera_angle_x": angle, "frames": frames}
        (folder / name / "transforms_train.json").write_text(json.dumps(content))
    (folder / "hotdog" / "transforms_train.json").write_text("[]")
    (folder / "drums" / "train" / "r_1.png").unlink()
    return folder


@pytest.fixture
def convert_here(monkeypatch, capsys):
    """The script's main in this process, which saves the start of another; returns what it printed."""
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    script = importlib.import_module(SCRIPT.stem)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, arguments)])
        script.main()
        return capsys.readouterr().out

    run.script = script
    return run


def test_conversion(scenes, tmp_path, convert_here):
    output = tmp_path / "shards"
    options = ("--licence", "cc-by-3.0", "--shards", 2, "--workers", 2)
    printed = convert_here("nerfstudio", scenes, "-o", output, *options)
    assert "3 samples of 3 of 4 scenes, in 2 shards" in printed
    assert "hotdog: left out, 1 problems" in printed
    problems = (output / "problems-train.txt").read_text()
    assert problems.count("\n") == 2
    assert "drums, frame ./train/r_1: FileNotFoundError" in problems
    assert "hotdog: ValueError" in problems
    assert not (output / ".converted-train").exists()
    assert verify_shards(output) == {"train": 3}
    samples = {sample.key: sample for sample in open_samples(str(output))}
    assert {key: len(sample.views) for key, sample in samples.items()} == {"chair": 4, "drums": 3, "ficus": 4}
    for sample in samples.values():
        assert (sample.licence, sample.source) == ("cc-by-3.0", f"nerfstudio/{sample.key}")
        assert_points_seen(sample.views)


def test_conversion_goes_on_where_it_stopped(scenes, tmp_path, convert_here, monkeypatch):
    output = tmp_path / "shards"
    options = ("nerfstudio", scenes, "-o", output, "--views", 2)

    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(convert_here.script, "write_shards", interrupted)
        convert_here(*options)
    assert len(list((output / ".converted-train").glob("*.parquet"))) == 3

    with pytest.raises(SystemExit, match="converted with other values of views; give the same ones"):
        convert_here(*options[:-1], 3)

    repaired = scenes / "hotdog" / "transforms_train.json"
    repaired.write_text((scenes / "chair" / "transforms_train.json").read_text())
    printed = convert_here(*options)
    assert "3 of 4 scenes were converted before" in printed
    assert "1/1 hotdog: converted" in printed
    assert "4 samples of 4 of 4 scenes" in printed
    assert {len(sample.views) for sample in open_samples(str(output))} == {2}
    with pytest.raises(SystemExit, match="holds the split 'train' already"):
        convert_here(*options)


def test_conversion_of_nothing(scenes, tmp_path, convert_here, capsys):
    for path in scenes.rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(SystemExit, match=r"none of 4 scenes could be converted; the first problem: chair, frame"):
        convert_here("nerfstudio", scenes, "-o", tmp_path / "shards")
    with pytest.raises(SystemExit):
        convert_here("nerfstudio", scenes, "-o", tmp_path / "shards", "--option", "subset=all")
    assert "nerfstudio does not take subset; accepted are none" in capsys.readouterr().err
