"""Texture look-up against other interpolation, and against means over pixels."""

import torch
import torch.nn.functional as F
from hypothesis import given
from strategies import property_settings, seeds

from anyviews.rendering.meshes.textures import Texture, texture_areas


@given(seeds)
@property_settings
def test_interpolation_is_that_of_grid_sample_on_a_repeated_texture(seed):
    generator = torch.Generator().manual_seed(seed)
    height, width = torch.randint(1, 9, (2,), generator=generator).tolist()
    values = torch.rand(3, height, width, generator=generator)
    places = torch.rand(40, 2, generator=generator)
    grid = (places + 1) / 3 * 2 - 1
    tiled = values.repeat(1, 3, 3)[None]
    expected = F.grid_sample(tiled, grid[None, None], align_corners=False)[0, :, 0].mT
    torch.testing.assert_close(Texture(values).look_up(places), expected, atol=1e-4, rtol=0)
    shift = torch.randint(-2, 3, (40, 2), generator=generator)
    torch.testing.assert_close(Texture(values).look_up(places + shift), expected, atol=1e-4, rtol=0)


def test_pixels_that_cover_many_texels_get_their_mean():
    values = torch.rand(2, 64, 64)
    texture, places = Texture(values), torch.rand(30, 2)
    everything = texture.look_up(places, torch.ones(30))
    torch.testing.assert_close(everything, values.mean((1, 2)).expand(30, 2), atol=1e-5, rtol=0)
    # a block of 8x8 texels, seen at its centre
    block = torch.tensor([[2.5 / 8, 4.5 / 8]])
    expected = values[:, 32:40, 16:24].mean((1, 2))
    torch.testing.assert_close(texture.look_up(block, torch.tensor([1 / 64.0]))[0], expected, atol=1e-5, rtol=0)
    # no more than one texel: no mipmap
    assert torch.equal(texture.look_up(places, torch.full((30,), 1e-6)), texture.look_up(places))
    # in between
    low, high = texture.look_up(block, torch.tensor([1 / 64.0])), texture.look_up(block, torch.tensor([1 / 16.0]))
    torch.testing.assert_close(texture.look_up(block, torch.tensor([1 / 32.0])), (low + high) / 2)


@given(seeds)
@property_settings
def test_areas_are_those_between_neighbouring_pixels(seed):
    """By the texture coordinates that rays through the corners of a small pixel hit."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.randn(3, 3, generator=generator, dtype=torch.float64) + torch.tensor([0.0, 0.0, 6.0])
    places = torch.rand(3, 2, generator=generator, dtype=torch.float64)
    weights = torch.full((3,), 1 / 3, dtype=torch.float64)
    pixel = 1e-4
    point = (corners * weights[:, None]).sum(0)
    center = point[:2] / point[2]
    shifts = torch.tensor([[-0.5, -0.5], [0.5, -0.5], [-0.5, 0.5]], dtype=torch.float64) * pixel
    rays = torch.cat([center + shifts, torch.ones(3, 1, dtype=torch.float64)], dim=1)
    # a ray in barycentric coordinates, up to its length
    local = torch.linalg.solve(corners.T, rays.T).T
    hit = (local / local.sum(1, keepdim=True)) @ places
    first, second = hit[1] - hit[0], hit[2] - hit[0]
    expected = (first[0] * second[1] - first[1] * second[0]).abs()
    normal = F.normalize(torch.linalg.cross(corners[1] - corners[0], corners[2] - corners[0]), dim=0)
    found = texture_areas(corners[None], places[None], weights[None], pixel**2)
    if (normal @ point).abs() > 0.05 * point[2]:
        torch.testing.assert_close(found[0], expected, rtol=0.02, atol=0)
