"""Depth maps of shapes with closed forms become meshes on these shapes."""

import numpy as np
import pytest
import torch
import trimesh
from depth_shapes import (
    box_depth,
    box_distance,
    cameras_on_sphere,
    colors_at,
    images_of,
    lens,
    plane_depth,
    sphere_depth,
)
from scipy.spatial import cKDTree

from anyviews.data.world import render_world
from anyviews.formats import load_views
from anyviews.geometry.paths import look_at
from anyviews.mesh import Mesh
from anyviews.rendering.surfaces import tsdf
from anyviews.rendering.surfaces.fusion import fuse_depths, mesh_from_scene
from anyviews.scene import Scene


RESOLUTION = 48
BOX = torch.tensor([0.8, 0.6, 0.5])


def as_trimesh(mesh: Mesh) -> trimesh.Trimesh:
    return trimesh.Trimesh(mesh.vertices.numpy(), mesh.faces.numpy(), process=False)


def seen_sphere(views: int = 12, size: int = 96):
    cameras = cameras_on_sphere(views, size)
    depths = sphere_depth(cameras)
    return images_of(cameras, depths), depths, cameras


@pytest.fixture(scope="module")
def sphere() -> Mesh:
    return fuse_depths(*seen_sphere(), resolution=RESOLUTION)


def test_sphere_seen_all_around_is_closed_and_faces_outwards(sphere):
    solid = as_trimesh(sphere.validate())
    assert solid.is_watertight and solid.body_count == 1
    assert solid.volume == pytest.approx(4.18879, rel=5e-3)


def test_sphere_is_a_small_part_of_a_voxel_off(sphere):
    distance = (sphere.vertices.norm(dim=-1) - 1).abs() / (2 / RESOLUTION)
    assert distance.mean() < 0.05 and distance.max() < 0.25


def test_normals_of_a_sphere_point_outwards(sphere):
    cosine = (sphere.vertex_normals * torch.nn.functional.normalize(sphere.vertices, dim=-1)).sum(-1)
    degrees = torch.rad2deg(cosine.clamp(-1, 1).arccos())
    assert degrees.mean() < 2 and degrees.max() < 12


def test_colors_of_a_sphere(sphere):
    error = (sphere.vertex_colors - colors_at(sphere.vertices)).abs()
    assert error.mean() < 1e-3 and error.max() < 0.02


def test_box_with_masks_is_closed():
    cameras = cameras_on_sphere(20, 96)
    depths = box_depth(cameras, BOX)
    mesh = fuse_depths(None, depths, cameras, masks=(depths > 0).float(), resolution=RESOLUTION)
    assert mesh.vertex_colors is None and as_trimesh(mesh).is_watertight
    assert as_trimesh(mesh).volume == pytest.approx(8 * BOX.prod().item(), rel=0.01)
    distance = box_distance(mesh.vertices, BOX).abs() / (1.6 / RESOLUTION)
    assert distance.mean() < 0.05 and distance.max() < 0.6  # edges are rounded


def test_thin_plate_keeps_both_sides():
    half = torch.tensor([0.8, 0.6, 0.06])
    cameras = cameras_on_sphere(20, 128)
    depths = box_depth(cameras, half)
    mesh = fuse_depths(None, depths, cameras, masks=(depths > 0).float(), resolution=RESOLUTION)  # 3.6 voxels thick
    assert box_distance(mesh.vertices, half).abs().mean() < 0.1 * 1.6 / RESOLUTION
    assert as_trimesh(mesh).volume == pytest.approx(8 * half.prod().item(), rel=0.05)


def test_room_seen_from_inside_faces_inwards():
    half = torch.tensor([2.5, 1.4, 2.0])
    generator = torch.Generator().manual_seed(1)
    eyes = (2 * torch.rand(14, 3, generator=generator) - 1) * torch.tensor([1.2, 0.5, 1.0])
    ways = torch.randn(14, 3, generator=generator) * torch.tensor([1.0, 0.6, 1.0])
    cameras = look_at(eyes, eyes + ways, torch.tensor([0.0, -1.0, 0.0]), lens(96, 90), 96, 96)
    mesh = fuse_depths(None, box_depth(cameras, half, inside=True), cameras, resolution=64)
    distance = box_distance(mesh.vertices, half).abs() / (5 / 64)
    assert distance.mean() < 0.06 and distance.max() < 1
    inwards = (mesh.vertex_normals * mesh.vertices).sum(-1) < 0
    assert inwards.float().mean() > 0.99
    assert as_trimesh(mesh).volume < 0


def test_slanted_floor_is_exact_and_open():
    normal = torch.nn.functional.normalize(torch.tensor([0.05, -1.0, 0.02]), dim=0)
    cameras = look_at(
        torch.tensor([[0.0, -1.5, 0.0]]), torch.tensor([0.2, -1.2, 3.0]), -normal, lens(128, 60), 128, 128
    )
    depths = plane_depth(cameras, normal, 0.0)
    depths = torch.where(depths < 6, depths, 0)
    mesh = fuse_depths(None, depths, cameras, voxel_size=0.05)
    assert ((mesh.vertices @ normal).abs() < 1e-3).all()
    assert (mesh.vertex_normals @ normal > 0.999).all()
    assert as_trimesh(mesh).body_count == 1


