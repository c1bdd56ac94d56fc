"""Random and given environments."""

import math

import pytest
import torch

from anyviews.data.world.lighting import fitted_environments, random_environments
from anyviews.data.world.lighting.draw import Draw
from anyviews.data.world.lighting.noise import fractal_noise, noise
from anyviews.environment import Environment
from anyviews.formats.hdr import read_environment
from anyviews.rendering.shading.light import Light, luminance


def draws(count: int, first: int = 0) -> list[Draw]:
    return [Draw(torch.rand(400, generator=torch.Generator().manual_seed(first + i)).tolist()) for i in range(count)]


def mean_luminance(radiance: torch.Tensor) -> torch.Tensor:
    weights = Environment(radiance[0]).solid_angles() / (4 * math.pi)
    return (luminance(radiance) * weights).sum((1, 2))


def test_random_environments_are_usable_and_differ():
    radiance = random_environments(draws(60), "cpu")
    assert radiance.shape == (60, 3, 64, 128)
    for one in radiance:
        Environment(one).validate()
    mean = mean_luminance(radiance)
    assert (mean > 0.5).all() and (mean < 1.3).all()
    peak = luminance(radiance).amax((1, 2)) / mean
    # from constant light to a sun
    assert peak.min() < 1.5 and peak.max() > 300
    assert (radiance[1:] - radiance[:-1]).abs().mean((1, 2, 3)).min() > 0.02


def test_an_environment_depends_on_its_numbers_alone():
    assert torch.equal(random_environments(draws(3), "cpu")[2:], random_environments(draws(1, 2), "cpu"))


def test_light_comes_mostly_from_above():
    radiance = random_environments(draws(60), "cpu")
    upper, lower = luminance(radiance)[:, :32].mean(), luminance(radiance)[:, 32:].mean()
    assert upper > 1.3 * lower


def test_given_environments_are_turned_about_the_vertical():
    directions = Environment(torch.ones(3, 32, 64)).directions()
    lobe = torch.exp(20 * (directions @ torch.tensor([0.0, 0.6, 0.8]) - 1))
    given = Environment((0.1 + lobe).expand(3, -1, -1).contiguous())
    azimuths = []
    for draw in draws(6):
        fitted = fitted_environments([given], [draw], "cpu")
        key = Light.from_environments(fitted).key_directions[0, 0]
        assert abs(float(key[1]) - 0.6) < 0.05
        azimuths.append(math.atan2(key[0], key[2]))
        exposure = mean_luminance(fitted) / mean_luminance(given.radiance[None])
        assert abs(float(fitted.amax() / given.radiance.amax() / exposure) - 1) < 0.05
    assert max(azimuths) - min(azimuths) > 1


def test_averaging_a_large_environment_keeps_its_light(shared_data):
    given = read_environment(shared_data / "envs" / "city.hdr")
    draw = Draw([0.0, 0.0, 0.3])
    fitted = fitted_environments([given], [draw], "cpu")[0]
    total = (given.radiance * given.solid_angles()).sum((1, 2))
    kept = (fitted * Environment(fitted).solid_angles()).sum((1, 2))
    # all channels are scaled by the one exposure
    ratio = kept / total
    torch.testing.assert_close(ratio, ratio.mean().expand(3), rtol=1e-4, atol=0)


def test_key_lights_take_nothing_from_the_whole():
    radiance = random_environments(draws(20), "cpu")
    light = Light.from_environments(radiance)
    weights = Environment(radiance[0]).solid_angles()
    directions = Environment(radiance[0]).directions()
    whole = (radiance * weights).sum((2, 3))
    keys = math.pi * light.key_irradiance.sum(1)
    assert (keys <= whole * 1.0001).all() and (light.key_irradiance >= 0).all()
    torch.testing.assert_close(light.key_directions.norm(dim=-1), torch.ones(20, 2))
    bright = luminance(radiance).flatten(1).argmax(1)
    cosine = (directions.flatten(0, 1)[bright] * light.key_directions[:, 0]).sum(-1)
    # a spot's centre is near its brightest pixel, where there is a spot
    strong = luminance(keys[..., None, None])[:, 0, 0] > 0.05 * luminance(whole[..., None, None])[:, 0, 0]
    assert strong.any() and (cosine[strong] > 0.98).all()


@pytest.mark.parametrize("octaves", [1, 4])
def test_noise_is_smooth_and_bounded(octaves):
    points = torch.rand(5000, 3, generator=torch.Generator().manual_seed(0)) * 40 - 20
    values = fractal_noise(points, octaves)
    assert values.abs().max() < 2 and values.std() > 0.15 and abs(values.mean()) < 0.1
    step = noise(points + 1e-3) - noise(points)
    assert step.abs().max() < 1e-2
    torch.testing.assert_close(noise(points), noise(points + 16.0), atol=1e-3, rtol=0)


def test_draws():
    draw = Draw([0.0, 0.5, 0.999999, 0.25, 0.999999, 0.4])
    assert draw.between(2, 4) == 2 and draw.log_between(1, 4) == 2 and draw.integer(1, 3) == 3
    assert draw.chance(0.3) and draw.pick("abc") == "c" and draw.unit() == 0.4
    with pytest.raises(AssertionError, match="more uniforms"):
        draw.unit()
