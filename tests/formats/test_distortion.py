import numpy as np
import pycolmap
import pytest
import torch

from anyviews.cameras import Cameras
from anyviews.formats.distortion import distort_points, undistort
from anyviews.geometry.rays import pixel_centers


HEIGHT, WIDTH = 60, 80
INTRINSICS = torch.tensor([[[70.0, 0, 41], [0, 72, 29], [0, 0, 1]]], dtype=torch.float64)
CAMERAS = Cameras.create(INTRINSICS, torch.eye(4, dtype=torch.float64)[None], HEIGHT, WIDTH)

LENSES = {
    "barrel": [-0.15, 0.02, 0.0, 0.0],
    "pincushion": [0.1, 0.01, 0.0, 0.0],
    "tangential": [0.02, -0.01, 0.01, -0.015],
}


def pattern(points: torch.Tensor) -> torch.Tensor:
    """A smooth image [3, ...] over directions (x / z, y / z)."""
    x, y = points.unbind(-1)
    return 0.5 + 0.4 * torch.stack([torch.sin(6 * x), torch.cos(5 * y), torch.sin(4 * x + 3 * y)])


def directions(cameras: Cameras) -> torch.Tensor:
    pixels = pixel_centers(HEIGHT, WIDTH, dtype=torch.float64)
    focal = torch.diagonal(cameras.intrinsics[0])[:2]
    return (pixels - cameras.intrinsics[0, :2, 2]) / focal


def undistorted_directions(coefficients: torch.Tensor) -> torch.Tensor:
    """Directions that the distorted camera's pixels see, by fixed-point iteration."""
    wanted = directions(CAMERAS).reshape(1, -1, 2)
    found = wanted.clone()
    for _ in range(200):
        found = found + (wanted - distort_points(found, coefficients))
    assert (distort_points(found, coefficients) - wanted).abs().max() < 1e-9
    return found.reshape(HEIGHT, WIDTH, 2)


@pytest.mark.parametrize("name", LENSES)
def test_distorted_pattern_is_undone(name):
    coefficients = torch.tensor([LENSES[name]], dtype=torch.float64)
    seen = undistorted_directions(coefficients)
    maps = {"images": pattern(seen)[None], "masks": None, "depths": None}
    undone, pinhole = undistort(maps, CAMERAS, coefficients, "a.jpg")
    expected = pattern(directions(pinhole))
    assert (undone["images"][0] - expected).abs().max() < 0.01
    assert undone["masks"] is None
    # the test would notice a lens that does nothing
    assert (maps["images"][0] - pattern(directions(CAMERAS))).abs().max() > 0.03
    torch.testing.assert_close(pinhole.intrinsics[:, :2, 2], INTRINSICS[:, :2, 2])
    zoom = (pinhole.intrinsics[0, 0, 0] / INTRINSICS[0, 0, 0]).item()
    assert 1 <= zoom < 1.3 and (name != "pincushion" or zoom > 1.02) and (name != "barrel" or zoom == 1)


def test_depth_takes_the_nearest_sample():
    coefficients = torch.tensor([LENSES["barrel"]], dtype=torch.float64)
    depth = torch.where(pixel_centers(HEIGHT, WIDTH)[..., 0] < 40, 1.0, 5.0)[None, None]
    undone, _ = undistort({"images": None, "masks": depth / 5, "depths": depth}, CAMERAS, coefficients, "a.jpg")
    assert set(undone["depths"].unique().tolist()) == {1.0, 5.0}
    assert len(undone["masks"].unique()) > 2


@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        ("SIMPLE_RADIAL", [70.0, 41, 29, -0.12]),
        ("RADIAL", [70.0, 41, 29, 0.1, -0.05]),
        ("OPENCV", [70.0, 72, 41, 29, -0.12, 0.03, 0.01, -0.02]),
    ],
)
def test_agrees_with_pycolmap(model, parameters):
    from anyviews.formats.colmap import MODEL_PARAMETERS, ColmapCamera

    camera = ColmapCamera(HEIGHT, WIDTH, dict(zip(MODEL_PARAMETERS[model], parameters, strict=True)))
    reference = pycolmap.Camera(model=model, width=WIDTH, height=HEIGHT, params=parameters)
    points = 0.5 * torch.randn(50, 2, dtype=torch.float64)
    ours = distort_points(points, torch.tensor(camera.distortion, dtype=torch.float64))
    ours = ours @ camera.intrinsics[:2, :2].T + camera.intrinsics[:2, 2]
    rays = np.concatenate([points.numpy(), np.ones((50, 1))], axis=-1)
    np.testing.assert_allclose(ours.numpy(), reference.img_from_cam(rays), atol=1e-9)


def test_folding_lens_is_refused():
    coefficients = torch.tensor([[-30.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
    with pytest.raises(ValueError, match=r"a\.jpg: .*folds the image.*image_undistorter"):
        undistort({"images": torch.zeros(1, 3, HEIGHT, WIDTH)}, CAMERAS, coefficients, "a.jpg")
