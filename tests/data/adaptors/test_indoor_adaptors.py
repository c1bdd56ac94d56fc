"""Adaptors of indoor scenes: RealEstate10K, ScanNet, ScanNet++, Habitat."""

import json
import sys
from functools import partial

import numpy as np
import pytest
import torch
from painted_points import assert_points_seen, orbit, paint, pinhole, save, save_text, to_blender

from anyviews.cameras import Cameras
from anyviews.data.adaptors import open_adaptor


HEIGHT, WIDTH = 44, 60


def write_clip(folder, clip, count=5):
    """A trajectory of RealEstate10K and its frames: parts of the image, world-to-camera, microseconds."""
    fx, fy, cx, cy = 1.1, 1.5, 0.52, 0.47
    lines = ["https://www.youtube.com/watch?v=abcdefghijk"]
    for index, pose in enumerate(orbit(count)):
        time, projection = 98_765_432 + 33_367 * index, np.linalg.inv(pose)[:3]
        values = [fx, fy, cx, cy, 0, 0, *projection.reshape(-1)]
        lines.append(f"{time} " + " ".join(f"{value:.9f}" for value in values))
        image, _ = paint(partial(seen_by, projection, fx, fy, cx, cy), HEIGHT, WIDTH)
        save(image, folder / "frames" / "train" / clip / f"{time}.png")
    (folder / "train").mkdir(exist_ok=True)
    (folder / "train" / f"{clip}.txt").write_text("\n".join(lines) + "\n")


def seen_by(projection, fx, fy, cx, cy, points):
    """K P of the dataset's page, with K of an image of this size."""
    in_camera = points @ projection[:, :3].T + projection[:, 3]
    intrinsics = np.array([[WIDTH * fx, 0, WIDTH * cx], [0, HEIGHT * fy, HEIGHT * cy], [0, 0, 1]])
    homogeneous = in_camera @ intrinsics.T
    return homogeneous[:, :2] / homogeneous[:, 2:], in_camera[:, 2]


def test_realestate10k(tmp_path):
    for clip in ("0a1b", "ffff"):
        write_clip(tmp_path, clip)
    write_clip(tmp_path, "gone")
    for path in (tmp_path / "frames" / "train" / "gone").iterdir():
        path.unlink()
    sorted((tmp_path / "frames" / "train" / "ffff").iterdir())[1].unlink()
    adaptor = open_adaptor("realestate10k", tmp_path)
    samples = list(adaptor)
    assert [(sample.key, len(sample.views)) for sample in samples] == [("0a1b", 5), ("ffff", 4)]
    assert (samples[0].licence, samples[0].scale) == ("other", "relative")
    for sample in samples:
        assert_points_seen(sample.views)
    assert "ffff, frame 1 of 5" in adaptor.report()
    assert "gone: 0 of 0 frames can be read" in adaptor.report()


def test_realestate10k_with_frames_elsewhere(tmp_path):
    write_clip(tmp_path, "0a1b")
    (tmp_path / "frames" / "train" / "0a1b").rename(tmp_path / "0a1b")
    with pytest.raises(ValueError, match="no folder of frames 0a1b"):
        list(open_adaptor("realestate10k", tmp_path, frames=tmp_path / "train"))
    (sample,) = open_adaptor("realestate10k", tmp_path, views_per_sample=2, size=(40, 40))
    assert sample.views.images.shape == (2, 3, 40, 40)


def write_scannet(folder, lost=()):
    """A scene of ScanNet: the centres of its pixels are whole numbers, and depth has other pixels than colour."""
    depth_focal, depth_size, colour_size = 577.870605 / 8, (60, 80), (121, 162)
    scale_x, scale_y = colour_size[1] / depth_size[1], colour_size[0] / depth_size[0]
    depth_center, colour_center = (depth_size[1] / 2, depth_size[0] / 2), (colour_size[1] / 2, colour_size[0] / 2)
    for kind, focal, center in (
        ("color", (depth_focal * scale_x, depth_focal * scale_y), colour_center),
        ("depth", (depth_focal, depth_focal), depth_center),
    ):
        matrix = np.eye(4)
        matrix[[0, 1], [0, 1]] = focal
        matrix[:2, 2] = np.array(center) - 0.5
        save_text(folder / "intrinsic" / f"intrinsic_{kind}.txt", matrix)
        save_text(folder / "intrinsic" / f"extrinsic_{kind}.txt", np.eye(4))
    # eleven frames: 10 must come after 9
    for index, pose in enumerate(orbit(11)):
        colour = pinhole(pose, depth_focal * scale_x, depth_focal * scale_y, *colour_center)
        save(paint(colour, *colour_size)[0], folder / "color" / f"{index}.jpg")
        _, depth = paint(pinhole(pose, depth_focal, depth_focal, *depth_center), *depth_size)
        save((depth * 1000).astype(np.uint16), folder / "depth" / f"{index}.png")
        save_text(folder / "pose" / f"{index}.txt", np.full((4, 4), -np.inf) if index in lost else pose)


