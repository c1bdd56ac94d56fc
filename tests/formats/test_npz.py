from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from rendering.gaussians.gaussian_scenes import random_gaussians

from anyviews.formats.npz import read_npz, write_npz
from anyviews.mesh import Material, Mesh
from anyviews.scene import Scene


def test_round_trip(tmp_path, scene):
    write_npz(scene, tmp_path / "scene.npz")
    back = read_npz(tmp_path / "scene.npz")
    assert back.names == scene.names and back.scale == scene.scale
    for item in fields(scene.cameras):
        assert torch.equal(getattr(back.cameras, item.name), getattr(scene.cameras, item.name))
    for name in ("depths", "depth_uncertainty"):
        assert torch.equal(getattr(back, name), getattr(scene, name))
    torch.testing.assert_close(back.images, scene.images)
    assert torch.equal(back.points.positions, scene.points.positions)
    assert torch.equal(back.points.confidence, scene.points.confidence)
    torch.testing.assert_close(back.points.colors, scene.points.colors)


def test_plain_numpy_reads_it_without_pickle(tmp_path, scene):
    write_npz(scene, tmp_path / "scene.npz")
    with np.load(tmp_path / "scene.npz", allow_pickle=False) as arrays:
        assert arrays["images"].shape == (3, 20, 30, 3) and arrays["images"].dtype == np.uint8
        assert arrays["depths"].shape == (3, 20, 30) and arrays["names"].tolist() == ["a", "b", "c"]
        assert str(arrays["scale"]) == "metric"
        # a pixel with depth, unprojected and projected again
        z = arrays["depths"][0, 7, 11]
        assert z > 0
        ray = np.linalg.inv(arrays["intrinsics"][0]) @ [11.5, 7.5, 1.0]
        world = arrays["camera_to_world"][0] @ [*(ray * z), 1.0]
    pixel, depth = scene.cameras[0].project(torch.from_numpy(world[:3]).float()[None])
    np.testing.assert_allclose([*pixel[0], depth[0]], [11.5, 7.5, z], atol=1e-2)


def test_gaussians_and_meshes_are_kept_exactly(tmp_path, scene):
    material = Material(torch.rand(3, 4, 8), torch.rand(1, 2, 2), torch.rand(1, 1, 1))
    faces, normals = torch.tensor([[0, 1, 2], [1, 2, 3]]), torch.randn(4, 3)
    mesh = Mesh(torch.randn(4, 3), faces, None, normals, torch.rand(4, 2), material)
    write_npz(replace(scene, gaussians=random_gaussians(0, 5, 2), mesh=mesh), tmp_path / "scene.npz")
    back = read_npz(tmp_path / "scene.npz")
    pairs = ((back.gaussians, random_gaussians(0, 5, 2)), (back.mesh, mesh), (back.mesh.material, material))
    for part, expected in pairs:
        for item in (item for item in fields(expected) if item.name != "material"):
            one, other = getattr(part, item.name), getattr(expected, item.name)
            assert one is other is None or torch.equal(one, other)
    write_npz(scene, tmp_path / "old.npz")
    assert read_npz(tmp_path / "old.npz").gaussians is None and read_npz(tmp_path / "old.npz").mesh is None


def test_unusable_gaussians_are_named(tmp_path, scene):
    faint = replace(random_gaussians(0, 5), opacities=torch.full((5,), 2.0))
    with pytest.raises(ValueError, match="opacities of the Gaussians hold a value outside"):
        write_npz(replace(scene, gaussians=faint), tmp_path / "scene.npz")
    assert not list(tmp_path.iterdir())
    write_npz(replace(scene, gaussians=random_gaussians(0, 5)), tmp_path / "scene.npz")
    with np.load(tmp_path / "scene.npz") as archive:
        arrays = dict(archive)
    for name, value in (("gaussian_opacities", 2 * np.ones(5, np.float32)), ("gaussian_means", None)):
        changed = {key: values for key, values in {**arrays, name: value}.items() if values is not None}
        np.savez(tmp_path / "bad.npz", **changed)
        with pytest.raises(ValueError, match=r"bad\.npz: .*(opacities|means)"):
            read_npz(tmp_path / "bad.npz")


def test_cameras_alone_are_enough(tmp_path, scene):
    write_npz(Scene(scene.cameras), tmp_path / "scene.npz")
    back = read_npz(tmp_path / "scene.npz")
    assert (
        back.images is None and back.points is None and back.depths is None and back.names == ("0000", "0001", "0002")
    )


def test_faults_are_named(tmp_path, scene):
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(ValueError, match=r"other\.npz has no array intrinsics, camera_to_world.*found \['a'\]"):
        read_npz(tmp_path / "other.npz")
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(ValueError, match=r"text\.npz cannot be read as \.npz"):
        read_npz(tmp_path / "text.npz")
    np.savez(tmp_path / "pickle.npz", a=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match=r"pickle\.npz cannot be read"):
        read_npz(tmp_path / "pickle.npz")
    write_npz(replace(scene, cameras=scene.cameras.scaled(float("nan"))), tmp_path / "nan.npz")
    with pytest.raises(ValueError, match=r"^a: camera_to_world holds NaN"):
        read_npz(tmp_path / "nan.npz")
