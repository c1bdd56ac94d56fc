"""Whatever a file or folder holds is found, and what is none of it is named."""

from dataclasses import replace

import pytest
import torch
from data.tiny_rows import rows
from rendering.gaussians.gaussian_scenes import orbit_cameras, random_gaussians
from viewer_scenes import NO_CAMERAS, everything, points, sphere

from anyviews.data.samples import Sample
from anyviews.data.schema import encode_sample
from anyviews.data.shards import write_shards
from anyviews.formats import save_scene, save_views
from anyviews.scene import Scene
from anyviews.viewer import load_things
from anyviews.views import Views


@pytest.fixture
def photos() -> Views:
    scene = everything()
    return Views(scene.images, scene.cameras, depths=scene.depths)


@pytest.mark.parametrize("name", ["scene.npz", "splats.ply", "splats.splat", "splats.spz", "mesh.glb", "mesh.obj"])
def test_files_are_loaded(tmp_path, name):
    save_scene(everything(), tmp_path / name)
    (scene,) = load_things(tmp_path / name).scenes
    expected = {"npz": (3, True, True), "glb": (0, False, True), "obj": (0, False, True)}
    counts = expected.get(name.rpartition(".")[2], (0, True, False))
    assert (len(scene), scene.gaussians is not None, scene.mesh is not None) == counts


@pytest.mark.parametrize("format", ["colmap", "transforms", "cameras-json"])
def test_photos_with_cameras_are_loaded(tmp_path, photos, format):
    save_views(photos, tmp_path / "photos", format, points(10))
    (scene,) = load_things(tmp_path / "photos").scenes
    assert len(scene) == 3 and scene.images.shape == (3, 3, 48, 64)
    assert (scene.points is not None) == (format == "colmap")


def test_large_photos_are_shrunk_with_their_cameras(tmp_path):
    cameras = orbit_cameras(1, 300, 800)
    save_views(Views(torch.rand(1, 3, 300, 800), cameras), tmp_path / "photos", "transforms")
    (scene,) = load_things(tmp_path / "photos").scenes
    assert scene.images.shape[-2:] == (144, 384)
    torch.testing.assert_close(
        scene.cameras.intrinsics[0, 0, 0], cameras.intrinsics[0, 0, 0] * 0.48, rtol=1e-3, atol=0
    )


def test_numbered_files_are_steps_in_their_order(tmp_path, photos):
    for number, scale in ((10, 3.0), (2, 2.0), (1, 1.0)):
        mesh = replace(sphere(4), vertices=scale * sphere(4).vertices)
        save_scene(Scene(NO_CAMERAS, mesh=mesh), tmp_path / f"step_{number}.glb")
    things = load_things(tmp_path)
    assert things.names == ("step_1", "step_2", "step_10")
    assert [round(float(scene.mesh.vertices.max())) for scene in things.scenes] == [1, 2, 3]
    save_views(photos, tmp_path / "cameras", "cameras-json")
    assert [len(scene) for scene in load_things(tmp_path).scenes] == [3, 3, 3]


def test_output_of_a_run_is_put_together(tmp_path, photos):
    run = tmp_path / "run"
    save_scene(Scene(photos.cameras, photos.images), run / "scene.npz")
    save_scene(Scene(NO_CAMERAS, gaussians=random_gaussians(0, 20)), run / "gaussians.ply")
    save_scene(Scene(NO_CAMERAS, mesh=sphere(4)), run / "mesh.glb")
    (scene,) = load_things(run).scenes
    assert len(scene) == 3 and len(scene.gaussians) == 20 and scene.mesh is not None
    # of a folder of runs, each is a step
    save_scene(Scene(NO_CAMERAS, points=points(5)), tmp_path / "other" / "points.ply")
    assert load_things(tmp_path).names == ("other", "run")


def test_refined_gaussians_have_the_cameras_beside_them(tmp_path, photos):
    save_scene(Scene(NO_CAMERAS, gaussians=random_gaussians(0, 20)), tmp_path / "gaussians.ply")
    save_views(photos, tmp_path / "cameras", "colmap")
    (scene,) = load_things(tmp_path).scenes
    assert len(scene) == 3 and len(scene.gaussians) == 20


def test_samples_of_shards_are_loaded_by_their_row(tmp_path, photos):
    samples = (encode_sample(Sample(f"scene{i}", photos, licence="cc0-1.0")) for i in range(3))
    write_shards(samples, tmp_path / "data", num_shards=1)
    found = {load_things(tmp_path / "data", row).names[0] for row in range(3)}
    assert found == {"scene0", "scene1", "scene2"}
    (shard,) = (tmp_path / "data").rglob("*.parquet")
    (scene,) = load_things(shard, 1).scenes
    assert len(scene) == 3 and scene.depths is not None
    with pytest.raises(ValueError, match="--row 3; accepted are 0 to 2"):
        load_things(shard, 3)
    with pytest.raises(ValueError, match="--row -1; accepted are 0 to 2"):
        load_things(shard, -1)
    write_shards(rows(1, licence="cc0-1.0"), tmp_path / "unposed", num_shards=1)
    with pytest.raises(ValueError, match="has no cameras"):
        load_things(tmp_path / "unposed")


def test_what_is_nothing_of_this_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="gone does not exist; give a folder, or a file"):
        load_things(tmp_path / "gone")
    (tmp_path / "notes.txt").write_text("-")
    with pytest.raises(ValueError, match=r"notes.txt is of no kind that can be shown; accepted are .npz"):
        load_things(tmp_path / "notes.txt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="nothing to load"):
        load_things(tmp_path / "empty")
