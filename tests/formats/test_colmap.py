import struct
import tempfile
from dataclasses import replace

import numpy as np
import pycolmap
import pytest
import torch
from format_views import assert_same_views, pinhole_views
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from strategies import property_settings, seeds

from anyviews.formats.colmap import find_colmap, read_colmap, read_colmap_points, write_colmap


def write_text_model(folder, cameras: str, images: str):
    """A model as COLMAP writes it, with observations, and one 4x6 photo per image."""
    model = folder / "sparse" / "0"
    model.mkdir(parents=True)
    (model / "cameras.txt").write_text(f"# Camera list\n#   CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[]\n{cameras}\n")
    (model / "images.txt").write_text(f"# Image list\n{images}\n")
    (folder / "images").mkdir()
    for name in ("b.png", "a.png"):
        Image.fromarray(np.full((4, 6, 3), 128, dtype=np.uint8)).save(folder / "images" / name)
    return folder


CAMERA = "3 SIMPLE_PINHOLE 6 4 5.0 3.0 2.0"
IMAGES = "7 1 0 0 0 1 2 3 3 b.png\n1.0 2.0 -1 3.5 1.5 4\n2 0.5 0.5 0.5 0.5 0 0 4 3 a.png\n\n"


@settings(property_settings, max_examples=8)
@given(seed=seeds, binary=st.booleans())
def test_round_trip_of_random_cameras(seed, binary):
    views = pinhole_views(seed, count=2, height=6, width=9)
    with tempfile.TemporaryDirectory() as folder:
        write_colmap(views, folder, binary=binary)
        back = read_colmap(folder)
    assert back.names == ("left/000.png", "left/001.png")
    assert_same_views(back, views)
    torch.testing.assert_close(back.masks, views.masks)


@pytest.mark.parametrize("binary", [True, False])
def test_pycolmap_reads_what_is_written_and_projects_the_same(tmp_path, views, points, binary):
    write_colmap(views, tmp_path / "out", points, binary=binary)
    model = pycolmap.Reconstruction(tmp_path / "out" / "sparse" / "0")
    assert model.num_images() == 3 and model.num_points3D() == len(points)
    xyz = np.stack([point.xyz for _, point in sorted(model.points3D.items())])
    rgb = np.stack([point.color for _, point in sorted(model.points3D.items())])
    np.testing.assert_allclose(xyz, points.positions.numpy(), atol=1e-6)
    np.testing.assert_array_equal(rgb, (points.colors * 255).round().numpy())
    pixels, depth = views.cameras.project(points.positions.expand(3, -1, 3))
    for image in model.images.values():
        index = int(image.name.removeprefix("left/").removesuffix(".png"))
        in_camera = image.cam_from_world() * xyz
        np.testing.assert_allclose(in_camera[:, 2], depth[index].numpy(), atol=1e-4)
        front = in_camera[:, 2] > 0.1
        projected = image.camera.img_from_cam(in_camera[front])
        np.testing.assert_allclose(projected, pixels[index].numpy()[front], rtol=1e-3, atol=1e-2)
        assert (image.camera.height, image.camera.width) == (views.height, views.width)
        assert (tmp_path / "out" / "images" / image.name).is_file()


@pytest.mark.parametrize("binary", [True, False])
def test_reads_what_pycolmap_writes(tmp_path, binary):
    """Observations, tracks, rigs and frames are skipped; text and binary give the same."""
    write_text_model(tmp_path, CAMERA, IMAGES)
    (tmp_path / "sparse/0/points3D.txt").write_text("4 1.5 -2 3 255 0 51 0.5 7 1\n")
    model = pycolmap.Reconstruction(tmp_path / "sparse" / "0")
    for file in (tmp_path / "sparse/0").iterdir():
        file.unlink()
    (model.write_binary if binary else model.write_text)(str(tmp_path / "sparse/0"))
    views, points = read_colmap(tmp_path), read_colmap_points(tmp_path)
    assert views.names == ("a.png", "b.png")
    torch.testing.assert_close(views.cameras.intrinsics[0], torch.tensor([[5.0, 0, 3], [0, 5, 2], [0, 0, 1]]))
    torch.testing.assert_close(views.cameras.centers[1], torch.tensor([-1.0, -2, -3]))
    # the quaternion (1, 1, 1, 1) / 2 turns x to y, y to z and z to x
    expected = torch.tensor([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]])
    torch.testing.assert_close(views.cameras.world_to_camera[0, :3, :3], expected)
    torch.testing.assert_close(points.positions, torch.tensor([[1.5, -2, 3]]))
    torch.testing.assert_close(points.colors, torch.tensor([[1.0, 0, 0.2]]))


def test_model_is_found_in_three_places_and_images_beside_or_in_images(tmp_path):
    source = write_text_model(tmp_path / "source", CAMERA, IMAGES)
    for below in ("", "sparse", "sparse/0"):
        for images in ("", "images"):
            folder = tmp_path / f"{below.replace('/', '-')}_{images}"
            (folder / below).mkdir(parents=True)
            (folder / images).mkdir(exist_ok=True)
            for name in ("cameras.txt", "images.txt"):
                (folder / below / name).write_bytes((source / "sparse/0" / name).read_bytes())
            for name in ("a.png", "b.png"):
                (folder / images / name).write_bytes((source / "images" / name).read_bytes())
            assert read_colmap(folder).names == ("a.png", "b.png")
    assert find_colmap(tmp_path) is None
    with pytest.raises(FileNotFoundError, match=r"no COLMAP model in .*sparse/0"):
        read_colmap(tmp_path)
    assert read_colmap(source / "sparse" / "0").names == ("a.png", "b.png")
    assert read_colmap_points(source) is None


