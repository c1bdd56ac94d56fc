"""Scores against values worked out by hand."""

import math

import pytest
import torch

from anyviews.evaluation.metrics import absolute_relative_error, depth_accuracy, psnr


def test_psnr_of_a_constant_error():
    references = torch.rand(2, 3, 4, 5) * 0.5
    images = references + torch.tensor([0.1, 0.01])[:, None, None, None]
    torch.testing.assert_close(psnr(images, references), torch.tensor([20.0, 40.0]), rtol=1e-4, atol=1e-4)


def test_psnr_averages_the_error_not_the_decibels():
    references = torch.zeros(1, 3, 1, 2)
    images = torch.tensor([0.0, 0.2]).expand(1, 3, 1, 2)
    assert psnr(images, references).item() == pytest.approx(-10 * math.log10(0.02), abs=1e-4)


def test_depth_scores_look_only_at_known_depth():
    references = torch.tensor([[[[1.0, 2.0, 0.0, 4.0]]]])
    depths = torch.tensor([[[[1.1, 1.0, 9.0, 4.0]]]])
    valid = references > 0
    assert absolute_relative_error(depths, references, valid).item() == pytest.approx((0.1 + 0.5 + 0) / 3)
    assert depth_accuracy(depths, references, valid).item() == pytest.approx(2 / 3)


def test_depth_accuracy_is_symmetric_in_the_factor():
    references = torch.full((1, 1, 1, 2), 2.0)
    valid = references > 0
    assert depth_accuracy(torch.tensor([[[[2.4, 2.0 / 1.2]]]]), references, valid).item() == 1
    assert depth_accuracy(torch.tensor([[[[2.6, 2.0 / 1.3]]]]), references, valid).item() == 0
    assert depth_accuracy(torch.zeros(1, 1, 1, 2), references, valid).item() == 0
