import json
from dataclasses import replace
from pathlib import Path

import av
import pycolmap
import pytest
import torch
import trimesh
from scenes import HEIGHT, VIEWS, WIDTH, Page, write_checkpoint, write_scene

from anyviews.cameras import Cameras
from anyviews.cli.main import main
from anyviews.evaluation.depth_metrics import absolute_relative_error
from anyviews.formats import load_views
from anyviews.formats.cameras_json import write_cameras_json
from anyviews.formats.depth_png import read_depth_folder
from anyviews.formats.npz import read_npz
from anyviews.geometry.paths import interpolate
from anyviews.rendering.image_quality import psnr
from anyviews.views import Views


FAST = ("--steps", "2", "--ensemble", "2")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny")


@pytest.fixture(scope="module")
def scene(tmp_path_factory) -> Path:
    return write_scene(tmp_path_factory.mktemp("scene") / "room")


@pytest.fixture
def run(scene, checkpoint, tmp_path):
    """Run the verb on the tiny scene into `out`; returns the exit code."""

    def run(*options, scene=scene, checkpoint=checkpoint, out=tmp_path / "out"):
        return main(["run", str(scene), "--checkpoint", str(checkpoint), "-o", str(out), *FAST, *options])

    return run


def two_cameras_back_to_back(distance: float = 1.0) -> Views:
    """Two narrow photos from different places, the second looking the other way."""
    pose = torch.eye(4).repeat(2, 1, 1)
    pose[1, 0, 0] = pose[1, 2, 2] = -1
    pose[1, 2, 3] = -distance
    intrinsics = torch.tensor([[200.0, 0, 16], [0, 200, 12], [0, 0, 1]]).repeat(2, 1, 1)
    return Views(torch.rand(2, 3, 24, 32), Cameras.create(intrinsics, pose, 24, 32), names=("front", "back"))


def test_held_out_photos_are_generated_and_scored(run, scene, tmp_path, capsys):
    formats = "npz,depth,ply,mp4,colmap,transforms,cameras-json"
    assert run("--path", "held-out", "--formats", formats, "--json") == 0
    printed, progress = capsys.readouterr()
    assert progress == ""
    out = tmp_path / "out"
    result = json.loads(printed)
    assert result == json.loads((out / "result.json").read_text())
    assert result["settings"]["steps"] == 2 and result["versions"]["torch"] == torch.__version__
    (part,) = result["parts"]
    assert [target["name"] for target in part["targets"]] == ["02"]
    assert part["context_views"] == [f"images/{i:02d}.png" for i in (0, 1, 3, 4, 5)]

    photo, generated = load_views(scene)[2], read_npz(out / "scene.npz")
    scores = part["scores"]
    # 8 bits in the file, floats in the score
    assert float(psnr(generated.images, photo.images)) == pytest.approx(scores["generated"]["psnr"], abs=0.1)
    error = absolute_relative_error(generated.depths, photo.depths, photo.depths > 0)
    assert float(error) == pytest.approx(scores["generated"]["absrel"], rel=1e-4)
    seen = load_views(scene)[[0, 1, 3, 4, 5]]
    nearest = part["context_views"].index(part["targets"][0]["nearest_photo"])
    assert float(psnr(seen.images[[nearest]], photo.images)) == pytest.approx(
        scores["nearest photo"]["psnr"], abs=1e-3
    )
    constant = seen.depths[seen.depths > 0].median().expand(photo.depths.shape)
    error = absolute_relative_error(constant, photo.depths, photo.depths > 0)
    assert float(error) == pytest.approx(scores["constant depth"]["absrel"], rel=1e-4)
    torch.testing.assert_close(generated.cameras.camera_to_world, photo.cameras.camera_to_world)

    written = [*part["files"], "index.html", "overview.jpg", "result.json"]
    assert sorted(path.name for path in out.iterdir()) == sorted(written)
    assert len(trimesh.load(out / "points.ply").vertices) == HEIGHT * WIDTH
    torch.testing.assert_close(read_depth_folder(out / "depth")[0], generated.depths, rtol=1e-2, atol=1e-2)
    assert pycolmap.Reconstruction(out / "colmap/sparse/0").num_images() == 1
    for folder in ("transforms", "cameras-json"):
        torch.testing.assert_close(load_views(out / folder).images, generated.images)


def test_a_path_is_followed(run, scene, tmp_path, capsys):
    assert run("--path", "interpolate", "--frames", "5", "--context-views", "3", "--incremental") == 0
    printed, progress = capsys.readouterr()
    assert printed.splitlines()[-1] == f"look at {tmp_path.resolve() / 'out' / 'index.html'}"
    assert "denoising" in progress
    context = load_views(scene)[[0, 2, 5]]
    generated = read_npz(tmp_path / "out/scene.npz")
    expected = interpolate(context.cameras, 5)
    torch.testing.assert_close(generated.cameras.camera_to_world, expected.camera_to_world)
    with av.open(str(tmp_path / "out/video.mp4")) as video:
        assert len(list(video.decode(video=0))) == 5
    result = json.loads((tmp_path / "out/result.json").read_text())
    assert result["parts"][0]["scores"] is None and len(result["parts"][0]["targets"]) == 5


def test_the_seed_decides(run, tmp_path):
    images = []
    for out, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        assert run("--frames", "1", "--seed", seed, "--formats", "npz", out=tmp_path / out) == 0
        images.append(read_npz(tmp_path / out / "scene.npz").images)
    assert torch.equal(images[0], images[1]) and not torch.equal(images[0], images[2])


