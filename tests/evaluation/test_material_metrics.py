"""Scores of materials and of Stanford-ORB against numpy, step by step."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_erosion, correlate
from scipy.spatial.distance import cdist

from anyviews.color import srgb_from_linear
from anyviews.evaluation.material_metrics import score_base_color, score_material_map
from anyviews.evaluation.stanford_orb import (
    erode,
    score_orb_base_color,
    score_orb_depths,
    score_orb_images,
    score_orb_shape,
)
from anyviews.rendering.lpips import LPIPS


def hdr_pictures(views: int = 2) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Predicted and true light, some of it above 1 and 4 and some negative, and masks; the last is worse than grey."""
    references = torch.rand(views, 3, 24, 26) ** 3 * 6
    images = references * torch.tensor([0.5, 1.5, 1.0])[:, None, None] + 0.1 * torch.rand(references.shape)
    references = references - 0.02
    images[-1] += 9
    masks = torch.zeros(views, 1, 24, 26)
    masks[:, :, 3:20, :17] = 1
    return images, references, masks


def srgb(linear: np.ndarray) -> np.ndarray:
    linear = np.clip(linear, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055)


def decibels(error: np.ndarray) -> float:
    return -10 * math.log10((error**2).mean())


def window_three_similarity(a: np.ndarray, b: np.ndarray) -> float:
    side = np.exp(-np.array([1, 0, 1]) / (2 * 1.5**2))
    window = np.outer(side, side) / side.sum() ** 2
    maps = []
    for x, y in zip(a, b, strict=True):
        mx, my, xx, yy, xy = (correlate(v, window, mode="mirror") for v in (x, y, x * x, y * y, x * y))
        numerator = (2 * mx * my + 1e-4) * (2 * (xy - mx * my) + 9e-4)
        maps.append(numerator / ((mx**2 + my**2 + 1e-4) * (xx - mx**2 + yy - my**2 + 9e-4)))
    return float(np.mean(maps))


@pytest.mark.parametrize("scaled", [True, False])
def test_orb_images_step_by_step(scaled):
    images, references, masks = hdr_pictures()
    high, low, similar = [], [], []
    for image, reference, mask in zip(
        images.double().numpy(), references.double().numpy(), masks.numpy(), strict=True
    ):
        inside = binary_erosion(mask[0] > 0.5, np.ones((5, 5)), border_value=1)
        found, wanted = image * inside, np.maximum(reference, 0) * inside
        scale = np.ones((3, 1, 1))
        if scaled:
            for channel in range(3):
                p, t = found[channel][inside], wanted[channel][inside]
                scale[channel] = (p * t).sum() / (p * p).sum()
        clipped = np.clip(wanted, 0, 1)
        ratio = srgb(clipped).mean() / clipped.mean()
        grey = np.full_like(wanted, 0.5)
        bright, shown = np.clip(wanted * ratio, 0, 4), srgb(wanted)
        values = [decibels(np.clip(found * ratio * scale, 0, 4) - bright), decibels(grey - bright)]
        high.append(max(values))
        values = [decibels(srgb(found * scale) - shown), decibels(grey - shown)]
        low.append(max(values))
        similar.append(window_three_similarity(srgb(found * scale) * inside, shown * inside))
    scores = score_orb_images(images, references, masks, scaled=scaled)
    assert scores["orb_psnr_h"].value == pytest.approx(np.mean(high), abs=1e-3)
    assert scores["orb_psnr_l"].value == pytest.approx(np.mean(low), abs=1e-3)
    assert scores["orb_ssim"].value == pytest.approx(np.mean(similar), abs=1e-4)
    assert scores["orb_psnr_h"].protocol["scale"] == ("per channel and image" if scaled else "none")


def test_orb_relighting_forgives_the_colour_of_light_and_view_synthesis_does_not():
    _, references, masks = hdr_pictures()
    references = references.clamp(0, 0.5)
    tinted = references * torch.tensor([0.4, 0.6, 0.9])[:, None, None]
    assert score_orb_images(tinted, references, masks, scaled=True)["orb_psnr_l"].value > 60
    assert score_orb_images(tinted, references, masks, scaled=False)["orb_psnr_l"].value < 35
    assert score_orb_base_color(tinted, references, masks)["orb_base_color_psnr"].value > 60


