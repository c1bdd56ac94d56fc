"""Light where none is given, and light of a turned world."""

import torch
from hypothesis import given
from strategies import property_settings, random_rotation, seeds

from anyviews.environment import Environment
from anyviews.rendering.shading.studio import studio_environment


def test_the_studio_is_brightest_above_and_in_front():
    up, front = torch.tensor([0.0, 0.0, 1.0]), torch.tensor([0.0, 2.0, 0.0])
    studio = studio_environment(up, front).validate()
    directions = studio.directions()
    brightest = directions.flatten(0, 1)[studio.radiance[0].flatten().argmax()]
    assert brightest @ up > 0.5 and brightest[1] > 0.3
    low, high = directions @ up < -0.9, directions @ up > 0.9
    assert studio.radiance[0, high].mean() > 2 * studio.radiance[0, low].mean()
    mean = (studio.radiance[0] * studio.solid_angles()).sum() / (4 * torch.pi)
    assert 0.5 < mean < 1.5


@given(seeds)
@property_settings
def test_turned_light_arrives_from_the_turned_direction(seed):
    rotation = random_rotation(torch.Generator().manual_seed(seed), dtype=torch.float32)
    x, y, z = Environment(torch.ones(3, 64, 128)).directions().unbind(-1)
    smooth = Environment(torch.stack([1 + 0.5 * x, 1 + 0.5 * y * z, 1 - 0.4 * z]))
    directions = torch.nn.functional.normalize(torch.randn(50, 3), dim=-1)
    found = smooth.turned(lambda seen: seen @ rotation.mT).look_up(directions)
    torch.testing.assert_close(found, smooth.look_up(directions @ rotation.T), atol=0.02, rtol=0)
