"""Adaptors of transforms.json and COLMAP."""

import json

import numpy as np
import pytest
import torch
from painted_points import BACKGROUND, assert_points_seen, blender, orbit, paint, pinhole, save, to_blender

from anyviews.cameras import Cameras
from anyviews.data.adaptors import open_adaptor
from anyviews.formats.colmap import write_colmap
from anyviews.views import Views


HEIGHT, WIDTH = 44, 60


def test_blender_scene(tmp_path):
    """NeRF's lego and its kin: no suffixes, alpha, and pictures of depth beside the test images."""
    angle = 0.8
    focal = 0.5 * WIDTH / np.tan(angle / 2)
    for split, count in (("train", 4), ("test", 3)):
        frames = []
        for index, pose in enumerate(orbit(count)):
            image, depth = paint(blender(to_blender(pose), focal, HEIGHT, WIDTH), HEIGHT, WIDTH)
            alpha = np.where(depth > 0, 255, 0).astype(np.uint8)
            save(np.concatenate([image, alpha[..., None]], axis=-1), tmp_path / "lego" / split / f"r_{index}.png")
            save(image, tmp_path / "lego" / split / f"r_{index}_depth_0001.png")
            matrix = to_blender(pose).tolist()
            frames.append({"file_path": f"./{split}/r_{index}", "rotation": 0.1, "transform_matrix": matrix})
        content = {"camera_angle_x": angle, "frames": frames}
        (tmp_path / "lego" / f"transforms_{split}.json").write_text(json.dumps(content))
    for folder in (tmp_path, tmp_path / "lego"):
        adaptor = open_adaptor("nerfstudio", folder, split="test")
        (sample,) = adaptor
        assert sample.key == "lego"
        assert len(sample.views) == 3
        assert adaptor.problems == []
        assert_points_seen(sample.views)
    empty = sample.views.masks == 0
    assert 0.5 < empty.float().mean() < 1
    assert (sample.views.images[empty.expand(-1, 3, -1, -1)] == 1).all()


def test_nerfstudio_scene(tmp_path):
    """Lists of splits, depth of fewer pixels than colour, and a world that was moved and scaled."""
    fx, fy, cx, cy = 70.0, 72.0, 31.0, 20.0
    moved = np.array([[0.0, 1, 0, 0.5], [1, 0, 0, -0.2], [0, 0, -1, 0.1]])
    frames = []
    for index, pose in enumerate(orbit(5)):
        image, _ = paint(pinhole(pose, fx, fy, cx, cy), HEIGHT, WIDTH)
        save(image, tmp_path / "images" / f"frame_{index:05d}.png")
        _, depth = paint(pinhole(pose, fx / 2, fy / 2, cx / 2, cy / 2), HEIGHT // 2, WIDTH // 2)
        save((depth * 1000).astype(np.uint16), tmp_path / "depths" / f"frame_{index:05d}.png")
        placed = to_blender(pose)
        placed[:3] = np.concatenate(
            [moved[:, :3] @ placed[:3, :3], moved[:, :3] @ placed[:3, 3:] + moved[:, 3:]], axis=1
        )
        placed[:3, 3] *= 0.25
        frames.append(
            {
                "file_path": f"images/frame_{index:05d}.png",
                "depth_file_path": f"depths/frame_{index:05d}.png",
                "transform_matrix": placed.tolist(),
            }
        )
    names = [frame["file_path"] for frame in frames]
    content = {
        "fl_x": fx,
        "fl_y": fy,
        "cx": cx,
        "cy": cy,
        "w": WIDTH,
        "h": HEIGHT,
        "camera_model": "OPENCV",
        "applied_transform": moved.tolist(),
        "applied_scale": 0.25,
        "frames": frames,
        "train_filenames": names[:3],
        "test_filenames": names[3:],
    }
    (tmp_path / "transforms.json").write_text(json.dumps(content))
    for split, count in (("train", 3), ("test", 2)):
        adaptor = open_adaptor("nerfstudio", tmp_path, split=split)
        (sample,) = adaptor
        assert len(sample.views) == count
        assert adaptor.problems == []
        assert_points_seen(sample.views, depth_tolerance=2e-3)

    del content["test_filenames"]
    (tmp_path / "transforms.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="has no list test_filenames"):
        list(open_adaptor("nerfstudio", tmp_path, split="test"))


@pytest.mark.parametrize("binary", [True, False])
def test_colmap(tmp_path, binary):
    images, poses = [], orbit(5)
    for pose in poses:
        image, _ = paint(pinhole(pose, 70, 70, WIDTH / 2, HEIGHT / 2), HEIGHT, WIDTH)
        images.append(torch.from_numpy(image).movedim(-1, 0) / 255)
    intrinsics = torch.tensor([[70, 0, WIDTH / 2], [0, 70, HEIGHT / 2], [0, 0, 1]]).expand(5, 3, 3)
    cameras = Cameras.create(intrinsics, torch.from_numpy(np.stack(poses)).float(), HEIGHT, WIDTH)
    views = Views(torch.stack(images), cameras, names=tuple(f"{i}.png" for i in range(5)))
    for scene in ("garden", "bicycle"):
        write_colmap(views, tmp_path / scene, binary=binary)
    (tmp_path / "garden" / "images" / "3.png").unlink()
    adaptor = open_adaptor("colmap", tmp_path)
    bicycle, garden = adaptor
    assert (bicycle.key, garden.key) == ("bicycle", "garden")
    assert bicycle.views.names == tuple(f"{i}.png" for i in range(5))
    assert garden.views.names == ("0.png", "1.png", "2.png", "4.png")
    assert [(problem.scene, problem.frame) for problem in adaptor.problems] == [("garden", "3.png")]
    assert_points_seen(bicycle.views)

    for index in range(5):
        half = torch.nn.functional.interpolate(views.images[index : index + 1], scale_factor=0.5, mode="area")[0]
        save(half.movedim(0, -1).mul(255).byte().numpy(), tmp_path / "bicycle" / "images_2" / f"{index}.png")
    (sample,) = open_adaptor("colmap", tmp_path / "bicycle", images="images_2", views_per_sample=3)
    assert sample.views.images.shape == (3, 3, HEIGHT // 2, WIDTH // 2)
    expected = cameras.resize(HEIGHT // 2, WIDTH // 2).intrinsics[0]
    assert torch.allclose(sample.views.cameras.intrinsics[0], expected)
    corner = sample.views.images[0, :, 0, 0] * 255
    assert (corner - BACKGROUND).abs().max() < 2