def test_orb_lpips_sees_the_curve_twice_and_base_colour_once():
    images, references, masks = hdr_pictures(1)
    images, references, masks = (torch.nn.functional.interpolate(v, (40, 40)) for v in (images, references, masks))
    lpips = LPIPS("alex")
    lpips.load_weights({name: 0.1 * torch.rand(value.shape) for name, value in lpips.state_dict().items()})
    eroded = erode(masks)
    once = [srgb_from_linear(values * eroded) for values in (images, references.clamp(min=0))]
    expected = lpips(*(srgb_from_linear(values) for values in once)).item()
    score = score_orb_images(images, references, masks, scaled=False, lpips=lpips)["orb_lpips"]
    assert score.value == pytest.approx(expected, rel=1e-4) and score.protocol["color"] == "sRGB curve twice"
    references = references.clamp(0, 1)
    exact = score_orb_base_color(references, references, masks, lpips)["orb_base_color_lpips"]
    assert exact.value < 1e-6 and exact.protocol["color"] == "sRGB"


def test_orb_depth_and_shape():
    references = torch.rand(3, 1, 12, 12) + 1
    masks = torch.ones_like(references)
    masks[:, :, :3] = 0
    found = 2 * references
    assert score_orb_depths(found, references, masks).value < 1e-12
    found[0] *= 1.2  # one factor for all views: they must agree
    a, b = (np.where(erode(masks).numpy() > 0, values.double().numpy(), 0) for values in (found, references))
    scale = (a * b).sum() / (a * a).sum()
    assert score_orb_depths(found, references, masks).value == pytest.approx(((scale * a - b) ** 2).mean())
    points, vertices = torch.rand(30, 3), torch.rand(20, 3)
    squares = cdist(points.double(), vertices.double(), "sqeuclidean")
    expected = (squares.min(1).mean() + squares.min(0).mean()) / 2
    assert score_orb_shape(points, vertices).value == pytest.approx(expected)


def test_erosion_does_not_count_what_lies_outside():
    masks = torch.ones(1, 1, 9, 8)
    assert torch.equal(erode(masks), masks)
    masks[0, 0, 4, 4] = 0
    assert torch.equal(erode(masks)[0, 0, 2:7, 2:7], torch.zeros(5, 5)) and erode(masks).sum() == 72 - 25


def test_base_colour_up_to_a_factor():
    references = torch.rand(2, 3, 10, 10)
    masks = (torch.rand(2, 1, 10, 10) > 0.3).float()
    linear = np.where(references > 0.04045, ((references.double() + 0.055) / 1.055) ** 2.4, references / 12.92)
    darker = srgb_from_linear(torch.tensor(linear).float() * torch.tensor([0.5, 0.25, 0.75])[:, None, None])
    assert score_base_color(darker, references, masks)["base_color_psnr"].value > 60
    plain = score_base_color(darker, references, masks, scaled=False)["base_color_psnr"]
    seen = masks.numpy().astype(bool)[:, 0]
    error = linear * (1 - np.array([0.5, 0.25, 0.75])[:, None, None])
    expected = np.mean([decibels(e[:, s]) for e, s in zip(error, seen, strict=True)])
    assert plain.value == pytest.approx(expected, abs=1e-3) and plain.protocol["scale"] == "none"


def test_roughness_inside_the_masks():
    references = torch.full((2, 1, 2, 2), 0.5)
    values = references + torch.tensor([[0.1, 0.3], [9.0, 9.0]])
    masks = torch.tensor([[1.0, 1.0], [0.0, 0.0]]).expand(2, 1, 2, 2).clone()
    masks[1] = 0
    scores = score_material_map("roughness", values, references, masks)
    assert scores["roughness_mae"].value == pytest.approx(0.2)
    assert scores["roughness_rmse"].value == pytest.approx(math.sqrt(0.05))
    assert math.isnan(score_material_map("metallic", values, references, 0 * masks)["metallic_mae"].value)
