"""utils/make_shards.py writes folders that open_samples reads."""

import subprocess
import sys
from pathlib import Path

import torch

from anyviews.data import open_samples
from anyviews.data.procedural import HELD_OUT_SEED_START
from anyviews.data.verification import verify_shards
from anyviews.data.world import render_world
from anyviews.formats import save_views


SCRIPT = Path(__file__).resolve().parents[2] / "utils" / "make_shards.py"


def make_shards(*arguments):
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_procedural_scenes(tmp_path):
    options = ("--kind", "rooms", "--scenes", 3, "--views", 2, "--size", "8x12", "-o", tmp_path)
    for split, shards in (("train", 2), ("test", 1)):
        done = make_shards(*options, "--split", split, "--shards", shards)
        assert done.returncode == 0, done.stderr
    assert verify_shards(tmp_path) == {"train": 3, "test": 3}
    for split, start in (("train", 0), ("test", HELD_OUT_SEED_START)):
        samples = {sample.key: sample for sample in open_samples(str(tmp_path), split=split)}
        assert set(samples) == {f"room-{start + i}" for i in range(3)}
        world = render_world(torch.tensor([start + 1]), 2, 8, 12)
        views = samples[f"room-{start + 1}"].views
        assert (views.images - world.images[0]).abs().max() <= 0.5 / 255 + 1e-6
        assert torch.equal(views.cameras.intrinsics, world.cameras.intrinsics[0])


def test_folders_of_posed_photos(tmp_path):
    world = render_world(torch.tensor([1, 2]), 3, 16, 16)
    for index, name in enumerate(("hall", "attic")):
        save_views(world.scene(index), tmp_path / name, "transforms")
    done = make_shards("--from", tmp_path / "hall", tmp_path / "attic", "--size", "8x8", "-o", tmp_path / "shards")
    assert done.returncode == 0, done.stderr
    samples = {sample.key: sample.views for sample in open_samples(str(tmp_path / "shards"))}
    assert set(samples) == {"hall", "attic"}
    assert samples["attic"].images.shape == (3, 3, 8, 8)
    expected = world.scene(1).fit(8, 8).cameras
    assert torch.allclose(samples["attic"].cameras.camera_to_world, expected.camera_to_world, atol=1e-5)
    assert torch.allclose(samples["attic"].cameras.intrinsics, expected.intrinsics, atol=1e-4)


def test_training_shards_cannot_reach_held_out_scenes(tmp_path):
    done = make_shards("--kind", "rooms", "--scenes", 5, "--first-seed", HELD_OUT_SEED_START - 4, "-o", tmp_path)
    assert done.returncode == 2
    assert f"the split train takes at least one scene, with seeds from 0 to {HELD_OUT_SEED_START - 1}" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_maps_and_light_are_stored(tmp_path):
    options = ("--kind", "objects", "--scenes", 1, "--views", 2, "--size", "8x12", "--shards", 1, "--maps")
    done = make_shards(*options, "-o", tmp_path)
    assert done.returncode == 0, done.stderr
    (sample,) = open_samples(str(tmp_path), allow="commercial")
    world = render_world(torch.tensor([0]), 2, 8, 12, "object")
    assert ((sample.views.normals - world.normals[0]).norm(dim=1) < 0.02).all()
    for name in ("base_colors", "roughness", "metallic"):
        assert (getattr(sample.views, name) - getattr(world, name)[0]).abs().max() <= 0.5 / 255 + 1e-6
    peak = world.radiance[0].amax(1, keepdim=True)
    assert ((sample.views.radiance - world.radiance[0]).abs() <= peak / 256 + 1e-9).all()
    assert sample.environment is not None and sample.licence == "apache-2.0"


def test_errors_are_one_line(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    done = make_shards("--kind", "rooms", "--scenes", 1, "--views", 1, "--size", "4x4", "-o", tmp_path / "file")
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "a part of this path is a file; give another folder" in done.stderr
    done = make_shards("--kind", "rooms", "--scale", "metric", "-o", tmp_path / "new")
    assert done.returncode == 2 and "procedural scenes have a random unit" in done.stderr


def test_turntables_are_level_and_raised_views_of_training_objects(tmp_path):
    done = make_shards("--kind", "turntables", "--scenes", 2, "--size", "16x16", "--first-seed", 7, "-o", tmp_path)
    assert done.returncode == 0, done.stderr
    samples = {sample.key: sample.views for sample in open_samples(str(tmp_path))}
    assert sorted(samples) == ["turntable-7", "turntable-8"]
    for views in samples.values():
        centers = views.cameras.centers
        distances = centers.norm(dim=-1)
        assert len(views) == 12 and torch.allclose(distances, distances[:1].expand(12))
        azimuths = torch.rad2deg(torch.atan2(centers[:8, 0], centers[:8, 2])) % 360
        assert torch.allclose(azimuths, torch.arange(8) * 45.0, atol=1e-3) and centers[:8, 1].abs().max() < 1e-4
        elevations = torch.rad2deg((centers[8:, 1] / distances[8:]).asin())
        assert (elevations >= -20.01).all() and (elevations <= 50.01).all() and elevations.std() > 1
        border = torch.cat([views.masks[:8, ..., 0, :], views.masks[:8, ..., :, 0]])
        assert border.max() == 0 and views.normals.abs().max() > 0.9 and views.base_colors is None
        around = views.images[(views.masks == 0).expand_as(views.images)]
        assert around.min() > 0.999
    for options, problem in ((("--size", "8x16"), "turntables are square"), (("--maps",), "turntables have depth")):
        done = make_shards("--kind", "turntables", "--scenes", 1, "-o", tmp_path / "x", *options)
        assert done.returncode != 0 and problem in done.stderr
