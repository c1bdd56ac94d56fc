"""`anyviews run` with LIRM."""

import json
import warnings
from pathlib import Path

import pytest
import torch
from models.lirm.small_lirm import ball_model
from scenes import Page

from anyviews.cli.main import main
from anyviews.cli.methods import method_of
from anyviews.data.world import render_world
from anyviews.environment import Environment
from anyviews.formats import save_views
from anyviews.formats.hdr import write_environment
from anyviews.formats.mesh_files import read_mesh
from anyviews.models.lirm import LIRMImageProcessor


QUICK = ("--resolution", 16, "--texture-size", 32, "--max-faces", 200, "--frames", 2)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint") / "tiny"
    torch.manual_seed(0)
    ball_model(0.35).save_pretrained(folder)
    LIRMImageProcessor(16, 4).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    views = render_world(torch.tensor([41]), 8, 64, 64, kind="object", samples=1).scene(0)
    save_views(views[:5], folder / "first", "cameras-json")
    save_views(views[5:], folder / "further", "cameras-json")
    return folder


def run(*argv: object) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return main(["run", *map(str, argv), "--device", "cpu"])


def test_photos_become_an_asset_a_video_and_a_page_and_further_ones_refine_it(photos, checkpoint, tmp_path, capsys):
    assert method_of(str(checkpoint)) == "lirm"
    write_environment(Environment(torch.rand(3, 8, 16)), tmp_path / "sky.hdr")
    first, then = tmp_path / "first", tmp_path / "then"
    given = ("--environment", tmp_path / "sky.hdr")
    assert run(photos / "first", "--checkpoint", checkpoint, "-o", first, *given, *QUICK) == 0
    result = json.loads((first / "result.json").read_text())
    (part,) = result["parts"]
    assert result["method"] == "lirm" and result["photos"] == 5 and part["files"] == ["asset", "mesh.glb", "video.mp4"]
    assert [len(names) for names in part["updates"]] == [3, 2]
    assert f"{part['faces']} faces with materials of 5 photos in 2 updates" in capsys.readouterr().out
    assert len(read_mesh(first / "mesh.glb")) == part["faces"]
    page = Page(first / "index.html")
    assert "roughness" in page.text and "what the network sees" in page.text
    assert {"img", "video", "iframe"} <= set(page.tags)
    refine = ("--refine", first / "asset", "--formats", "obj", "--json")
    assert run(photos / "further", "--checkpoint", checkpoint, "-o", then, *refine, *QUICK) == 0
    (part,) = json.loads(capsys.readouterr().out)["parts"]
    assert part["files"] == ["asset", "mesh.obj"] and [len(names) for names in part["updates"]] == [3, 2, 3]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("--center", "1,2"), "three numbers"),
        (("--center", "0,0,0"), "belong together"),
        (("--refine", "nowhere"), "asset.json"),
        (("--environment", "nowhere.hdr"), "does not exist"),
        (("--formats", "splat"), "glb"),
    ],
)
def test_what_cannot_be(photos, checkpoint, tmp_path, capsys, argv, message):
    assert run(photos / "first", "--checkpoint", checkpoint, "-o", tmp_path / "out", *argv, *QUICK) != 0
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
