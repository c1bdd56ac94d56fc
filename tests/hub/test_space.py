"""A Space has all that its app needs: the modules come with it, and work without the package."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hub.other_packages import link_other_packages

from anyviews.app.space import space_files
from anyviews.cli.methods import METHODS


IMPORTS = """
import importlib, sys
import anyviews.app.page
for method in {methods!r}:
    importlib.import_module("anyviews.cli.methods." + method)
from anyviews import {names}
print(anyviews.__file__)
"""


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return space_files("user/mvgd-tiny")


def test_metadata_and_requirements(files):
    _, header, text = files["README.md"].decode().split("---\n", 2)
    metadata = yaml.safe_load(header)
    assert metadata["sdk"] == "gradio" and metadata["app_file"] == "app.py" and metadata["license"] == "apache-2.0"
    assert metadata["models"] == ["user/mvgd-tiny"]
    assert int(metadata["sdk_version"].split(".")[0]) >= 6
    assert "https://huggingface.co/user/mvgd-tiny" in text
    requirements = {line.partition(">")[0].partition("<")[0] for line in files["requirements.txt"].decode().split()}
    assert {"torch", "diffusers", "transformers", "gradio", "poselib", "numba", "usd-core"} <= requirements
    assert "anyviews" not in requirements and "pytest" not in requirements
    assert b"Apache License" in files["LICENSE"]


def test_only_what_the_app_needs_is_there(files):
    folders = {name.split("/")[1] for name in files if name.startswith("anyviews/")}
    assert {"app", "cli", "pipelines", "models", "formats"} <= folders
    assert not folders & {"training", "publishing"}
    assert sum(map(len, files.values())) < 3_000_000


def test_the_app_imports_without_the_package(files, tmp_path):
    for name, content in files.items():
        (tmp_path / "space" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "space" / name).write_bytes(content)
    compile(files["app.py"], "app.py", "exec")
    site = link_other_packages(tmp_path / "site")
    code = IMPORTS.format(methods=sorted(set(METHODS.values())), names="MVGDPipeline, LIRMPipeline, MVBoostPipeline")
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        cwd=tmp_path / "space",
        env={"PATH": "", "HOME": str(tmp_path), "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(tmp_path / "space")
