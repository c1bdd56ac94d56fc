"""Gaussians on surfaces with closed forms become meshes on these surfaces."""

import math

import pytest
import torch
import trimesh
from depth_shapes import cameras_on_sphere, colors_at, lens, sphere_depth

from anyviews.gaussians import Gaussians
from anyviews.geometry.paths import look_at
from anyviews.geometry.quaternions import matrix_to_quaternion
from anyviews.mesh import Mesh
from anyviews.rendering.gaussians import render_gaussians
from anyviews.rendering.surfaces.gaussian_depth import surface_depth
from anyviews.rendering.surfaces.gaussian_meshes import cameras_around, mesh_from_gaussians


def discs(points: torch.Tensor, normals: torch.Tensor, size: float, opacities: torch.Tensor) -> Gaussians:
    """Flat discs across normals, in smooth colours."""
    side = torch.tensor([0.3, 0.5, 0.81]).expand_as(normals)
    first = torch.nn.functional.normalize(torch.linalg.cross(normals, side), dim=-1)
    axes = torch.stack([first, torch.linalg.cross(normals, first), normals], dim=-1)
    scales = torch.tensor([size, size, 0.1 * size]).expand(len(points), 3)
    return Gaussians.from_colors(points, matrix_to_quaternion(axes), scales, opacities, colors_at(points))


def sphere_of_discs(count: int = 4000, opacity: tuple[float, float] = (0.4, 0.95), radius: float = 1.0) -> Gaussians:
    index = torch.arange(count) + 0.5
    height, azimuth = 1 - 2 * index / count, index * math.pi * (1 + math.sqrt(5))
    flat = (1 - height**2).sqrt()
    outwards = torch.stack([flat * azimuth.cos(), height, flat * azimuth.sin()], dim=-1)
    low, high = opacity
    opacities = low + (high - low) * torch.rand(count, generator=torch.Generator().manual_seed(0))
    return discs(radius * outwards, outwards, 0.7 * radius * math.sqrt(4 * math.pi / count), opacities)


@pytest.fixture(scope="module")
def sphere() -> Mesh:
    return mesh_from_gaussians(sphere_of_discs(), views=16, image_size=128, resolution=64)


def test_discs_on_a_sphere_become_a_closed_sphere(sphere):
    solid = trimesh.Trimesh(sphere.vertices.numpy(), sphere.faces.numpy(), process=False)
    assert solid.is_watertight and solid.body_count == 1
    distance = (sphere.vertices.norm(dim=-1) - 1) / (2 / 64)
    assert distance.abs().mean() < 0.25 and distance.abs().max() < 0.5
    cosine = (sphere.vertex_normals * torch.nn.functional.normalize(sphere.vertices, dim=-1)).sum(-1)
    assert torch.rad2deg(cosine.clamp(-1, 1).arccos()).mean() < 3


def test_colors_are_those_of_the_gaussians(sphere):
    # the far side shines through the near one
    assert (sphere.vertex_colors - colors_at(sphere.vertices)).abs().mean() < 0.03


def test_depth_of_the_surface_is_sharper_than_expected_depth():
    gaussians, cameras = sphere_of_discs(8000, (0.3, 0.95)), cameras_on_sphere(9, 128)[4:5]
    truth = sphere_depth(cameras)[0]
    rendered = render_gaussians(gaussians, cameras)
    alpha = rendered.alphas[0]
    depth = surface_depth(gaussians, cameras, alpha, margin=0.1)
    inside = (truth > 0) & (alpha > 0.5)
    assert (depth[inside] > 0).float().mean() > 0.97
    error = (depth - truth)[inside & (depth > 0)].abs()
    expected = (rendered.depths[0] - truth)[inside].abs()
    assert error.median() < 0.1 * expected.median() and error.mean() < 0.1 * expected.mean()


def test_depth_beside_a_wide_gaussian_that_is_partly_hidden():
    """A wall of one disc, whose middle is behind another one, is seen all around it."""
    wall = discs(torch.tensor([[0.0, 0.0, 3.0]]), torch.tensor([[0.0, 0.0, -1.0]]), 1.5, torch.tensor([0.999]))
    front = discs(torch.tensor([[0.0, 0.0, 1.5]]), torch.tensor([[0.0, 0.0, -1.0]]), 0.1, torch.tensor([0.999]))
    gaussians = Gaussians.cat([wall, front])
    cameras = look_at(
        torch.zeros(1, 3), torch.tensor([0.0, 0.0, 1.0]), torch.tensor([0.0, -1.0, 0.0]), lens(64), 64, 64
    )
    alpha = render_gaussians(gaussians, cameras).alphas[0]
    depth = surface_depth(gaussians, cameras, alpha, margin=0.2)[0]
    assert depth[32, 32] == pytest.approx(1.5, abs=0.01)
    assert depth[32, 5] == pytest.approx(3.0, abs=0.01) and depth[5, 32] == pytest.approx(3.0, abs=0.01)


