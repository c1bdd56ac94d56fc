"""Losses of LIRM: nothing is lost by a perfect answer, and each term sees its own map on its own pixels only."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from anyviews.models.lirm.losses_lirm import LIRMTargets, eroded, lirm_losses, scale_aligned
from anyviews.models.lirm.rendering_lirm import LIRMRender


BATCH, VIEWS, SIZE = 2, 3, 12


def perfect() -> tuple[LIRMRender, LIRMTargets]:
    """Targets of a disk, and the maps of a model that knows them."""
    generator = torch.Generator().manual_seed(0)
    axis = torch.arange(SIZE) - (SIZE - 1) / 2
    masks = ((axis[:, None] ** 2 + axis**2) < 20).float().expand(BATCH, VIEWS, 1, SIZE, SIZE)
    shapes = {"radiance": 3, "base_colors": 3, "roughness": 1, "metallic": 1}
    maps = {
        name: torch.rand(BATCH, VIEWS, count, SIZE, SIZE, generator=generator) * masks + 1 - masks
        for name, count in shapes.items()
    }
    directions = F.normalize(torch.tensor([0.1, 0.2, 1.0]), dim=0)[:, None, None].expand(BATCH, VIEWS, 3, SIZE, SIZE)
    depth = 2 * masks
    targets = LIRMTargets(masks=masks, normals=-directions * masks, depth=depth, directions=directions, **maps)
    values = {**maps, "opacity": masks, "normals": targets.normals + 1 - masks, "depth": depth}
    return LIRMRender(**{name: value.transpose(2, 1).flatten(2).mT for name, value in values.items()}), targets


def test_a_perfect_answer_costs_nothing():
    render, targets = perfect()
    losses = lirm_losses(render, targets, lambda a, b: (a - b).abs().mean((1, 2, 3)))
    assert set(losses) == {
        "mask", "radiance", "radiance_perceptual", "base_color", "base_color_perceptual", "roughness", "metallic",
        "normal", "depth",
    }  # fmt: skip
    assert max(float(value) for value in losses.values()) < 1e-7


@pytest.mark.parametrize("name", ["opacity", "radiance", "roughness", "metallic", "normals", "depth"])
def test_each_map_has_its_own_term(name):
    render, targets = perfect()
    changed = lirm_losses(replace(render, **{name: getattr(render, name) * 0.99}), targets)
    term = {"opacity": "mask", "normals": "normal"}.get(name, name)
    assert changed.pop(term) > 1e-6
    if name == "opacity":  # base colour is taken from behind it
        changed.pop("base_color")
    assert max(float(value) for value in changed.values()) < 1e-9


def test_images_are_compared_in_the_range_of_minus_one_to_one():
    render, targets = perfect()
    losses = lirm_losses(replace(render, radiance=render.radiance + 0.1), targets)
    assert torch.isclose(losses["radiance"], torch.tensor(4 * 0.01), rtol=1e-4)


def test_base_colours_of_another_brightness_are_alike():
    _, targets = perfect()
    darker = targets.base_colors * targets.masks * 0.7 + 1 - targets.masks
    aligned = scale_aligned(darker, targets.masks, targets.base_colors, targets.masks)
    assert (aligned - targets.base_colors).abs().max() < 1e-5
    # another hue is not
    tinted = targets.base_colors * torch.tensor([0.5, 1, 1])[:, None, None]
    assert (
        scale_aligned(tinted, targets.masks, targets.base_colors, targets.masks) - targets.base_colors
    ).abs().max() > 0.1


def test_brightness_is_limited_and_has_no_gradient():
    _, targets = perfect()
    black = (1 - targets.masks).expand_as(targets.base_colors).clone().requires_grad_()
    aligned = scale_aligned(black, targets.masks, targets.base_colors, targets.masks)
    aligned.sum().backward()
    assert aligned.isfinite().all() and black.grad.amax() <= 5 ** (1 / 2.2) + 1e-4


def test_geometry_counts_inside_the_eroded_mask_only():
    render, targets = perfect()
    inside = eroded(targets.masks)
    assert 0 < inside.sum() < targets.masks.sum()
    border = (~inside).transpose(2, 1).flatten(2).mT
    wrong = replace(render, normals=render.normals + border * 0.5, depth=render.depth + border * 0.5)
    losses = lirm_losses(wrong, targets)
    assert losses["normal"] < 1e-12 and losses["depth"] < 1e-12


def test_a_model_without_materials_or_radiance_has_fewer_terms():
    render, targets = perfect()
    assert "radiance" not in lirm_losses(replace(render, radiance=None), targets)
    bare = replace(render, base_colors=None, roughness=None, metallic=None)
    assert not {"base_color", "roughness", "metallic"} & set(lirm_losses(bare, targets))
    assert "numerical_normal" in lirm_losses(replace(render, numerical_normals=render.normals), targets)
