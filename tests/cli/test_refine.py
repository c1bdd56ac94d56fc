import argparse
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from rendering.gaussians.gaussian_scenes import orbit_cameras, random_gaussians

from anyviews.cli import refine
from anyviews.cli.main import main
from anyviews.formats import load_gaussians, load_points, load_views, save_scene, save_views
from anyviews.formats.image_folder import write_image_folder
from anyviews.rendering.gaussians import render_gaussians
from anyviews.scene import PointCloud, Scene
from anyviews.views import Views


VIEWS, HEIGHT, WIDTH = 8, 24, 32


@pytest.fixture(scope="module")
def views() -> Views:
    """Photos of known Gaussians with masks and depth."""
    gaussians = truth()
    cameras = orbit_cameras(VIEWS, HEIGHT, WIDTH)
    render = render_gaussians(gaussians, cameras)
    return Views(
        render.images.clamp(0, 1),
        cameras,
        masks=(render.alphas > 0.5).float(),
        depths=render.depths * (render.alphas > 0.5),
        names=tuple(f"{i:02d}" for i in range(VIEWS)),
    )


def truth():
    return random_gaussians(0, 120, scale=0.1)


@pytest.fixture(scope="module")
def folder(views, tmp_path_factory) -> Path:
    """colmap/ with points, depth/ with depth, plain/ with neither, and gaussians.ply."""
    path = tmp_path_factory.mktemp("refined")
    points = PointCloud(truth().means, truth().colors.clamp(0, 1))
    save_views(replace(views, masks=None, depths=None), path / "colmap", "colmap", points)
    save_views(replace(views, masks=None), path / "depth", "cameras-json")
    save_views(replace(views, depths=None), path / "plain", "transforms")
    blurred = replace(truth(), means=truth().means + 0.02, opacities=0.5 * truth().opacities)
    save_scene(Scene(views.cameras, gaussians=blurred), path / "gaussians.ply")
    write_image_folder(views.images, path / "unposed", views.names)
    return path


def run(*argv) -> dict:
    parser = argparse.ArgumentParser()
    refine.add_arguments(parser)
    return refine.run(parser.parse_args([str(item) for item in argv]))


def test_a_colmap_folder_with_points(folder, tmp_path):
    summary = run(folder / "colmap", "-o", tmp_path / "out", "--steps", 60, "--hold-out", 4)
    assert json.loads((tmp_path / "out/result.json").read_text()) == summary
    assert summary["photos"] == 6 and summary["held_out"] == ["02.png", "06.png"]
    assert (summary["gaussians"], summary["degree"], summary["scale"]) == (120, 1, "aligned")
    for photos in ("photos", "held out"):
        assert summary["scores"][photos]["psnr after"] > summary["scores"][photos]["psnr before"] + 1
    losses = json.loads((tmp_path / "out/losses.json").read_text())["losses"]
    assert len(losses) == 60 and losses[-1] < losses[0]
    # what was written gives the scores again: the refined Gaussians from the refined cameras
    refined, gaussians = load_views(tmp_path / "out/cameras"), load_gaussians(tmp_path / "out/gaussians.ply")
    assert list(refined.names) == [view["name"] for view in summary["views"]]
    images = render_gaussians(gaussians, refined.cameras).images
    error = (images - refined.images).square().flatten(1).mean(1)
    expected = torch.tensor([view["psnr_after"] for view in summary["views"]])
    torch.testing.assert_close(-10 * error.log10(), expected, atol=0.05, rtol=0)
    assert len(load_points(tmp_path / "out/cameras")) == 120
    with Image.open(tmp_path / "out/compare.png") as picture:
        # two photos kept out and four of the others; photo, before, after
        assert picture.size == (6 * WIDTH, 3 * HEIGHT)
    assert "held out" in refine.describe(summary) and "cameras turned by" in refine.describe(summary)


