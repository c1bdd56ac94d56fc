"""README.md's pictures and the commands that make them."""

import re
from pathlib import Path

import pytest
from PIL import Image
from script_modules import load_script

from anyviews.cli.main import build_parser


@pytest.fixture(scope="module")
def readme_pictures(repository):
    return load_script(repository / "utils" / "readme_pictures.py")


def test_every_picture_is_there_with_a_command_of_shipped_files(readme_pictures, repository, monkeypatch):
    readme = (repository / "README.md").read_text(encoding="utf-8")
    commands = readme_pictures.readme_commands(readme)
    shown = re.findall(r"\]\(docs/pictures/(\w+)\.jpg\)", readme)
    assert shown == list(commands) and set(commands) == {"lirm", "mvboost", "mvdust3r", "mvgd"}
    monkeypatch.chdir(repository)
    for name, command in commands.items():
        arguments = build_parser("run", [*command[1:], "-o", "out"]).parse_args([*command, "-o", "out"])
        assert arguments.method.__name__.endswith(name)
        assert Path(arguments.photos).is_dir() and Path(arguments.checkpoint).is_dir()
        with Image.open(repository / "docs" / "pictures" / f"{name}.jpg") as picture:
            assert picture.width > 500


def test_a_command_is_run_and_its_picture_kept(readme_pictures, tmp_path, monkeypatch):
    given = []

    def run(words):
        given.append(words)
        output = Path(words[words.index("--output") + 1])
        output.mkdir()
        (output / "overview.jpg").write_bytes(b"picture")
        return 0

    monkeypatch.setattr(readme_pictures, "anyviews", run)
    text = "![a](docs/pictures/a.jpg)<br>`anyviews run photos --checkpoint c -o out`"
    assert readme_pictures.readme_commands(text) == {"a": ["run", "photos", "--checkpoint", "c"]}
    readme_pictures.make_picture(["run", "photos"], tmp_path / "a.jpg")
    assert (tmp_path / "a.jpg").read_bytes() == b"picture" and given[0][:2] == ["run", "photos"]
    monkeypatch.setattr(readme_pictures, "anyviews", lambda words: 3)
    with pytest.raises(SystemExit, match="run photos failed"):
        readme_pictures.make_picture(["run", "photos"], tmp_path / "b.jpg")
    assert not (tmp_path / "b.jpg").exists()
