"""The wheel holds the whole package, both folders of it, and nothing else."""

import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest


REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """A wheel built from a copy of the sources, so that nothing left over in `build/` can slip in."""
    copy = tmp_path_factory.mktemp("sources")
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, copy)
    for name in ("src", "pipelines"):
        shutil.copytree(REPOSITORY / name, copy / name, ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"))
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--skip-dependency-check", str(copy)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return next((copy / "dist").glob("*.whl"))


def test_wheel_holds_every_source_file_and_no_other(wheel):
    sources = wheel.parents[1]
    expected = {
        *installed_names(sources / "src/anyviews", "anyviews"),
        *installed_names(sources / "pipelines", "anyviews/pipelines"),
        "anyviews/py.typed",
        *(f"anyviews/formats/viewer/{file.name}" for file in (sources / "src/anyviews/formats/viewer").iterdir()),
    }
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert held == expected


def installed_names(folder: Path, package: str) -> set[str]:
    """Where the Python files of a source folder lie in the wheel."""
    return {f"{package}/{path.relative_to(folder).as_posix()}" for path in folder.rglob("*.py")}


def test_wheel_states_licence_and_command(wheel):
    archive = zipfile.ZipFile(wheel)
    info = next(name.split("/")[0] for name in archive.namelist() if ".dist-info/" in name)
    metadata = Parser().parsestr(archive.read(f"{info}/METADATA").decode())
    assert "Apache-2.0" in (metadata["License"], metadata["License-Expression"])
    assert metadata["Requires-Python"] == ">=3.11"
    assert "anyviews = anyviews.cli.main:main" in archive.read(f"{info}/entry_points.txt").decode()
    assert archive.read(f"{info}/licenses/LICENSE") == (REPOSITORY / "LICENSE").read_bytes()


def test_wheel_imports_without_the_checkout(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = "import anyviews, anyviews.pipelines; print(anyviews.__file__, anyviews.pipelines.__file__, sep='\\n')"
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [str(tmp_path / f"anyviews/{name}__init__.py") for name in ("", "pipelines/")]