def test_page_is_complete_and_loads_nothing(run, tmp_path):
    assert run("--path", "held-out") == 0
    html = (tmp_path / "out/index.html").read_text(encoding="utf-8")
    page = Page(tmp_path / "out/index.html")
    assert page.sources and all(source.startswith("data:") for source in page.sources)
    assert "http" not in html.replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert "url(" not in html and "@import" not in html
    # photo, generated, nearest, depth, known depth, uncertainty; and every photo given
    assert page.tags.count("img") == 6 + VIEWS
    assert page.tags.count("video") == page.tags.count("svg") == page.tags.count("table") == 1
    assert page.tags.count("polygon") == VIEWS
    assert page.tags.count("iframe") == 1
    for text in ("PSNR", "AbsRel", "nearest photo", "anyviews run", "known depth", "torch"):
        assert text in page.text


def test_page_escapes_what_users_named(scene, checkpoint, tmp_path):
    folder = tmp_path / "<b>&"
    write_cameras_json(load_views(scene), folder)
    argv = ["run", str(folder), "--checkpoint", str(checkpoint), "-o", str(tmp_path / "out"), "--frames", "1", *FAST]
    assert main(argv) == 0
    page = Page(tmp_path / "out/index.html")
    assert "b" not in page.tags and "<b>&: orbit" in page.text


def test_targets_that_see_nothing_are_skipped_and_counted(run, tmp_path, capsys):
    write_cameras_json(two_cameras_back_to_back(), tmp_path / "turn")
    assert run("--path", "interpolate", "--frames", "3", "--json", scene=tmp_path / "turn") == 0
    result = json.loads(capsys.readouterr().out)
    (part,) = result["parts"]
    assert [target["name"] for target in part["targets"]] == ["0000", "0002"]
    assert len(part["skipped"]) == 1 and "sees nothing" in part["skipped"][0]
    assert any("1 of 3 targets are skipped" in warning for warning in result["warnings"])


def test_when_all_targets_see_nothing_it_is_an_error(run, tmp_path, capsys):
    write_cameras_json(two_cameras_back_to_back(), tmp_path / "turn")
    assert run("--path", "held-out", scene=tmp_path / "turn") == 3
    assert "sees nothing" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["turn"]


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--path", "sideways"), 2, "sideways"),
        (("--frames", "0"), 3, "--frames 0"),
        (("--context-views", "9"), 3, "accepted are 1 to 6"),
        (("--max-context-views", "0"), 3, "0"),
        (("--formats", "npz,gif"), 3, "--formats has gif"),
        (("--path", "held-out", "--hold-out-every", "1"), 3, "--hold-out-every"),
        (("--scene-scale", "-1"), 3, "scene_scale=-1"),
        (("--ensemble", "0"), 3, "ensemble_size=0"),
        (("--max-memory", "1KB"), 3, "max_memory"),
        (("--device", "abacus"), 3, "--device abacus"),
        (("--size", "big"), 3, "--size big"),
    ],
)
def test_wrong_options_leave_nothing_behind(run, tmp_path, capsys, options, code, message):
    assert run(*options, "--json") == code
    assert message in json.loads(capsys.readouterr().out)["error"]["message"]
    assert list(tmp_path.iterdir()) == []


def test_wrong_inputs_say_what_is_accepted(run, scene, checkpoint, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    for changed, message in (
        ({"scene": scene / "images"}, "colmap automatic_reconstructor"),
        ({"scene": tmp_path / "gone"}, "does not exist"),
        ({"checkpoint": tmp_path / "gone"}, "the checkpoint"),
        ({"checkpoint": tmp_path / "empty"}, "model_index.json"),
        ({"checkpoint": "a/b/c"}, "does not exist"),
    ):
        assert run(**changed) == 3
        assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_an_existing_folder_is_replaced_only_when_asked(run, scene, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    (out / "precious").write_text("kept")
    assert run("--frames", "1") == 3
    assert "--overwrite" in capsys.readouterr().err
    assert [path.name for path in out.iterdir()] == ["precious"]
    assert run("--frames", "1", "--overwrite") == 0
    assert not (out / "precious").exists() and (out / "index.html").exists()
    assert run("--overwrite", out=scene.parent) == 3
    assert "holds the input" in capsys.readouterr().err and (scene / "cameras.json").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_photos_of_mixed_sizes_are_fitted(run, scene, tmp_path, capsys):
    views = replace(load_views(scene), depths=None)
    write_cameras_json(views, tmp_path / "mixed")
    write_cameras_json(views.resize(48, 64), tmp_path / "large")
    content = json.loads((tmp_path / "mixed/cameras.json").read_text())
    (tmp_path / "large/images/00.png").replace(tmp_path / "mixed" / content["frames"][0]["file"])
    assert run("--frames", "1", scene=tmp_path / "mixed") == 3
    assert "--size HxW" in capsys.readouterr().err
    assert run("--frames", "1", "--size", "20x20", scene=tmp_path / "mixed") == 0
    assert read_npz(tmp_path / "out/scene.npz").images.shape == (1, 3, 32, 32)


def test_an_unknown_repository_is_bad_input(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert run(checkpoint="nobody/nothing") == 3
    assert "nobody/nothing is no folder here" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
