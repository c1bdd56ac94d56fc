import errno
from pathlib import Path

import pytest

from anyviews.formats.files import new_file, new_folder
from anyviews.formats.transforms_json import write_transforms_json


def full_disk(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


def test_new_file_appears_complete_and_keeps_its_suffix(tmp_path):
    with new_file(tmp_path / "below" / "scene.npz") as temporary:
        assert temporary.suffix == ".npz" and temporary.parent == tmp_path / "below"
        temporary.write_text("whole")
        assert not (tmp_path / "below" / "scene.npz").exists()
    assert names(tmp_path) == ["below", "scene.npz"]


def test_failing_file_leaves_the_old_one(tmp_path):
    path = tmp_path / "scene.npz"
    path.write_text("old")
    with pytest.raises(OSError, match="No space"), new_file(path, overwrite=True) as temporary:
        temporary.write_text("half")
        full_disk()
    assert names(tmp_path) == ["scene.npz"] and path.read_text() == "old"


def test_existing_file_is_kept_unless_asked(tmp_path):
    path = tmp_path / "scene.npz"
    path.write_text("old")
    with pytest.raises(ValueError, match="--overwrite"), new_file(path):
        pass
    with pytest.raises(ValueError, match="is a folder"), new_file(tmp_path):
        pass
    with new_file(path, overwrite=True) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new"


def test_new_folder_replaces_only_when_asked_and_as_a_whole(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()  # an empty folder counts as new
    with new_folder(folder) as temporary:
        (temporary / "first").touch()
    with pytest.raises(ValueError, match="not empty"), new_folder(folder):
        pass
    with new_folder(folder, overwrite=True) as temporary:
        (temporary / "second").touch()
    assert names(tmp_path) == ["out", "second"]
    with pytest.raises(ValueError, match="is a file"), new_folder(folder / "second"):
        pass


def test_folders_that_hold_the_working_folder_are_not_replaced(tmp_path, monkeypatch):
    (tmp_path / "out" / "here").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "out" / "here")
    with pytest.raises(ValueError, match="working or home folder"), new_folder(tmp_path / "out", overwrite=True):
        pass


@pytest.mark.parametrize("failing", ["image", "json", "rename"])
def test_full_disk_leaves_nothing_half_written(tmp_path, monkeypatch, views, failing):
    out = tmp_path / "out"
    write_transforms_json(views, out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    if failing == "image":
        count = iter(range(100))
        original = Path.mkdir
        monkeypatch.setattr(Path, "mkdir", lambda *a, **k: full_disk() if next(count) == 5 else original(*a, **k))
    elif failing == "json":
        monkeypatch.setattr("anyviews.formats.transforms_json.write_json", full_disk)
    else:
        rename = Path.replace

        def fails_to_move_the_new_one(source, target):
            return full_disk() if target == out and not source.name.endswith(".replaced") else rename(source, target)

        monkeypatch.setattr(Path, "replace", fails_to_move_the_new_one)
    with pytest.raises(OSError, match="No space"):
        write_transforms_json(views, out, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
