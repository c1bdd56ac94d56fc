import pytest
import torch

from anyviews.geometry.bounds import robust_bounds


def test_box_of_clean_points_is_exact():
    points = torch.rand(5000, 3) * torch.tensor([2.0, 1.0, 0.1])
    low, high = robust_bounds(points)
    assert torch.equal(low, points.amin(0)) and torch.equal(high, points.amax(0))


def test_a_thin_part_that_sticks_out_is_kept():
    floor = torch.rand(5000, 3) * torch.tensor([2.0, 0.01, 2.0])
    pole = torch.tensor([1.0, 0.9, 1.0]).expand(5, 3)
    assert robust_bounds(torch.cat([floor, pole]))[1][1] == pytest.approx(0.9)


def test_far_strays_are_left_out():
    points = torch.rand(5000, 3)
    strays = torch.tensor([[100.0, 0.5, 0.5], [0.5, -1e6, 0.5]])
    low, high = robust_bounds(torch.cat([points, strays]))
    assert torch.equal(low, points.amin(0)) and torch.equal(high, points.amax(0))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_points_are_all_kept(count):
    points = torch.randn(count, 3)
    low, high = robust_bounds(points)
    assert torch.equal(low, points.amin(0)) and torch.equal(high, points.amax(0))


def test_no_points():
    with pytest.raises(ValueError, match="no points"):
        robust_bounds(torch.zeros(0, 3))
