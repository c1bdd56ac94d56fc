"""`anyviews run` with MV-DUSt3R+."""

import json
import warnings
from pathlib import Path

import pytest
import torch
from geometry.pointmaps import apartment
from known_scenes import known_pipeline
from scenes import Page

from anyviews.cli.main import main
from anyviews.cli.methods import mvdust3r
from anyviews.formats import load_scene, load_views
from anyviews.formats.cameras_json import write_cameras_json
from anyviews.formats.image_folder import write_image_folder
from anyviews.models.mvdust3r import MVDust3rPlusConfig, MVDust3rPlusImageProcessor, MVDust3rPlusModel
from anyviews.pipelines.pipeline_mvdust3r import MVDust3rPlusPipeline


COUNT, SIDE = 4, 48


def checkpoint_in(folder: Path, **overrides) -> Path:
    """An untrained pipeline."""
    torch.manual_seed(0)
    config = MVDust3rPlusConfig.from_size(
        "tiny", image_size=SIDE, encoder_num_layers=1, decoder_num_layers=1, encoder_hidden_size=32,
        decoder_hidden_size=32, use_skip=False, gaussian_hidden_size=16, **overrides,
    )  # fmt: skip
    model = MVDust3rPlusModel(config).eval()
    MVDust3rPlusPipeline(model, MVDust3rPlusImageProcessor(SIDE)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    return checkpoint_in(tmp_path_factory.mktemp("checkpoint") / "tiny")


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photos") / "flat"
    write_image_folder(apartment(1, COUNT, SIDE).images, folder, [f"{i}.png" for i in range(COUNT)])
    return folder


def run(*argv: object) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return main(["run", *map(str, argv), "--device", "cpu"])


def test_photos_become_a_scene_and_a_page(photos, checkpoint, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(photos, "--checkpoint", checkpoint, "-o", out, "--formats", "npz,ply,gaussian-ply,depth") == 0
    printed = capsys.readouterr()
    assert "4 photos in one pass" in printed.err and "beside the weights" in printed.err
    result = json.loads((out / "result.json").read_text())
    (part,) = result["parts"]
    assert result["method"] == "mvdust3r" and result["photos"] == COUNT and part["scale"] == "relative"
    assert part["files"] == ["scene.npz", "points.ply", "gaussians.ply", "depth"]
    assert [camera["name"] for camera in part["cameras"]] == [f"{i}.png" for i in range(COUNT)]
    assert f"{part['points']} points and {part['gaussians']} Gaussians of 4 photos" in printed.out
    assert len(load_scene(out / "points.ply").points) == part["points"]
    assert len(load_scene(out / "gaussians.ply").gaussians) == part["gaussians"]
    page = Page(out / "index.html")
    assert "Cameras" in page.text and "confidence" in page.text and "2.png" in page.text
    assert page.tags.count("img") == 3 * COUNT and "iframe" in page.tags
    assert all(source.startswith("data:") for source in page.sources)


def test_two_runs_are_the_same_and_quiet_with_json(photos, checkpoint, tmp_path, capsys):
    results = []
    for name in ("a", "b"):
        assert run(photos, "--checkpoint", checkpoint, "-o", tmp_path / name, "--formats", "npz", "--json") == 0
        printed = capsys.readouterr()
        assert len(printed.err.splitlines()) == 1 and printed.err.startswith("4 photos in one pass")
        results.append(json.loads(printed.out)["parts"][0])
    assert results[0]["cameras"] == results[1]["cameras"]


def test_cameras_depth_and_surface_of_a_known_scene_are_written(photos, checkpoint, tmp_path, monkeypatch):
    views = apartment(1, COUNT, SIDE)
    pipe = known_pipeline(views)
    pipe.model.points[3] = torch.randn(SIDE, SIDE, 3, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(mvdust3r, "load_checkpoint", lambda *_, **__: pipe)
    out = tmp_path / "out"
    assert run(photos, "--checkpoint", checkpoint, "-o", out, "--formats", "colmap,glb,html") == 0
    back = load_views(out / "colmap")
    assert len(back) == 3  # the fourth has no pose
    assert (back.images - views.images[:3]).abs().max() < 0.01
    turned = back.cameras.relative_to(back.cameras[0]).rotation
    torch.testing.assert_close(turned, views.cameras.rotation[:3], atol=1e-3, rtol=0)
    assert len(load_scene(out / "mesh.glb").mesh.faces) > 100
    assert "not found" in Page(out / "index.html").text
    (part,) = json.loads((out / "result.json").read_text())["parts"]
    assert [camera["found"] for camera in part["cameras"]] == [True, True, True, False]


def test_cameras_that_come_with_the_photos(checkpoint, tmp_path, capsys):
    views = apartment(1, COUNT, SIDE)
    write_cameras_json(views, tmp_path / "posed")
    assert run(
        tmp_path / "posed", "--checkpoint", checkpoint, "-o", tmp_path / "out", "--cameras", "intrinsics", "--json",
        "--formats", "npz",
    ) == 0  # fmt: skip
    (part,) = json.loads(capsys.readouterr().out)["parts"]
    wanted = views.cameras.intrinsics[:, 0, 0].tolist()
    assert [camera["focal_lengths"][0] for camera in part["cameras"]] == pytest.approx(wanted, rel=1e-4)
    assert part["scale"] == "relative"


def test_what_cannot_be_written_is_said(photos, tmp_path, capsys):
    checkpoint = checkpoint_in(tmp_path / "plain", use_gaussians=False)
    out = tmp_path / "out"
    assert run(photos, "--checkpoint", checkpoint, "-o", out, "--formats", "ply,splat", "--max-views", 3) == 0
    assert "the checkpoint has no Gaussians, so splat is not written" in capsys.readouterr().out
    (part,) = json.loads((out / "result.json").read_text())["parts"]
    assert part["files"] == ["points.ply"] and len(part["references"]) == 2


@pytest.mark.parametrize(
    "options, message",
    [
        (("--references", "a,b"), "--references a,b; accepted are photo numbers"),
        (("--references", "0,9"), "accepted are different indices from 0 to 3"),
        (("--cameras", "poses"), "photos without cameras"),
        (("--max-memory", "1KB"), "is too little for 4 photos"),
        (("--formats", "mp4"), "--formats has mp4; accepted are npz, ply"),
    ],
)
def test_mistakes_are_explained(photos, checkpoint, tmp_path, capsys, options, message):
    assert run(photos, "--checkpoint", checkpoint, "-o", tmp_path / "out", *options) != 0
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
