"""utils/render_dataset.py turns meshes into shards, and goes on where it was interrupted."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mesh_makers import ball, quad, save

from anyviews.data import open_samples
from anyviews.data.path_tracing import Settings, load_asset, render_dataset, render_sample
from anyviews.data.path_tracing.dataset import Job, render_row
from anyviews.data.path_tracing.light import random_light
from anyviews.data.path_tracing.viewpoints import ELEVATIONS, NEAREST, random_cameras
from anyviews.data.verification import verify_shards
from anyviews.environment import Environment
from anyviews.formats.hdr import write_environment


SCRIPT = Path(__file__).resolve().parents[3] / "utils" / "render_dataset.py"
TINY = Settings("scalar_rgb", views=2, size=16, samples=1, licence="cc0-1.0")


@pytest.fixture(scope="module")
def meshes(tmp_path_factory):
    pytest.importorskip("mitsuba")
    folder = tmp_path_factory.mktemp("meshes")
    save(ball((200, 30, 30, 255), subdivisions=2), folder / "red ball.glb")
    save(ball((30, 30, 200, 255), subdivisions=2), folder / "more" / "blue.glb")
    (folder / "broken.glb").write_bytes(b"glTF" + bytes(40))
    return folder


def command(*arguments):
    return subprocess.run([sys.executable, str(SCRIPT), *map(str, arguments)], capture_output=True, text=True)


def test_meshes_become_samples_and_failures_are_listed(meshes, tmp_path):
    options = ("--licence", "cc-by-4.0", "--views", 3, "--size", 16, "--spp", 4, "--variant", "scalar_rgb")
    done = command(meshes, "-o", tmp_path / "shards", *options)
    assert done.returncode == 0, done.stderr
    assert "mitsuba scalar_rgb, as asked for" in done.stdout and "1 objects failed (1 unreadable)" in done.stdout
    (failure,) = json.loads((tmp_path / "shards" / "failures.json").read_text())
    assert failure["object"] == "broken.glb" and failure["reason"] == "unreadable"
    assert verify_shards(tmp_path / "shards") == {"train": 2}
    assert not list((tmp_path / "shards").glob(".*"))
    samples = {sample.key: sample for sample in open_samples(str(tmp_path / "shards"))}
    assert set(samples) == {"red ball.glb", "more/blue.glb"}
    for key, sample in samples.items():
        views = sample.views.validate()
        assert views.images.shape == (3, 3, 16, 16) and sample.licence == "cc-by-4.0" and key in sample.source
        assert sample.scale == "relative" and sample.environment.radiance.shape == (3, 64, 128)
        assert 0.1 < views.masks.mean() < 0.9 and (views.metallic == 0).all()
        base = views.base_colors.movedim(1, -1)[views.masks[:, 0] == 1].mean(0)
        assert (base.argmax() == 0) == (key == "red ball.glb")
    again = command(meshes, "-o", tmp_path / "shards", *options)
    assert again.returncode == 1 and "already holds the split 'train'" in again.stderr


def test_an_interrupted_run_goes_on(meshes, tmp_path, monkeypatch):
    output = tmp_path / "shards"
    work = output / ".rendering-train"
    rendered = []

    def here(function, jobs, processes, timeout):
        """Instead of other processes; ends before the last object, as if the power had failed."""
        from anyviews.data.path_tracing.workers import Outcome

        for job in jobs:
            if len(rendered) == 1:
                rendered.append("")
                raise KeyboardInterrupt
            rendered.append(job.key)
            yield Outcome(job, function(job))

    monkeypatch.setattr("anyviews.data.path_tracing.dataset.run_jobs", here)
    (meshes / "broken.glb").rename(meshes / "broken.txt")
    try:
        with pytest.raises(KeyboardInterrupt):
            render_dataset(meshes, output, TINY)
        assert len(list(work.glob("*.parquet"))) == 1 and not (output / "data").exists()
        other = Settings("scalar_rgb", views=2, size=16, samples=2, licence="cc0-1.0")
        with pytest.raises(ValueError, match="made with samples 1, not 2"):
            render_dataset(meshes, output, other)
        lines = []
        report = render_dataset(meshes, output, TINY, log=lines.append)
    finally:
        (meshes / "broken.txt").rename(meshes / "broken.glb")
    assert report.rows == 2 and report.resumed == 1 and report.failures == ()
    assert lines[0] == "1 of 2 objects were rendered earlier"
    assert sorted(rendered) == ["", "more/blue.glb", "red ball.glb"]
    assert not work.exists()


def test_the_same_seed_gives_the_same_bytes(meshes, tmp_path):
    files = [tmp_path / f"{name}.parquet" for name in "abc"]
    for file, settings in zip(files, (TINY, TINY, Settings(**{**TINY.record(), "seed": 1})), strict=True):
        render_row(Job(meshes / "red ball.glb", "red ball.glb", file, settings))
    first, same, other = (file.read_bytes() for file in files)
    assert first == same and first != other


def test_all_failures_are_an_error(tmp_path):
    pytest.importorskip("mitsuba")
    (tmp_path / "meshes").mkdir()
    (tmp_path / "meshes" / "broken.obj").write_text("nothing")
    done = command(tmp_path / "meshes", "-o", tmp_path / "out", "--licence", "mit", "--variant", "scalar_rgb")
    assert done.returncode == 1 and "none of 1 objects could be rendered" in done.stderr
    assert len(json.loads((tmp_path / "out" / "failures.json").read_text())) == 1
    assert not (tmp_path / "out" / "data").exists()


def test_what_cannot_be_used_is_said(tmp_path):
    with pytest.raises(ValueError, match="holds no mesh; accepted are"):
        render_dataset(tmp_path, tmp_path / "out", TINY)
    with pytest.raises(FileNotFoundError, match="is no folder"):
        render_dataset(tmp_path / "absent", tmp_path / "out", TINY)
    (tmp_path / "ball.obj").touch()
    with pytest.raises(ValueError, match="split is 'a-b'"):
        render_dataset(tmp_path, tmp_path / "out", TINY, split="a-b")
    assert not (tmp_path / "out").exists()
    with pytest.raises(ValueError, match="size is 0; accepted are 8"):
        Settings("scalar_rgb", size=0)


def test_light_is_that_of_the_files(tmp_path):
    for index, name in enumerate(("red", "green")):
        radiance = torch.full((3, 4, 8), 0.01)
        radiance[index] = torch.rand(4, 8) + 1
        write_environment(Environment(radiance), tmp_path / f"{name}.hdr")
    files = sorted(tmp_path.glob("*.hdr"))
    lights = [random_light(f"object {index}", 0, files) for index in range(8)]
    assert {light.validate().radiance.mean((1, 2)).argmax().item() for light in lights} == {0, 1}
    assert torch.equal(lights[3].radiance, random_light("object 3", 0, files).radiance)
    assert not torch.equal(lights[3].radiance, random_light("object 3", 1, files).radiance)
    assert not torch.equal(random_light("a", 0).radiance, random_light("b", 0).radiance)


@pytest.mark.parametrize("views", [1, 2, 7, 24])
def test_cameras_see_the_whole_object(tmp_path, views):
    thin = quad()
    thin.vertices = np.array([[-3, 0, 0], [3, 0, 0], [3, 0.2, 0], [-3, 0.3, 1.0]])
    asset = load_asset(save(thin, tmp_path / "thin.ply"))
    for key in "abcde":
        cameras = random_cameras(asset, key, views, 64, seed=0).validate(names=[str(i) for i in range(views)])
        vertices = torch.from_numpy(asset.parts[0].vertices).expand(views, -1, -1)
        pixels, depth = cameras.project(vertices)
        assert depth.min() > 0.1 and pixels.min() > 0 and pixels.max() < 64
        # near enough that the object fills more than half of the picture, unless the camera would be inside
        span = (pixels - 32).abs().amax((1, 2))
        distance = cameras.centers.norm(dim=-1)
        assert ((span > 0.6 * 32) | (distance < NEAREST + 1e-4)).all()
        elevation = torch.rad2deg(torch.asin(cameras.centers[:, 1] / distance))
        assert elevation.min() > ELEVATIONS[0] - 0.1 and elevation.max() < ELEVATIONS[1] + 0.1
        assert torch.equal(cameras.centers, random_cameras(asset, key, views, 64, seed=0).centers)
    if views == 24:
        directions = torch.nn.functional.normalize(cameras.centers[:12], dim=-1)
        nearest = (directions @ directions.T - 2 * torch.eye(12)).amax(1)
        assert torch.rad2deg(torch.acos(nearest.max())) > 15


def test_a_sample_has_all_that_the_schema_holds(meshes):
    sample, notices = render_sample(meshes / "red ball.glb", "ball", TINY)
    assert notices == ()
    for field in ("images", "masks", "depths", "radiance", "normals", "base_colors", "roughness", "metallic"):
        assert len(getattr(sample.views, field)) == 2
    assert sample.environment is not None and sample.views.cameras is not None