@pytest.mark.parametrize("resolution", [40, 90])
def test_no_walls_between_an_edge_and_what_lies_behind(resolution):
    cameras = cameras_on_sphere(12, 120)[:1]
    forward = cameras.rotation[0, :, 2]
    ball, wall = sphere_depth(cameras, 0.6), plane_depth(cameras, forward, 1.5)
    mesh = fuse_depths(None, torch.where(ball > 0, ball, wall), cameras, resolution=resolution)
    distance = torch.minimum((mesh.vertices.norm(dim=-1) - 0.6).abs(), (mesh.vertices @ forward - 1.5).abs())
    assert distance.max() < 0.5 * 3.4 / resolution
    assert not as_trimesh(mesh).is_watertight
    on_wall = mesh.vertices @ forward > 1
    assert (mesh.vertex_normals[on_wall] @ forward < -0.95).all()
    ends = as_trimesh(mesh).split(only_watertight=False)
    assert len(ends) >= 2  # the ball does not hang together with the wall


def test_unknown_pixels_say_nothing_and_empty_ones_clear_space():
    eyes = torch.tensor([[0.0, 0.0, 3.2], [3.2, 0.0, 0.0]])
    cameras = look_at(eyes, torch.zeros(3), torch.tensor([0.0, 1.0, 0.0]), lens(96), 96, 96)
    depths = sphere_depth(cameras, 0.6)
    patch = torch.zeros_like(depths)
    patch[0, 0, 8:18, 43:53] = 1
    stray = torch.where(patch > 0, 3.2, depths)  # in the air above the sphere, where the other view sees nothing
    options = {"resolution": RESOLUTION, "min_part": 0}

    def highest(**pixels) -> float:
        return fuse_depths(None, stray, cameras, **pixels, **options).vertices[:, 1].max().item()

    assert highest() > 0.75
    assert highest(masks=(depths > 0) + patch) < 0.63
    assert highest(weights=1 - patch) < 0.63


def test_weights_decide_between_views_that_disagree():
    cameras = cameras_on_sphere(12, 64)
    depths = torch.cat([sphere_depth(cameras, 1.0), sphere_depth(cameras, 0.97)])
    from_both = type(cameras).cat([cameras, cameras])
    weights = torch.ones_like(depths)
    weights[12:] = 0.01
    options = {"resolution": 32, "bounds": (torch.full((3,), -1.2), torch.full((3,), 1.2))}
    equal = fuse_depths(None, depths, from_both, **options).vertices.norm(dim=-1).mean()
    first = fuse_depths(None, depths, from_both, weights=weights, **options).vertices.norm(dim=-1).mean()
    assert 0.975 < equal < 0.992 and first > 0.997
    scaled = fuse_depths(None, depths, from_both, weights=1000 * weights, **options)
    assert scaled.vertices.norm(dim=-1).mean() == pytest.approx(first.item(), abs=1e-5)


def test_blocks_that_are_left_out_do_not_matter(monkeypatch):
    cameras = cameras_on_sphere(12, 64)[:3]
    depths = box_depth(cameras, BOX)
    sparse = fuse_depths(None, depths, cameras, resolution=40)
    filled = []
    monkeypatch.setattr(
        tsdf,
        "_near_surface",
        lambda surface, grid, truncation: torch.ones(grid.blocks[0] * grid.blocks[1] * grid.blocks[2]).bool(),
    )
    monkeypatch.setattr(tsdf, "check_memory", lambda grid, count, limit: filled.append(count))
    dense = fuse_depths(None, depths, cameras, resolution=40)
    assert max(filled) > 0
    torch.testing.assert_close(sparse.vertices, dense.vertices)
    assert torch.equal(sparse.faces, dense.faces)


def test_mesh_moves_with_the_world():
    images, depths, cameras = seen_sphere(8, 64)
    shift = torch.tensor([100.0, -50.0, 20.0])
    pose = cameras.camera_to_world.clone()
    pose[:, :3, 3] += shift
    moved = type(cameras)(cameras.intrinsics, pose, cameras.image_sizes)
    mesh = fuse_depths(images, depths, moved, resolution=32)
    assert ((mesh.vertices - shift).norm(dim=-1) - 1).abs().mean() < 0.1 * 2 / 32


@pytest.mark.parametrize("seed", [0, 1])
def test_procedural_rooms_are_where_their_depth_is(seed):
    world = render_world(torch.tensor([seed]), views=6, height=72, width=96)
    room = world.scene(0)
    mesh = fuse_depths(room.images, room.depths, room.cameras, resolution=96)
    points = Scene(room.cameras, room.images, room.depths).point_cloud()
    voxel = (points.positions.amax(0) - points.positions.amin(0)).max().item() / 96
    distance, nearest = cKDTree(points.positions).query(mesh.vertices)
    assert np.median(distance) < voxel and np.quantile(distance, 0.99) < 4 * voxel  # points lie voxels apart
    error = (mesh.vertex_colors - points.colors[torch.from_numpy(nearest)]).abs()
    assert error.median() < 0.03


def test_rendered_object_with_known_shape(shared_data):
    folder = shared_data / "pbr_objects" / "avocado"
    views = load_views(folder)
    mesh = fuse_depths(views.images, views.depths, views.cameras, masks=views.masks, resolution=96)
    truth, _ = trimesh.sample.sample_surface(trimesh.load(folder / "object.glb", force="mesh"), 100_000, seed=0)
    distance, _ = cKDTree(truth).query(mesh.vertices)
    assert distance.mean() < 0.25 * 2 / 96  # half of it is the spacing of the samples
    assert as_trimesh(mesh).body_count == 1


def test_scene_is_fused_with_the_weights_of_its_uncertainty():
    images, depths, cameras = seen_sphere(8, 48)
    uncertainty = torch.rand(depths.shape, generator=torch.Generator().manual_seed(0))
    scene = Scene(cameras, images, depths, uncertainty)
    weighted = fuse_depths(images, depths, cameras, weights=torch.exp(-uncertainty), resolution=24)
    assert torch.equal(mesh_from_scene(scene, resolution=24).vertices, weighted.vertices)
    with pytest.raises(ValueError, match="no depths to fuse"):
        mesh_from_scene(Scene(cameras, images))
