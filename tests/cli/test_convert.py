import argparse
import json
from pathlib import Path

import pytest
import torch
from rendering.gaussians.gaussian_scenes import random_gaussians
from strategies import random_views

from anyviews.cli import convert
from anyviews.cli.main import main
from anyviews.formats import load_gaussians, load_scene, load_views
from anyviews.formats.cameras_json import write_cameras_json
from anyviews.formats.gaussian_ply import write_gaussian_ply
from anyviews.formats.mesh_files import write_obj
from anyviews.formats.npz import read_npz
from anyviews.formats.ply import read_ply
from anyviews.mesh import Mesh


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
        "gaussians": 0,
        "faces": 0,
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


def test_gaussians_to_other_files_and_back(tmp_path):
    write_gaussian_ply(random_gaussians(0, 50, 2), tmp_path / "in.ply")
    for name, format in (
        ("a.compressed.ply", "compressed-ply"),
        ("a.spz", "spz"),
        ("a.npz", "npz"),
        ("a.html", "html"),
        ("a.ply", "gaussian-ply"),
    ):
        summary = run(tmp_path / "in.ply", tmp_path / name)
        assert (summary["format"], summary["gaussians"], summary["views"]) == (format, 50, 0)
        text = f"50 Gaussians from {tmp_path / 'in.ply'} to {tmp_path / name} ({format})"
        assert convert.describe(summary) == text
        if format != "html":
            assert run(tmp_path / name, tmp_path / f"{name}.back.ply")["gaussians"] == 50
            assert load_gaussians(tmp_path / f"{name}.back.ply").degree == 2
    assert (tmp_path / "in.ply").read_bytes() == (tmp_path / "a.ply").read_bytes()
    assert run(tmp_path / "in.ply", tmp_path / "points.ply", "--format", "ply")["format"] == "ply"
    assert len(read_ply(tmp_path / "points.ply")) == 50


def test_gaussians_are_thinned_out(tmp_path):
    gaussians = random_gaussians(0, 50, 2)
    write_gaussian_ply(gaussians, tmp_path / "in.ply")
    summary = run(tmp_path / "in.ply", tmp_path / "out.splat", "--min-opacity", 0.5, "--degree", 0)
    assert (
        summary["gaussians"] == int((gaussians.opacities >= 0.5).sum()) == len(load_gaussians(tmp_path / "out.splat"))
    )
    run(tmp_path / "in.ply", tmp_path / "same.ply", "--degree", 3)
    assert (tmp_path / "same.ply").read_bytes() == (tmp_path / "in.ply").read_bytes()
    with pytest.raises(ValueError, match=r"none of 50 Gaussians has an opacity of 0\.99"):
        run(tmp_path / "in.ply", tmp_path / "none.ply", "--min-opacity", 0.99)


def test_meshes_and_points(tmp_path):
    corners = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    write_obj(Mesh(corners, torch.tensor([[0, 1, 2]])), tmp_path / "in.obj")
    summary = run(tmp_path / "in.obj", tmp_path / "out.glb")
    assert convert.describe(summary) == f"1 faces from {tmp_path / 'in.obj'} to {tmp_path / 'out.glb'} (glb)"
    assert run(tmp_path / "out.glb", tmp_path / "out.ply")["format"] == "mesh-ply"
    run(tmp_path / "in.obj", tmp_path / "turned.glb", "--up", "z+")
    # a viewer shows upwards what was along z
    torch.testing.assert_close(load_scene(tmp_path / "turned.glb").mesh.vertices, corners)
    assert b'"rotation":[-0.7' in (tmp_path / "turned.glb").read_bytes()
    with pytest.raises(ValueError, match=r"--min-opacity and --degree are about Gaussians; .*in\.obj has none"):
        run(tmp_path / "in.obj", tmp_path / "b.glb", "--degree", 0)
    with pytest.raises(ValueError, match="has no Gaussians"):
        run(tmp_path / "in.obj", tmp_path / "b.splat")
    assert not (tmp_path / "b.splat").exists()


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
