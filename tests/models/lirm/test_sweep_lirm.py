"""Evidence for the planes: where points are seen, which tokens a point belongs to, and what a photo says."""

import pytest
import torch

from anyviews.cameras import Cameras
from anyviews.geometry.paths import look_at
from anyviews.geometry.rays import camera_rays, pixel_centers
from anyviews.models.lirm import LIRMConfig, LIRMModel
from anyviews.models.lirm.sweep_lirm import CHANNELS, LIRMSweep, grid_points, point_features, project_points


SIZE = {"plane_token_size": 2, "sweep_size": 2, "hidden_size": 16, "num_attention_heads": 2, "fuse_hidden_size": 16}


def cameras_around(count: int, height: int = 24, width: int = 16) -> Cameras:
    angles = torch.arange(count) * 2 * torch.pi / count
    centers = torch.stack([angles.sin(), torch.full_like(angles, 0.3), angles.cos()], dim=-1) * 2
    intrinsics = torch.tensor([[30.0, 0, 7.0], [0, 28.0, 13.0], [0, 0, 1]]).expand(count, 3, 3)
    return look_at(centers, torch.zeros(3), torch.tensor([0.0, 1, 0]), intrinsics, height, width)


def rays_of(cameras: Cameras) -> tuple[torch.Tensor, torch.Tensor]:
    """Origins and directions [1, V, 3, H, W]."""
    pixels = pixel_centers(cameras.height, cameras.width).flatten(0, 1).expand(len(cameras), -1, 2)
    maps = [part.mT.unflatten(-1, (cameras.height, cameras.width))[None] for part in camera_rays(cameras, pixels)]
    return maps[0], maps[1]


def test_points_are_projected_by_rays_as_by_cameras():
    cameras = cameras_around(5)
    points = torch.randn(50, 3, generator=torch.Generator().manual_seed(0)) * 1.5
    pixels, seen = project_points(points, *rays_of(cameras))
    expected, depth = cameras.project(points.expand(5, -1, 3))
    inside = ((expected >= 0) & (expected <= torch.tensor([16, 24]))).all(-1) & (depth > 0)
    assert torch.equal(seen[0], inside) and 20 < inside.sum() < 230
    assert (pixels[0] - expected)[inside].abs().max() < 2e-3


@pytest.mark.parametrize("plane_type", ["hexa", "tri"])
def test_a_point_belongs_to_one_token_of_each_pair_of_planes(plane_type):
    config = LIRMConfig.from_size("tiny", **SIZE, plane_type=plane_type)
    sweep, size, radius = LIRMSweep(config), config.sweep_resolution, config.box_radius
    points = grid_points(radius, size, torch.device("cpu"))
    for index in range(len(points)):
        volume = torch.zeros(1, len(points), CHANNELS)
        volume[0, index] = 1
        volume = volume.unflatten(1, (size, size, size))
        x, y, z = points[index].tolist()
        places = ((z, y, x), (y, z, x), (x, z, y))
        for axes, (dropped, row, column) in zip(((3, 2, 1), (2, 3, 1), (1, 3, 2)), places, strict=True):
            held = sweep._columns(volume.permute(0, *axes, 4))[0].any(-1).nonzero()
            sign = 1 if plane_type == "hexa" and dropped < 0 else 0
            expected = 4 * sign + 2 * (row > 0) + (column > 0)
            assert held.flatten().tolist() == [expected]


def test_columns_go_outwards_from_the_centre():
    config = LIRMConfig.from_size("tiny", **SIZE)
    sweep, size = LIRMSweep(config), config.sweep_resolution
    depth = grid_points(1.0, size, torch.device("cpu"))[:, 2].abs()
    volume = depth[None, :, None].expand(-1, -1, CHANNELS).unflatten(1, (size, size, size))
    columns = sweep._columns(volume.permute(0, 3, 2, 1, 4))
    assert (columns.diff(dim=-1) >= 0).all() and columns.amax() > columns.amin()


def test_one_photo_that_shows_white_rules_a_point_out():
    cameras = cameras_around(3)
    images = torch.full((1, 3, 3, 24, 16), -0.5)
    images[0, 1] = 1.0
    backgrounds = torch.full_like(images, -0.5)
    features = point_features(torch.zeros(1, 3), images, *rays_of(cameras), backgrounds)[0, 0]
    mean, variance, white, changed, share = features.split([3, 3, 1, 1, 1])
    assert torch.allclose(mean, torch.zeros(3), atol=1e-6) and torch.allclose(variance, torch.full((3,), 0.5))
    assert (white.item(), changed.item(), share.item()) == (1.0, 1.5, 1.0)
    behind = point_features(torch.tensor([[0.0, 50.0, 0.0]]), images, *rays_of(cameras), None)[0, 0]
    assert torch.equal(behind, torch.tensor([0.0, 0, 0, 0, 0, 0, -1, 0, 0]))


def test_the_model_uses_the_evidence_and_gives_it_gradients():
    model = LIRMModel.from_size("tiny", **SIZE, num_hidden_layers=1)
    images = torch.rand(1, 2, 3, 24, 16) * 2 - 1
    rays = rays_of(cameras_around(2))
    tokens = model.encode_images(images, *rays)
    assert tokens.shape[1] == 2 * 3 * 2 + model.config.num_plane_tokens
    model.decode_planes(model.update(tokens)).planes.square().sum().backward()
    assert all(linear.weight.grad.abs().max() > 0 for linear in model.sweep.pairs)


def test_an_odd_grid_is_refused():
    with pytest.raises(ValueError, match="even"):
        LIRMConfig.from_size("tiny", plane_token_size=3, sweep_size=3)
