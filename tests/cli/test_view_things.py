"""`anyviews view --export` of every kind of thing: the page holds it, and says what it leaves out."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from data.tiny_rows import rows
from formats.headless_browser import HeadlessBrowser
from rendering.gaussians.gaussian_scenes import random_gaussians
from viewer.viewer_scenes import NO_CAMERAS, checks, everything, points, sphere

from anyviews.cli.main import main
from anyviews.data.samples import Sample
from anyviews.data.schema import encode_sample
from anyviews.data.shards import write_shards
from anyviews.formats import save_scene, save_views
from anyviews.formats.shown_scene import show_scenes
from anyviews.gaussians import Gaussians
from anyviews.scene import Scene
from anyviews.views import Views


@pytest.fixture
def photos() -> Views:
    scene = everything()
    return Views(scene.images, scene.cameras, depths=scene.depths)


def asset() -> Scene:
    """A mesh with a material, as LIRM writes it."""
    return Scene(NO_CAMERAS, mesh=replace(sphere(8), material=checks()))


def summary_of(thing: Path, page: Path, capsys, *options: str) -> dict:
    assert main(["view", str(thing), "--export", str(page), "--json", *options]) == 0
    return json.loads(capsys.readouterr().out)


def description(page: Path) -> dict:
    return json.loads(re.search(r'<script id="scene"[^>]*>([^<]*)<', page.read_text(encoding="utf-8"))[1])


def test_a_usdz_asset_looks_as_its_glb(tmp_path, capsys):
    pytest.importorskip("pxr", reason="needs usd-core (the extra usdz)")
    pictures = []
    with HeadlessBrowser(tmp_path / "profile") as browser:
        for ending in ("glb", "usdz"):
            save_scene(asset(), tmp_path / f"asset.{ending}", up=(0.0, -1.0, 0.0))
            page = tmp_path / f"{ending}.html"
            summary = summary_of(tmp_path / f"asset.{ending}", page, capsys)
            assert summary["triangles"] == len(asset().mesh)
            browser.open(page, "#ui=0", 160, 120)
            pictures.append(browser.screenshot())
        assert browser.complaints == []
    assert pictures[0].std() > 0.1
    assert (pictures[0] - pictures[1]).abs().max() < 0.02


def test_a_usdz_file_among_the_output_of_a_run(tmp_path, capsys):
    pytest.importorskip("pxr", reason="needs usd-core (the extra usdz)")
    save_scene(asset(), tmp_path / "run" / "mesh.usdz")
    assert summary_of(tmp_path / "run", tmp_path / "page.html", capsys)["triangles"] == len(asset().mesh)


def test_updates_of_an_object_are_steps(tmp_path, capsys):
    # `anyviews run` with --refine writes a folder for each update
    for name, scale in (("4_photos", 1.0), ("8_photos", 2.0)):
        grown = replace(asset().mesh, vertices=scale * asset().mesh.vertices)
        save_scene(Scene(NO_CAMERAS, mesh=grown), tmp_path / "runs" / name / "mesh.glb")
        (tmp_path / "runs" / name / "asset").mkdir()
    page = tmp_path / "page.html"
    assert summary_of(tmp_path / "runs", page, capsys)["steps"] == 2
    assert description(page)["stepNames"] == ["4_photos", "8_photos"]
    with HeadlessBrowser(tmp_path / "profile") as browser:
        pictures = []
        for step in (0, 1):
            browser.open(page, f"#ui=0&step={step}", 96, 96)
            pictures.append(browser.screenshot())
        assert (pictures[0] - pictures[1]).abs().max() > 0.1
        browser.open(page, "", 640, 480)
        assert browser.run("document.getElementById('step').offsetParent !== null")
        assert browser.run("document.getElementById('step-name').textContent") == "8_photos"


def test_a_sample_of_a_shard(tmp_path, photos, capsys):
    samples = (encode_sample(Sample(f"scene{i}", photos, licence="cc0-1.0")) for i in range(2))
    write_shards(samples, tmp_path / "data", num_shards=1)
    summary = summary_of(tmp_path / "data", tmp_path / "page.html", capsys, "--row", "1")
    assert summary["cameras"] == 3 and summary["points"] > 0
    assert main(["view", str(tmp_path / "data"), "--row", "2", "--export", str(tmp_path / "other.html")]) == 3
    assert "--row 2; accepted are 0 to 1" in capsys.readouterr().err
    write_shards(rows(1, licence="cc0-1.0"), tmp_path / "unposed", num_shards=1)
    assert main(["view", str(tmp_path / "unposed"), "--export", str(tmp_path / "other.html")]) == 3
    assert "has no cameras" in capsys.readouterr().err


def test_a_colmap_folder(tmp_path, photos, capsys):
    save_views(photos, tmp_path / "photos", "colmap", points(10))
    summary = summary_of(tmp_path / "photos", tmp_path / "page.html", capsys)
    assert (summary["cameras"], summary["points"]) == (3, 10)


def test_the_output_of_a_run(tmp_path, photos, capsys):
    save_scene(Scene(photos.cameras, photos.images), tmp_path / "run" / "scene.npz")
    save_scene(Scene(NO_CAMERAS, gaussians=random_gaussians(0, 20)), tmp_path / "run" / "gaussians.ply")
    summary = summary_of(tmp_path / "run", tmp_path / "page.html", capsys)
    assert (summary["cameras"], summary["gaussians"]) == (3, 20)


@pytest.mark.parametrize("name", ["nothing.npz", "empty", "notes.txt", "gone.glb"])
def test_what_holds_nothing_is_named(tmp_path, capsys, name):
    save_scene(Scene(NO_CAMERAS), tmp_path / "nothing.npz")
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("-")
    message = {
        "nothing.npz": "the scene is empty",
        "empty": "nothing to load",
        "notes.txt": "is of no kind that can be shown; accepted are .npz",
        "gone.glb": "does not exist",
    }[name]
    page = tmp_path / "page.html"
    assert main(["view", str(tmp_path / name), "--export", str(page)]) == 3
    assert message in capsys.readouterr().err and not page.exists()


def test_of_millions_of_gaussians_the_most_visible_are_shown():
    count = 5_000_000
    opacities = torch.linspace(0.001, 0.999, count)
    means = torch.rand(count, 3, generator=torch.Generator().manual_seed(0))
    rotations = torch.tensor([1.0, 0, 0, 0]).expand(count, 4)
    scales = torch.full((1, 3), 0.01).expand(count, 3)
    gaussians = Gaussians.from_colors(means, rotations, scales, opacities, means)
    with pytest.warns(UserWarning, match="1,000,000 most visible of [45],[0-9]{3},[0-9]{3} Gaussians"):
        shown = show_scenes([Scene(NO_CAMERAS, gaussians=gaussians)], 1_000_000, 1_000_000, "test")
    found = shown.steps[0].gaussians
    assert len(found) == 1_000_000 and float(found.opacities.min()) > 0.79
    assert "1,000,000 most visible" in shown.notices[0]
