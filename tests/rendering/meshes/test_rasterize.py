"""The mesh rasteriser against rays through every pixel's centre."""

import time
from dataclasses import replace

import pytest
import torch
import trimesh
from hypothesis import given
from strategies import property_settings, random_cameras, seeds

from anyviews.cameras import Cameras
from anyviews.geometry.paths import look_at
from anyviews.geometry.rays import pixel_centers
from anyviews.mesh import Mesh
from anyviews.rendering.meshes import rasterize
from anyviews.rendering.meshes.rasterize import rasterize_texture


def random_mesh(seed: int, faces: int = 60) -> Mesh:
    """Triangles of all sizes around the origin, some of them behind, beside or across the cameras."""
    generator = torch.Generator().manual_seed(seed)
    corners = 2 * torch.randn(faces, 1, 3, generator=generator) + torch.randn(faces, 3, 3, generator=generator)
    return Mesh(corners.reshape(-1, 3), torch.arange(3 * faces).reshape(-1, 3))


def ball(subdivisions: int) -> Mesh:
    shape = trimesh.creation.icosphere(subdivisions=subdivisions)
    return Mesh(torch.from_numpy(shape.vertices).float(), torch.from_numpy(shape.faces.copy()))


def camera_in_front(size: int, distance: float = 3.0) -> Cameras:
    intrinsics = torch.tensor([[1.2 * size, 0, size / 2], [0, 1.2 * size, size / 2], [0, 0, 1]])
    eye = torch.tensor([[0.3, 0.5, 1.0]]) * distance
    return look_at(eye, torch.zeros(3), torch.tensor([0.0, 1.0, 0.0]), intrinsics, size, size)


def along_rays(mesh: Mesh, camera: Cameras, near: float):
    """Depth [H, W], face and barycentric coordinates of the nearest hit (Möller and Trumbore, 1997), in float64."""
    camera = camera.to(dtype=torch.float64)
    pixels = pixel_centers(camera.height, camera.width).double()
    ends = camera.unproject(pixels.reshape(-1, 2), torch.ones(pixels[..., 0].numel(), dtype=torch.float64))
    directions = (ends - camera.centers)[:, None]  # of z-depth 1
    a, b, c = mesh.vertices.double()[mesh.faces].unbind(1)
    across = torch.linalg.cross(directions, (c - a)[None].expand(len(directions), -1, 3), dim=-1)
    volume = ((b - a) * across).sum(-1)
    offset = camera.centers - a
    v = (offset * across).sum(-1) / volume
    other = torch.linalg.cross(offset, b - a, dim=-1)
    w = (directions * other).sum(-1) / volume
    depth = ((c - a) * other).sum(-1) / volume
    hit = (v >= 0) & (w >= 0) & (v + w <= 1) & (depth >= near)
    depth, face = torch.where(hit, depth, torch.inf).min(dim=1)
    rows = torch.arange(len(face))
    weights = torch.stack([1 - v - w, v, w], dim=-1)[rows, face]
    shape = (camera.height, camera.width)
    return depth.reshape(shape), face.reshape(shape), weights.reshape(*shape, 3)


@given(seeds)
@property_settings
def test_pixels_show_what_their_rays_hit_first(seed):
    """Also where triangles pass through the camera's plane."""
    mesh, cameras = random_mesh(seed), random_cameras(seed, 2, dtype=torch.float32)
    found = rasterize(mesh, cameras, near=0.05)
    for view, camera in enumerate(cameras):
        depth, face, weights = along_rays(mesh, camera, 0.05)
        covered = found.faces[view] >= 0
        assert (covered == depth.isfinite()).float().mean() > 0.998
        same = covered & (found.faces[view] == face)
        assert same.sum() >= 0.995 * covered.sum()
        torch.testing.assert_close(found.depths[view, 0][same].double(), depth[same], rtol=1e-5, atol=0)
        torch.testing.assert_close(found.barycentrics[view][same].double(), weights[same], rtol=0, atol=1e-4)
        assert (found.depths[view, 0][~covered] == 0).all()


def test_interpolated_positions_are_the_points_at_their_depth():
    mesh, camera = ball(3), camera_in_front(64)
    fragments = rasterize(mesh, camera)
    covered = fragments.faces[0] >= 0
    assert 0.2 < covered.float().mean() < 0.8
    assert torch.equal(fragments.masks[0, 0] == 1, covered)
    positions = fragments.interpolate(mesh.vertices, mesh)
    pixels = pixel_centers(64, 64)[covered]
    expected = camera[0].unproject(pixels, fragments.depths[0, 0][covered])
    torch.testing.assert_close(positions, expected, rtol=0, atol=2e-6)
    torch.testing.assert_close(fragments.barycentrics[0][covered].sum(-1), torch.ones(len(positions)))


