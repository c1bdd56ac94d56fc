import argparse
import json
from dataclasses import replace
from pathlib import Path

import av
import pytest
import torch
import trimesh
from rendering.gaussians.gaussian_scenes import orbit_cameras, random_gaussians

from anyviews.cli import render
from anyviews.cli.main import main
from anyviews.environment import Environment
from anyviews.formats import load_views, save_scene, save_views
from anyviews.formats.glb import write_glb
from anyviews.formats.hdr import write_environment
from anyviews.mesh import Material, Mesh
from anyviews.rendering.gaussians import render_gaussians, render_normals
from anyviews.scene import PointCloud, Scene
from anyviews.views import Views


@pytest.fixture(scope="module")
def scene() -> Scene:
    cameras = orbit_cameras(4, 24, 32)
    return Scene(cameras, torch.rand(4, 3, 24, 32), gaussians=random_gaussians(0, 60))


@pytest.fixture(scope="module")
def folder(scene, tmp_path_factory) -> Path:
    """gaussians.ply without cameras, scene.npz with cameras, and photos/ with the same cameras."""
    path = tmp_path_factory.mktemp("rendered")
    save_scene(scene, path / "gaussians.ply")
    save_scene(scene, path / "scene.npz")
    unskewed = scene.cameras.intrinsics.clone()
    unskewed[:, 0, 1] = 0
    save_views(Views(scene.images, replace(scene.cameras, intrinsics=unskewed)), path / "photos", "cameras-json")
    return path


def run(*argv) -> dict:
    parser = argparse.ArgumentParser()
    render.add_arguments(parser)
    return render.run(parser.parse_args([str(item) for item in argv]))


def frames_of(path: Path) -> list:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_from_the_given_cameras_images_are_those_of_the_renderer(scene, folder, tmp_path):
    argv = ("--cameras", folder / "photos", "--depth", "--normals", "--background", "1,0.5,0")
    summary = run(folder / "gaussians.ply", "-o", tmp_path / "out", *argv)
    assert (summary["frames"], summary["height"], summary["width"], summary["path"]) == (4, 24, 32, "cameras")
    written = load_views(tmp_path / "out")
    background = torch.tensor([1.0, 0.5, 0.0])
    expected = render_gaussians(scene.gaussians, scene.cameras, background=background)
    torch.testing.assert_close(written.images, expected.images.clamp(0, 1), atol=0.6 / 255, rtol=0)
    torch.testing.assert_close(written.cameras.camera_to_world, scene.cameras.camera_to_world, atol=1e-5, rtol=0)
    seen = expected.alphas >= 0.5
    torch.testing.assert_close(written.depths[seen], expected.depths[seen], atol=1e-3, rtol=0)
    assert (written.depths[expected.alphas < 0.45] == 0).all()
    normals = load_views(tmp_path / "out" / "normals").images
    covered = expected.alphas[:, 0] > 0.9
    shown = (2 * normals - 1).movedim(1, -1)[covered]
    facing = render_normals(scene.gaussians, scene.cameras).movedim(1, -1)[covered]
    torch.testing.assert_close(shown, facing, atol=1.2 / 255, rtol=0)


def test_videos_of_colour_depth_and_normals(folder, tmp_path):
    summary = run(
        folder / "scene.npz", "-o", tmp_path / "o.mp4", "--frames", 3, "--size", "16x20", "--depth", "--normals"
    )
    assert [Path(file).name for file in summary["files"]] == ["o.mp4", "o_depth.mp4", "o_normals.mp4"]
    assert summary["path"] == "orbit"
    for file in summary["files"]:
        frames = frames_of(file)
        assert len(frames) == 3 and frames[0].shape == (16, 20, 3)
        assert frames[0].std() > 5


@pytest.fixture(scope="module")
def mesh_file(tmp_path_factory) -> Path:
    """A white ball that is no metal, of radius 1."""
    ball = trimesh.creation.icosphere(subdivisions=3)
    vertices = torch.from_numpy(ball.vertices).float()
    material = Material(torch.ones(3, 1, 1), torch.ones(1, 1, 1), torch.zeros(1, 1, 1))
    mesh = Mesh(vertices, torch.from_numpy(ball.faces.copy()), vertex_normals=vertices, material=material)
    path = tmp_path_factory.mktemp("mesh") / "ball.glb"
    write_glb(replace(mesh, material=replace(material, roughness=torch.full((1, 1, 1), 0.9))), path)
    return path


@pytest.mark.parametrize("up", ["y+", "y-", "z+"])
def test_meshes_are_lit_from_above_wherever_that_is(mesh_file, tmp_path, up):
    environment = Environment(torch.zeros(3, 16, 32))
    above = (environment.directions()[..., 1] > 0.7).float()
    write_environment(Environment(above.expand(3, -1, -1).contiguous()), tmp_path / "sky.hdr")
    options = ("--up", up, "--frames", 2, "--size", "48x64", "--depth", "--normals", "--background", "0,0,1")
    summary = run(mesh_file, "-o", tmp_path / "out", "--environment", tmp_path / "sky.hdr", *options)
    assert (summary["faces"], summary["gaussians"], summary["frames"]) == (1280, 0, 2)
    assert render.describe(summary).startswith("1280 faces in 2 frames of 48x64 (orbit)")
    views = load_views(tmp_path / "out")
    red = views.images[:, 0]
    assert red[:, :24].mean() > 1.7 * red[:, 24:].mean() and red.max() > 0.1
    # the corners show the background, and have no depth
    assert views.images[:, :, 0, 0].tolist() == [[0, 0, 1]] * 2
    assert (views.depths[:, :, 0, 0] == 0).all() and (views.depths[:, 0, 24, 32] > 1).all()
    assert len(load_views(tmp_path / "out" / "normals")) == 2


