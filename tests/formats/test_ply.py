from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh

from anyviews.formats.ply import read_ply, write_ply
from anyviews.scene import PointCloud


def test_trimesh_reads_positions_and_colors(tmp_path, points):
    write_ply(points, tmp_path / "points.ply")
    cloud = trimesh.load(tmp_path / "points.ply")
    np.testing.assert_allclose(cloud.vertices, points.positions.numpy(), atol=1e-6)
    np.testing.assert_array_equal(cloud.visual.vertex_colors[:, :3], (points.colors * 255).round().numpy())
    assert (tmp_path / "points.ply").read_bytes().startswith(b"ply\nformat binary_little_endian 1.0")


def test_round_trip(tmp_path, points):
    confident = replace(points, confidence=torch.rand(len(points)))
    write_ply(confident, tmp_path / "points.ply")
    back = read_ply(tmp_path / "points.ply")
    assert torch.equal(back.positions, points.positions) and torch.equal(back.confidence, confident.confidence)
    torch.testing.assert_close(back.colors, points.colors)
    write_ply(PointCloud(points.positions), tmp_path / "bare.ply")
    assert read_ply(tmp_path / "bare.ply").colors is None


def test_scene_points_project_back_into_its_images(tmp_path, scene):
    """Every pixel with depth becomes a point that projects onto itself with its colour."""
    write_ply(replace(scene, points=None).point_cloud(), tmp_path / "points.ply")
    cloud = trimesh.load(tmp_path / "points.ply")
    known = scene.depths[0, 0] > 0
    first = torch.from_numpy(np.asarray(cloud.vertices[: int(known.sum())])).float()
    pixels, _ = scene.cameras[0].project(first)
    rows, columns = known.nonzero().T
    torch.testing.assert_close(pixels, torch.stack([columns, rows], -1) + 0.5, atol=0.02, rtol=0)
    colors = cloud.visual.vertex_colors[: int(known.sum()), :3]
    np.testing.assert_array_equal(colors, (scene.images[0, :, known].T * 255).round().numpy())


def test_faults_are_named(tmp_path, points):
    with pytest.raises(ValueError, match="no points"):
        write_ply(PointCloud(torch.zeros(0, 3)), tmp_path / "points.ply")
    with pytest.raises(ValueError, match="NaN"):
        write_ply(PointCloud(torch.full((2, 3), torch.nan)), tmp_path / "points.ply")
    assert not list(tmp_path.iterdir())
    (tmp_path / "text.ply").write_text("no points")
    with pytest.raises(ValueError, match=r"text\.ply cannot be read as PLY"):
        read_ply(tmp_path / "text.ply")
    write_ply(points, tmp_path / "cut.ply")
    (tmp_path / "cut.ply").write_bytes((tmp_path / "cut.ply").read_bytes()[:-5])
    with pytest.raises(ValueError, match=r"cut\.ply cannot be read as PLY"):
        read_ply(tmp_path / "cut.ply")
    (tmp_path / "faces.ply").write_text("ply\nformat ascii 1.0\nelement face 0\nproperty int a\nend_header\n")
    with pytest.raises(ValueError, match=r"no element 'vertex' with x, y, z; found \['face'\]"):
        read_ply(tmp_path / "faces.ply")
