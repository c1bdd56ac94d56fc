"""Light on surfaces against closed forms and brute force."""

import math

import pytest
import torch
import torch.nn.functional as F

from anyviews.data.world.lighting.draw import Draw
from anyviews.data.world.lighting.random_environments import random_environments
from anyviews.data.world.objects.designs.shapes import ball, box, cylinder
from anyviews.data.world.objects.field import distance, normals
from anyviews.data.world.objects.grid import CELL, EXTENT, RESOLUTION, Grid, normalized, sampled
from anyviews.data.world.objects.parts import pack
from anyviews.data.world.objects.shading import cone_visibility, shade, shadow
from anyviews.environment import Environment
from anyviews.rendering.shading.ggx import environment_reflectance, gltf_brdf, tangents
from anyviews.rendering.shading.light import Light


OPEN = Grid(torch.full((1, 1, RESOLUTION, RESOLUTION, RESOLUTION), 9.0))
BASE = torch.tensor([0.8, 0.5, 0.2])


def unit(seed: int, count: int) -> torch.Tensor:
    return F.normalize(torch.randn(1, count, 3, generator=torch.Generator().manual_seed(seed)), dim=-1)


def views_of(normals: torch.Tensor) -> torch.Tensor:
    """Directions to cameras that see surfaces with these normals."""
    return F.normalize(normals + 0.8 * unit(99, normals.shape[1]), dim=-1)


def materials(count: int, roughness: float, metallic: float, base: torch.Tensor = BASE) -> torch.Tensor:
    return torch.cat([base, torch.tensor([roughness, metallic])]).expand(1, count, 5)


def smooth_environment() -> torch.Tensor:
    directions = Environment(torch.ones(3, 64, 128)).directions()
    x, y, z = directions.unbind(-1)
    return torch.stack([1 + 0.5 * x, 1 + 0.6 * y + 0.3 * z * z, 1.2 - 0.7 * z * x])[None]


def integrated(radiance, normals, to_camera, roughness: float, metallic: float) -> torch.Tensor:
    """The material of glTF summed over all pixels of an environment."""
    environment = Environment(radiance[0])
    lights, weights = environment.directions().flatten(0, 1), environment.solid_angles().flatten()
    sums = []
    for normal, view in zip(normals[0], to_camera[0], strict=True):
        reflected = gltf_brdf(
            BASE.expand_as(lights),
            torch.full((len(lights), 1), roughness),
            torch.full((len(lights), 1), metallic),
            normal.expand_as(lights),
            view.expand_as(lights),
            lights,
        )
        cosine = (lights @ normal).clamp(min=0) * weights
        sums.append((reflected * radiance[0].flatten(1).T * cosine[:, None]).sum(0))
    return torch.stack(sums)


@pytest.mark.parametrize("roughness", [0.3, 0.6, 1.0])
@pytest.mark.parametrize("metallic", [0.0, 1.0])
def test_constant_light_gives_the_integral_of_the_material(roughness, metallic):
    normals = unit(0, 40)
    to_camera = views_of(normals)
    radiance = torch.ones(1, 3, 64, 128)
    light = Light.from_environments(radiance)
    found = shade(light, OPEN, normals, normals, to_camera, materials(40, roughness, metallic))
    expected = integrated(radiance, normals, to_camera, roughness, metallic)
    torch.testing.assert_close(found[0], expected, rtol=0.015, atol=0.003)


@pytest.mark.parametrize(
    ("roughness", "metallic", "error"), [(0.4, 0.0, 0.01), (0.9, 0.0, 0.01), (0.5, 1.0, 0.05), (0.9, 1.0, 0.06)]
)
def test_varying_light_is_close_to_the_integral(roughness, metallic, error):
    normals = unit(1, 60)
    to_camera = views_of(normals)
    radiance = smooth_environment()
    light = Light.from_environments(radiance)
    found = shade(light, OPEN, normals, normals, to_camera, materials(60, roughness, metallic))[0]
    expected = integrated(radiance, normals, to_camera, roughness, metallic)
    relative = (found - expected).abs() / expected.mean()
    assert relative.mean() < error
    assert abs(float(found.mean() / expected.mean()) - 1) < 0.01
    # and it would not be by chance
    assert (found - expected.roll(1, 0)).abs().mean() > 2 * (found - expected).abs().mean()