def test_slanted_disc_is_a_slanted_plane():
    normal = torch.nn.functional.normalize(torch.tensor([0.5, 0.2, -1.0]), dim=0)
    gaussians = discs(torch.tensor([[0.1, 0.0, 2.0]]), normal[None], 0.3, torch.tensor([0.99]))
    cameras = look_at(
        torch.zeros(1, 3), torch.tensor([0.0, 0.0, 1.0]), torch.tensor([0.0, -1.0, 0.0]), lens(64), 64, 64
    )
    alpha = render_gaussians(gaussians, cameras).alphas[0]
    depth = surface_depth(gaussians, cameras, alpha, margin=1.0)
    pixels = torch.tensor([[20.5, 40.5], [32.5, 20.5], [45.5, 30.5]])
    seen = depth[0, pixels[:, 1].long(), pixels[:, 0].long()]
    points = cameras[0].unproject(pixels, seen)
    heights = (points - torch.tensor([0.1, 0.0, 2.0])) @ normal
    assert seen.min() > 0 and heights.abs().max() < 0.02
    assert seen.max() - seen.min() > 0.1


def test_room_of_gaussians_needs_cameras_inside():
    gaussians = sphere_of_discs(2000, (0.9, 0.9), radius=2.0)
    ways = torch.nn.functional.normalize(torch.randn(10, 3), dim=-1)
    ups = torch.eye(3)[ways.abs().argmin(-1)]
    cameras = look_at(torch.zeros(10, 3), ways, ups, lens(96, 90), 96, 96)
    mesh = mesh_from_gaussians(gaussians, cameras, resolution=40)
    assert ((mesh.vertices.norm(dim=-1) - 2).abs() < 0.1).all()
    assert ((mesh.vertex_normals * mesh.vertices).sum(-1) < 0).float().mean() > 0.98


def test_cameras_around_see_all_of_the_object():
    gaussians = sphere_of_discs(500)
    cameras = cameras_around(gaussians, views=7, image_size=50)
    assert len(cameras) == 7 and (cameras.height, cameras.width) == (50, 50)
    points = gaussians.means.expand(7, -1, 3)
    pixels, depth = cameras.project(points)
    assert (depth > 0).all() and (pixels > 0).all() and (pixels < 50).all()


def test_cameras_around_do_not_mind_strays():
    gaussians = sphere_of_discs(500)
    far = discs(torch.tensor([[0.0, 80.0, 0.0]]), torch.tensor([[0.0, 1.0, 0.0]]), 0.1, torch.tensor([0.9]))
    without, given = cameras_around(gaussians, 5), cameras_around(Gaussians.cat([gaussians, far]), 5)
    torch.testing.assert_close(given.camera_to_world, without.camera_to_world)


def test_scene_with_surroundings_asks_for_cameras():
    around = sphere_of_discs(400, radius=30.0)
    with pytest.raises(ValueError, match="rather than one object; give cameras"):
        mesh_from_gaussians(Gaussians.cat([sphere_of_discs(2000), around]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_alpha": 0.0}, "min_alpha is 0"),
        ({"min_alpha": 1.5}, "min_alpha is 1"),
        ({"views": 2}, "views is 2"),
        ({"image_size": 4}, "image_size 4"),
        ({"backend": "nonsense"}, "backend is 'nonsense'"),
        ({"max_gigabytes": 1e-6}, "more than max_gigabytes"),
    ],
)
def test_settings_outside_their_meaning(options, message):
    with pytest.raises(ValueError, match=message):
        mesh_from_gaussians(sphere_of_discs(200), **{"views": 4, "image_size": 32, "resolution": 16, **options})


def test_gaussians_without_a_surface():
    with pytest.raises(ValueError, match="set of Gaussians is empty"):
        mesh_from_gaussians(sphere_of_discs(10).select(torch.zeros(10, dtype=torch.bool)))
    with pytest.raises(ValueError, match="no pixel of 4 views shows a surface: the largest alpha is 0"):
        mesh_from_gaussians(sphere_of_discs(200, (0.01, 0.02)), views=4, image_size=32)
    with pytest.raises(ValueError, match="give one set, as"):
        batch = sphere_of_discs(10)
        mesh_from_gaussians(Gaussians(**{name: getattr(batch, name)[None] for name in Gaussians.__dataclass_fields__}))
