"""Adaptors of objects: CO3D, Google Scanned Objects, Objaverse, renders with all maps, Stanford-ORB."""

import gzip
import json

import numpy as np
import pytest
import torch
from painted_points import assert_points_seen, blender, orbit, paint, pinhole, save, save_text, to_blender

from anyviews.color import srgb_from_linear
from anyviews.data.adaptors import open_adaptor


SIZE = 56


def pytorch3d(rotation, translation, focal, principal, height, width, isotropic):
    """The projection of PyTorch3D: rows as vectors, x left, y up, the shorter side (or each) spans [-1, 1]."""
    half = np.array([width, height]) / 2
    unit = half.min() if isotropic else half

    def project(points):
        x, y, z = (points @ rotation + translation).T
        device = np.stack([focal[0] * x / z + principal[0], focal[1] * y / z + principal[1]], axis=-1)
        return half - device * unit, z

    return project


def write_co3d(folder, isotropic=True, height=48, width=64):
    """A category of CO3D with two sequences, half-precision depth and a hidden test frame."""
    frames = []
    focal, principal, adjustment = (2.4, 2.5), (0.06, -0.09), 1.75
    for sequence in ("110_13051_23361", "12_90_489"):
        for index, pose in enumerate(orbit(4)):
            # from OpenCV's x right, y down to PyTorch3D's x left, y up; rows as vectors
            rotation = pose[:3, :3] * np.array([-1, -1, 1])
            translation = -pose[:3, 3] @ rotation
            project = pytorch3d(rotation, translation, focal, principal, height, width, isotropic)
            image, depth = paint(project, height, width)
            valid = depth > 0
            valid[: height // 4] = False
            place, stem = f"apple/{sequence}", f"frame{index:06d}"
            bits = (depth / adjustment).astype(np.float16).view(np.uint16)
            save(image, folder / place / "images" / f"{stem}.jpg")
            save(bits, folder / place / "depths" / f"{stem}.jpg.geometric.png")
            save((valid * 255).astype(np.uint8), folder / place / "depth_masks" / f"{stem}.png")
            save((depth > 0).astype(np.uint8) * 255, folder / place / "masks" / f"{stem}.png")
            viewpoint = {"R": rotation.tolist(), "T": translation.tolist(), "focal_length": focal}
            viewpoint |= {"principal_point": principal}
            if isotropic:
                viewpoint["intrinsics_format"] = "ndc_isotropic"
            depth_note = {"path": f"{place}/depths/{stem}.jpg.geometric.png", "scale_adjustment": adjustment}
            frames.append(
                {
                    "sequence_name": sequence,
                    "frame_number": index,
                    "frame_timestamp": 0.1 * index,
                    "image": {"path": f"{place}/images/{stem}.jpg", "size": [height, width]},
                    "depth": {**depth_note, "mask_path": f"{place}/depth_masks/{stem}.png"},
                    "mask": {"path": f"{place}/masks/{stem}.png", "mass": 100.0},
                    "viewpoint": viewpoint if index < 3 else None,
                }
            )
    (folder / "apple" / "frame_annotations.jgz").write_bytes(gzip.compress(json.dumps(frames[::-1]).encode()))
    return frames


@pytest.mark.parametrize("isotropic", [True, False])
@pytest.mark.parametrize("size", [(48, 64), (64, 48)])
def test_co3d(tmp_path, isotropic, size):
    write_co3d(tmp_path, isotropic, *size)
    adaptor = open_adaptor("co3d", tmp_path)
    samples = list(adaptor)
    assert adaptor.problems == []
    assert [sample.key for sample in samples] == ["apple/110_13051_23361", "apple/12_90_489"]
    for sample in samples:
        views = sample.views
        assert views.names == ("frame000000.jpg", "frame000001.jpg", "frame000002.jpg")
        assert_points_seen(views)
        assert (sample.licence, sample.scale) == ("cc-by-nc-4.0", "relative")
        assert (views.depths[:, :, : size[0] // 4] == 0).all()
        lower = views.depths[:, :, size[0] // 4 :]
        assert torch.equal(lower > 0, views.masks[:, :, size[0] // 4 :] == 1)
        assert 1 < lower[lower > 0].min() < lower.max() < 3
    for path in (tmp_path / "apple").rglob("depth_masks/*.png"):
        save(np.full(size, 255, np.uint8), path)
    for sample in open_adaptor("co3d", tmp_path):
        # half precision, of numbers from 1 to 2
        assert_points_seen(sample.views, depth_tolerance=2e-3)


def test_co3d_subsets_and_damage(tmp_path):
    frames = write_co3d(tmp_path)
    listed = [[frame["sequence_name"], frame["frame_number"], frame["image"]["path"]] for frame in frames[4:6]]
    (tmp_path / "apple" / "set_lists").mkdir()
    path = tmp_path / "apple" / "set_lists" / "set_lists_fewview_dev.json"
    path.write_text(json.dumps({"train": listed, "val": [], "test": []}))
    (sample,) = open_adaptor("co3d", tmp_path, subset="fewview_dev")
    assert (sample.key, len(sample.views)) == ("apple/12_90_489", 2)

    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "frame_annotations.jgz").write_bytes(gzip.compress(b"[]")[:-4])
    adaptor = open_adaptor("co3d", tmp_path)
    assert len(list(adaptor)) == 2
    assert "bench: ValueError: " in adaptor.report()
    assert "download it again" in adaptor.report()
    assert len(list(open_adaptor("co3d", tmp_path, categories=["apple"]))) == 2


def test_google_scanned_objects(tmp_path):
    for index, pose in enumerate(orbit(4)):
        image, _ = paint(pinhole(pose, 70, 70, SIZE / 2, SIZE / 2), SIZE, SIZE)
        save(image, tmp_path / "Shoe" / "rgb" / f"{index:03d}.png")
        save_text(tmp_path / "Shoe" / "pose" / f"{index:03d}.txt", pose)
        matrix = np.array([[70, 0, SIZE / 2, 0], [0, 70, SIZE / 2, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
        save_text(tmp_path / "Shoe" / "intrinsics" / f"{index:03d}.txt", matrix.reshape(1, 16))
    (tmp_path / "Shoe" / "pose" / "002.txt").write_text("1 2 3")
    adaptor = open_adaptor("google-scanned-objects", tmp_path)
    (sample,) = adaptor
    assert sample.views.names == ("000.png", "001.png", "003.png")
    assert "002.txt holds 3 numbers; accepted is a matrix of 4x4" in adaptor.report()
    assert (sample.key, sample.licence) == ("Shoe", "cc-by-4.0")
    assert_points_seen(sample.views)


@pytest.mark.parametrize("layout", ["zero123", "lgm"])
def test_objaverse(tmp_path, layout):
    # Blender's lens of 35 mm on a sensor of 32 mm
    focal = 35 / 32 * SIZE
    folder = tmp_path / "000-023" / "0a1b2c"
    for index, pose in enumerate(orbit(4)):
        matrix = to_blender(pose)
        image, depth = paint(blender(matrix, focal, SIZE, SIZE), SIZE, SIZE)
        image = np.concatenate([image, np.where(depth > 0, 255, 0).astype(np.uint8)[..., None]], axis=-1)
        if layout == "zero123":
            save(image, folder / f"{index:03d}.png")
            np.save(folder / f"{index:03d}.npy", np.linalg.inv(matrix)[:3])
        else:
            save(image, folder / "rgb" / f"{index:03d}.png")
            save_text(folder / "pose" / f"{index:03d}.txt", pose.reshape(1, 16))
    (tmp_path / "licences.json").write_text(json.dumps({"0a1b2c": "by"}))
    for options, licence in (({}, "other"), ({"licences": tmp_path / "licences.json"}, "cc-by-4.0")):
        adaptor = open_adaptor("objaverse", tmp_path, **options)
        (sample,) = adaptor
        assert adaptor.problems == []
        assert (sample.key, sample.licence) == ("000-023/0a1b2c", licence)
        assert_points_seen(sample.views)
        assert (sample.views.images[:, :, 0, 0] == 1).all()
    (sample,) = open_adaptor("objaverse", tmp_path, fov=60)
    assert torch.allclose(sample.views.cameras.intrinsics[:, 0, 0], torch.tensor(SIZE / 2 / np.tan(np.pi / 6)).float())


def save_exr(path, **channels):
    OpenEXR = pytest.importorskip("OpenEXR")  # noqa: N806
    path.parent.mkdir(parents=True, exist_ok=True)
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    planes = {name: np.ascontiguousarray(values, dtype=np.float32) for name, values in channels.items()}
    OpenEXR.File(header, planes).write(str(path))


def save_rgb_exr(path, pixels):
    save_exr(path, R=pixels[..., 0], G=pixels[..., 1], B=pixels[..., 2])


@pytest.mark.parametrize("linear", [True, False])
def test_object_buffers(tmp_path, linear):
    folder, fov = tmp_path / "teapot", 50.0
    focal = 0.5 * SIZE / np.tan(np.radians(fov) / 2)
    poses = [to_blender(pose) for pose in orbit(3)]
    normal = np.array([0.6, 0.0, 0.8])
    for index, matrix in enumerate(poses):
        image, depth = paint(blender(matrix, focal, SIZE, SIZE), SIZE, SIZE)
        known, stem = depth > 0, f"{index:03d}"
        if linear:
            radiance = np.where(image / 255 <= 0.04045, image / 255 / 12.92, ((image / 255 + 0.055) / 1.055) ** 2.4)
            save_rgb_exr(folder / "rgb" / f"{stem}.exr", radiance)
        else:
            save(image, folder / "rgb" / f"{stem}.png")
        save(known.astype(np.uint8) * 255, folder / "mask" / f"{stem}.png")
        save_exr(folder / "depth" / f"{stem}.exr", V=np.where(known, depth, 1e10))
        planes = known[..., None] * normal
        save_exr(folder / "normal" / f"{stem}.exr", X=planes[..., 0], Y=planes[..., 1], Z=planes[..., 2])
        save(image, folder / "base_color" / f"{stem}.png")
        material = np.zeros((SIZE, SIZE, 3), np.uint8)
        material[known] = (51, 204, 0)
        save(material, folder / "metallic_roughness" / f"{stem}.png")
    light = np.full((16, 32, 3), 0.1)
    # Blender: the middle column is +X, three quarters to the right is -Y, the top is +Z
    light[7:9, 15:17, 0], light[7:9, 23:25, 1], light[:2, :, 2] = 9, 9, 9
    save_rgb_exr(folder / "environment.exr", light)
    rig = {"fov": fov, "size": [SIZE, SIZE], "camera_to_world": [matrix.tolist() for matrix in poses]}
    (folder / "rig.json").write_text(json.dumps(rig))
    adaptor = open_adaptor("object-buffers", tmp_path)
    (sample,) = adaptor
    assert adaptor.problems == []
    views, known = sample.views, sample.views.masks > 0.5
    assert_points_seen(views, depth_tolerance=1e-4)
    assert torch.equal(views.depths > 0, known)
    assert torch.allclose(views.normals.movedim(1, -1)[known[:, 0]], torch.tensor(normal).float(), atol=1e-5)
    assert torch.allclose(views.metallic[known], torch.tensor(0.2), atol=1e-6)
    assert torch.allclose(views.roughness[known], torch.tensor(0.8), atol=1e-6)
    assert (views.base_colors - views.images).abs().max() < 1e-3
    assert (views.radiance is not None) == linear
    axes = sample.environment.look_up(torch.tensor([[1.0, 0, 0], [0, -1, 0], [0, 0, 1], [-1, 0, 0]]))
    assert axes.argmax(-1)[:3].tolist() == [0, 1, 2]
    assert (axes[:3].amax(-1) > 5).all()
    assert torch.allclose(axes[3], torch.tensor(0.1), atol=1e-5)
    (sample,) = open_adaptor("object-buffers", tmp_path, unit=2.0, size=(28, 28))
    assert torch.allclose(sample.views.cameras.centers, 2 * views.cameras.centers)
    if linear:
        assert torch.equal(sample.views.images, srgb_from_linear(sample.views.radiance))


def write_orb(folder, capture, hdr):
    """A capture of Stanford-ORB: a lamp in the world that every camera-aligned environment shows."""
    angle, lamp = 0.7, np.array([0.3, 0.5, -0.8])
    focal = 0.5 * SIZE / np.tan(angle / 2)
    kind, suffix = ("blender_HDR", ".exr") if hdr else ("blender_LDR", ".png")
    for split, count in (("train", 4), ("test", 3)):
        frames = []
        for index, pose in enumerate(orbit(count, seed=7)):
            matrix = to_blender(pose)
            image, depth = paint(blender(matrix, focal, SIZE, SIZE), SIZE, SIZE)
            place = folder / kind / capture / split / f"{index:04d}{suffix}"
            linear = np.where(image / 255 <= 0.04045, image / 255 / 12.92, ((image / 255 + 0.055) / 1.055) ** 2.4)
            save_rgb_exr(place, linear) if hdr else save(image, place)
            save((depth > 0).astype(np.uint8) * 255, folder / kind / capture / f"{split}_mask" / f"{index:04d}.png")
            frames.append({"file_path": f"{split}/{index:04d}", "transform_matrix": matrix.tolist()})
            if split == "test":
                write_orb_truth(folder / "ground_truth" / capture, index, matrix, image, depth, lamp)
        content = {"camera_angle_x": angle, "frames": frames}
        (folder / kind / capture / f"transforms_{split}.json").write_text(json.dumps(content))
    return frames, angle, lamp


def write_orb_truth(folder, index, matrix, image, depth, lamp):
    """Maps at twice the pixels, in the frame of a camera with x right, y up, looking along -z."""
    twice = np.kron(depth, np.ones((2, 2)))
    normal = matrix[:3, :3].T @ np.array([0.0, 0.6, 0.8])
    for kind in ("z_depth", "surface_normal", "env_map"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    np.save(folder / "z_depth" / f"{index:04d}.npy", np.where(twice > 0, twice, -1).astype(np.float32))
    np.save(folder / "surface_normal" / f"{index:04d}.npy", ((twice > 0)[..., None] * normal).astype(np.float32))
    save(image, folder / "pseudo_gt_albedo" / f"{index:04d}.png")
    height, width = 32, 64
    x, y, z = matrix[:3, :3].T @ (lamp / np.linalg.norm(lamp))
    column = (np.arctan2(x, -z) + np.pi) / (2 * np.pi) * (width - 1)
    row = np.arccos(y) / np.pi * (height - 1)
    rows, columns = np.mgrid[:height, :width]
    light = np.full((height, width, 3), 0.05)
    light[np.hypot(rows - row, columns - column) < 2.5] = 20
    save_rgb_exr(folder / "env_map" / f"{index:04d}.exr", light)


@pytest.mark.parametrize("hdr", [True, False])
def test_stanford_orb(tmp_path, hdr):
    _, _, lamp = write_orb(tmp_path, "teapot_scene001", hdr)
    for split, count in (("train", 4), ("test", 3)):
        adaptor = open_adaptor("stanford-orb", tmp_path, split=split, hdr=hdr)
        (sample,) = adaptor
        views = sample.views
        assert adaptor.problems == []
        assert (sample.key, len(views), views.images.shape[-1]) == ("teapot_scene001", count, SIZE)
        assert 0 < views.masks.mean() < 0.5
        directions = torch.tensor(np.stack([lamp, -lamp, lamp[[2, 0, 1]]])).float()
        assert sample.environment.look_up(directions)[:, 0].gt(5).tolist() == [True, False, False]
        assert (views.radiance is not None) == hdr
        assert_points_seen(views, depth_tolerance=1e-3 if split == "test" else None)
    known = views.depths > 0
    assert torch.equal(known, views.masks > 0.5)
    assert torch.allclose(views.normals.movedim(1, -1)[known[:, 0]], torch.tensor([0.0, 0.6, 0.8]), atol=1e-5)
    assert (views.base_colors - views.images).abs().max() < 0.01


def test_stanford_orb_novel_light(tmp_path):
    frames, angle, _ = write_orb(tmp_path, "teapot_scene001", hdr=False)
    others = ("teapot_scene002", "teapot_scene006")
    for other in others:
        write_orb(tmp_path, other, hdr=False)
    novel = [{**frame, "camera_angle_x": angle, "scene_name": other} for frame in frames for other in others]
    path = tmp_path / "blender_LDR" / "teapot_scene001" / "transforms_novel.json"
    path.write_text(json.dumps({"frames": novel}))
    samples = list(open_adaptor("stanford-orb", tmp_path, split="novel"))
    assert [sample.key for sample in samples] == [f"teapot_scene001/{other}" for other in others]
    for sample in samples:
        assert sample.views.names == ("test/0000", "test/0001", "test/0002")
        assert sample.environment is not None
        assert_points_seen(sample.views, depth_tolerance=1e-3)

    for path in (tmp_path / "ground_truth").rglob("env_map/*.exr"):
        path.write_bytes(b"broken")
    adaptor = open_adaptor("stanford-orb", tmp_path)
    assert [sample.environment for sample in adaptor] == [None, None, None]
    assert [problem.frame for problem in adaptor.problems] == ["environment"] * 3
    adaptor = open_adaptor("stanford-orb", tmp_path, light=False)
    assert len(list(adaptor)) == 3
    assert adaptor.problems == []
