import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from scipy.ndimage import correlate
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from strategies import property_settings, seeds

from anyviews.rendering.image_quality import multi_scale_ssim, psnr, scale_count, ssim


def pictures(seed: int, count: int = 2, height: int = 21, width: int = 34) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(count, 3, height, width, generator=generator)
    return images, (images + 0.3 * torch.rand(count, 3, height, width, generator=generator)).clamp(0, 1)


@property_settings
@given(seeds)
def test_scores_are_those_of_scikit_image(seed):
    images, references = pictures(seed)
    for index in range(2):
        a, b = images[index].double().numpy(), references[index].double().numpy()
        theirs = structural_similarity(
            a, b, channel_axis=0, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        assert abs(theirs - ssim(images, references)[index].item()) < 1e-5
        assert abs(peak_signal_noise_ratio(a, b, data_range=1) - psnr(images, references)[index].item()) < 1e-4


def test_pixels_without_weight_do_not_matter():
    images, references = pictures(0)
    weights = torch.zeros(2, 1, 21, 34)
    weights[..., 4:15, 6:30] = 1
    changed = torch.where(weights > 0, images, torch.rand_like(images))
    other = torch.where(weights > 0, references, torch.rand_like(images))
    for score in (psnr, ssim):
        assert torch.equal(score(images, references, weights), score(changed, other, weights))
        assert not torch.allclose(score(images, references), score(changed, other))
        assert torch.allclose(score(images, references), score(images, references, torch.ones_like(weights)))


def test_weighted_psnr_is_that_of_the_pixels_alone():
    images, references = pictures(1)
    weights = torch.zeros(2, 1, 21, 34)
    weights[..., 3:14, 5:25] = 1
    window = (..., slice(3, 14), slice(5, 25))
    torch.testing.assert_close(psnr(images, references, weights), psnr(images[window], references[window]))


def test_slopes_are_right():
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(1, 3, 12, 13, generator=generator, dtype=torch.float64, requires_grad=True)
    references = torch.rand(1, 3, 12, 13, generator=generator, dtype=torch.float64)
    weights = torch.rand(1, 1, 12, 13, generator=generator, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: ssim(x, references, weights), images)


def test_equal_images_and_images_too_small():
    images, _ = pictures(2)
    assert torch.allclose(ssim(images, images), torch.ones(2))
    assert psnr(images, images).isposinf().all()
    with pytest.raises(ValueError, match="10x34; SSIM needs 11"):
        ssim(images[..., :10, :], images[..., :10, :])


def slow_multi_scale(image, reference, exponents, radius=5, weight=None) -> float:
    """Wang et al. 2003 by scipy's filter, one channel at a time."""
    offsets = np.arange(-radius, radius + 1)
    window = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * 1.5**2))

    def mean(values):
        return correlate(values, window / window.sum())[radius:-radius, radius:-radius]

    channels = []
    for x, y in zip(image.double().numpy(), reference.double().numpy(), strict=True):
        product, w = 1.0, np.ones_like(x) if weight is None else weight.double().numpy()
        x, y = x * w, y * w
        for scale, exponent in enumerate(exponents):
            mean_x, mean_y = mean(x), mean(y)
            var_x, var_y, cov = mean(x * x) - mean_x**2, mean(y * y) - mean_y**2, mean(x * y) - mean_x * mean_y
            term = (2 * cov + 9e-4) / (var_x + var_y + 9e-4)
            if scale == len(exponents) - 1:
                term = term * (2 * mean_x * mean_y + 1e-4) / (mean_x**2 + mean_y**2 + 1e-4)
            product *= np.average(term, weights=w[radius:-radius, radius:-radius]) ** exponent
            height, width = (side // 2 for side in x.shape)
            x, y, w = (v[: 2 * height, : 2 * width].reshape(height, 2, width, 2).mean((1, 3)) for v in (x, y, w))
        channels.append(product)
    return float(np.mean(channels))


@pytest.mark.parametrize(("size", "scales"), [((180, 177), 5), ((45, 60), 3), ((21, 34), 1)])
def test_multi_scale_ssim_is_that_of_a_slow_one(size, scales):
    images, references = pictures(3, 2, *size)
    assert scale_count(*size) == scales
    exponents = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])[:scales]
    expected = [slow_multi_scale(a, b, exponents / exponents.sum()) for a, b in zip(images, references, strict=True)]
    assert multi_scale_ssim(images, references).tolist() == pytest.approx(expected, abs=1e-5)
    if scales == 1:
        torch.testing.assert_close(multi_scale_ssim(images, references), ssim(images, references))


def test_multi_scale_ssim_of_some_pixels():
    images, references = pictures(4, 2, 46, 50)
    weights = torch.zeros(2, 1, 46, 50)
    weights[..., 4:34, 8:42] = 1
    changed = torch.where(weights > 0, images, torch.rand_like(images))
    full = torch.ones_like(weights)
    assert torch.equal(multi_scale_ssim(images, references, weights), multi_scale_ssim(changed, references, weights))
    torch.testing.assert_close(multi_scale_ssim(images, references, full), multi_scale_ssim(images, references))
    weights = torch.rand(2, 1, 46, 50)
    exponents = np.array([0.0448, 0.2856, 0.3001])
    expected = [
        slow_multi_scale(a, b, exponents / exponents.sum(), weight=weight[0])
        for a, b, weight in zip(images, references, weights, strict=True)
    ]
    assert multi_scale_ssim(images, references, weights).tolist() == pytest.approx(expected, abs=1e-5)


def test_multi_scale_ssim_serves_as_a_loss():
    images = torch.rand(1, 3, 22, 24, dtype=torch.float64, requires_grad=True)
    references = torch.rand(1, 3, 22, 24, dtype=torch.float64)
    references = 0.5 * references + 0.5 * images.detach()
    assert torch.autograd.gradcheck(lambda x: multi_scale_ssim(x, references), images)
    # the opposite of an image correlates with it negatively, which no power is known of
    opposite = 1 - images
    (slope,) = torch.autograd.grad(multi_scale_ssim(opposite, images.detach()).sum(), images)
    assert slope.isfinite().all()
    with pytest.raises(ValueError, match="10x24; multi-scale SSIM needs 11"):
        multi_scale_ssim(images[..., :10, :], references[..., :10, :])


def test_windows_and_peaks_other_than_the_usual():
    images, references = pictures(5)
    expected = [slow_multi_scale(a, b, [1.0], radius=1) for a, b in zip(images, references, strict=True)]
    assert ssim(images, references, radius=1).tolist() == pytest.approx(expected, abs=1e-5)
    torch.testing.assert_close(ssim(images * 4, references * 4, data_range=4.0), ssim(images, references))
    wide = F.pad(images, [5] * 4, mode="reflect"), F.pad(references, [5] * 4, mode="reflect")
    torch.testing.assert_close(ssim(images, references, border="reflect"), ssim(*wide))
