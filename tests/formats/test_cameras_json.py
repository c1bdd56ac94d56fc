import json
import tempfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from format_views import assert_same_views, pinhole_views
from hypothesis import given, settings
from PIL import Image
from strategies import property_settings, random_views, seeds

from anyviews.formats.cameras_json import read_cameras_json, write_cameras_json


@settings(property_settings, max_examples=8)
@given(seed=seeds)
def test_round_trip_of_random_cameras(seed):
    views = pinhole_views(seed, count=2, height=6, width=9)
    with tempfile.TemporaryDirectory() as folder:
        write_cameras_json(views, folder)
        back = read_cameras_json(folder)
    assert_same_views(back, views)
    torch.testing.assert_close(back.masks, views.masks)
    torch.testing.assert_close(back.depths, views.depths, atol=4 / 65535, rtol=0)


def test_keeps_skew(tmp_path):
    views = random_views(0, 2)
    write_cameras_json(views, tmp_path / "out")
    torch.testing.assert_close(
        read_cameras_json(tmp_path / "out").cameras.intrinsics, views.cameras.intrinsics, atol=1e-5, rtol=1e-6
    )


def test_depth_unprojects_as_documented(tmp_path, views):
    """Read with nothing but json, numpy and Pillow."""
    write_cameras_json(views, tmp_path / "out")
    content = json.loads((tmp_path / "out/cameras.json").read_text())
    frame = content["frames"][1]
    intrinsics, pose = np.array(frame["K"]), np.array(frame["c2w"])
    z = np.asarray(Image.open(tmp_path / "out" / frame["depth"])).astype(float) / content["depth_scale"]
    y, x = np.mgrid[: frame["height"], : frame["width"]] + 0.5
    rays = np.stack([x, y, np.ones_like(x)], -1) @ np.linalg.inv(intrinsics).T
    world = (rays * z[..., None]) @ pose[:3, :3].T + pose[:3, 3]
    known = z > 0
    pixels, depth = views.cameras[1].project(torch.from_numpy(world[known]).float())
    np.testing.assert_allclose(pixels.numpy(), np.stack([x, y], -1)[known], atol=0.01)
    np.testing.assert_allclose(depth.numpy(), views.depths[1, 0].numpy()[known], atol=1e-3)
    assert (np.asarray(Image.open(tmp_path / "out" / frame["mask"])) == views.masks[1, 0].numpy() * 255).all()


def test_faults_are_named(tmp_path, views):
    write_cameras_json(views, tmp_path / "out")
    path = tmp_path / "out" / "cameras.json"
    good = path.read_text()

    def fails(message, **values):
        content = json.loads(good)
        frame = content["frames"][1]
        frame.update(values)
        content["frames"][1] = {key: value for key, value in frame.items() if value is not None}
        path.write_text(json.dumps(content))
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            read_cameras_json(tmp_path / "out")

    name = r"left/001\.png"
    fails(rf"frame 1 \(images/{name}\) has no key 'K'; found", K=None)
    fails(r"frame 1 has no key 'file'", file=None)
    fails(rf"frame 1 \(images/{name}\): 'c2w' has shape \(3, 3\); accepted is 4x4", c2w=np.eye(3).tolist())
    fails(rf"images/{name}: the rotation in camera_to_world is a mirror", c2w=np.diag([1.0, 1, -1, 1]).tolist())
    fails(rf"frame 1 \(images/{name}\): 'width' is None|has no key 'width'", width=None)
    fails(rf"images/{name} is 20x30 .* for 20x40", width=40)
    fails(r"missing: .*gone\.png", depth="gone.png")
    fails(r"is not a matrix", K="text")
    fails(rf"frame 1 \(images/{name}\): 'height' is -20; a positive number", height=-20)


def test_writer_needs_cameras(tmp_path, views):
    with pytest.raises(ValueError, match="no cameras"):
        write_cameras_json(replace(views, cameras=None), tmp_path / "out")
