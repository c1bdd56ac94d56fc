import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from strategies import property_settings, seeds

from anyviews.formats.depth_png import (
    choose_depth_scale,
    read_depth_folder,
    read_depth_png,
    write_depth_folder,
    write_depth_png,
)


@property_settings
@given(seed=seeds, largest=st.floats(1e-3, 1e5))
def test_error_is_below_half_a_step_and_known_stays_known(seed, largest, tmp_path_factory):
    generator = torch.Generator().manual_seed(seed)
    depth = torch.rand(1, 1, 8, 9, generator=generator) ** 8
    depth = torch.where(depth < 1e-7, 0, depth / depth.max() * largest)
    scale = choose_depth_scale(depth)
    path = tmp_path_factory.mktemp("depth") / "d.png"
    write_depth_png(depth[0], path, scale)
    back = read_depth_png(path, scale)
    assert torch.equal(back > 0, depth[0] > 0)
    # a tiny depth is stored as the smallest known one, else rounded
    assert ((back - depth[0]).abs() <= torch.where(depth[0] * scale < 0.5, 1.0, 0.501) / scale).all()
    assert np.asarray(Image.open(path)).max() == 65535


def test_folder_is_read_by_pillow_and_json(tmp_path, scene):
    write_depth_folder(scene, tmp_path / "out")
    content = json.loads((tmp_path / "out/depth.json").read_text())
    for depth, frame, name in zip(scene.depths, content["frames"], scene.names, strict=True):
        stored = np.asarray(Image.open(tmp_path / "out" / frame["depth"]))
        assert stored.dtype == np.uint16 and frame["name"] == name
        np.testing.assert_allclose(stored / content["depth_scale"], depth[0].numpy(), atol=4 / 65535)
    depths, names = read_depth_folder(tmp_path / "out")
    torch.testing.assert_close(depths, scene.depths, atol=4 / 65535, rtol=0)
    assert names == scene.names


def test_faults_are_named(tmp_path, scene):
    with pytest.raises(ValueError, match="no depth"):
        write_depth_folder(replace(scene, depths=None), tmp_path / "out")
    for value in (torch.nan, -1.0, torch.inf):
        with pytest.raises(ValueError, match=r"d\.png: depth must be finite and not negative"):
            write_depth_png(torch.full((1, 2, 2), value), tmp_path / "d.png", 1.0)
    with pytest.raises(ValueError, match="exceeds 16 bits"):
        write_depth_png(torch.full((1, 2, 2), 70.0), tmp_path / "d.png", 1000.0)
    Image.fromarray(np.zeros((2, 2, 3), dtype=np.uint8)).save(tmp_path / "color.png")
    with pytest.raises(ValueError, match="has colour"):
        read_depth_png(tmp_path / "color.png", 1.0)


def test_depth_that_is_nowhere_known_is_zero(tmp_path):
    assert choose_depth_scale(torch.zeros(1, 1, 2, 2)) == 1
    write_depth_png(torch.zeros(1, 2, 2), tmp_path / "d.png", 1.0)
    assert (read_depth_png(tmp_path / "d.png", 1.0) == 0).all()