@pytest.mark.parametrize(
    "camera",
    ["SIMPLE_RADIAL 6 4 5.0 3.0 2.0 0.1", "RADIAL 6 4 5 3 2 0.1 0", "OPENCV 6 4 5 5 3 2 0.1 0 0 0"],
)
def test_distorted_models_are_undistorted_alike(tmp_path, camera):
    write_text_model(tmp_path, f"3 {camera}", IMAGES)
    ramp = np.repeat(np.arange(6, dtype=np.uint8)[None] * 40, 4, axis=0)
    Image.fromarray(ramp).save(tmp_path / "images" / "a.png")
    views = read_colmap(tmp_path, select=[0])
    fx = views.cameras.intrinsics[0, 0, 0].item()
    assert 5 < fx < 7  # pincushion: the corners lie outside, so the pinhole camera sees a little less
    # column 5 looks along x = 2.5 / fx, y = 0.5 / fx, where the lens is at x (1 + 0.1 r^2)
    x, y = 2.5 / fx, 0.5 / fx
    column = 5.0 * x * (1 + 0.1 * (x * x + y * y)) + 3.0 - 0.5
    np.testing.assert_allclose(views.images[0, 0, 2, 5].item() * 255, 40 * column, atol=0.5)


def test_other_models_are_refused_with_what_to_type(tmp_path):
    write_text_model(tmp_path, "3 OPENCV_FISHEYE 6 4 5 5 3 2 0 0 0 0", IMAGES)
    message = r"camera 3 has the COLMAP model OPENCV_FISHEYE; accepted are SIMPLE_PINHOLE.*colmap image_undistorter"
    with pytest.raises(ValueError, match=message):
        read_colmap(tmp_path)
    (tmp_path / "sparse/0/points3D.txt").touch()
    model = pycolmap.Reconstruction(tmp_path / "sparse" / "0")
    model.write_binary(str(tmp_path / "sparse/0"))
    with pytest.raises(ValueError, match=message):
        read_colmap(tmp_path)


def test_faulty_models_are_named(tmp_path):
    write_text_model(tmp_path, CAMERA, IMAGES)
    model = tmp_path / "sparse" / "0"

    def fails(message, cameras=CAMERA, images=IMAGES):
        (model / "cameras.txt").write_text(cameras)
        (model / "images.txt").write_text(images)
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            read_colmap(tmp_path)

    fails(r"cameras\.txt, line 1: CAMERA_ID MODEL", cameras="3 PINHOLE six 4 5 5 3 2")
    fails(r"camera 3 \(PINHOLE\) has 3 parameters; accepted are fx fy cx cy", cameras="3 PINHOLE 6 4 5 3 2")
    fails(r"a\.png: focal lengths must be positive", cameras="3 PINHOLE 6 4 -5 5 3 2")
    fails(r"images\.txt, line 1: IMAGE_ID QW", images="7 1 0 0 0 1 2 3 b.png\n\n")
    fails(r"image a\.png has camera 4; found \[3\]", images="7 1 0 0 0 1 2 3 4 a.png\n\n")
    fails(r"a\.png: the rotation quaternion is", images="7 0 0 0 0 1 2 3 3 a.png\n\n")
    fails(r"a\.png: camera_to_world holds NaN", images="7 1 0 0 0 nan 2 3 3 a.png\n\n")
    fails("no posed images", images="# nothing\n")
    fails(r"missing: .*c\.png", images="7 1 0 0 0 1 2 3 3 c.png\n\n")
    fails(r"more than once, the first is a\.png", images="7 1 0 0 0 1 2 3 3 a.png\n\n" * 2)


def test_truncated_binary_is_named(tmp_path, views):
    write_colmap(views, tmp_path / "out")
    path = tmp_path / "out/sparse/0/images.bin"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"images\.bin is truncated"):
        read_colmap(tmp_path / "out")
    (tmp_path / "out/sparse/0/cameras.bin").write_bytes(struct.pack("<QiiQQ", 1, 1, 99, 6, 4))
    with pytest.raises(ValueError, match="camera 1 has the COLMAP model with id 99"):
        read_colmap(tmp_path / "out")


def test_images_without_pose_are_counted(tmp_path):
    write_text_model(tmp_path, CAMERA, "7 1 0 0 0 1 2 3 3 b.png\n\n")
    with pytest.warns(UserWarning, match=r"1 images have no camera .*a\.png"):
        assert read_colmap(tmp_path).names == ("b.png",)


def test_writer_refuses_what_colmap_cannot_hold(tmp_path, views):
    with pytest.raises(ValueError, match="no cameras"):
        write_colmap(replace(views, cameras=None), tmp_path / "out")
    skewed = views.cameras.intrinsics.clone()
    skewed[0, 0, 1] = 1e-6  # rounding
    skewed[1, 0, 1] = 0.5
    with pytest.raises(ValueError, match=r"001\.jpg: the camera has skew 0\.5"):
        write_colmap(replace(views, cameras=replace(views.cameras, intrinsics=skewed)), tmp_path / "out")
    assert not list(tmp_path.iterdir())
