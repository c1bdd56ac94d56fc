"""`anyviews run` with MVBoost."""

import functools
import json
import warnings
from pathlib import Path

import pytest
import torch
from models.era3d.small_era3d import photo, small_pipeline
from models.lgm.plain_lgm import small_model
from PIL import Image
from scenes import Page

from anyviews.cli.main import main
from anyviews.formats import load_scene
from anyviews.models.lgm import lgm_lora_config
from anyviews.pipelines.pipeline_mvboost import MVBoostPipeline
from anyviews.rendering.input_pose import PoseSearch


# one direction, few steps
QUICK = {"azimuths": (0,), "elevations": (0,), "rolls": (0,), "candidates": 1, "coarse_steps": 1, "steps": 1}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint") / "tiny"
    torch.manual_seed(0)
    MVBoostPipeline(small_pipeline(), small_model()).save_pretrained(folder)
    return folder


@pytest.fixture
def photos(tmp_path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, seed in (("cup.png", 1), ("dog.png", 2)):
        pixels = (photo(seed=seed) * 255).byte().movedim(0, -1).numpy()
        Image.fromarray(pixels).save(folder / name)
    return folder


def run(*argv: object) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return main(["run", *map(str, argv), "--device", "cpu", "--steps", "2", "--frames", "3"])


def result_of(folder: Path) -> dict:
    return json.loads((folder / "result.json").read_text())


def test_each_photo_becomes_gaussians_and_a_part_of_the_page(photos, checkpoint, tmp_path, capsys):
    out = tmp_path / "out"
    argv = [photos, "--checkpoint", checkpoint, "-o", out, "--refine", "--strength", "0.5"]
    assert run(*argv, "--formats", "gaussian-ply,npz") == 0
    printed = capsys.readouterr().out
    result = result_of(out)
    assert result["method"] == "mvboost" and result["photos"] == 2
    for part, name in zip(result["parts"], ("cup.png", "dog.png"), strict=True):
        assert part["photo"] == name and part["refined"]
        assert part["files"] == [f"{name}/{file}" for file in ("views", "normals", "gaussians.ply", "scene.npz")]
        assert len(load_scene(out / name / "gaussians.ply").gaussians) == part["gaussians"]
        assert len(load_scene(out / name / "scene.npz").images) == 3
        assert len(list((out / name / "views").glob("*.png"))) == 6
        assert f"{name}: {part['gaussians']} Gaussians of generated refined views" in printed
    page = Page(out / "index.html")
    # the photo as seen, and six of each: before the refinement, views, normals, renders
    assert page.tags.count("img") == 2 * (1 + 4 * 6) and page.tags.count("iframe") == 2
    assert all(source.startswith("data:") for source in page.sources)


def test_one_photo_gives_what_it_gives_among_others(photos, checkpoint, tmp_path):
    formats = ("--formats", "gaussian-ply")
    assert run(photos, "--checkpoint", checkpoint, "-o", tmp_path / "both", *formats) == 0
    assert run(photos / "dog.png", "--checkpoint", checkpoint, "-o", tmp_path / "one", *formats) == 0
    (part,) = result_of(tmp_path / "one")["parts"]
    assert part["files"] == ["views", "normals", "gaussians.ply"] and not part["refined"]
    alone, among = tmp_path / "one", tmp_path / "both" / "dog.png"
    assert (alone / "gaussians.ply").read_bytes() == (among / "gaussians.ply").read_bytes()
    other = tmp_path / "both" / "cup.png" / "gaussians.ply"
    assert other.read_bytes() != (among / "gaussians.ply").read_bytes()


def test_an_adapter_changes_the_gaussians(photos, checkpoint, tmp_path):
    model = MVBoostPipeline.from_pretrained(checkpoint).reconstructor
    model.add_lora(lgm_lora_config(2))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.3)
    model.save_lora_weights(tmp_path / "adapter")
    for name, options in (("plain", ()), ("boosted", ("--lora", tmp_path / "adapter"))):
        argv = [photos / "cup.png", "--checkpoint", checkpoint, "-o", tmp_path / name, "--formats", "gaussian-ply"]
        assert run(*argv, *options) == 0
    means = [load_scene(tmp_path / name / "gaussians.ply").gaussians.means for name in ("plain", "boosted")]
    assert (means[0] - means[1]).abs().max() > 1e-3


def test_the_input_view_is_looked_for_and_said(photos, checkpoint, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(PoseSearch, "__init__", functools.partialmethod(PoseSearch.__init__, **QUICK))
    argv = [photos / "cup.png", "--checkpoint", checkpoint, "-o", tmp_path / "out", "--input-view"]
    assert run(*argv, "--formats", "gaussian-ply") == 0
    # random weights: no object that looks like the photo
    assert "no pose shows the photo well" in capsys.readouterr().out
    found = result_of(tmp_path / "out")["parts"][0]["input_view"]
    assert not found["converged"] and found["error"] == found["error_before"] > 0.1


@pytest.mark.parametrize(
    ("file", "options", "message"),
    [
        ("opaque.png", (), "opaque.png: image has no alpha channel"),
        ("missing", (), "missing has no photos"),
        ("cup.png", ("--lora", "nowhere"), "nowhere has no adapter"),
        ("cup.png", ("--strength", "2"), "strength=2.0"),
    ],
)
def test_what_cannot_be_done_is_said_and_leaves_nothing(photos, checkpoint, tmp_path, capsys, file, options, message):
    Image.new("RGB", (32, 32)).save(photos / "opaque.png")
    out = tmp_path / "out"
    assert run(photos / file, "--checkpoint", checkpoint, "-o", out, *options) != 0
    assert message in capsys.readouterr().err
    assert not out.exists()
