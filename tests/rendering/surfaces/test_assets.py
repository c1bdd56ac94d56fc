"""From fields of distance and material to a textured mesh."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
import trimesh
from scipy import ndimage

from anyviews.environment import Environment
from anyviews.geometry.paths import look_at
from anyviews.mesh import Mesh
from anyviews.rendering.meshes.rasterize import rasterize_texture
from anyviews.rendering.shading import SurfaceMaterials, relight
from anyviews.rendering.surfaces.assets import extract_asset, extract_surface, sample_distances, smooth_normals
from anyviews.rendering.surfaces.cavities import fill_cavities
from anyviews.rendering.surfaces.texturing import texture_mesh, unwrap
from anyviews.scene import Scene


LOW, HIGH = torch.full((3,), -0.5), torch.full((3,), 0.5)
RADIUS = 0.35


def ball_distance(points):
    return points.norm(dim=-1) - RADIUS


def painted(points):
    """Colours that say where a point is, and normals that the ball does not have."""
    colors = (points + 0.5).clamp(0, 1)
    bent = F.normalize(F.normalize(points, dim=-1) + 0.2 * torch.sin(30 * points.roll(1, -1)), dim=-1)
    return SurfaceMaterials(colors, 0.2 + 0.5 * colors[:, :1], 1 - colors[:, 1:2], bent)


@pytest.fixture(scope="module")
def asset() -> Mesh:
    return extract_asset(
        ball_distance, painted, LOW, HIGH, resolution=48, texture_size=256, max_faces=1500, smoothing=2
    )


def test_an_asset_has_few_faces_a_closed_surface_and_valid_textures(asset):
    asset.validate()
    assert 1000 < len(asset) <= 1500 and asset.vertex_colors is None
    places = asset.texture_coordinates
    assert places.min() >= 0 and places.max() <= 1
    _, welded = asset.vertices.unique(dim=0, return_inverse=True)
    closed = trimesh.Trimesh(torch.unique(asset.vertices, dim=0).numpy(), welded[asset.faces].numpy(), process=False)
    assert closed.is_watertight and closed.volume == pytest.approx(4 / 3 * torch.pi * RADIUS**3, rel=0.02)
    assert (asset.vertices.norm(dim=-1) - RADIUS).abs().max() < 0.01
    assert F.cosine_similarity(asset.vertex_normals, asset.vertices).min() > 0.97


def test_vertices_on_seams_share_their_normals(asset):
    _, welded, counts = asset.vertices.unique(dim=0, return_inverse=True, return_counts=True)
    assert (counts > 1).sum() > 20
    mean = torch.zeros(len(counts), 3).index_add_(0, welded, asset.vertex_normals) / counts[:, None]
    torch.testing.assert_close(mean[welded], asset.vertex_normals, atol=1e-6, rtol=0)


def test_pictures_show_what_the_field_says_at_the_surface(asset):
    """Base colours, roughness, metallic and normals at pixels, against the field at the points they see."""
    intrinsics = torch.tensor([[130.0, 0, 48], [0, 130, 48], [0, 0, 1]])
    eyes = torch.tensor([[0.3, 0.5, 1.2], [-1.0, -0.7, -0.3]])
    cameras = look_at(eyes, torch.zeros(3), torch.tensor([0.0, 1.0, 0.0]), intrinsics, 96, 96)
    light = Environment(torch.ones(3, 8, 16))
    found = relight(asset, light, cameras, method="prefiltered", supersampling=1)
    seen = found.masks[:, 0] == 1
    points = Scene(cameras, depths=found.depths).point_cloud().positions
    expected = painted(points)
    for name in ("base_colors", "roughness", "metallic"):
        error = (getattr(found, name).movedim(1, -1)[seen] - getattr(expected, name)).abs()
        assert error.quantile(0.99) < 0.01 and error.max() < 0.1
    angle = F.cosine_similarity(found.normals.movedim(1, -1)[seen], expected.normals).clamp(-1, 1).acos().rad2deg()
    assert angle.median() < 1.5 and angle.quantile(0.99) < 8
    # the texture of normals is what does it
    plain = replace(asset, material=replace(asset.material, normals=None))
    smooth = relight(plain, light, cameras, method="prefiltered", supersampling=1).normals.movedim(1, -1)[seen]
    assert F.cosine_similarity(smooth, expected.normals).clamp(-1, 1).acos().rad2deg().median() > 5


def test_texels_beyond_the_islands_repeat_them(asset):
    """No texel is left black: interpolation and mipmaps would show it at the seams."""
    colors = asset.material.base_color
    # every colour of the ball's surface has one channel well above this
    assert colors.amax(0).min() > 0.25
    assert (asset.material.normals.square().sum(0).sqrt() - 1).abs().max() < 1e-5
    assert (asset.material.normals[2] > 0).all()


def test_cavities_are_filled_and_hollows_stay():
    axis = torch.linspace(-1, 1, 41)
    points = torch.cartesian_prod(axis, axis, axis)
    solid = points.norm(dim=-1) - 0.7
    bubble = 0.2 - (points - torch.tensor([0.1, 0.2, 0.0])).norm(dim=-1)
    dent = 0.3 - (points - torch.tensor([0.7, 0.0, 0.0])).norm(dim=-1)
    distances = torch.maximum(torch.maximum(solid, bubble), dent).reshape(41, 41, 41)
    without = torch.maximum(solid, dent).reshape(41, 41, 41)
    filled = fill_cavities(distances)
    assert torch.equal(filled > 0, without > 0)
    assert torch.equal(filled.abs(), distances.abs())
    voxel, origin = 0.05, torch.full((3,), -1.0)
    mesh = extract_surface(distances, origin, voxel, max_faces=10_000, smoothing=0)
    assert (mesh.vertices - torch.tensor([0.1, 0.2, 0.0])).norm(dim=-1).min() > 0.25
    with pytest.raises(ValueError, match="corners of the grid are inside"):
        fill_cavities(-distances.abs() - 1)


def test_grids_cover_the_box():
    high = torch.tensor([0.5, 0.1, 0.3])
    values, size = sample_distances(ball_distance, LOW, high, 20)
    assert size == pytest.approx(0.05) and values.shape == (21, 13, 17)
    torch.testing.assert_close(values[0, 0, 0], LOW.norm() - RADIUS)
    torch.testing.assert_close(values[20, 12, 16], high.norm() - RADIUS)
    with pytest.raises(ValueError, match="resolution is 1"):
        sample_distances(ball_distance, LOW, HIGH, 1)
    with pytest.raises(ValueError, match="no surface"):
        extract_surface(values.abs() + 1, LOW, size)


def test_smooth_normals_of_a_box_point_out_of_its_corners():
    box = trimesh.creation.box()
    vertices = torch.from_numpy(box.vertices).float()
    normals = smooth_normals(vertices, torch.from_numpy(box.faces.copy()))
    # by angle, not by the number of triangles
    torch.testing.assert_close(normals, F.normalize(vertices, dim=-1), atol=1e-6, rtol=0)


def test_unwrapping_keeps_the_mesh_and_uses_every_texel_once():
    ball = trimesh.creation.icosphere(subdivisions=2)
    vertices = torch.from_numpy(ball.vertices).float()
    mesh = Mesh(vertices, torch.from_numpy(ball.faces.copy()), vertices.abs(), vertices)
    unwrapped = unwrap(mesh, 128)
    assert len(unwrapped) == len(mesh)
    torch.testing.assert_close(unwrapped.vertices.abs(), unwrapped.vertex_colors)
    corners = mesh.vertices[mesh.faces].sum(1)
    found = unwrapped.vertices[unwrapped.faces].sum(1)
    assert torch.cdist(corners, found, compute_mode="donot_use_mm_for_euclid_dist").amin(1).max() < 1e-6
    (ax, ay), (bx, by) = (
        (unwrapped.texture_coordinates[unwrapped.faces[:, k]] - unwrapped.texture_coordinates[unwrapped.faces[:, 0]]).T
        for k in (1, 2)
    )
    areas = (ax * by - ay * bx).abs() / 2
    covered = rasterize_texture(unwrapped, 512).masks.mean()
    # islands that overlapped would cover less than their faces' areas add up to
    assert 0.3 < areas.sum() < 1 and covered.item() == pytest.approx(areas.sum().item(), rel=0.01)


@pytest.mark.parametrize("unit", [1e-9, 1e-3, 1e6])
def test_worlds_of_any_unit(unit):
    ball = trimesh.creation.icosphere(subdivisions=2)
    mesh = Mesh(torch.from_numpy(ball.vertices).float() * unit, torch.from_numpy(ball.faces.copy()))
    textured = texture_mesh(mesh, lambda points: painted(points / unit / 4), 64)
    assert len(textured) == len(mesh) and textured.vertices.amax() == mesh.vertices.amax()
    assert rasterize_texture(textured, 64).masks.mean() > 0.2
    colors = textured.base_colors_at_vertices()
    torch.testing.assert_close(colors, textured.vertices / unit / 4 + 0.5, atol=0.06, rtol=0)


@pytest.mark.parametrize("size", [64, 256])
def test_islands_are_apart_in_long_objects_too(size):
    """Texels are about square, and no two islands touch: between two of them lie as many texels as were asked for."""
    box = trimesh.creation.box((10, 0.5, 0.5))
    unwrapped = unwrap(Mesh(torch.from_numpy(box.vertices).float(), torch.from_numpy(box.faces.copy())), size)
    covered = (rasterize_texture(unwrapped, size).faces[0] >= 0).numpy()
    parts, count = ndimage.label(covered)
    assert count >= 4
    for part in range(1, count + 1):
        others = covered & (parts != part)
        assert ndimage.distance_transform_edt(~others)[parts == part].min() >= 3
    edges = unwrapped.vertices[unwrapped.faces].diff(dim=1).norm(dim=-1)
    flat = unwrapped.texture_coordinates[unwrapped.faces].diff(dim=1).norm(dim=-1)
    # faces keep their shape but for the rounding of islands to whole texels
    ratio = flat / edges
    assert (ratio[:, 0] / ratio[:, 1] - 1).abs().max() < 0.25


def test_textures_too_small_for_a_surface_and_surfaces_too_small_for_a_texture():
    soup = Mesh(torch.randn(1500, 3), torch.arange(1500).reshape(-1, 3))
    with pytest.raises(ValueError, match="islands do not fit into a texture of 16x16 texels"):
        unwrap(soup, 16)
    with pytest.raises(ValueError, match="at one point"):
        unwrap(Mesh(torch.ones(3, 3), torch.tensor([[0, 1, 2]])), 64)


def test_fields_without_normals_and_wrong_fields():
    ball = trimesh.creation.icosphere(subdivisions=1)
    mesh = Mesh(torch.from_numpy(ball.vertices).float(), torch.from_numpy(ball.faces.copy()))
    plain = texture_mesh(mesh, lambda points: replace(painted(points), normals=None), 32)
    assert plain.material.normals is None and plain.validate()
    # no vertex normals, no frames to hold normals in
    assert texture_mesh(mesh, painted, 32).material.normals is None
    with pytest.raises(ValueError, match=r"materials of \d+ points for \d+"):
        texture_mesh(mesh, lambda points: painted(points)[1:], 32)
    with pytest.raises(ValueError, match="texture size is 4"):
        texture_mesh(mesh, painted, 4)
