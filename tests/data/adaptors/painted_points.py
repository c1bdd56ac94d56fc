"""Pictures of coloured dots at known points of the world, painted without any code of the package."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from anyviews.views import Views


POINTS = np.array(
    [
        [0.0, 0.0, 0.0],
        [0.45, 0.05, 0.1],
        [-0.4, 0.2, -0.1],
        [0.1, -0.45, 0.15],
        [-0.15, 0.4, 0.3],
        [0.2, 0.15, -0.45],
    ]
)
COLOURS = np.array([[230, 20, 20], [20, 200, 30], [30, 40, 220], [220, 200, 20], [200, 30, 210], [20, 200, 210]])
BACKGROUND = 128
RADIUS = 2.0

Project = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def orbit(count: int, distance: float = 2.0, seed: int = 0) -> list[np.ndarray]:
    """Camera-to-world matrices with OpenCV axes, rolled, that look at the origin from all around."""
    random = np.random.default_rng(seed)
    poses = []
    for index in range(count):
        angle = 2 * np.pi * index / count + 0.3
        center = distance * np.array([np.cos(angle), random.uniform(-0.4, 0.4), np.sin(angle)])
        forward = -center / np.linalg.norm(center)
        right = np.cross(forward, [0.2, 1.0, 0.1])
        right /= np.linalg.norm(right)
        pose = np.eye(4)
        pose[:3] = np.stack([right, np.cross(forward, right), forward, center], axis=-1)
        poses.append(pose)
    return poses


def paint(project: Project, height: int, width: int, radius: float = RADIUS) -> tuple[np.ndarray, np.ndarray]:
    """An 8-bit image [H, W, 3] with a dot per point, and its depth [H, W], 0 in the background.

    Args:
        project: from points [N, 3] to pixels [N, 2] as (x, y) with pixel centres at .5, and their depth [N].
        radius: of the dots, in pixels.
    """
    image = np.full((height, width, 3), BACKGROUND, np.uint8)
    depth = np.zeros((height, width))
    pixels, distances = project(POINTS)
    y, x = np.mgrid[:height, :width] + 0.5
    for index in np.argsort(-distances):
        dot = np.hypot(x - pixels[index, 0], y - pixels[index, 1]) < radius
        image[dot], depth[dot] = COLOURS[index], distances[index]
    return image, depth


def pinhole(pose: np.ndarray, fx: float, fy: float, cx: float, cy: float) -> Project:
    """An OpenCV camera: x right, y down, z forward."""

    def project(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x, y, z = ((points - pose[:3, 3]) @ pose[:3, :3]).T
        return np.stack([fx * x / z + cx, fy * y / z + cy], axis=-1), z

    return project


def blender(pose: np.ndarray, focal: float, height: int, width: int) -> Project:
    """A Blender camera: x right, y up, looking along -z; the principal point in the middle."""

    def project(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x, y, z = (np.linalg.inv(pose) @ np.concatenate([points.T, np.ones((1, len(points)))]))[:3]
        return np.stack([width / 2 + focal * x / -z, height / 2 - focal * y / -z], axis=-1), -z

    return project


def to_blender(pose: np.ndarray) -> np.ndarray:
    """The same camera with Blender's axes."""
    right, down, forward, center = pose[:3].T
    turned = np.eye(4)
    turned[:3] = np.stack([right, -down, -forward, center], axis=-1)
    return turned


def save(pixels: np.ndarray, path: Path) -> None:
    """Write a picture, as JPEG without loss that matters where it is called so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"quality": 98, "subsampling": 0} if path.suffix.lower() in (".jpg", ".jpeg") else {}
    Image.fromarray(pixels).save(path, **options)


def save_text(path: Path, matrix: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savetxt(path, matrix, fmt="%.9f")


def assert_points_seen(views: Views, depth_tolerance: float | None = None) -> None:
    """Every known point must show its colour, and its depth, where the views' cameras say that it is.

    Args:
        depth_tolerance: largest error of depth in world units; None does not look at depth.
    """
    seen = 0
    world = torch.from_numpy(POINTS).float()
    for view in range(len(views)):
        pixels, depths = views.cameras[view].project(world)
        for index in range(len(POINTS)):
            apart = (pixels - pixels[index]).norm(dim=-1)
            hidden = (apart < 3 * RADIUS) & (torch.arange(len(POINTS)) != index)
            x, y = (int(value) for value in pixels[index].floor())
            if hidden.any() or not (2 <= x < views.width - 2 and 2 <= y < views.height - 2):
                continue
            seen += 1
            assert depths[index] > 0
            colour = views.images[view, :, y, x] * 255
            assert (colour - torch.from_numpy(COLOURS[index])).abs().max() < 40, (view, index, colour)
            # the dot's middle is where the camera says, to half a pixel
            left, right = views.images[view, :, y, x - 1], views.images[view, :, y, x + 1]
            assert (left - right).abs().max() < 0.16, (view, index)
            if depth_tolerance is not None:
                assert abs(views.depths[view, 0, y, x] - depths[index]) < depth_tolerance, (view, index)
    assert seen >= 2 * len(views)
