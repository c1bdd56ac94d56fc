"""Distances of parts against closed forms, and rays against both."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from strategies import property_settings, seeds

from anyviews.data.world.lighting.draw import Draw
from anyviews.data.world.objects.designs import random_design
from anyviews.data.world.objects.designs.catalogue import RECIPES
from anyviews.data.world.objects.designs.shapes import (
    ball,
    box,
    cone,
    cylinder,
    ellipsoid,
    prism,
    regular,
    ring,
    rod,
)
from anyviews.data.world.objects.field import distance, normals
from anyviews.data.world.objects.grid import EXTENT, RESOLUTION, nodes, normalized, sampled
from anyviews.data.world.objects.parts import Part, chained, pack, rotation_about
from anyviews.data.world.objects.trace import Rays, trace


def points(seed: int, count: int = 300, extent: float = 1.2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(1, count, 3, generator=generator) * 2 - 1) * extent


def value(*parts: Part, at: torch.Tensor) -> torch.Tensor:
    return distance(pack([parts], "cpu"), at)[0][0]


def box_distance(at: torch.Tensor, half: torch.Tensor) -> torch.Tensor:
    beyond = at.abs() - half
    return beyond.clamp(min=0).norm(dim=-1) + beyond.amax(-1).clamp(max=0)


def design(seed: int, kind: str | None = None) -> list[Part]:
    numbers = torch.rand(2500, generator=torch.Generator().manual_seed(seed)).tolist()
    return random_design(Draw(numbers), kind).parts


@property_settings
@given(seed=seeds, size=st.floats(0.1, 0.8))
def test_solids_have_their_distance(seed, size):
    at = points(seed)
    x, y, z = at[0].unbind(-1)
    around = (x * x + z * z).sqrt()
    half = torch.tensor([size, 0.5 * size, 0.8 * size])
    sharp = box_distance(at[0], half)
    rounded = box_distance(at[0], half - 0.02) - 0.02
    flat = torch.stack([around, y, torch.zeros_like(y)], -1)
    along = (at[0, :, 1].clamp(-size, size)[:, None] * torch.tensor([0.0, 1.0, 0.0])) - at[0]
    expected = {
        ball(size): at[0].norm(dim=-1) - size,
        box((size, 0.5 * size, 0.8 * size), 1e-4): sharp,
        box((size, 0.5 * size, 0.8 * size), 0.02): rounded,
        cylinder(size, 0.3, 1e-4): box_distance(flat, torch.tensor([size, 0.3, 1.0])),
        ring(size, 0.05): ((around - size).square() + y * y).sqrt() - 0.05,
        rod((0.0, -size, 0.0), (0.0, size, 0.0), 0.1): along.norm(dim=-1) - 0.1,
    }
    for part, wanted in expected.items():
        # inside a solid of revolution the distance is to its outline alone
        outside = wanted > -0.02
        torch.testing.assert_close(value(part, at=at)[outside], wanted[outside], atol=3e-4, rtol=1e-3)


def test_frusta_and_polygons_agree_with_their_walls():
    at = points(1)
    x, y, _ = at[0].unbind(-1)
    sides = [x * math.cos(a) + y * math.sin(a) for a in (math.pi / 6 + k * math.pi / 3 for k in range(6))]
    within = torch.stack(sides).amax(0) - 0.5 * math.cos(math.pi / 6)
    inside = within.maximum(at[0, :, 2].abs() - 0.3) < 0
    found = value(prism(regular(6, 0.5), 0.3, 1e-4), at=at)
    assert torch.equal(found < 0, inside) or ((found < 0) != inside).float().mean() < 0.01
    # the wall of a frustum: radius falls from 0.6 to 0.2 over a height of 1
    radius = at[0, :, (0, 2)].norm(dim=-1)
    inside = (radius < 0.4 - 0.4 * y) & (y.abs() < 0.5)
    found = value(cone(0.6, 0.2, 0.5, 1e-3), at=at)
    assert ((found < 0) != inside).float().mean() < 0.01


def test_concave_outlines_are_hollow_where_they_should_be():
    outline = ((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (0.2, 0.5), (0.2, -0.2), (-0.2, -0.2), (-0.2, 0.5), (-0.5, 0.5))
    part = prism(outline, 0.3, 1e-4)
    at = torch.tensor([[[0.0, 0.2, 0.0], [0.35, 0.3, 0.0], [-0.35, 0.3, 0.0], [0.0, -0.35, 0.0], [0.0, 0.9, 0.0]]])
    assert (value(part, at=at) < 0).tolist() == [False, True, True, True, False]
    torch.testing.assert_close(value(part, at=at)[:2], torch.tensor([0.2, -0.15]), atol=1e-3, rtol=0)


@pytest.mark.parametrize("square", [0.0, 1.0])
def test_ellipsoids_are_of_first_order(square):
    part = ellipsoid((0.7, 0.3, 0.5), square=square)
    direction = F.normalize(points(2), dim=-1)
    power = 4 if square else 2
    norm = (direction / torch.tensor([0.7, 0.3, 0.5])).abs().pow(power).sum(-1, keepdim=True).pow(1 / power)
    surface = direction / norm
    assert value(part, at=surface).abs().max() < 1e-4
    outwards = normals(pack([[part]], "cpu"), surface)
    for step in (0.01, -0.01):
        moved = value(part, at=surface + step * outwards)
        torch.testing.assert_close(moved, torch.full((300,), step), atol=1e-3, rtol=0)


def test_rods_join_their_ends():
    start, end = (0.3, -0.2, 0.1), (-0.4, 0.5, -0.3)
    ends = torch.tensor([[start, end, tuple((a + b) / 2 for a, b in zip(start, end, strict=True))]])
    torch.testing.assert_close(value(rod(start, end, 0.1), at=ends), torch.full((3,), -0.1), atol=1e-5, rtol=0)
    beyond = torch.tensor([start]) + 0.5 * (torch.tensor([start]) - torch.tensor([end]))
    length = (torch.tensor(start) - torch.tensor(end)).norm()
    torch.testing.assert_close(value(rod(start, end, 0.1), at=beyond[None])[0], 0.5 * length - 0.1)


def test_copies_stand_where_they_are_said_to():
    at = points(3)
    center = (0.5, 0.1, 0.2)

    def spheres(centers):
        return torch.stack([(at[0] - torch.tensor(c)).norm(dim=-1) - 0.1 for c in centers]).amin(0)

    mirrored = [(a * 0.5, 0.1, b * 0.2) for a in (-1, 1) for b in (-1, 1)]
    torch.testing.assert_close(value(ball(0.1, center=center, mirrored=(True, True)), at=at), spheres(mirrored))
    around = [(0.5 * math.cos(a), 0.1, 0.5 * math.sin(a)) for a in (2 * math.pi * k / 5 for k in range(5))]
    found = value(ball(0.1, center=(0.5, 0.1, 0.0), radial=5), at=at)
    torch.testing.assert_close(found, spheres(around), atol=1e-5, rtol=1e-5)
    for count, offsets in ((3, (-0.3, 0.0, 0.3)), (4, (-0.45, -0.15, 0.15, 0.45))):
        row = ball(0.1, center=center, repeats=(1, count, 1), spacing=(1.0, 0.3, 1.0))
        torch.testing.assert_close(value(row, at=at), spheres([(0.5, 0.1 + o, 0.2) for o in offsets]))


def test_rotations_turn_parts():
    part = box((0.5, 0.1, 0.2), 0.01, center=(0.1, 0.2, 0.3))
    rotation = chained(rotation_about("y", 30), rotation_about("x", 50))
    at = points(4)
    turn = torch.tensor(rotation).reshape(3, 3)
    torch.testing.assert_close(turn @ turn.T, torch.eye(3), atol=1e-6, rtol=0)
    center = torch.tensor(part.center)
    turned = Part(**{**vars(part), "rotation": rotation})
    # a point turned with the part is as far away as before
    torch.testing.assert_close(
        value(turned, at=(at - center) @ turn.T + center), value(part, at=at), atol=1e-5, rtol=1e-5
    )


def test_parts_are_joined_cut_and_kept():
    at = points(5)
    first, second = ball(0.5), ball(0.4, center=(0.4, 0.0, 0.0))
    a, b = value(first, at=at), value(second, at=at)
    wanted = {"add": torch.minimum(a, b), "cut": torch.maximum(a, -b), "keep": torch.maximum(a, b)}
    for operation, expected in wanted.items():
        part = Part(**{**vars(second), "operation": operation})
        torch.testing.assert_close(value(first, part, at=at), expected, atol=1e-4, rtol=0)
        soft = Part(**{**vars(part), "blend": 0.1})
        difference = value(first, soft, at=at) - expected
        # a fillet of radius 0.1 fills at most a quarter of it, and takes as little away
        assert difference.abs().max() <= 0.1 / 4 + 1e-4
        assert (difference <= 1e-4).all() if operation == "add" else (difference >= -1e-4).all()


def test_owners_are_the_parts_at_the_surface():
    parts = pack([[ball(0.5), ball(0.3, center=(0.6, 0.0, 0.0)), box((0.1, 0.1, 2.0), operation="cut")]], "cpu")
    at = torch.tensor([[[-0.5, 0.0, 0.0], [0.9, 0.0, 0.0], [0.1, 0.0, 0.1]]])
    assert distance(parts, at, owners=True)[1].tolist() == [[0.0, 1.0, 2.0]]


def test_objects_of_a_batch_do_not_touch_each_other():
    objects = [design(seed) for seed in range(4)]
    at = points(6).expand(4, -1, -1)
    together = distance(pack(objects, "cpu"), at)[0]
    alone = torch.cat([distance(pack([parts], "cpu"), at[:1])[0] for parts in objects])
    torch.testing.assert_close(together, alone, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", RECIPES)
def test_designs_fill_the_unit_ball_and_their_rays_are_exact(kind):
    for seed in range(1):
        parts = normalized(pack([design(seed, kind)], "cpu"))
        grid = sampled(parts)
        place = nodes(RESOLUTION, EXTENT, "cpu")
        reach = (place.norm(dim=-1) - grid.values[0].flatten().clamp(min=0))[grid.values[0].flatten() < 0.05].max()
        assert 0.6 < reach < 1.03, f"{kind} {seed}: the farthest point is at {reach}"

        generator = torch.Generator().manual_seed(seed)
        origins = F.normalize(torch.randn(1, 800, 3, generator=generator), dim=-1) * 3
        targets = (torch.rand(1, 800, 3, generator=generator) - 0.5) * 1.2
        rays = Rays(origins, F.normalize(targets - origins, dim=-1))
        hits = trace(parts, grid, rays)
        assert distance(parts, rays.at(hits.distances))[0][hits.found].abs().quantile(0.99) < 2e-3
        # small careful steps find the same, but at edges
        position, found = torch.full((1, 800), 1.9), torch.zeros(1, 800, dtype=torch.bool)
        for _ in range(250):
            left = distance(parts, rays.at(position))[0]
            found |= left < 3e-4
            position = torch.where(found | (position > 4.2), position, position + left.clamp(min=1e-4) * 0.8)
        assert (found != hits.found).float().mean() < 0.02, f"{kind} {seed}"
        both = found & hits.found
        assert ((position - hits.distances)[both].abs() < 5e-3).float().mean() > 0.97, f"{kind} {seed}"


def test_rays_meet_a_sphere_and_a_box_where_they_should():
    for part, expected in ((ball(0.9), lambda at: at.norm(dim=-1) - 0.98), (box((0.5, 0.5, 0.5), 1e-4), None)):
        parts = normalized(pack([[part]], "cpu"))
        side = 0.98 / math.sqrt(3)
        generator = torch.Generator().manual_seed(0)
        origins = F.normalize(torch.randn(1, 4000, 3, generator=generator), dim=-1) * 2.5
        targets = (torch.rand(1, 4000, 3, generator=generator) - 0.5) * 2
        rays = Rays(origins, F.normalize(targets - origins, dim=-1))
        hits = trace(parts, sampled(parts), rays)
        at = rays.at(hits.distances)
        left = expected(at) if expected else box_distance(at, torch.full((3,), side))
        assert left[hits.found].abs().max() < 2e-3
        if expected:
            along = (rays.origins * rays.directions).sum(-1)
            closest = (rays.origins - along[..., None] * rays.directions).norm(dim=-1)
            clear = (closest - 0.98).abs() > 5e-3
            assert torch.equal(hits.found[clear], (closest < 0.98)[clear])
            outwards = F.normalize(at[hits.found], dim=-1)
            torch.testing.assert_close(normals(parts, at)[hits.found], outwards, atol=2e-3, rtol=0)
