"""Evidence for the planes: where points are seen, which tokens a point belongs to, and what a photo says."""

import pytest
import torch

from anyviews.cameras import Cameras
from anyviews.geometry.paths import look_at
from anyviews.geometry.rays import camera_rays, pixel_centers
from anyviews.models.lirm import LIRMConfig, LIRMModel, LIRMState
from anyviews.models.lirm.planes_lirm import PLANE_AXES
from anyviews.models.lirm.sweep_lirm import (
    GATHERED,
    NOTHING,
    LIRMSweep,
    gather_evidence,
    grid_points,
    point_evidence,
    project_points,
)


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


def marked(config: LIRMConfig, index: int) -> torch.Tensor:
    """Evidence in which one point differs from all others."""
    evidence = torch.zeros(1, config.sweep_resolution**3, GATHERED)
    evidence[0, index] = 1
    return evidence


@pytest.mark.parametrize("plane_type", ["hexa", "tri"])
def test_a_point_belongs_to_one_token_and_its_texels_of_each_pair_of_planes(plane_type):
    config = LIRMConfig.from_size("tiny", **SIZE, plane_type=plane_type, plane_upsample=4)
    sweep, radius = LIRMSweep(config), config.box_radius
    points = grid_points(radius, config.sweep_resolution, torch.device("cpu"))
    blank = torch.zeros(1, len(points), GATHERED)
    for index in range(0, len(points), 3):
        changed = (sweep.texels(marked(config, index)) - sweep.texels(blank))[0].abs().amax(-1) > 0
        rows = ((points[index] / radius + 1) / 2 * config.plane_resolution).floor().long() // 2 * 2
        planes = []
        for pair, (column, row, dropped) in enumerate(PLANE_AXES):
            plane = pair * (2 if plane_type == "hexa" else 1)
            plane += int(plane_type == "hexa" and points[index, dropped] < 0)
            expected = torch.zeros(config.plane_resolution, config.plane_resolution, dtype=torch.bool)
            expected[rows[row] : rows[row] + 2, rows[column] : rows[column] + 2] = True
            assert torch.equal(changed[plane], expected)
            planes.append(plane)
        assert changed.any(-1).any(-1).nonzero().flatten().tolist() == planes
        # a token is the square of 4 texels that these lie in
        tokens = (sweep.tokens(marked(config, index)) - sweep.tokens(blank))[0].abs().amax(-1) > 0
        squares = changed.unflatten(1, (-1, 4)).unflatten(3, (-1, 4)).any(4).any(2)
        assert torch.equal(tokens, squares.flatten())


def test_columns_go_outwards_from_the_centre():
    sweep = LIRMSweep(LIRMConfig.from_size("tiny", **SIZE))
    depth = grid_points(1.0, sweep.config.sweep_resolution, torch.device("cpu"))[:, 2].abs()
    outwards = sweep._sides(
        depth.unflatten(0, (-1, *(sweep.config.sweep_resolution,) * 2))[None, ..., None].transpose(1, 3)
    )
    assert (outwards.diff(dim=2) > 0).all() and outwards.shape[1] == 2


def test_one_photo_that_shows_white_rules_a_point_out():
    cameras = cameras_around(3)
    images = torch.full((1, 3, 3, 24, 16), -0.5)
    images[0, 1] = 1.0
    backgrounds = torch.full_like(images, -0.5)
    found = point_evidence(torch.zeros(1, 3), images, *rays_of(cameras), backgrounds)[0, 0]
    colors, squares, count, white, changed = found.split([3, 3, 1, 1, 1])
    assert torch.allclose(colors, torch.zeros(3), atol=1e-6) and torch.allclose(squares, torch.full((3,), 1.5))
    assert (count.item(), white.item(), changed.item()) == (3.0, 1.0, 1.5)
    behind = point_evidence(torch.tensor([[0.0, 50.0, 0.0]]), images, *rays_of(cameras), None)[0, 0]
    assert torch.equal(behind, torch.tensor(NOTHING))


def test_evidence_of_sets_is_that_of_all_photos():
    config = LIRMConfig.from_size("tiny", **SIZE)
    cameras = cameras_around(5)
    images = torch.rand(1, 5, 3, 24, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1
    whole = gather_evidence(config, images, *rays_of(cameras), None)
    known = None
    for chosen in (slice(0, 2), slice(2, 5)):
        rays = [part[:, chosen] for part in rays_of(cameras)]
        known = gather_evidence(config, images[:, chosen], *rays, None, known)
    assert torch.allclose(whole, known, atol=1e-5)


def test_the_model_uses_the_evidence_keeps_it_and_gives_it_gradients(tmp_path):
    model = LIRMModel.from_size("tiny", **SIZE, num_hidden_layers=1)
    photos = (torch.rand(1, 2, 3, 24, 16) * 2 - 1, *rays_of(cameras_around(2)))
    output = model(*photos)
    output.planes.planes.square().sum().backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in model.sweep.parameters())
    again = model(*photos, state=output.state).state
    assert torch.allclose(again.evidence[..., 6], 2 * output.state.evidence[..., 6])
    again.save(tmp_path / "state.safetensors")
    assert torch.equal(LIRMState.load(tmp_path / "state.safetensors").evidence, again.evidence)
    with pytest.raises(ValueError, match="gather_evidence"):
        model.update(model.encode_images(*photos))


def test_a_grid_that_does_not_fit_is_refused():
    for sizes in ({"plane_token_size": 3, "sweep_size": 1}, {"sweep_size": 3}, {"sweep_size": -1}):
        with pytest.raises(ValueError, match="sweep_size"):
            LIRMConfig.from_size("tiny", **sizes)