def test_scannet(tmp_path):
    write_scannet(tmp_path / "scans" / "scene0000_00", lost=(2, 3))
    write_scannet(tmp_path / "scans" / "scene0707_00")
    (tmp_path / "scannetv2_train.txt").write_text("scene0000_00\n")
    (tmp_path / "scannetv2_val.txt").write_text("scene0707_00\n")
    adaptor = open_adaptor("scannet", tmp_path)
    (sample,) = adaptor
    assert sample.views.names == tuple(f"{i}.jpg" for i in (0, 1, 4, 5, 6, 7, 8, 9, 10))
    assert [problem.frame for problem in adaptor.problems] == ["2.jpg", "3.jpg"]
    assert "this frame has no camera" in adaptor.report()
    assert (sample.scale, sample.licence) == ("metric", "other")
    assert sample.views.depths.shape[-2:] == (121, 162)
    assert_points_seen(sample.views, depth_tolerance=2e-3)
    (sample,) = open_adaptor("scannet", tmp_path, split="val", views_per_sample=4, size=(120, 120))
    assert sample.key == "scene0707_00"
    assert_points_seen(sample.views, depth_tolerance=2e-3)


def test_scannet_intrinsics_are_for_the_full_size(tmp_path):
    """Colour was exported smaller, as the tool allows; the intrinsics stay those of 1296x968."""
    write_scannet(tmp_path / "scene0000_00")
    path = tmp_path / "scene0000_00" / "intrinsic" / "intrinsic_color.txt"
    matrix = np.loadtxt(path)
    matrix[:2, 2] += 0.5
    matrix[:2] *= np.array([[1296 / 162], [968 / 121]])
    matrix[:2, 2] -= 0.5
    save_text(path, matrix)
    (sample,) = open_adaptor("scannet", tmp_path)
    assert_points_seen(sample.views, depth_tolerance=2e-3)


def fisheye(pose, lens, points):
    """COLMAP's OPENCV_FISHEYE."""
    x, y, z = ((points - pose[:3, 3]) @ pose[:3, :3]).T
    radius = np.hypot(x, y) / z
    angle = np.arctan(radius)
    bent = angle * (1 + sum(lens[f"k{i}"] * angle ** (2 * i) for i in (1, 2, 3, 4)))
    scale = np.where(radius > 0, bent / np.maximum(radius, 1e-12), 1)
    pixels = [lens["fl_x"] * scale * x / z + lens["cx"], lens["fl_y"] * scale * y / z + lens["cy"]]
    return np.stack(pixels, axis=-1), z


def write_scannetpp(folder, undistorted_depth=False):
    """A scene of ScanNet++: nerfstudio's turned world, masks that are no objects, and depth through the fisheye."""
    lens = {"fl_x": 80.0, "fl_y": 80.5, "cx": 63.0, "cy": 47.0, "k1": -0.15, "k2": 0.02, "k3": 0.004, "k4": 0.0}
    lens = {**lens, "w": 128, "h": 96, "camera_model": "OPENCV_FISHEYE"}
    ideal = {"fl_x": 48.0, "fl_y": 48.0, "cx": 48.0, "cy": 32.0, "w": 96, "h": 64, "camera_model": "PINHOLE"}
    frames = []
    for index, pose in enumerate(orbit(6, distance=1.1)):
        name = f"DSC{index:05d}.JPG"
        seen = pinhole(pose, 48, 48, 48, 32)
        save(paint(seen, 64, 96)[0], folder / "resized_undistorted_images" / name)
        save(np.zeros((64, 96), np.uint8), folder / "resized_undistorted_masks" / f"DSC{index:05d}.png")
        depth_folder = "undistorted_depths" if undistorted_depth else "render_depth"
        _, depth = paint(seen, 64, 96) if undistorted_depth else paint(partial(fisheye, pose, lens), 96, 128)
        save((depth * 1000).astype(np.uint16), folder / depth_folder / f"DSC{index:05d}.png")
        placed = to_blender(pose)
        # nerfstudio's converter: exchange x and y, turn z round
        placed = placed[[1, 0, 2, 3]]
        placed[2] *= -1
        frame = {"file_path": name, "mask_path": f"DSC{index:05d}.png", "transform_matrix": placed.tolist()}
        frames.append({**frame, "is_bad": index == 1})
    (folder / "nerfstudio").mkdir()
    zeros = dict.fromkeys(("k1", "k2", "k3", "k4"), 0.0)
    undistorted = {**ideal, **zeros, "frames": frames, "test_frames": frames[4:]}
    (folder / "nerfstudio" / "transforms_undistorted.json").write_text(json.dumps(undistorted))
    (folder / "nerfstudio" / "transforms.json").write_text(json.dumps({**lens, "frames": frames[:4]}))


