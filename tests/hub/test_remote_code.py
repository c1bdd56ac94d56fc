"""People without the package load what was published, and get the same results; without their trust no code runs.

One process does so, in an environment that has all other packages, with every shipped checkpoint, and an untrained one
of each method that ships none.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from app.tiny_checkpoints import write_checkpoints
from diffusers import DiffusionPipeline
from hub.other_packages import link_other_packages
from hub.remote_runs import compute
from hub.stub_hub import Repository, StubHub
from models.era3d.small_era3d import photo
from transformers import AutoModel

import anyviews
from anyviews import pipelines
from anyviews.cli.methods import method_of
from anyviews.data.world import render_world
from anyviews.formats.cameras_json import write_cameras_json
from anyviews.formats.image_folder import write_png
from anyviews.publishing.repository_files import checkpoint_files, repository_files


CARD = "---\nlicense: apache-2.0\n---\n# A model\n"
PIPELINES = {
    "mvgd": pipelines.MVGDPipeline,
    "mvdust3r": pipelines.MVDust3rPlusPipeline,
    "lirm": pipelines.LIRMPipeline,
    "mvboost": pipelines.MVBoostPipeline,
}
SHIPPED = sorted(path.name for path in (Path(__file__).resolve().parents[2] / "checkpoints").iterdir())


def object_photos(folder: Path) -> None:
    views = render_world(torch.tensor([41]), 4, 64, 64, kind="object", samples=1).scene(0)
    write_cameras_json(views, folder)


def one_photo(folder: Path) -> None:
    folder.mkdir(parents=True)
    write_png(photo(), folder / "00.png")


# An example input for checkpoints that come without.
SAMPLES = {"lirm": object_photos, "mvboost": one_photo}


class Published:
    """Checkpoints in folders as they are on the Hub, and what a process without the package found."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.names: list[str] = []
        self.found: dict = {}

    def method(self, name: str) -> str:
        return method_of(str(self.folder / "local" / name))

    def add(self, checkpoint: Path, name: str) -> None:
        """Write a checkpoint as it is published, with an example input of its method."""
        files = checkpoint_files(checkpoint)
        if not any(inside.startswith("sample/") for inside in files):
            sample = self.folder / "samples" / name
            SAMPLES[method_of(str(checkpoint))](sample)
            files |= {f"sample/{inside}": path for inside, path in checkpoint_files(sample).items()}
        for inside, content in repository_files(files, f"user/{name}", CARD).items():
            path = self.folder / "local" / name / inside
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.read_bytes())
        self.names.append(name)

    def load_elsewhere(self) -> None:
        """Load all from a Hub in a process without the package."""
        jobs = {f"user/{name}": (self.folder / "local" / name / "model_index.json").exists() for name in self.names}
        (self.folder / "jobs.json").write_text(json.dumps(jobs), encoding="utf-8")
        with StubHub() as hub:
            for name in self.names:
                hub.repositories["model", f"user/{name}"] = repository = Repository(private=False)
                local = self.folder / "local" / name
                files = {inside: path.read_bytes() for inside, path in checkpoint_files(local).items()}
                repository.commit(files, "Publish checkpoint")
            environment = hub.environment(
                self.folder / "home", PYTHONPATH=str(link_other_packages(self.folder / "site")), OMP_NUM_THREADS="1"
            )
            # -S: the installed packages are those of PYTHONPATH alone
            done = subprocess.run(
                [sys.executable, "-S", Path(__file__).with_name("remote_runs.py"), self.folder],
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, done.stderr
            assert hub.unknown == []
        self.found = json.loads((self.folder / "found.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def published(tmp_path_factory, repository) -> Published:
    folder = tmp_path_factory.mktemp("published")
    published = Published(folder)
    for name in SHIPPED:
        published.add(repository / "checkpoints" / name, name)
    covered = {published.method(name) for name in published.names}
    for method, checkpoint in write_checkpoints(folder / "untrained").items():
        if method not in covered:
            published.add(Path(checkpoint), method)
    published.load_elsewhere()
    return published


def test_all_methods_are_covered(published):
    assert {published.method(name) for name in published.names} == set(PIPELINES)
    assert set(SHIPPED) <= set(published.names)


def test_results_without_the_package_are_those_of_the_package(published):
    for name in published.names:
        local = published.folder / "local" / name
        expected = compute(PIPELINES[published.method(name)].from_pretrained(str(local)), local / "sample")
        with np.load(published.folder / f"{name}.npz") as found:
            assert set(found.files) == set(expected)
            for key, values in expected.items():
                assert np.isfinite(values).all() and values.std() > 1e-4
                assert np.allclose(found[key], values, rtol=1e-4, atol=1e-5), (name, key)


def test_folders_load_as_repositories_do(published):
    assert published.found["same_from_folder"] == {f"user/{name}": True for name in published.names}


def test_the_code_was_that_of_the_checkpoints(published):
    assert published.found["imported_before"] == []
    assert set(published.found["homes"]) == {f"user/{name}" for name in published.names}
    for file in published.found["homes"].values():
        assert Path(file).is_relative_to(published.folder / "home" / "modules")
    assert "anyviews.training is not among the modules" in published.found["not_brought"]


def test_without_trust_nothing_runs(published):
    for name, message in published.found["untrusted"].items():
        assert "trust_remote_code=True" in message, name


def poison(published: Published, name: str, marker: Path) -> Path:
    """A published folder whose code leaves a mark when it runs."""
    folder = marker.with_name(name)
    for inside, path in checkpoint_files(published.folder / "local" / name).items():
        (folder / inside).parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".py":
            (folder / inside).write_text(f"open({str(marker)!r}, 'w').close()\n", encoding="utf-8")
        else:
            os.link(path, folder / inside)
    return folder


def test_with_the_package_its_own_code_loads_and_no_other_runs(published, tmp_path):
    marker = tmp_path / "ran"
    for name in published.names:
        folder = poison(published, name, marker)
        pipe = PIPELINES[published.method(name)].from_pretrained(str(folder))
        assert type(pipe) is PIPELINES[published.method(name)]
        if (folder / "model_index.json").exists():
            with pytest.raises(ValueError, match="trust_remote_code=True"):
                DiffusionPipeline.from_pretrained(str(folder))
        else:
            assert type(AutoModel.from_pretrained(folder)) is type(pipe.model)
    assert not marker.exists()
    with pytest.raises(AttributeError):
        DiffusionPipeline.from_pretrained(str(folder), trust_remote_code=True)
    assert marker.exists(), "the marker would not have told"


def test_with_the_package_trusted_code_gives_way_to_it(published):
    name = next(name for name in published.names if published.method(name) == "mvgd")
    pipe = DiffusionPipeline.from_pretrained(str(published.folder / "local" / name), trust_remote_code=True)
    assert type(pipe) is anyviews.MVGDPipeline
    assert not any(getattr(finder, "carries", None) == "anyviews" for finder in sys.meta_path)


def test_a_trusted_model_is_saved_with_its_code(published, tmp_path):
    name = next(
        name for name in published.names if not (published.folder / "local" / name / "model_index.json").exists()
    )
    local = published.folder / "local" / name
    index = json.loads((local / "config.json").read_text(encoding="utf-8"))
    model = AutoModel.from_pretrained(local, trust_remote_code=True)
    model.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))["auto_map"] == index["auto_map"]