def test_meshes_in_a_video_with_sampled_and_default_light(mesh_file, folder, tmp_path):
    summary = run(mesh_file, "-o", tmp_path / "a.mp4", "--frames", 2, "--size", "16x16", "--samples", 8)
    assert len(frames_of(summary["files"][0])) == 2 and frames_of(summary["files"][0])[0].max() > 100
    with pytest.raises(ValueError, match=r"--environment and --samples are for meshes; .*\.ply has Gaussians"):
        run(folder / "gaussians.ply", "-o", tmp_path / "b.mp4", "--samples", 8)


def test_colours_that_photos_gave_are_not_lit_again(tmp_path):
    ball = trimesh.creation.icosphere(subdivisions=2)
    vertices = torch.from_numpy(ball.vertices).float()
    colors = torch.tensor([0.2, 0.6, 0.4]).expand(len(vertices), 3)
    write_glb(Mesh(vertices, torch.from_numpy(ball.faces.copy()), colors), tmp_path / "ball.glb")
    run(tmp_path / "ball.glb", "-o", tmp_path / "out", "--frames", 1, "--size", "32x32")
    middle = load_views(tmp_path / "out").images[0, :, 12:20, 12:20]
    torch.testing.assert_close(middle, colors[0][:, None, None].expand_as(middle), atol=0.01, rtol=0)


@pytest.mark.parametrize("up", [None, "y-", "z+", "x-"])
def test_a_path_around_gaussians_without_cameras_sees_all_of_them(scene, folder, tmp_path, up):
    argv = () if up is None else ("--up", up)
    run(folder / "gaussians.ply", "-o", tmp_path / "out", "--frames", 5, "--size", "40x30", "--fov", 70, *argv)
    cameras = load_views(tmp_path / "out").cameras
    pixels, depth = cameras.project(scene.gaussians.means.expand(5, -1, -1))
    assert (depth > 0).all() and (pixels >= 0).all() and (pixels <= torch.tensor([30.0, 40.0])).all()
    # up in the world is up in the images, and the camera looks down at the middle
    axis = torch.eye(3)["xyz".index((up or "y+")[0])] * (-1.0 if up and up[1] == "-" else 1.0)
    assert (cameras.rotation[..., 1] @ axis < -0.9).all() and (cameras.rotation[..., 2] @ axis < -0.2).all()
    assert abs(2 * torch.atan(15 / cameras.intrinsics[0, 0, 0]).rad2deg() - 70) < 1e-3


def test_another_aspect_ratio_crops_and_does_not_stretch(scene, folder, tmp_path):
    run(folder / "scene.npz", "-o", tmp_path / "out", "--path", "cameras", "--size", "24x24", "--frames", 2)
    cameras = load_views(tmp_path / "out").cameras
    expected = Views(scene.images, scene.cameras).fit(24, 24).cameras
    torch.testing.assert_close(cameras.intrinsics, expected.intrinsics[[0, 3]])


def test_spiral_and_interpolate_go_through_given_cameras(folder, tmp_path):
    argv = (folder / "gaussians.ply", "--cameras", folder / "photos", "--path", "interpolate", "--frames", 7)
    assert run(*argv, "-o", tmp_path / "out")["path"] == "interpolate"
    first, photos = load_views(tmp_path / "out").cameras, load_views(folder / "photos").cameras
    torch.testing.assert_close(first.centers[[0, 2, 4, 6]], photos.centers, atol=1e-4, rtol=0)


def test_wrong_requests_say_what_to_type(scene, folder, tmp_path):
    gaussians, photos = folder / "gaussians.ply", folder / "photos"
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").write_text("x")
    (tmp_path / "old.mp4").write_text("x")
    save_scene(Scene(scene.cameras, scene.images, points=PointCloud(torch.rand(9, 3))), tmp_path / "points.npz")
    for argv, message in (
        ((gaussians, "-o", tmp_path / "out.avi"), "ends in .mp4, or a folder"),
        ((gaussians, "-o", tmp_path / "full"), "not empty"),
        ((gaussians, "-o", tmp_path / "old.mp4"), "exists already"),
        ((gaussians, "-o", tmp_path / "a", "--path", "spiral"), "--path spiral needs cameras"),
        ((gaussians, "-o", tmp_path / "a", "--fov", 180), "--fov 180"),
        ((gaussians, "-o", tmp_path / "a", "--frames", 0), "--frames 0"),
        ((gaussians, "-o", tmp_path / "a", "--size", "5"), "is not HxW"),
        (
            (gaussians, "-o", tmp_path / "a", "--background", "red"),
            "accepted are black, gray, white, or red,green,blue",
        ),
        ((gaussians, "-o", tmp_path / "a", "--background", "0,1,2"), "in \\[0, 1\\]"),
        ((gaussians, "-o", tmp_path / "a", "--cameras", photos, "--up", "y-"), "have some, which say both"),
        ((photos, "-o", tmp_path / "a"), "anyviews refine"),
        ((tmp_path / "points.npz", "-o", tmp_path / "a"), "has no Gaussians or mesh to render"),
    ):
        with pytest.raises(ValueError, match=message):
            run(*argv)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full", "old.mp4", "points.npz"]


def test_command_line(folder, tmp_path, capsys):
    argv = ["render", str(folder / "scene.npz"), "-o", str(tmp_path / "v.mp4"), "--frames", "2"]
    assert main([*argv, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["frames"] == 2
    assert main(argv) == 3 and "--overwrite" in capsys.readouterr().err
    assert main([*argv, "--overwrite"]) == 0
    assert "60 Gaussians in 2 frames of 24x32 (orbit)" in capsys.readouterr().out
    assert main(["render", str(folder / "gone.ply"), "-o", str(tmp_path / "w.mp4")]) == 3
