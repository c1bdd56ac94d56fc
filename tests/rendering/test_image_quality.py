import pytest
import torch
from hypothesis import given
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from strategies import property_settings, seeds

from anyviews.rendering.image_quality import psnr, ssim


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