@pytest.mark.parametrize("undistorted_depth", [True, False])
def test_scannetpp(tmp_path, undistorted_depth):
    write_scannetpp(tmp_path / "data" / "0a5c013435" / "dslr", undistorted_depth)
    for test_frames, names in ((False, (0, 2, 3)), (True, (4, 5))):
        adaptor = open_adaptor("scannetpp", tmp_path, test_frames=test_frames)
        (sample,) = adaptor
        assert adaptor.problems == []
        assert sample.views.names == tuple(f"DSC{i:05d}.JPG" for i in names)
        assert sample.views.masks is None
        assert (sample.scale, sample.licence) == ("metric", "other")
        assert_points_seen(sample.views, depth_tolerance=2e-3)


def test_scannetpp_without_depth_and_by_lists(tmp_path):
    for scene in ("0a5c013435", "ffffffffff"):
        write_scannetpp(tmp_path / "data" / scene / "dslr")
    for path in (tmp_path / "data" / "0a5c013435" / "dslr" / "render_depth").iterdir():
        path.unlink()
    (tmp_path / "data" / "0a5c013435" / "dslr" / "render_depth").rmdir()
    (tmp_path / "splits").mkdir()
    (tmp_path / "splits" / "nvs_sem_val.txt").write_text("0a5c013435\n")
    (sample,) = open_adaptor("scannetpp", tmp_path, split="val")
    assert sample.key == "0a5c013435"
    assert sample.views.depths is None
    (tmp_path / "data" / "ffffffffff" / "dslr" / "nerfstudio" / "transforms_undistorted.json").unlink()
    adaptor = open_adaptor("scannetpp", tmp_path)
    assert [sample.key for sample in adaptor] == ["0a5c013435"]
    assert "write it with the dataset's toolkit, python -m dslr.undistort" in adaptor.report()


def trajectory(folder, strips):
    """A record of views with depth; in strips, colour has twice the pixels of depth."""
    colour, depth, poses = [], [], orbit(4)
    for pose in poses:
        focal = 0.5 * WIDTH / np.tan(np.radians(29))
        scale = 2 if strips else 1
        size = (scale * HEIGHT, scale * WIDTH)
        seen = pinhole(pose, scale * focal, scale * focal, size[1] / 2, size[0] / 2)
        colour.append(paint(seen, *size, radius=2 * scale)[0])
        _, values = paint(pinhole(pose, focal, focal, WIDTH / 2, HEIGHT / 2), HEIGHT, WIDTH)
        depth.append((values * 1000).astype(np.uint16))
    intrinsics = [[focal, 0, WIDTH / 2], [0, focal, HEIGHT / 2], [0, 0, 1]]
    record = {"pose_raw_list": [pose.tolist() for pose in poses], "C": np.eye(4).tolist(), "scene_name": "00800"}
    if strips:
        save(np.concatenate(colour, axis=1), folder / "rgb.png")
        save(np.concatenate(depth, axis=1), folder / "depth.png")
        return {**record, "nv": 4, "rgb_list": ["rgb.png"], "depth_list": ["depth.png"], "intrinsic_raw": intrinsics}
    for index in range(4):
        save(colour[index], folder / "color" / f"{index}.png")
        save(depth[index], folder / "depth" / f"{index}.png")
        save_text(folder / "pose" / f"{index}.txt", poses[index])
    del record["pose_raw_list"]
    files = {f"{kind}_list": [f"{folder.name}/{kind}/{i}.png" for i in range(4)] for kind in ("color", "depth")}
    record |= {"rgb_list": files["color_list"], "depth_list": files["depth_list"]}
    record["pose_list"] = [f"{folder.name}/pose/{i}.txt" for i in range(4)]
    padded = np.eye(4)
    padded[:3, :3] = intrinsics
    return {**record, "intrinsic_list": [padded.tolist()] * 4}


