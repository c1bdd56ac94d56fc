import json
import math
import tempfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from format_views import assert_same_views, pinhole_views
from hypothesis import given, settings
from PIL import Image
from strategies import property_settings, seeds

from anyviews.formats.transforms_json import read_transforms_json, write_transforms_json


IDENTITY = np.eye(4).tolist()


def write(folder, content, name="transforms.json", files=("images/a.png",)):
    for file in files:
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 6, 3), 128, dtype=np.uint8)).save(path)
    (folder / name).write_text(json.dumps(content))
    return folder


def frames(**values):
    return {"frames": [{"file_path": "images/a.png", "transform_matrix": IDENTITY, **values}]}


def nerfstudio_project(content, frame, points):
    """Projection as the nerfstudio documentation defines it: OpenGL camera axes, y up, looking along -z."""
    pose = np.array(frame["transform_matrix"])
    x, y, z = ((points - pose[:3, 3]) @ pose[:3, :3]).T
    values = {**content, **frame}
    depth = -z
    return np.stack([values["fl_x"] * x / depth + values["cx"], -values["fl_y"] * y / depth + values["cy"]], -1), depth


@settings(property_settings, max_examples=8)
@given(seed=seeds)
def test_round_trip_of_random_cameras(seed):
    views = pinhole_views(seed, count=2, height=6, width=9)
    with tempfile.TemporaryDirectory() as folder:
        write_transforms_json(views, folder)
        back = read_transforms_json(folder)
    assert back.names == ("images/left/000.png", "images/left/001.png")
    assert_same_views(back, views)
    torch.testing.assert_close(back.masks, views.masks)
    # 16 bits over the largest depth
    torch.testing.assert_close(back.depths, views.depths, atol=4 / 65535, rtol=0)
    assert torch.equal(back.depths > 0, views.depths > 0)


def test_written_file_projects_as_nerfstudio_documents(tmp_path, views, points):
    write_transforms_json(views, tmp_path / "out")
    content = json.loads((tmp_path / "out/transforms.json").read_text())
    assert (content["w"], content["h"], content["camera_model"]) == (views.width, views.height, "OPENCV")
    pixels, depth = views.cameras.project(points.positions.expand(3, -1, 3))
    for index, frame in enumerate(content["frames"]):
        expected, z = nerfstudio_project(content, frame, points.positions.numpy())
        np.testing.assert_allclose(z, depth[index].numpy(), atol=1e-4)
        np.testing.assert_allclose(expected, pixels[index].numpy(), rtol=1e-3, atol=1e-2)
        image = np.asarray(Image.open(tmp_path / "out" / frame["file_path"]))
        np.testing.assert_array_equal(image, (views.images[index].permute(1, 2, 0) * 255).round().numpy())
        stored = np.asarray(Image.open(tmp_path / "out" / frame["depth_file_path"]))
        assert stored.dtype == np.uint16
        metres = stored * content["depth_unit_scale_factor"]
        np.testing.assert_allclose(metres, views.depths[index, 0].numpy(), atol=1e-4)


def test_depth_is_in_millimetres_where_they_suit(tmp_path, views):
    write_transforms_json(replace(views, depths=views.depths * 10), tmp_path / "out")
    assert json.loads((tmp_path / "out/transforms.json").read_text())["depth_unit_scale_factor"] == pytest.approx(1e-3)


def test_field_of_view_without_extension_as_in_blender_scenes(tmp_path):
    content = {"camera_angle_x": math.radians(90), **frames(file_path="./images/a")}
    views = read_transforms_json(write(tmp_path, content, "transforms_train.json") / "transforms_train.json")
    torch.testing.assert_close(views.cameras.intrinsics[0], torch.tensor([[3.0, 0, 3], [0, 3, 2], [0, 0, 1]]))
    assert views.names == ("images/a.png",)
    # OpenGL's identity looks along -z
    torch.testing.assert_close(views.cameras.rotation[0], torch.diag(torch.tensor([1.0, -1, -1])))


def test_frame_values_go_before_global_ones(tmp_path):
    content = {"fl_x": 9.0, "cx": 1.0, "cy": 1.5, "w": 12.0, "h": 8.0, **frames(fl_x=10.0, fl_y=12.0)}
    views = read_transforms_json(write(tmp_path, content))
    # the photo has half the stated size
    torch.testing.assert_close(views.cameras.intrinsics[0], torch.tensor([[5.0, 0, 0.5], [0, 6, 0.75], [0, 0, 1]]))


