"""Which texels a point sees, and what is looked up there."""

import pytest
import torch
import torch.nn.functional as F
from small_lirm import plain_features, random_planes, small_model

from anyviews.models.lirm.planes_lirm import Rows, panorama_corners, plane_corners, weighted_rows


def corners(points, objects, num_planes=6, resolution=8):
    return plane_corners(points, objects, 0.525, num_planes, resolution)


@pytest.mark.parametrize("num_planes", [6, 3])
def test_compiled_corners_equal_the_portable_ones(num_planes):
    points = torch.rand(500, 3) * 1.4 - 0.7  # some outside of the box
    points[:8] = torch.tensor([[0.525, -0.525, 0.0], [0, 0, 0], [0.0, 1e-9, -1e-9], [9.0, -9.0, 0.5]]).repeat(2, 1)
    objects = torch.randint(0, 3, (500,))
    found = corners(points, objects, num_planes)
    expected = corners(points.double(), objects, num_planes)
    table = torch.randn(3 * num_planes * 64, 4)
    # where a point lies on a line of texels, rounding may name either neighbour, with weight 0
    torch.testing.assert_close(weighted_rows(table, found), weighted_rows(table, expected), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found.weights.sum(-1), torch.full((500,), 3.0))
    assert found.indices.min() >= 0
    assert found.indices.max() < len(table)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_points_that_are_not_numbers_stay_inside_the_table(dtype):
    points = torch.tensor([[float("nan"), float("inf"), -float("inf")]], dtype=dtype)
    indices = corners(points, torch.zeros(1, dtype=torch.long)).indices
    assert indices.min() >= 0
    assert indices.max() < 6 * 64


@pytest.mark.parametrize("plane_type", ["hexa", "tri"])
def test_features_equal_grid_sample(plane_type):
    model = small_model(plane_type=plane_type)
    planes, points = random_planes(model), torch.rand(2, 200, 3) * 1.2 - 0.6
    found = model.query(planes, points, with_features=True).features
    for index in range(2):
        expected = plain_features(model, planes.planes[index], points[index])
        torch.testing.assert_close(found[index], expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("pair", [0, 1, 2])
@pytest.mark.parametrize("side", [0, 1])
def test_a_plane_is_seen_on_its_side_only(pair, side):
    """The octant test: a constant in xy+ changes features where z > 0 and nowhere else, likewise all six."""
    model = small_model()
    planes, points = random_planes(model, 1), torch.rand(1, 400, 3) - 0.5
    points[0, :10, 2 - pair] = 0.0  # on the dividing plane, which belongs to the - side
    before = model.query(planes, points, with_features=True).features
    planes.planes[:, 2 * pair + side] += 5.0
    changed = (model.query(planes, points, with_features=True).features - before).abs().unflatten(-1, (3, -1))
    expected = points[..., 2 - pair] > 0
    expected = expected if side == 0 else ~expected
    assert torch.equal(changed[..., pair, :].amax(-1) > 0, expected)
    others = [other for other in range(3) if other != pair]
    assert not changed[..., others, :].any()


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_weighted_rows_have_the_gradient_of_a_plain_sum(threads, dtype):
    rows = Rows(torch.randint(0, 50, (300, 4), dtype=torch.int32), torch.rand(300, 4))
    table = torch.randn(50, 7, dtype=dtype, requires_grad=True)
    plain = (table[rows.indices.long()] * rows.weights[..., None].to(dtype)).sum(1)
    gradient = torch.randn_like(plain)
    (expected,) = torch.autograd.grad(plain, table, gradient)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        found = weighted_rows(table, rows)
        torch.testing.assert_close(found, plain)
        torch.testing.assert_close(torch.autograd.grad(found, table, gradient)[0], expected)
        total = torch.ones_like(table)
        kept = weighted_rows(table, rows, total)
        assert torch.autograd.grad(kept, table, gradient, allow_unused=True) == (None,)
        torch.testing.assert_close(total, expected + 1)
    finally:
        torch.set_num_threads(before)


def test_nothing_to_look_up():
    rows = corners(torch.zeros(0, 3), torch.zeros(0, dtype=torch.long))
    table = torch.randn(6 * 64, 5, requires_grad=True)
    found = weighted_rows(table, rows)
    assert found.shape == (0, 5)
    found.sum().backward()
    assert not table.grad.any()


def test_panoramas_close_around_the_axis():
    """Just left and right of azimuth pi, the values agree; without wrapping they are those of two different rows."""
    angle = torch.tensor([torch.pi - 1e-4, -torch.pi + 1e-4])
    directions = torch.stack([angle.sin(), angle.cos(), torch.zeros(2)], dim=-1)
    table, objects = torch.randn(2 * 4 * 36, 3), torch.ones(2, dtype=torch.long)
    left, right = weighted_rows(table, panorama_corners(directions, objects, 4, 6, wrap=True))
    torch.testing.assert_close(left, right, atol=1e-3, rtol=1e-3)
    left, right = weighted_rows(table, panorama_corners(directions, objects, 4, 6, wrap=False))
    assert (left - right).abs().max() > 0.1


@pytest.mark.parametrize("wrap", [True, False])
def test_panoramas_equal_grid_sample(wrap):
    directions = F.normalize(torch.randn(300, 3), dim=-1)
    panorama = torch.randn(6, 6, 3)
    found = weighted_rows(
        panorama.flatten(0, 1), panorama_corners(directions, torch.zeros(300, dtype=torch.long), 1, 6, wrap)
    )
    image = torch.cat([panorama, panorama[:1]]) if wrap else panorama
    grid = torch.stack([directions[:, 2], torch.atan2(directions[:, 0], directions[:, 1]) / torch.pi], dim=-1)
    expected = F.grid_sample(image.permute(2, 0, 1)[None], grid[None, None], align_corners=True)[0, :, 0].mT
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
