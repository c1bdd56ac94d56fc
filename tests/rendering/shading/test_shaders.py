"""Light on surfaces against sums over all pixels of an environment."""

import math

import pytest
import torch
import torch.nn.functional as F

from anyviews.color import linear_from_srgb
from anyviews.environment import Environment
from anyviews.rendering.shading import SurfaceMaterials, prefiltered_light, shade, shade_prefiltered
from anyviews.rendering.shading.environment_samples import EnvironmentSampler
from anyviews.rendering.shading.ggx import gltf_brdf


COUNT = 40


def environment_with_a_lamp() -> Environment:
    """Smooth, with a window a hundred times as bright as the rest."""
    x, y, z = Environment(torch.ones(3, 32, 64)).directions().unbind(-1)
    radiance = torch.stack([1 + 0.5 * x, 1 + 0.6 * y + 0.3 * z * z, 1.2 - 0.7 * z * x])
    radiance[:, 8:11, 20:23] += 100
    return Environment(radiance)


def surface(roughness: float, metallic: float, count: int = COUNT) -> tuple[SurfaceMaterials, torch.Tensor]:
    """Points with normals all around, and directions to cameras that see them."""
    generator = torch.Generator().manual_seed(1)
    normals, aside = F.normalize(torch.randn(2, count, 3, generator=generator), dim=-1)
    colors = torch.rand(count, 3, generator=generator)
    rough, metal = torch.full((count, 1), roughness), torch.full((count, 1), metallic)
    return SurfaceMaterials(colors, rough, metal, normals), F.normalize(normals + 0.8 * aside, dim=-1)


def integral(materials: SurfaceMaterials, to_camera: torch.Tensor, environment: Environment, parts: int):
    """The material times the light, summed over `parts` squared directions in every pixel, [N, 3]."""
    fine = Environment(torch.zeros(3, environment.height * parts, environment.width * parts))
    lights, weights = fine.directions().flatten(0, 1), fine.solid_angles().flatten()
    radiance = environment.look_up(lights)
    sums = []
    for index in range(len(materials)):
        point = materials[index : index + 1]
        reflected = gltf_brdf(
            linear_from_srgb(point.base_colors).expand_as(lights),
            point.roughness.expand(len(lights), 1),
            point.metallic.expand(len(lights), 1),
            point.normals.expand_as(lights),
            to_camera[index].expand_as(lights),
            lights,
        )
        cosine = (lights @ point.normals[0]).clamp(min=0) * weights
        sums.append((reflected * radiance * cosine[:, None]).sum(0))
    return torch.stack(sums)


@pytest.mark.parametrize("roughness, metallic", [(0.25, 1.0), (0.25, 0.0), (0.6, 0.5), (1.0, 0.0)])
def test_samples_tend_to_the_integral(roughness, metallic):
    materials, to_camera = surface(roughness, metallic)
    environment = environment_with_a_lamp()
    expected = integral(materials, to_camera, environment, parts=3)
    few, many = (shade(materials, to_camera, environment, samples) for samples in (128, 8192))
    errors = [((found - expected).abs().mean() / expected.mean()).item() for found in (few, many)]
    assert errors[1] < 0.01 and errors[1] < 0.35 * errors[0]
    # without bias: noise cancels over the points
    assert abs(float(many.mean() / expected.mean()) - 1) < 0.003


def test_mirrors_are_sampled_where_they_reflect():
    materials, to_camera = surface(0.0, 1.0)
    x, y, z = Environment(torch.ones(3, 32, 64)).directions().unbind(-1)
    environment = Environment(torch.stack([1 + 0.5 * x, 1 + 0.5 * y, 1 + 0.5 * z]))
    cosine = (materials.normals * to_camera).sum(-1, keepdim=True)
    color = linear_from_srgb(materials.base_colors)
    fresnel = color + (1 - color) * (1 - cosine) ** 5
    expected = fresnel * environment.look_up(2 * cosine * materials.normals - to_camera)
    found = shade(materials, to_camera, environment, 256)
    clear = cosine[:, 0] > 0.2
    torch.testing.assert_close(found[clear], expected[clear], rtol=0.02, atol=0.01)