def test_lambert_surfaces_under_constant_light_show_their_base_colour():
    light = Light.from_environments(torch.ones(1, 3, 64, 128))
    torch.testing.assert_close(light.irradiance(unit(2, 200)), torch.ones(1, 200, 3), atol=1e-5, rtol=0)
    assert light.key_irradiance.abs().max() < 1e-5
    # white, rough and not metallic: nearly all light comes back
    facing = unit(3, 200)
    white = shade(light, OPEN, facing, facing, views_of(facing), materials(200, 1.0, 0.0, torch.ones(3)))
    assert white.min() > 0.9 and white.max() < 1.05


def test_diffuse_light_is_the_cosine_convolution():
    numbers = torch.rand(399, generator=torch.Generator().manual_seed(3)).tolist()
    radiance = random_environments([Draw([0.2, *numbers])], "cpu")
    light = Light.from_environments(radiance)
    environment = Environment(radiance[0])
    normals = unit(4, 50)
    cosine = (normals[0] @ environment.directions().flatten(0, 1).T).clamp(min=0)
    expected = (cosine * environment.solid_angles().flatten()) @ radiance[0].flatten(1).T / math.pi
    found = light.irradiance(normals)[0]
    for index in range(light.key_directions.shape[1]):
        facing = (normals[0] @ light.key_directions[0, index]).clamp(min=0)
        found = found + facing[:, None] * light.key_irradiance[0, index]
    # key lights gather a small spot into one direction
    assert ((found - expected).abs() / expected).mean() < 0.02


def test_mirrors_show_the_environment_where_they_reflect():
    radiance = smooth_environment()
    light, environment = Light.from_environments(radiance), Environment(radiance[0])
    normals = unit(5, 300)
    to_camera = views_of(normals)
    mirrored = 2 * (normals * to_camera).sum(-1, keepdim=True) * normals - to_camera
    found = shade(light, OPEN, normals, normals, to_camera, materials(300, 0.0, 1.0, torch.ones(3)))
    torch.testing.assert_close(found, environment.look_up(mirrored), rtol=0.02, atol=0.01)
    for roughness in (0.0, 0.5, 1.0):
        reflected = light.reflected(normals, torch.full((1, 300), roughness))
        if roughness == 0:
            torch.testing.assert_close(reflected, environment.look_up(normals), rtol=1e-3, atol=1e-3)
        # blurring keeps the mean
        assert abs(float(reflected.mean() / environment.look_up(normals).mean()) - 1) < 0.02


def test_blurring_loses_no_light_and_spreads_it_with_roughness():
    radiance = torch.zeros(1, 3, 64, 128)
    radiance[..., 20, 30] = 1000.0
    light = Light.from_environments(radiance)
    weights = Environment(radiance[0]).solid_angles()
    energy = (light.specular[0, 0, :, :, 1:-1] * weights).sum((1, 2))
    # lobes are normalised where they arrive, so that constant light stays constant
    torch.testing.assert_close(energy / energy[0], torch.ones(len(energy)), atol=0.05, rtol=0)
    peak = light.specular[0, 0].amax((1, 2))
    assert (peak[1:] < peak[:-1]).all()


