"""Relit meshes against path-traced pictures of the same files, and against closed forms."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import trimesh
from PIL import Image

from anyviews.cameras import Cameras
from anyviews.environment import Environment
from anyviews.formats import load_views
from anyviews.formats.hdr import read_environment
from anyviews.formats.mesh_files import read_mesh
from anyviews.geometry.paths import look_at
from anyviews.mesh import Material, Mesh
from anyviews.rendering.image_quality import psnr
from anyviews.rendering.shading import relight


VIEW = 2
# What path tracing shows beyond direct light that nothing hides: shadows, interreflections; and its BRDF is another.
PSNR = {"avocado": 28.0, "boombox": 22.5}


def ball() -> Mesh:
    shape = trimesh.creation.icosphere(subdivisions=3)
    vertices = torch.from_numpy(shape.vertices).float()
    return Mesh(vertices, torch.from_numpy(shape.faces.copy()), vertex_normals=F.normalize(vertices, dim=-1))


def camera(size: int = 32) -> Cameras:
    intrinsics = torch.tensor([[1.3 * size, 0, size / 2], [0, 1.3 * size, size / 2], [0, 0, 1]])
    eye, up = torch.tensor([[0.0, 1.0, 4.0]]), torch.tensor([0.0, 1.0, 0.0])
    return look_at(eye, torch.zeros(3), up, intrinsics, size, size)


def uniform(color: float, roughness: float, metallic: float) -> Material:
    return Material(torch.full((3, 1, 1), color), torch.full((1, 1, 1), roughness), torch.full((1, 1, 1), metallic))


def picture(path) -> torch.Tensor:
    return torch.from_numpy(np.asarray(Image.open(path), np.float32) / 255).movedim(-1, 0)[None]


@pytest.mark.parametrize("name", list(PSNR))
def test_maps_line_up_with_path_traced_ones_and_light_comes_close(shared_data, name):
    folder = shared_data / "pbr_objects" / name
    description = json.loads((folder / "cameras.json").read_text())
    frame, views = description["frames"][VIEW], load_views(folder, select=[VIEW])
    environment = read_environment(shared_data / description["env_A"])
    mesh = read_mesh(folder / "object.glb")
    found = relight(mesh, environment, views.cameras, method="prefiltered")
    truth, material = picture(folder / frame["file"]), picture(folder / frame["material"])
    albedo, normals = picture(folder / frame["albedo"])[:, :3], picture(folder / frame["normal"])[:, :3] * 2 - 1
    inside = (truth[:, 3:] == 1) & (found.masks == 1)
    assert (found.masks - truth[:, 3:]).abs().mean() < 0.002
    within = inside.expand(-1, 3, -1, -1)
    assert (found.base_colors - albedo).abs()[within].mean() < 0.01
    assert (found.roughness.clamp(min=0.05) - material[:, 1:2]).abs()[inside].mean() < 0.01
    assert (found.metallic - material[:, 2:3]).abs()[inside].mean() < 0.01
    cosine = (found.normals * F.normalize(normals, dim=1)).sum(1, keepdim=True)
    assert cosine[inside].clamp(-1, 1).acos().median().rad2deg() < 0.5
    assert (found.depths - views.depths).abs()[inside].median() < 1e-4
    assert psnr(found.images, truth[:, :3], inside.float()).item() > PSNR[name]
    # another light is told apart
    other = relight(mesh, read_environment(shared_data / description["env_B"]), views.cameras, method="prefiltered")
    assert psnr(other.images, truth[:, :3], inside.float()).item() < PSNR[name] - 3


@pytest.mark.parametrize("method", ["sampled", "prefiltered"])
def test_a_white_ball_in_white_light(method):
    mesh = replace(ball(), material=uniform(1.0, 1.0, 0.0))
    found = relight(mesh, Environment(torch.full((3, 16, 32), 0.5)), camera(), method=method)
    full = found.masks == 1
    assert 0.2 < full.float().mean() < 0.7
    torch.testing.assert_close(found.radiance[:, :1][full].mean(), torch.tensor(0.49), atol=0.015, rtol=0)
    assert (found.radiance[(found.masks == 0).expand(-1, 3, -1, -1)] == 0).all()
    # towards the camera, of which the ball shows its whole half
    assert found.normals[0, :, 15:17, 15:17].mean((1, 2))[2] > 0.9
    assert found.depths.amax() < 4.2 and found.depths[found.depths > 0].amin() == pytest.approx(17**0.5 - 1, abs=0.01)
    assert found.validate() is found


def test_light_comes_from_where_the_environment_has_it():
    environment = Environment(torch.zeros(3, 32, 64))
    # red from +x, green from above, blue from -x
    directions = environment.directions()
    radiance = torch.stack([directions[..., 0] > 0.8, directions[..., 1] > 0.8, directions[..., 0] < -0.8]).float()
    mesh = replace(ball(), material=uniform(1.0, 1.0, 0.0))
    found = relight(mesh, Environment(radiance), camera()).radiance[0]
    height, width = found.shape[-2:]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    red, green, blue = ((torch.stack([rows, columns]) * channel).sum((1, 2)) / channel.sum() for channel in found)
    assert red[1] > width / 2 + 4 and blue[1] < width / 2 - 4 and green[0] < height / 2 - 4


def test_colours_of_vertices_and_meshes_without_any():
    mesh, light = ball(), Environment(torch.ones(3, 8, 16))
    red = replace(mesh, vertex_colors=torch.tensor([1.0, 0.0, 0.0]).expand(len(mesh.vertices), 3))
    found = relight(red, light, camera(), method="prefiltered")
    assert found.base_colors[0, :, 16, 16].tolist() == pytest.approx([1, 0, 0], abs=1e-3)
    tinted = replace(red, material=uniform(0.5, 0.5, 0.0))
    assert relight(tinted, light, camera(), method="prefiltered").base_colors[0, :, 16, 16].tolist() == pytest.approx(
        [0.5, 0, 0], abs=1e-3
    )
    flat = relight(replace(mesh, vertex_normals=None), light, camera(), method="prefiltered")
    assert flat.base_colors[0, 0, 16, 16] > 0.5
    assert F.cosine_similarity(flat.normals, found.normals)[found.masks[:, 0] == 1].min() > 0.97


def test_both_sides_of_a_face_are_lit():
    square = torch.tensor([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    for order in (faces, faces.flip(1)):
        mesh = Mesh(
            square, order, vertex_normals=torch.tensor([0.0, 0.0, 1.0]).expand(4, 3) * (1 if order is faces else -1)
        )
        found = relight(mesh, Environment(torch.ones(3, 8, 16)), camera(), method="prefiltered")
        assert found.normals[0, 2, 16, 16] > 0.99 and found.radiance[0, 0, 16, 16] > 0.3


def test_more_samples_of_a_pixel_smooth_its_border():
    coarse, fine = (
        relight(ball(), Environment(torch.ones(3, 8, 16)), camera(), "prefiltered", supersampling=n) for n in (1, 4)
    )
    assert set(coarse.masks.unique().tolist()) == {0, 1} and len(fine.masks.unique()) > 8
    assert abs(float(coarse.masks.mean() - fine.masks.mean())) < 0.02
    assert torch.equal(coarse.depths, fine.depths)


def test_what_cannot_be_rendered_is_refused():
    mesh, light = ball(), Environment(torch.ones(3, 8, 16))
    with pytest.raises(ValueError, match="supersampling is 0"):
        relight(mesh, light, camera(), supersampling=0)
    with pytest.raises(ValueError, match="NaN, infinite or negative"):
        relight(mesh, Environment(torch.full((3, 8, 16), torch.nan)), camera())