def test_habitat(tmp_path):
    record = trajectory(tmp_path / "00800", strips=True)
    (tmp_path / "00800" / "tuple_0.json").write_text(json.dumps(record))
    records = [trajectory(tmp_path / "scene0000", strips=False), {"rgb_list": []}]
    (tmp_path / "scans.json").write_text(json.dumps(records))
    (tmp_path / "more.jsonl").write_text(json.dumps(records[0]) + "\n{broken\n")
    adaptor = open_adaptor("habitat", tmp_path)
    samples = list(adaptor)
    assert [sample.key for sample in samples] == ["00800/tuple_0", "more-000000", "scans-000000"]
    for sample in samples:
        assert sample.views.images.shape == (4, 3, HEIGHT, WIDTH)
        assert sample.scale == "metric"
        assert_points_seen(sample.views, depth_tolerance=2e-3)
    assert [problem.scene for problem in adaptor.problems] == ["more.jsonl-000001"]


def test_habitat_agrees_with_the_published_loader(tmp_path, repository):
    """A record in the official form, and the world points that the official loader makes of it."""
    path = repository.parent / "shared" / "golden" / "mvdust3r" / "dataset_view10_2.safetensors"
    if not path.is_file():
        pytest.skip(f"needs the golden record {path}")
    from safetensors.torch import load_file

    golden = load_file(path)
    save(golden["rec.rgb_strip"].numpy(), tmp_path / "rgb.png")
    save(golden["rec.depth_strip_mm"].numpy().astype(np.uint16), tmp_path / "depth.png")
    record = {"rgb_list": ["rgb.png"], "depth_list": ["depth.png"], "nv": 30}
    record |= {"pose_raw_list": golden["rec.poses"].tolist(), "intrinsic_raw": golden["rec.K"].tolist()}
    (tmp_path / "tuple.json").write_text(json.dumps(record))
    (sample,) = open_adaptor("habitat", tmp_path)
    views = sample.views
    assert len(views) == 30
    checked = 0
    for slot in range(len(golden["pts3d"])):
        pose = golden["camera_pose"][slot]
        frame = (views.cameras.camera_to_world - pose).flatten(1).abs().amax(-1).argmin()
        assert torch.allclose(views.cameras.camera_to_world[frame], pose, atol=1e-5)
        valid = golden["valid_mask"][slot].bool()
        # the loader's pixel centres are whole numbers
        intrinsics = views.cameras.intrinsics[frame].clone()
        camera = Cameras.create(intrinsics, pose, views.height, views.width)
        pixels, depths = camera.project(golden["pts3d"][slot][valid])
        x, y = pixels.round().long().unbind(-1)
        inside = (x >= 0) & (x < views.width) & (y >= 0) & (y < views.height)
        ours = views.depths[frame, 0, y[inside], x[inside]]
        close = (ours - depths[inside]).abs() < 0.03 * depths[inside]
        assert close.float().mean() > 0.9, slot
        checked += int(inside.sum())
    assert checked > 1000


def test_habitat_index_in_h5(tmp_path, monkeypatch):
    (tmp_path / "dps_train.h5").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match=r"pip install \"anyviews\[data\]\""):
        list(open_adaptor("habitat", tmp_path))


def test_habitat_records_from_h5(tmp_path):
    h5py = pytest.importorskip("h5py", reason="reading dps_train.h5 needs h5py")
    text = json.dumps(trajectory(tmp_path, strips=True)).encode()
    with h5py.File(tmp_path / "dps_train.h5", "w") as file:
        file.create_dataset("json_strs", data=np.array([text, text], dtype=f"S{len(text) + 7}"), compression="gzip")
    samples = list(open_adaptor("habitat", tmp_path))
    assert [sample.key for sample in samples] == ["dps_train-000000", "dps_train-000001"]
    assert_points_seen(samples[1].views, depth_tolerance=2e-3)
