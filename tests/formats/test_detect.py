import pytest
from format_views import assert_same_views

from anyviews.formats import VIEW_FORMATS, load_points, load_views, save_scene, save_views


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


def test_only_formats_of_views_are_accepted(tmp_path, views):
    with pytest.raises(ValueError, match="does not hold photos with cameras"):
        save_views(views, tmp_path / "out", "ply")
    assert not list(tmp_path.iterdir())