def test_applied_transform_and_scale_are_undone(tmp_path, views):
    """Move the written world as nerfstudio's tools do; reading gives the cameras of the world before."""
    folder = tmp_path / "out"
    write_transforms_json(replace(views, depths=None), folder)
    content = json.loads((folder / "transforms.json").read_text())
    applied = np.array([[0.0, 1, 0, 0.5], [1, 0, 0, -1], [0, 0, -1, 2], [0, 0, 0, 1]])
    for frame in content["frames"]:
        pose = applied @ np.array(frame["transform_matrix"])
        pose[:3, 3] *= 0.25
        frame["transform_matrix"] = pose.tolist()
    content |= {"applied_transform": applied[:3].tolist(), "applied_scale": 0.25}
    (folder / "transforms.json").write_text(json.dumps(content))
    assert_same_views(read_transforms_json(folder), views)
    content["applied_transform"][0][1] = 2.0
    (folder / "transforms.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"applied_transform.*not orthonormal"):
        read_transforms_json(folder)


def test_depth_unit_defaults_to_millimetres(tmp_path):
    Image.fromarray(np.full((4, 6), 1500, dtype=np.uint16)).save(tmp_path / "d.png")
    views = read_transforms_json(write(tmp_path, {"fl_x": 5, **frames(depth_file_path="d.png")}))
    torch.testing.assert_close(views.depths, torch.full((1, 1, 4, 6), 1.5))


def test_distortion_is_undone(tmp_path):
    undistorted = read_transforms_json(write(tmp_path, {"fl_x": 5.0, "k1": 0.1, "p1": 0.0, **frames()}))
    assert 5 < undistorted.cameras.intrinsics[0, 0, 0] < 7


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"camera_model": "OPENCV_FISHEYE"}, "camera_model OPENCV_FISHEYE; accepted are the models OPENCV"),
        ({"camera_model": "EQUIRECTANGULAR"}, "camera_model EQUIRECTANGULAR"),
        ({"is_fisheye": True}, "is_fisheye"),
        ({"k3": 0.1}, "distortion {'k3': 0.1}.*image_undistorter"),
        ({"k4": 0.1}, "distortion {'k4': 0.1}"),
        ({"fl_x": "5"}, "'fl_x' is '5'; a finite number is accepted"),
        ({"w": 0, "h": 4}, "'w' is 0; a positive number is accepted"),
        ({"depth_file_path": "images/a.png", "depth_unit_scale_factor": 0}, "'depth_unit_scale_factor' is 0; a pos"),
        ({"cx": float("nan")}, "'cx' is nan; a finite number is accepted"),
        ({"fl_x": -5.0}, r"images/a\.png: focal lengths must be positive"),
        ({"transform_matrix": [[1, 2], [3, 4]]}, r"frame 0 .* has shape \(2, 2\); accepted is 4x4"),
        ({"transform_matrix": [[1, 2], [3]]}, "frame 0 .*'transform_matrix' is not a matrix"),
        ({"transform_matrix": (2 * np.eye(4)).tolist()}, r"images/a\.png: the last row of camera_to_world"),
        ({"transform_matrix": np.diag([2.0, 2, 2, 1]).tolist()}, r"images/a\.png: the rotation .*not orthonormal"),
        ({"transform_matrix": np.diag([1.0, math.nan, 1, 1]).tolist()}, r"images/a\.png: .*NaN"),
        ({"file_path": "images/b"}, r"frame 0 .*images/b, also not with \.jpg"),
        ({"file_path": 3}, "frame 0: 'file_path' is 3; text is accepted"),
        ({"mask_path": "m.png"}, r"missing: .*m\.png"),
    ],
)
def test_unusable_values_are_named(tmp_path, values, message):
    write(tmp_path, {"fl_x": 5.0, "k3": 0, "k4": 0.0, **frames(**values)})
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        read_transforms_json(tmp_path)


def test_missing_keys_are_named(tmp_path):
    for content, message in (
        ({"fl_x": 5}, r"no key 'frames'; found \['fl_x'\]"),
        ({"frames": []}, "'frames' must be a list of objects"),
        ({"frames": [{"transform_matrix": IDENTITY}]}, "frame 0 has no key 'file_path'"),
        ({"fl_x": 5, "frames": [{"file_path": "images/a.png"}]}, r"frame 0 \(images/a\.png\) has no key 'transform_m"),
        (frames(), "no focal length; accepted are fl_x"),
        ([], "a JSON object with the key 'frames'"),
    ):
        write(tmp_path, content)
        with pytest.raises(ValueError, match=message):
            read_transforms_json(tmp_path)
    (tmp_path / "transforms.json").write_text('{"frames": [')
    with pytest.raises(ValueError, match=r"transforms\.json is not valid JSON"):
        read_transforms_json(tmp_path)


def test_images_without_pose_are_counted(tmp_path):
    write(tmp_path, {"fl_x": 5, **frames()}, files=("images/a.png", "images/b.png", "images/c.png"))
    with pytest.warns(UserWarning, match=r"2 images have no camera .*b\.png"):
        read_transforms_json(tmp_path)


def test_photos_outside_the_folder_keep_the_name_as_written(tmp_path):
    (tmp_path / "below").mkdir()
    write(tmp_path, {}, name="unused.json")
    for name in ("../images/a.png", str(tmp_path / "images" / "a.png")):
        write(tmp_path / "below", {"fl_x": 5, **frames(file_path=name)}, files=())
        assert read_transforms_json(tmp_path / "below").names == (name,)
