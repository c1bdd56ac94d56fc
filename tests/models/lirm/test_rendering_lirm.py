"""Volume rendering against a plain form, against a ball, and with samples left out."""

import math

import pytest
import torch
import torch.nn.functional as F
from small_lirm import MATERIALS, ball_model, plain_query, plain_render, random_planes, rays, small_model

from anyviews.models.lirm.rendering_lirm import RaySettings, density


def assert_maps_close(found, expected, atol):
    maps = found.maps()
    assert maps.keys() == expected.maps().keys()
    for name, value in maps.items():
        # depth jumps to 0 where the opacity is 0.98
        same = (value - getattr(expected, name)).abs() < atol
        edge = (found.opacity - 0.98).abs() < 1e-3 if name in ("depth", "numerical_normals") else same
        assert (same | edge).all(), f"{name} differs by {(value - getattr(expected, name)).abs().max()}"


@pytest.mark.parametrize("overrides", [{}, {"density_inset": 2.5}, {"plane_type": "tri", "nde_type": "sh"}])
def test_maps_equal_the_plain_rendering(overrides):
    model = small_model(**overrides)
    planes, (origins, directions) = random_planes(model), rays(count=25)
    harmonics = "nde_type" in overrides
    if harmonics:  # the plain form has none
        model.decoders.heads.pop("radiance")
    with torch.no_grad():
        found = model.render(planes, origins, directions, samples=24, sharpness=100.0)
        if not harmonics:
            expected = plain_render(model, planes, origins, directions, 24, 100.0)
            assert 0.02 < (expected["opacity"] > 0.98).float().mean() < 0.98
            for name, value in expected.items():
                torch.testing.assert_close(
                    getattr(found, name), value, atol=2e-4, rtol=1e-3, msg=lambda m, n=name: f"{n}: {m}"
                )
    assert (found.radiance is None) == harmonics


def test_gradients_equal_those_of_the_plain_rendering():
    model = small_model()
    planes, (origins, directions) = random_planes(model, 1), rays(1, 12)
    leaves = [planes.planes.requires_grad_(), planes.panoramas.requires_grad_(), *model.decoders.parameters()]
    found = model.render(planes, origins, directions, samples=16, sharpness=10.0)
    expected = plain_render(model, planes, origins, directions, 16, 10.0)
    weights = {name: torch.randn_like(expected[name]) for name in ("opacity", "depth", *MATERIALS)}
    gradients = torch.autograd.grad(sum((getattr(found, n) * w).sum() for n, w in weights.items()), leaves)
    plain = torch.autograd.grad(sum((expected[n] * w).sum() for n, w in weights.items()), leaves)
    for gradient, other in zip(gradients, plain, strict=True):
        torch.testing.assert_close(gradient, other, atol=1e-3, rtol=1e-2)


def test_density_is_a_laplace_distribution():
    s = torch.tensor([-1.0, -0.01, 0.0, 0.01, 1.0])
    torch.testing.assert_close(
        density(s, 50.0), 50 * torch.tensor([1.0, 1 - 0.5 * math.exp(-0.5), 0.5, 0.5 * math.exp(-0.5), 0.0])
    )


def test_a_ball_is_where_it_is():
    """Depth, silhouette and both kinds of normals of a ball of radius 0.35."""
    model = ball_model()
    with torch.no_grad():
        model.decoders.heads["normal"].last.weight.zero_()
        origins, directions = rays(1, 300)
        found = model.render(
            random_planes(model, 1), origins, directions, samples=512, sharpness=400.0, numerical_normals=True
        )
    nearest = -(origins * directions).sum(-1, keepdim=True)
    miss = (origins + nearest * directions).norm(dim=-1, keepdim=True)
    depth = nearest - (0.35**2 - miss**2).clamp(min=0).sqrt()
    inside, outside = miss[..., 0] < 0.33, miss[..., 0] > 0.37
    assert inside.sum() > 50
    assert outside.sum() > 50
    torch.testing.assert_close(found.opacity[inside], torch.ones_like(found.opacity[inside]), atol=1e-3, rtol=0)
    assert found.opacity[outside].max() < 0.01
    torch.testing.assert_close(found.depth[inside], depth[inside], atol=1e-2, rtol=0)
    normals = F.normalize(origins + depth * directions, dim=-1)
    torch.testing.assert_close(found.numerical_normals[inside], normals[inside], atol=3e-2, rtol=0)
    torch.testing.assert_close(found.normals[inside], normals[inside], atol=3e-2, rtol=0)
    assert (found.numerical_normals[outside] == 1).all()
    assert (found.depth[outside] == 0).all()


