"""Image scores against scikit-image and values worked out by hand."""

import math

import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from anyviews.evaluation.image_metrics import channel_scales, score_images
from anyviews.rendering.image_quality import psnr
from anyviews.rendering.lpips import LPIPS


def random_lpips() -> LPIPS:
    lpips = LPIPS("alex")
    return lpips.load_weights({name: 0.1 * torch.rand(value.shape) for name, value in lpips.state_dict().items()})


def test_psnr_of_a_constant_error():
    references = torch.rand(2, 3, 4, 5) * 0.5
    images = references + torch.tensor([0.1, 0.01])[:, None, None, None]
    torch.testing.assert_close(psnr(images, references), torch.tensor([20.0, 40.0]), rtol=1e-4, atol=1e-4)


def test_psnr_averages_the_error_not_the_decibels():
    references = torch.zeros(1, 3, 1, 2)
    images = torch.tensor([0.0, 0.2]).expand(1, 3, 1, 2)
    assert psnr(images, references).item() == pytest.approx(-10 * math.log10(0.02), abs=1e-4)


def test_scores_are_those_of_scikit_image():
    references = torch.rand(3, 3, 24, 31)
    images = references + 0.2 * torch.randn(references.shape)
    scores = score_images(images, references, resize_filter="area")
    pairs = [(a.double().numpy(), b.double().numpy()) for a, b in zip(images.clamp(0, 1), references, strict=True)]
    expected = sum(peak_signal_noise_ratio(b, a, data_range=1) for a, b in pairs) / 3
    assert scores["psnr"].value == pytest.approx(expected, abs=1e-4)
    window = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1}
    expected = sum(structural_similarity(a, b, channel_axis=0, **window) for a, b in pairs) / 3
    assert scores["ssim"].value == pytest.approx(expected, abs=1e-5)
    assert scores["psnr"].unit == "dB" and scores.keys() == {"psnr", "ssim", "ms_ssim"}
    for score in scores.values():
        assert score.protocol["resolution"] == "24x31" and score.protocol["resize_filter"] == "area"
    assert scores["ms_ssim"].protocol["scales"] == 2 and "11 pixels" in scores["ssim"].protocol["window"]


def test_scores_inside_masks():
    references = torch.rand(3, 3, 40, 40)
    images = (references + 0.2 * torch.randn(references.shape)).clamp(0, 1)
    masks = torch.zeros(3, 1, 40, 40)
    masks[:2, :, 12:30, 8:33] = 1
    lpips = random_lpips()
    scores = score_images(images, references, masks, lpips)
    changed = torch.where(masks > 0, images, torch.rand_like(images))
    again = score_images(changed, references, masks, lpips)
    alone = score_images(images[:2], references[:2], masks[:2], lpips)
    for name, score in scores.items():
        assert score.value == again[name].value
        # the third has nothing to score
        assert score.value == pytest.approx(alone[name].value, abs=1e-6)
        assert score.protocol["mask"] == "pixels of the masks"
    window = (slice(0, 2), slice(None), slice(12, 30), slice(8, 33))
    assert scores["psnr"].value == pytest.approx(
        score_images(images[window], references[window])["psnr"].value, abs=1e-4
    )
    expected = lpips(images[:2] * masks[:2], references[:2] * masks[:2]).mean().item()
    assert scores["lpips"].value == pytest.approx(expected) and scores["lpips"].protocol["net"] == "alex"


def test_masks_that_no_window_is_centred_in():
    images, references, masks = torch.rand(1, 3, 40, 40), torch.rand(1, 3, 40, 40), torch.zeros(1, 1, 40, 40)
    nothing = score_images(images, references, masks)
    assert all(math.isnan(score.value) for score in nothing.values())
    masks[..., :3, :] = 1
    scores = score_images(images, references, masks)
    assert math.isfinite(scores["psnr"].value)
    assert math.isnan(scores["ssim"].value) and math.isnan(scores["ms_ssim"].value)


def test_small_masks_are_compared_at_the_scales_that_see_them():
    """A coarse window must not count as different because no mask reaches its centre."""
    images = torch.rand(1, 3, 92, 92)
    masks = torch.zeros(1, 1, 92, 92)
    masks[..., 6:16, 6:16] = 1
    assert score_images(images, images, masks)["ms_ssim"].value == pytest.approx(1, abs=1e-5)


def test_references_must_be_displayable():
    images = torch.rand(1, 3, 16, 16)
    with pytest.raises(ValueError, match=r"references lie in \[.*\]; give sRGB in \[0, 1\]"):
        score_images(images, 2 * images - 1)


def test_channel_scales_are_least_squares_over_the_mask():
    references = torch.rand(2, 3, 6, 7)
    factors = torch.tensor([[0.5, 2.0, 3.0], [1.0, 0.1, 4.0]])[:, :, None, None]
    masks = (torch.rand(2, 1, 6, 7) > 0.4).float()
    noise = torch.rand_like(references)
    images = torch.where(masks > 0, references / factors, noise)
    torch.testing.assert_close(channel_scales(images, references, masks), factors)
    solution = torch.linalg.lstsq(noise[0, 1].reshape(-1, 1), references[0, 1].reshape(-1, 1)).solution
    torch.testing.assert_close(channel_scales(noise, references)[0, 1].flatten(), solution.flatten())
    # a channel that is black in the mask is taken for 1
    images[:, 2] = 0
    expected = (references * masks).sum((2, 3))[:, 2] / masks.sum((2, 3))[:, 0]
    torch.testing.assert_close(channel_scales(images, references, masks)[:, 2, 0, 0], expected)
