from dataclasses import replace

import numpy as np
import pytest
import torch
from format_views import assert_same_views
from PIL import Image

from anyviews.formats import SCENE_FORMATS, VIEW_FORMATS, load_points, load_views, save_scene, save_views
from anyviews.formats.npz import read_npz
from anyviews.formats.ply import read_ply
from anyviews.scene import Scene


@pytest.mark.parametrize("format", VIEW_FORMATS)
def test_every_folder_format_is_recognised(tmp_path, views, points, format):
    save_views(views, tmp_path / "out", format, points)
    back = load_views(tmp_path / "out")
    assert_same_views(back, views)
    assert (load_points(tmp_path / "out") is not None) == format.startswith("colmap")
    picked = load_views(str(tmp_path / "out"), size=(10, 10), select=[2])
    assert picked.images.shape == (1, 3, 10, 10) and picked.names == back.names[2:]


def test_files_and_folders_of_photos(tmp_path, views, scene):
    save_scene(scene, tmp_path / "set", "png")
    (tmp_path / "below").mkdir()
    (tmp_path / "set").rename(tmp_path / "below" / "images")
    assert load_views(tmp_path / "below").names == ("a.png", "b.png", "c.png")
    assert load_views(tmp_path / "below" / "images").cameras is None
    assert len(load_views(tmp_path / "below/images/a.png")) == 1
    assert len(load_views([tmp_path / "below/images/a.png", tmp_path / "below/images/c.png"])) == 2
    for format, name in (("transforms", "transforms.json"), ("cameras-json", "cameras.json")):
        save_views(views, tmp_path / format, format)
        (tmp_path / format / name).rename(tmp_path / format / "poses.json")
        assert_same_views(load_views(tmp_path / format / "poses.json"), views)
    save_scene(scene, tmp_path / "scene.npz")
    fitted = load_views(tmp_path / "scene.npz", size=(10, 10), select=[1])
    assert fitted.names == ("b",) and fitted.cameras.height == 10


def test_errors_say_what_was_looked_for(tmp_path):
    with pytest.raises(FileNotFoundError, match="gone does not exist"):
        load_views(tmp_path / "gone")
    wanted = (
        r"looked for cameras\.json, transforms\.json, a COLMAP model \(cameras\.bin \(or \.txt\), sparse/cam.*\.webp"
    )
    with pytest.raises(FileNotFoundError, match=wanted):
        load_views(tmp_path)
    (tmp_path / "transforms_train.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match=r"to read transforms_train\.json, give that file"):
        load_views(tmp_path)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ValueError, match=r"notes\.txt is of no known kind; accepted are folders"):
        load_views(tmp_path / "notes.txt")


def test_every_scene_format_is_written(tmp_path, scene):
    files = {"npz": "out.npz", "ply": "out.ply", "mp4": "out.mp4"}
    for format in SCENE_FORMATS:
        path = tmp_path / format / files.get(format, "out")
        save_scene(scene, path, None if format in files else format)
        assert path.is_file() if format in files else len(list(path.rglob("*.png"))) >= 3
        with pytest.raises(ValueError, match="overwrite"):
            save_scene(scene, path, format)
        save_scene(scene, path, format, overwrite=True)
    assert len(read_ply(tmp_path / "ply/out.ply")) == len(scene.points)
    assert read_npz(tmp_path / "npz/out.npz").scale == "metric"
    torch.testing.assert_close(load_points(tmp_path / "colmap/out").positions, scene.points.positions)
    image = np.asarray(Image.open(tmp_path / "png/out/b.png"))
    np.testing.assert_array_equal(image, (scene.images[1].permute(1, 2, 0) * 255).round().numpy())


def test_what_a_scene_lacks_is_said(tmp_path, views, scene):
    bare = Scene(scene.cameras)
    for format, message in (
        ("ply", "no points and no known depth"),
        ("depth", "no depth"),
        ("png", "no images, which png holds"),
        ("mp4", "no images, which mp4 holds"),
        ("colmap", "no images, which colmap holds"),
        ("obj", "unknown format 'obj'; accepted are colmap"),
        (None, r"the ending '' names no format; end it in \.npz, \.ply, \.mp4"),
    ):
        with pytest.raises(ValueError, match=message):
            save_scene(bare, tmp_path / "out", format)
    with pytest.raises(ValueError, match="does not hold photos with cameras"):
        save_views(views, tmp_path / "out", "ply")
    assert not list(tmp_path.iterdir())


def test_scene_without_points_writes_its_depth_as_points(tmp_path, scene):
    save_scene(replace(scene, points=None), tmp_path / "out.ply")
    assert len(read_ply(tmp_path / "out.ply")) == int((scene.depths > 0).sum())