def test_depth_and_fixed_cameras(folder, views, tmp_path):
    argv = ("--steps", 30, "--fixed-cameras", "--max-gaussians", 200, "--degree", 0, "--format", "transforms")
    summary = run(folder / "depth", "-o", tmp_path / "out", *argv)
    assert summary["gaussians"] == 200 and summary["degree"] == 0 and summary["cameras_moved"] is None
    assert "held out" not in summary["scores"] and "cameras stayed" in refine.describe(summary)
    back = load_views(tmp_path / "out/cameras").cameras
    torch.testing.assert_close(back.camera_to_world, views.cameras.camera_to_world, atol=1e-5, rtol=0)


def test_photos_alone_with_masks_on_a_background(folder, tmp_path):
    argv = ("--steps", 20, "--max-gaussians", 150, "--background", "white", "--hold-out", 4, "--size", "24x32")
    summary = run(folder / "plain", "-o", tmp_path / "out", *argv)
    assert 20 < summary["gaussians"] <= 150
    assert summary["scores"]["photos"]["psnr after"] > summary["scores"]["photos"]["psnr before"]


@pytest.mark.parametrize("photos", ["depth", "unposed", None])
def test_gaussians_with_their_photos(folder, views, tmp_path, photos):
    """Photos with cameras; photos without, for which the scene has cameras; and a scene's own images."""
    scene = Scene(
        views.cameras,
        views.images if photos is None else None,
        gaussians=load_gaussians(folder / "gaussians.ply"),
        scale="metric",
    )
    save_scene(scene, tmp_path / "scene.npz")
    argv = () if photos is None else ("--photos", folder / photos)
    summary = run(tmp_path / "scene.npz", "-o", tmp_path / "out", "--steps", 30, "--hold-out", 4, *argv)
    assert summary["scale"] == "metric" and summary["gaussians"] == 120 and summary["photos"] == 6
    for scores in summary["scores"].values():
        assert scores["psnr after"] > scores["psnr before"] + 2


def test_a_file_of_gaussians_and_a_folder(folder, tmp_path):
    summary = run(
        folder / "gaussians.ply", "--photos", folder / "depth", "-o", tmp_path / "out", "--steps", 3, "--focal"
    )
    assert summary["gaussians"] == 120 and summary["cameras_moved"]["focal_factor"] != 1


def test_large_photos_are_shrunk(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(refine, "LONGEST_SIDE", 24)
    summary = run(folder / "colmap", "-o", tmp_path / "out", "--steps", 1)
    assert (summary["height"], summary["width"]) == (18, 24)
    assert load_views(tmp_path / "out/cameras").cameras.width == 24


def test_wrong_requests_say_what_to_type(folder, tmp_path):
    (tmp_path / "out/file").parent.mkdir()
    (tmp_path / "out/file").write_text("kept")
    new = tmp_path / "new"
    for argv, message in (
        ((folder / "colmap", "-o", tmp_path / "out"), "--overwrite"),
        ((folder / "colmap", "-o", folder, "--overwrite"), "holds the input"),
        ((folder / "gaussians.ply", "-o", new), "give --photos FOLDER"),
        (
            (folder / "gaussians.ply", "--photos", folder / "unposed", "-o", new),
            "8 photos without cameras and 0 cameras",
        ),
        ((folder / "colmap", "--photos", folder / "depth", "-o", new), "--photos goes with"),
        ((folder / "unposed", "-o", new), "photos without cameras"),
        ((folder / "colmap", "-o", new, "--hold-out", 1), "--hold-out 1 of 8 photos"),
        ((folder / "colmap", "-o", new, "--hold-out", 17), "--hold-out 17 of 8 photos"),
        ((folder / "colmap", "-o", new, "--steps", 0), "steps is 0"),
        ((folder / "colmap", "-o", new, "--background", "pink"), "--background pink"),
    ):
        with pytest.raises(ValueError, match=message):
            run(*argv)
    assert not new.exists() and (tmp_path / "out/file").read_text() == "kept"


def test_command_line(folder, tmp_path, capsys):
    argv = ["refine", str(folder / "colmap"), "-o", str(tmp_path / "out"), "--steps", "2"]
    assert main([*argv, "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["steps"] == 2 and "step 2 of 2: loss" in err
    assert main([*argv, "--overwrite"]) == 0 and "compare.png" in capsys.readouterr().out
    assert main(["refine", str(tmp_path / "gone"), "-o", str(tmp_path / "b")]) == 3
