import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from rendering.gaussians.gaussian_scenes import random_gaussians

from anyviews.formats import SCENE_FORMATS, load_gaussians, load_points, load_scene, save_scene
from anyviews.formats.npz import read_npz
from anyviews.formats.ply import read_ply
from anyviews.formats.scene_files import format_of, ply_content
from anyviews.mesh import Mesh
from anyviews.scene import Scene


FILES = {
    "npz": "out.npz",
    "ply": "out.ply",
    "mp4": "out.mp4",
    "gaussian-ply": "out.ply",
    "compressed-ply": "out.compressed.ply",
    "splat": "out.splat",
    "spz": "out.spz",
    "html": "out.html",
    "glb": "out.glb",
    "usdz": "out.usdz",
    "obj": "out.obj",
    "mesh-ply": "out.ply",
}


@pytest.fixture
def full(scene) -> Scene:
    """A scene with everything that a scene can hold."""
    corners = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    mesh = Mesh(corners, torch.tensor([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]]), torch.rand(4, 3))
    return replace(scene, gaussians=random_gaussians(0, 9, 1), mesh=mesh)


@pytest.mark.parametrize("format", SCENE_FORMATS)
def test_every_format_is_written_and_read(tmp_path, full, format):
    if format == "usdz":
        pytest.importorskip("pxr", reason="needs usd-core: pip install anyviews[usdz]")
    path = tmp_path / FILES.get(format, "out")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # .splat drops harmonics
        save_scene(full, path, format)
        with pytest.raises(ValueError, match="overwrite"):
            save_scene(full, path, format)
        save_scene(full, path, format, overwrite=True)
    assert path.is_file() if format in FILES else len(list(path.rglob("*.png"))) >= 3
    assert [item.name for item in tmp_path.iterdir()] == [path.name]
    if format in ("mp4", "html", "usdz", "png", "depth"):
        return
    found = load_scene(path)
    counts = {name: 0 if part is None else len(part) for name, part in vars(found).items() if name in vars(full)}
    if format == "npz":
        assert (counts["points"], counts["gaussians"], counts["mesh"]) == (7, 9, 4) and len(found) == 3
    elif format == "ply" or format.startswith("colmap"):
        assert counts["points"] == 7
    elif format in ("glb", "obj", "mesh-ply"):
        assert counts["mesh"] == 4 and len(found) == 0
        torch.testing.assert_close(found.mesh.vertex_colors, full.mesh.vertex_colors, atol=0.51 / 255, rtol=0)
    elif format in ("transforms", "cameras-json"):
        assert len(found) == 3 and found.images.shape == full.images.shape and found.scale == "aligned"
    else:
        assert counts["gaussians"] == 9 and len(found) == 0 and len(load_gaussians(path)) == 9


def test_contents_are_those_of_the_scene(tmp_path, full):
    save_scene(full, tmp_path / "png", "png")
    image = np.asarray(Image.open(tmp_path / "png/b.png"))
    np.testing.assert_array_equal(image, (full.images[1].permute(1, 2, 0) * 255).round().numpy())
    save_scene(full, tmp_path / "colmap", "colmap")
    torch.testing.assert_close(load_points(tmp_path / "colmap").positions, full.points.positions)
    save_scene(full, tmp_path / "out.npz")
    assert read_npz(tmp_path / "out.npz").scale == "metric"
    assert torch.equal(load_gaussians(tmp_path / "out.npz").means, full.gaussians.means)


def test_ply_holds_what_the_scene_has(tmp_path, full, scene):
    no_maps = Scene(full.cameras, mesh=full.mesh)
    for given, content in ((full, "gaussians"), (scene, "points"), (no_maps, "mesh")):
        save_scene(given, tmp_path / f"{content}.ply")
        assert ply_content(tmp_path / f"{content}.ply") == content
    save_scene(full, tmp_path / "explicit.ply", "ply")
    assert ply_content(tmp_path / "explicit.ply") == "points" and len(read_ply(tmp_path / "explicit.ply")) == 7
    save_scene(full, tmp_path / "small.compressed.ply")
    assert ply_content(tmp_path / "small.compressed.ply") == "compressed-gaussians"
    save_scene(replace(scene, points=None), tmp_path / "depth.ply")
    assert len(read_ply(tmp_path / "depth.ply")) == int((scene.depths > 0).sum())
    for name, count in (("gaussians", 9), ("points", 7), ("mesh", 4), ("small.compressed", 9)):
        assert len(load_points(tmp_path / f"{name}.ply")) == count
    assert load_points(tmp_path) is None


def test_endings_name_formats():
    for format, name in FILES.items():
        expected = "ply" if name == "out.ply" else format
        assert format_of(f"folder.ply/{name}") == expected and format_of(name.upper()) == expected


def test_images_are_fitted_and_the_rest_stays(tmp_path, full):
    save_scene(full, tmp_path / "out.npz")
    fitted = load_scene(tmp_path / "out.npz", size=(8, 10))
    assert fitted.images.shape == (3, 3, 8, 10) and fitted.cameras.height == 8 and fitted.depths.shape[-1] == 10
    assert len(fitted.gaussians) == 9 and fitted.depth_uncertainty is None
    save_scene(full, tmp_path / "out.spz")
    with pytest.raises(ValueError, match=r"out\.spz has no images to fit to 8x10"):
        load_scene(tmp_path / "out.spz", size=(8, 10))


def test_a_scene_without_cameras_goes_through_npz(tmp_path, full):
    save_scene(full, tmp_path / "out.spz")
    save_scene(load_scene(tmp_path / "out.spz"), tmp_path / "out.npz")
    found = load_scene(tmp_path / "out.npz")
    assert len(found) == 0 and found.names == () and len(found.gaussians) == 9


def test_what_a_scene_lacks_is_said(tmp_path, scene):
    bare = Scene(scene.cameras)
    for format, message in (
        ("ply", "no points, no known depth and no Gaussians"),
        ("depth", "no depth"),
        ("png", "no images, which png holds"),
        ("mp4", "no images, which mp4 holds"),
        ("colmap", "no images, which colmap holds"),
        ("spz", "the scene to write as spz has no Gaussians"),
        ("html", "the scene to write as html has no Gaussians"),
        ("glb", "the scene has no mesh, which glb holds"),
        ("fbx", "unknown format 'fbx'; accepted are colmap"),
        (None, r"the ending '' names no format; end it in \.compressed\.ply, \.npz, \.ply, \.mp4"),
    ):
        with pytest.raises(ValueError, match=message):
            save_scene(bare, tmp_path / "out", format)
    assert not list(tmp_path.iterdir())


def test_what_a_file_lacks_is_said(tmp_path, scene):
    save_scene(scene, tmp_path / "points.ply")
    save_scene(scene, tmp_path / "scene.npz")
    save_scene(scene, tmp_path / "photos", "png")
    (tmp_path / "notes.txt").touch()
    for load, name, message in (
        (load_gaussians, "points.ply", r"points\.ply is a point cloud, not Gaussians; use load_points"),
        (load_gaussians, "scene.npz", r"scene\.npz has no Gaussians"),
        (load_gaussians, "notes.txt", r"notes\.txt is no file of Gaussians; accepted are \.ply"),
        (load_gaussians, "gone.spz", r"gone\.spz does not exist; give a file with Gaussians"),
        (load_scene, "gone.ply", r"gone\.ply does not exist; give a file"),
        (load_scene, "photos", "photos without cameras"),
        (load_scene, "notes.txt", r"of no known kind; .*load_scene also reads \.ply"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            load(tmp_path / name)
