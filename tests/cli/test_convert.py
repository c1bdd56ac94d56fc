import argparse
import json
from pathlib import Path

import pytest
import torch
from strategies import random_views

from anyviews.cli import convert
from anyviews.cli.main import main
from anyviews.formats import load_views
from anyviews.formats.cameras_json import write_cameras_json
from anyviews.formats.npz import read_npz
from anyviews.formats.ply import read_ply


@pytest.fixture
def source(tmp_path) -> Path:
    views = random_views(0, 2, 20, 30)
    views.cameras.intrinsics[:, 0, 1] = 0
    write_cameras_json(views, tmp_path / "source")
    return tmp_path / "source"


def run(*argv) -> dict:
    parser = argparse.ArgumentParser()
    convert.add_arguments(parser)
    return convert.run(parser.parse_args([str(item) for item in argv]))


def test_folder_to_folder_and_back(source, tmp_path):
    summary = run(source, tmp_path / "colmap", "--format", "colmap", "--size", "10x20")
    assert summary == {
        "input": str(source),
        "output": str(tmp_path / "colmap"),
        "format": "colmap",
        "views": 2,
        "height": 10,
        "width": 20,
        "points": 0,
    }
    json.dumps(summary)
    assert convert.describe(summary).startswith(f"2 views of 10x20 from {source}")
    expected, back = load_views(source, size=(10, 20)), load_views(tmp_path / "colmap")
    torch.testing.assert_close(back.cameras.camera_to_world, expected.cameras.camera_to_world, atol=1e-5, rtol=0)
    torch.testing.assert_close(back.cameras.intrinsics, expected.cameras.intrinsics)
    torch.testing.assert_close(back.masks, expected.masks, atol=0.003, rtol=0)


def test_points_of_colmap_reach_the_ply(source, tmp_path):
    run(source, tmp_path / "colmap", "--format", "colmap-text")
    (tmp_path / "colmap/sparse/0/points3D.txt").write_text("1 1 2 3 255 0 0 0.1\n2 4 5 6 0 0 255 0.1\n")
    summary = run(tmp_path / "colmap", tmp_path / "points.ply")
    assert summary["points"] == 2 and "and 2 points" in convert.describe(summary)
    assert read_ply(tmp_path / "points.ply").positions.tolist() == [[1, 2, 3], [4, 5, 6]]


def test_scene_file_to_folder_and_video(source, tmp_path):
    run(source, tmp_path / "scene.npz")
    scene = read_npz(tmp_path / "scene.npz")
    assert scene.scale == "aligned" and (scene.depths > 0).any()
    for output, options in (("out.mp4", ["--fps", 5]), ("out", ["--format", "transforms"])):
        assert run(tmp_path / "scene.npz", tmp_path / output, *options)["views"] == 2
        assert (tmp_path / output).exists()
    assert run(tmp_path / "scene.npz", tmp_path / "small", "--format", "png", "--size", "8x8")["height"] == 8


def test_wrong_requests_say_what_to_type(source, tmp_path):
    for argv, message in (
        ((source, tmp_path / "out"), "names no format"),
        ((source, tmp_path / "out.npz", "--size", "10"), "--size 10 is not HxW; type for example --size 288x384"),
        ((source, tmp_path / "out.npz", "--size", "0x10"), "is not HxW"),
        ((source, source, "--format", "colmap", "--overwrite"), "give another"),
        ((source, tmp_path, "--format", "colmap", "--overwrite"), "give another"),
        ((source, source / "images", "--format", "colmap", "--overwrite"), "give another"),
        ((source / "images", tmp_path / "out", "--format", "colmap"), "photos without cameras"),
    ):
        with pytest.raises(ValueError, match=message):
            run(*argv)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_overwrite_is_asked_for(source, tmp_path):
    run(source, tmp_path / "out", "--format", "transforms")
    with pytest.raises(ValueError, match="--overwrite"):
        run(source, tmp_path / "out", "--format", "colmap")
    run(source, tmp_path / "out", "--format", "colmap", "--overwrite")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["images", "masks", "sparse"]


def test_command_line(source, tmp_path, capsys):
    assert main(["convert", str(source), str(tmp_path / "scene.npz"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["format"] == "npz"
    assert main(["convert", str(source), str(tmp_path / "scene.npz")]) == 3
    assert "exists already" in capsys.readouterr().err
    assert main(["convert", str(tmp_path / "gone"), str(tmp_path / "b.npz")]) == 3