@pytest.mark.parametrize("roughness", [0.1, 0.5, 1.0])
def test_tables_are_the_integrals(roughness):
    cosine = torch.tensor([[0.2, 0.5, 0.9]])
    scale, bias, loss = environment_reflectance(torch.full((1, 3), roughness), cosine)
    generator = torch.Generator().manual_seed(0)
    for index in range(3):
        c = float(cosine[0, index])
        view = torch.tensor([math.sqrt(1 - c * c), 0.0, c])
        # half vectors in proportion to the distribution of microfacets
        u, v = torch.rand(2, 200_000, generator=generator, dtype=torch.float64)
        alpha = roughness**2
        z = ((1 - u) / (1 + (alpha**2 - 1) * u)).sqrt()
        s = (1 - z * z).clamp(min=0).sqrt()
        half = torch.stack([s * (2 * math.pi * v).cos(), s * (2 * math.pi * v).sin(), z], -1).float()
        v_h = half @ view
        to_light = 2 * v_h[:, None] * half - view
        n_l = to_light[:, 2]
        ones = torch.ones(len(half), 1)
        normal = torch.tensor([0.0, 0.0, 1.0]).expand_as(half)
        brdf = gltf_brdf(ones.expand(-1, 3), ones * roughness, ones, normal, view.expand_as(half), to_light)[:, 0]
        density = alpha**2 / math.pi / (z * z * (alpha**2 - 1) + 1).square() * z / (4 * v_h.double())
        white = torch.where((n_l > 0) & (v_h > 0), brdf * n_l / density.float(), 0).mean()
        assert abs(float(scale[0, index] + bias[0, index] - white)) < 0.01
    assert (loss[0, 1:] <= loss[0, :-1]).all() and (loss >= 0).all() and (loss < 0.2).all()


def test_the_material_is_reciprocal():
    normal = torch.tensor([[0.0, 0.0, 1.0]]).expand(200, 3)
    first, second = (unit(seed, 200)[0] * torch.tensor([1.0, 1.0, 0.0]) for seed in (6, 7))
    first, second = (F.normalize(value + torch.tensor([0.0, 0.0, 0.6]), dim=-1) for value in (first, second))
    material = (BASE.expand(200, 3), torch.full((200, 1), 0.4), torch.full((200, 1), 0.3), normal)
    forth, back = gltf_brdf(*material, first, second), gltf_brdf(*material, second, first)
    torch.testing.assert_close(forth, back, rtol=1e-4, atol=1e-6)


def test_tangents_are_orthonormal():
    normals = torch.cat([unit(8, 100), torch.tensor([[[0.0, 0.0, 1.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]]])], dim=1)
    frame = torch.stack([*tangents(normals), normals], dim=-1)
    torch.testing.assert_close(frame.mT @ frame, torch.eye(3).expand(1, 103, 3, 3), atol=1e-5, rtol=0)


@pytest.mark.parametrize("part", [ball(0.9), box((0.6, 0.6, 0.6), 0.02), cylinder(0.7, 0.5)])
def test_convex_objects_cover_none_of_their_light(part):
    parts = normalized(pack([[part]], "cpu"))
    grid = sampled(parts)
    # surface points: along rays from the inside outwards
    directions = unit(9, 400)
    reach = torch.full((1, 400), 0.3)
    for _ in range(60):
        reach = reach - grid.look_up(directions * reach[..., None])
    points = directions * reach[..., None]
    points = points - normals(parts, points) * distance(parts, points)[0][..., None]
    normal = normals(parts, points)
    light = Light.from_environments(torch.ones(1, 3, 64, 128))
    to_camera = views_of(normal)
    for roughness, metallic in ((0.8, 0.0), (0.3, 1.0)):
        found = shade(light, grid, points, normal, to_camera, materials(400, roughness, metallic))
        free = shade(light, OPEN, points, normal, to_camera, materials(400, roughness, metallic))
        assert ((found - free).abs() < 0.01 * free).float().mean() > 0.97
        assert (found / free).min() > 0.8


def test_what_stands_in_the_way_casts_a_shadow():
    parts = pack([[box((0.9, 0.05, 0.9), center=(0.0, -0.5, 0.0)), ball(0.25, center=(0.0, 0.2, 0.0))]], "cpu")
    grid = sampled(parts)
    start = torch.tensor([[[0.0, -0.45 + CELL, 0.0], [0.7, -0.45 + CELL, 0.0], [0.0, 0.47 + CELL, 0.0]]])
    upward = torch.tensor([0.0, 1.0, 0.0]).expand(1, 3, 3)
    dark, clear, above = shadow(grid, start, upward)[0].tolist()
    assert dark < 0.05 and clear > 0.95 and above > 0.95
    dark, clear, above = cone_visibility(grid, start, upward, 0.5)[0].tolist()
    assert dark < 0.1 and clear > 0.9 and above > 0.95
    assert grid.values.shape[-1] == RESOLUTION and EXTENT > 1
