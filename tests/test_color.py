"""The sRGB curve and its inverse."""

import torch

from anyviews.color import linear_from_srgb, srgb_from_linear


def test_known_values():
    assert torch.allclose(
        srgb_from_linear(torch.tensor([0.0, 0.0031308, 0.2140411, 1.0, 7.0])),
        torch.tensor([0.0, 0.04045, 0.5, 1.0, 1.0]),
        atol=1e-5,
    )


def test_round_trip():
    values = torch.linspace(0, 1, 1001, dtype=torch.float64)
    assert torch.allclose(srgb_from_linear(linear_from_srgb(values)), values, atol=1e-7)


def test_slopes_are_finite_everywhere():
    values = torch.tensor([0.0, 1e-8, 0.5, 1.0], requires_grad=True)
    for curve in (srgb_from_linear, linear_from_srgb):
        (slope,) = torch.autograd.grad(curve(values).sum(), values)
        assert slope.isfinite().all() and (slope[:3] > 0).all()