def test_every_run_gives_the_same_and_every_seed_another():
    materials, to_camera = surface(0.4, 0.3)
    environment = environment_with_a_lamp()
    first, again, other = (shade(materials, to_camera, environment, 16, seed) for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_points_do_not_depend_on_how_many_are_shaded_at_once(monkeypatch):
    materials, to_camera = surface(0.4, 0.3)
    environment = environment_with_a_lamp()
    whole = shade(materials, to_camera, environment, 16)
    monkeypatch.setattr("anyviews.rendering.shading.shaders.CPU_BLOCK", 7 * 16)
    torch.testing.assert_close(shade(materials, to_camera, environment, 16), whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "roughness, metallic, error", [(0.3, 0.0, 0.03), (1.0, 0.0, 0.03), (0.3, 1.0, 0.12), (0.7, 1.0, 0.12)]
)
def test_prefiltered_light_is_close_to_the_integral(roughness, metallic, error):
    materials, to_camera = surface(roughness, metallic)
    x, y, z = Environment(torch.ones(3, 64, 128)).directions().unbind(-1)
    environment = Environment(torch.stack([1 + 0.5 * x, 1 + 0.6 * y + 0.3 * z * z, 1.2 - 0.7 * z * x]))
    expected = integral(materials, to_camera, environment, parts=1)
    found = shade_prefiltered(materials, to_camera, prefiltered_light(environment))
    assert (found - expected).abs().mean() < error * expected.mean()


def test_large_environments_are_reduced_without_losing_light():
    environment = Environment(torch.rand(3, 300, 600) ** 8 * 50)
    found = prefiltered_light(environment).irradiance(torch.eye(3)[None])
    small = prefiltered_light(Environment(torch.full((3, 40, 80), 1.0)))
    torch.testing.assert_close(small.irradiance(torch.eye(3)[None]), torch.ones(1, 3, 3), atol=1e-4, rtol=0)
    mean = (environment.radiance * environment.solid_angles()).sum((1, 2)) / (4 * math.pi)
    torch.testing.assert_close(found.mean(1)[0], mean, rtol=0.1, atol=0)


def test_a_white_rough_surface_in_white_light_is_nearly_white():
    materials, to_camera = surface(1.0, 0.0, 200)
    materials = SurfaceMaterials(torch.ones(200, 3), materials.roughness, materials.metallic, materials.normals)
    white = shade(materials, to_camera, Environment(torch.ones(3, 16, 32)), 256)
    assert white.mean() == pytest.approx(0.98, abs=0.03) and white.max() < 1.15


def test_drawn_directions_have_their_density():
    environment = environment_with_a_lamp()
    sampler = EnvironmentSampler(environment)
    drawn = sampler.draw(20_000, torch.Generator().manual_seed(0))
    torch.testing.assert_close(drawn.norm(dim=-1), torch.ones(20_000))
    # the mean of 1 / density over the directions is the solid angle of the sphere
    assert (1 / sampler.densities(drawn)).mean().item() == pytest.approx(4 * math.pi, rel=0.01)
    # and a function's integral is the mean of its values over densities
    fine = Environment(torch.zeros(3, 128, 256))
    integral = ((fine.directions()[..., 1] > 0.3) * fine.solid_angles()).sum()
    found = ((drawn[:, 1] > 0.3) / sampler.densities(drawn)).mean()
    assert found.item() == pytest.approx(integral.item(), rel=0.02)


def test_what_cannot_be_shaded_is_refused():
    materials, to_camera = surface(0.5, 0.0)
    environment = environment_with_a_lamp()
    with pytest.raises(ValueError, match="samples is 3; accepted are 4 and more"):
        shade(materials, to_camera, environment, 3)
    bare = SurfaceMaterials(materials.base_colors, materials.roughness, materials.metallic)
    with pytest.raises(ValueError, match="the materials have no normals"):
        shade_prefiltered(bare, to_camera, prefiltered_light(environment))
