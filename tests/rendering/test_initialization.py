import pytest
import torch
from hypothesis import given
from strategies import property_settings, random_similarity, seeds

from anyviews.cameras import Cameras
from anyviews.data.world import render_world
from anyviews.rendering.initialization import gaussians_from_points, initial_gaussians, neighbor_distance
from anyviews.rendering.photo_consistency import consistent_points
from anyviews.scene import PointCloud, Scene
from anyviews.views import Views


def random_points(seed: int, count: int = 40) -> PointCloud:
    generator = torch.Generator().manual_seed(seed)
    positions, colors = torch.rand(count, 6, generator=generator, dtype=torch.float64).split(3, -1)
    return PointCloud(positions, colors)


@property_settings
@given(seeds)
def test_spacing_is_that_of_the_three_nearest_and_scales_with_the_world(seed):
    points = random_points(seed)
    distances = torch.cdist(points.positions, points.positions).sort(dim=1).values[:, 1:4].mean(1)
    torch.testing.assert_close(neighbor_distance(points.positions), distances)
    world = random_similarity(seed)
    gaussians = gaussians_from_points(points)
    moved = gaussians_from_points(PointCloud(world.apply(points.positions), points.colors))
    torch.testing.assert_close(moved.scales, gaussians.scales * world.scale, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(moved.colors, points.colors)
    moved.validate()


def test_points_without_colour_repeated_points_and_outliers():
    positions = torch.rand(30, 3)
    positions[1] = positions[0]
    positions[2] = 1e4
    gaussians = gaussians_from_points(PointCloud(positions), opacity=0.3, degree=2).validate()
    assert gaussians.degree == 2 and torch.allclose(gaussians.colors, torch.full((30, 3), 0.5))
    assert torch.allclose(gaussians.opacities, torch.tensor(0.3))
    spacing = gaussians.scales[:, 0]
    assert 0 < spacing.min() and spacing.max() < 20 * spacing.median()


def test_unusable_points_are_named():
    for positions, message in (
        (torch.rand(3, 3), "3 points are too few"),
        (torch.rand(3, 3).repeat(4, 1), "each of 12 points coincides"),
        (torch.full((9, 3), torch.nan), "NaN"),
    ):
        with pytest.raises(ValueError, match=message):
            gaussians_from_points(PointCloud(positions))


def test_a_scene_gives_its_gaussians_or_its_points_or_its_depth():
    cameras = Cameras.create(torch.tensor([[20.0, 0, 8], [0, 20, 6], [0, 0, 1]])[None], torch.eye(4)[None], 12, 16)
    points = random_points(0)
    points = PointCloud(points.positions.float(), points.colors.float())
    given_gaussians = gaussians_from_points(points, degree=1)
    scene = Scene(cameras, torch.rand(1, 3, 12, 16), torch.full((1, 1, 12, 16), 2.0), points=points)
    assert initial_gaussians(Scene(cameras, gaussians=given_gaussians)) is given_gaussians
    assert initial_gaussians(Scene(cameras, gaussians=given_gaussians), degree=3).degree == 3
    assert torch.equal(initial_gaussians(scene).means, points.positions)
    few = initial_gaussians(scene, degree=1, max_gaussians=15, seed=3)
    assert len(few) == 15 and few.degree == 1
    assert torch.equal(few.means, initial_gaussians(scene, max_gaussians=15, seed=3).means)
    assert not torch.equal(few.means, initial_gaussians(scene, max_gaussians=15, seed=4).means)
    from_depth = initial_gaussians(Scene(cameras, scene.images, scene.depths))
    assert len(from_depth) == 12 * 16 and torch.allclose(from_depth.means[:, 2], torch.tensor(2.0))
    # a pixel of this camera is 0.1 wide at depth 2
    assert torch.allclose(from_depth.scales[17:30], torch.tensor(0.1), rtol=0.3)
    with pytest.raises(ValueError, match="no points"):
        initial_gaussians(Scene(cameras, scene.images))


def test_photos_agree_at_the_surface():
    world = render_world(torch.tensor([7]), 5, 48, 64, "room", samples=1).scene(0)
    views = Views(world.images, world.cameras)
    points = consistent_points(views, 400)
    assert len(points) == 400
    pixels, depth = views.cameras.project(points.positions.expand(5, -1, -1))
    inside = (depth > 0) & (pixels >= 0).all(-1) & (pixels < torch.tensor([64, 48])).all(-1)
    column, row = torch.where(inside[..., None], pixels, 0).long().unbind(-1)
    surface = world.depths[torch.arange(5)[:, None], 0, row, column]
    error = torch.where(inside, (depth / surface - 1).abs(), torch.inf).amin(0)
    assert error.median() < 0.03
    assert torch.equal(points.positions, consistent_points(views, 400).positions)


def test_points_lie_inside_all_masks():
    world = render_world(torch.tensor([3]), 5, 48, 48, "object", samples=1).scene(0)
    points = consistent_points(Views(world.images, world.cameras, masks=world.masks), 300)
    assert len(points) > 50
    pixels, _ = world.cameras.project(points.positions.expand(5, -1, -1))
    row, column = pixels.floor().long().clamp(0, 47).flip(-1).unbind(-1)
    inside = world.masks[torch.arange(5)[:, None], 0, row, column]
    assert (inside > 0.3).float().mean() > 0.97  # a mask is blended at its border
    with pytest.raises(ValueError, match="no point lies inside the masks"):
        consistent_points(Views(world.images, world.cameras, masks=torch.zeros_like(world.masks)), 300)


def test_one_photo_shows_no_depth():
    world = render_world(torch.tensor([7]), 2, 24, 32, "room", samples=1).scene(0)
    with pytest.raises(ValueError, match="1 photos with cameras"):
        consistent_points(Views(world.images[:1], world.cameras[:1]))
    with pytest.raises(ValueError, match="without cameras"):
        consistent_points(Views(world.images))
    assert len(consistent_points(Views(world.images, world.cameras), 50)) == 50