def test_shared_edges_through_pixel_centres_leave_no_gaps():
    """A square of triangles whose edges and corners lie exactly on pixels' centres, seen head on."""
    side = 9
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    vertices = torch.stack([x, y, torch.full_like(x, 16)], dim=-1).reshape(-1, 3).float()
    corner = (y[:-1, :-1] * side + x[:-1, :-1]).reshape(-1)
    faces = torch.cat(
        [
            torch.stack([corner, corner + 1, corner + side + 1], -1),
            torch.stack([corner, corner + side + 1, corner + side], -1),
        ]
    )
    intrinsics = torch.tensor([[[16.0, 0, 4.5], [0, 16, 4.5], [0, 0, 1]]])
    camera = Cameras.create(intrinsics, torch.eye(4)[None], 16, 16)
    covered = rasterize(Mesh(vertices, faces), camera).faces[0] >= 0
    expected = torch.zeros(16, 16, dtype=torch.bool)
    expected[4:13, 4:13] = True
    assert torch.equal(covered, expected)


def test_threads_and_runs_do_not_matter():
    mesh, camera = random_mesh(3, 500), random_cameras(3, 1, height=150, width=100, dtype=torch.float32)
    threads, results = torch.get_num_threads(), []
    try:
        for count in (1, 3, 1):
            torch.set_num_threads(count)
            results.append(rasterize(mesh, camera))
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert torch.equal(other.faces, results[0].faces) and torch.equal(other.depths, results[0].depths)
        assert torch.equal(other.barycentrics, results[0].barycentrics)


def test_of_equally_near_faces_the_first_is_seen():
    mesh = ball(1)
    doubled = replace(mesh, faces=torch.cat([mesh.faces, mesh.faces]))
    fragments = rasterize(doubled, camera_in_front(32))
    assert fragments.faces.max() < len(mesh)


def test_worlds_of_any_unit():
    mesh, camera = ball(2), camera_in_front(48)
    expected = rasterize(mesh, camera)
    for unit in (1e-6, 1e6):
        found = rasterize(replace(mesh, vertices=mesh.vertices * unit), camera.scaled(unit))
        assert (found.faces == expected.faces).float().mean() > 0.999
        torch.testing.assert_close(found.depths.amax(), expected.depths.amax() * unit)


def test_texels_know_their_faces():
    places = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    mesh = Mesh(torch.randn(3, 3), torch.tensor([[0, 1, 2]]), texture_coordinates=places)
    fragments = rasterize_texture(mesh, 16)
    row, column = torch.meshgrid(torch.arange(16) + 0.5, torch.arange(16) + 0.5, indexing="ij")
    assert torch.equal(fragments.faces[0] == 0, row + column <= 16)
    found = fragments.interpolate(places, mesh)
    expected = torch.stack([column, row], dim=-1)[row + column <= 16] / 16
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_no_face_in_sight():
    mesh, camera = ball(1), camera_in_front(24)
    behind = replace(mesh, vertices=mesh.vertices + 10 * camera.centers)
    assert (rasterize(behind, camera).faces == -1).all()


@pytest.mark.parametrize("near", [0.0, -1.0, float("inf"), float("nan")])
def test_near_planes_that_cannot_be_are_refused(near):
    with pytest.raises(ValueError, match="accepted are positive z-depths"):
        rasterize(ball(1), camera_in_front(8), near=near)


def test_cameras_need_one_batch_dimension():
    for wrong in (camera_in_front(8)[0], camera_in_front(8)[:0]):
        with pytest.raises(ValueError, match=r"accepted is \[V\]"):
            rasterize(ball(1), wrong)


def test_speed():
    """20 480 faces at 512x512 take 0.02 s of one quiet core; a factor of 5 covers a busy one."""
    mesh, camera = ball(5), camera_in_front(512)
    rasterize(mesh, camera)
    seconds = []
    for _ in range(5):
        start = time.process_time()
        rasterize(mesh, camera)
        seconds.append(time.process_time() - start)
    assert len(mesh) == 20_480 and min(seconds) < 0.1