def test_rays_that_miss_the_box_are_white():
    model = small_model()
    origins = torch.tensor([[[2.0, 2.0, 2.0], [0.0, 0.6, -2.0], [0.0, 0.0, 2.0], [0.7, 0.0, 0.0]]])
    directions = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]]])
    with torch.no_grad():
        found = model.render(random_planes(model, 1), origins, directions, numerical_normals=True)
    assert not found.opacity.any()
    assert not found.depth.any()
    for name in (*MATERIALS, "numerical_normals"):
        assert (getattr(found, name) == 1).all(), name


def test_a_camera_inside_the_box_looks_ahead_only():
    model = ball_model(0.1)
    origins = torch.tensor([[[0.3, 0.0, 0.0], [0.3, 0.0, 0.0]]])
    directions = torch.tensor([[[-1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]])
    with torch.no_grad():
        found = model.render(random_planes(model, 1), origins, directions, samples=512, sharpness=400.0)
    torch.testing.assert_close(found.opacity[0, :, 0], torch.tensor([1.0, 0.0]), atol=1e-4, rtol=0)
    assert float(found.depth[0, 0]) == pytest.approx(0.2, abs=5e-3)


@pytest.mark.parametrize(("sharpness", "most"), [(20.0, 1.0), (100.0, 0.7), (200.0, 0.5)])
def test_skipping_cells_changes_nothing(sharpness, most):
    """Of a bumpy ball and of a shape that jumps at the dividing planes, within 1e-4."""
    model = ball_model()
    with torch.no_grad():
        torch.nn.init.normal_(model.decoders.heads["sdf"].last.weight, std=2e-3)
    planes, (origins, directions) = random_planes(model), rays(count=400)
    options = {"samples": 96, "sharpness": sharpness, "numerical_normals": True}
    with torch.no_grad():
        occupancy = model.find_occupancy(planes, samples=96, sharpness=sharpness, resolution=32)
        assert occupancy.cells.float().mean() <= most
        assert_maps_close(
            model.render(planes, origins, directions, **options, occupancy=occupancy),
            model.render(planes, origins, directions, **options),
            1e-4,
        )


def test_what_is_left_out_weighs_little():
    """Samples just outside of `invisible_distance` have no more than 1e-4 of a ray together."""
    settings = RaySettings(64, 200.0)
    outside = torch.full((64,), settings.invisible_distance(0.525))
    weight = 1 - torch.exp(-(density(outside, 200.0) * settings.step(0.525)).sum())
    assert 0.9e-4 < float(weight) <= 1.001e-4


def test_chunks_and_objects_do_not_mix():
    model = small_model()
    planes, (origins, directions) = random_planes(model, 3), rays(3, 20)
    with torch.no_grad():
        found = model.render(planes, origins, directions)
        assert_maps_close(model.render(planes, origins, directions, chunk=7), found, 1e-6)
        for index in range(3):
            one = slice(index, index + 1)
            alone = model.render(planes[one], origins[one], directions[one])
            for name, value in alone.maps().items():
                torch.testing.assert_close(value, getattr(found, name)[one], atol=1e-6, rtol=1e-5)


def test_distances_on_a_grid_equal_those_at_its_points():
    for overrides in ({}, {"plane_type": "tri"}):
        model = small_model(**overrides)
        planes, coordinates = random_planes(model), torch.linspace(-0.6, 0.6, 13)  # 0 is one of them
        found = model.signed_distances_on_grid(planes, coordinates)
        points = torch.cartesian_prod(coordinates, coordinates, coordinates)
        with torch.no_grad():
            for index in range(2):
                expected = plain_query(model, planes, index, points, None)["sdf"].view(13, 13, 13)
                torch.testing.assert_close(found[index], expected, atol=1e-5, rtol=1e-4)


def test_half_precision_outside_does_not_enter():
    """Rendering under bfloat16 autocast is the same as without."""
    model = small_model()
    planes, (origins, directions) = random_planes(model), rays()
    with torch.no_grad():
        expected = model.render(planes, origins, directions)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = model.render(planes, origins, directions)
    assert_maps_close(found, expected, 1e-6)


@pytest.mark.parametrize("wrong", [{"samples": 0}, {"sharpness": 0.0}])
def test_impossible_settings_are_refused(wrong):
    model = small_model()
    with pytest.raises(ValueError, match="must be 1 or more, and"):
        model.render(random_planes(model), *rays(), **wrong)
    with pytest.raises(ValueError, match="give an even one"):
        model.find_occupancy(random_planes(model), resolution=15)
