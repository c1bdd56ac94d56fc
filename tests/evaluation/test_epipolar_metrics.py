import math

import torch
from hypothesis import given
from scipy.ndimage import gaussian_filter
from strategies import property_settings, random_cameras, seeds

from anyviews.cameras import Cameras
from anyviews.evaluation.epipolar_metrics import (
    matched_pixels,
    score_epipolar_consistency,
    symmetric_epipolar_distances,
)


def distances_from_rays(pixels: torch.Tensor, seen: torch.Tensor, a: Cameras, b: Cameras) -> torch.Tensor:
    """How far pixels of b lie from the rays through pixels of a as b sees them, drawn through two points of each."""
    start, end = (b.project(a.unproject(pixels, torch.full(pixels.shape[:-1], depth).double()))[0] for depth in (1, 3))
    along, across = end - start, seen - start
    return (along[..., 0] * across[..., 1] - along[..., 1] * across[..., 0]).abs() / along.norm(dim=-1)


@property_settings
@given(seeds)
def test_distances_are_those_from_projected_rays(seed):
    a, b = random_cameras(seed, 2), random_cameras(seed + 1, 2)
    points = torch.randn(2, 6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    pixels_a, pixels_b = a.project(points)[0], b.project(points)[0]
    scale = 1 + max(pixels_a.abs().max(), pixels_b.abs().max()).item()
    assert symmetric_epipolar_distances(pixels_a, pixels_b, a, b).max() < 1e-7 * scale
    moved = pixels_b + torch.tensor([1.0, -2.0])
    expected = (distances_from_rays(pixels_a, moved, a, b) + distances_from_rays(moved, pixels_a, b, a)) / 2
    distances = symmetric_epipolar_distances(pixels_a, moved, a, b)
    torch.testing.assert_close(distances, expected, rtol=1e-5, atol=1e-6 * scale)


def shifted_pictures() -> tuple[torch.Tensor, Cameras]:
    """A textured wall at depth 2, seen by three cameras 0.1 apart: 5 pixels of shift each."""
    noise = torch.rand(3, 96, 140, generator=torch.Generator().manual_seed(0)).numpy()
    wall = torch.from_numpy(gaussian_filter(noise, (0, 1.5, 1.5)))
    wall = (wall - wall.min()) / (wall.max() - wall.min())
    images = torch.stack([wall[:, :, 5 * i : 5 * i + 110] for i in range(3)])
    intrinsics = torch.tensor([[100.0, 0, 55], [0, 100, 48], [0, 0, 1]])
    poses = torch.eye(4).repeat(3, 1, 1)
    poses[:, 0, 3] = 0.1 * torch.arange(3)
    return images, Cameras.create(intrinsics.expand(3, 3, 3), poses, 96, 110)


def test_images_that_fit_their_cameras_agree_and_others_do_not():
    images, cameras = shifted_pictures()
    found = matched_pixels(images[0], images[1])
    assert len(found[0]) >= 10
    torch.testing.assert_close((found[0] - found[1]).median(0).values, torch.tensor([5.0, 0.0]), atol=0.3, rtol=0)
    score = score_epipolar_consistency(images, cameras)
    assert score.value == 1 and score.protocol["pairs"] == 2 and score.protocol["threshold"] == "2 pixels"
    poses = cameras.camera_to_world.clone()
    poses[:, :2, 3] = poses[:, :2, 3].flip(-1)
    wrong = Cameras.create(cameras.intrinsics, poses, 96, 110)
    assert score_epipolar_consistency(images, wrong).value == 0
    assert score_epipolar_consistency(images, cameras, [(0, 2)], matches=10**6).value == 0


def test_without_features_or_pairs():
    images, cameras = shifted_pictures()
    blank = torch.full_like(images, 0.5)
    assert score_epipolar_consistency(blank, cameras, [(0, 1)]).value == 0
    assert math.isnan(score_epipolar_consistency(images, cameras, []).value)
    here = cameras[0]
    pixels = torch.tensor([[3.0, 4.0]])
    assert symmetric_epipolar_distances(pixels, pixels, here, here).isnan().all()


def test_matches_lie_at_pixel_centres():
    """Half a turn takes (x, y) to (width - x, height - y) only where pixel centres are at .5."""
    image = shifted_pictures()[0][0]
    here, turned = matched_pixels(image, image.flip(-1, -2))
    assert len(here) >= 10
    torch.testing.assert_close((here + turned).median(0).values, torch.tensor([110.0, 96.0]), atol=0.2, rtol=0)
