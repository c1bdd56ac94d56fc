"""Decoders: the first layer ahead of the look-up equals the plain order, and an untrained model shows a small ball."""

import pytest
import torch
import torch.nn.functional as F
from small_lirm import MATERIALS, ball_model, plain_query, random_planes, small_model

from anyviews.models.lirm import LIRMModel


VARIANTS = {
    "panoramas": {},
    "one panorama": {"nde_panoramas": 1},
    "nine panoramas with a seam": {"nde_token_size": 6, "nde_panoramas": 9, "nde_wrap": False},
    "no view dependence": {"nde_type": "none"},
    "tri-plane": {"plane_type": "tri"},
    "one hidden layer": dict.fromkeys(["sdf_depth", "rgb_depth", "brdf_depth", "normal_depth", "rho_depth"], 1),
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("with_view", [True, False])
def test_fields_equal_the_plain_computation(variant, with_view):
    model = small_model(**VARIANTS[variant])
    planes, points = random_planes(model), torch.rand(2, 150, 3) * 1.1 - 0.55
    directions = F.normalize(torch.randn(2, 150, 3), dim=-1) if with_view else None
    with torch.no_grad():
        found = model.query(planes, points, directions, with_features=True)
        for index in range(2):
            along = None if directions is None else directions[index]
            for name, expected in plain_query(model, planes, index, points[index], along).items():
                torch.testing.assert_close(
                    getattr(found, name)[index], expected, atol=2e-5, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}"
                )
        chunked = model.query(planes, points, directions, chunk=37, with_features=True)
    for name, value in vars(found).items():
        torch.testing.assert_close(getattr(chunked, name), value, atol=1e-6, rtol=1e-5)


def test_gradients_equal_those_of_the_plain_computation():
    """By planes, panoramas and all weights; through the level of the panoramas too."""
    model = small_model()
    planes, points = random_planes(model, 1), torch.rand(1, 150, 3) - 0.5
    directions = F.normalize(torch.randn(1, 150, 3), dim=-1)
    leaves = [planes.planes.requires_grad_(), planes.panoramas.requires_grad_(), *model.decoders.parameters()]
    found = model.query(planes, points, directions)
    expected = plain_query(model, planes, 0, points[0], directions[0])
    weights = {name: torch.randn_like(expected[name]) for name in ("sdf", *MATERIALS)}
    gradients = torch.autograd.grad(sum((getattr(found, n)[0] * w).sum() for n, w in weights.items()), leaves)
    plain = torch.autograd.grad(sum((expected[n] * w).sum() for n, w in weights.items()), leaves)
    for gradient, other in zip(gradients, plain, strict=True):
        assert gradient.abs().max() > 0
        torch.testing.assert_close(gradient, other, atol=1e-4, rtol=1e-3)


def test_an_untrained_model_is_a_small_ball():
    """13.5 (1): |x| - 0.0525 at the start, whatever the photos show."""
    model = LIRMModel.from_size("tiny", sweep_size=0, use_photos=False)
    config = model.config
    tokens = torch.randn(2, 20, config.hidden_size)
    with torch.no_grad():
        points = torch.rand(2, 500, 3) - 0.5
        found = model.query(model.decode_planes(model.update(tokens)), points).sdf
    assert config.box_radius == pytest.approx(0.525)
    torch.testing.assert_close(found, points.norm(dim=-1, keepdim=True) - 0.0525, atol=0.02, rtol=0)


def test_distances_are_bounded():
    """The learned part never exceeds 1.5 diagonals of the box's half."""
    model = small_model()
    with torch.no_grad():
        model.decoders.heads["sdf"].last.weight.mul_(1e6)
        points = torch.rand(2, 200, 3) - 0.5
        learned = model.query(random_planes(model), points).sdf - points.norm(dim=-1, keepdim=True) + 0.6 * 0.525
    torch.testing.assert_close(learned.abs().max(), torch.tensor(1.5 * 3**0.5 * 0.525))


def test_normals_point_outwards_at_the_start():
    model = ball_model()
    with torch.no_grad():
        model.decoders.heads["normal"].last.weight.zero_()
        points = torch.rand(1, 50, 3) - 0.5
        normals = model.query(random_planes(model, 1), points).normals
    torch.testing.assert_close(normals, F.normalize(points, dim=-1))


def test_only_radiance_and_only_radiance_looks_at_the_view():
    for nde_type in ("none", "sh", "panorama"):
        model = small_model(nde_type=nde_type)
        planes, points = random_planes(model, 1), torch.rand(1, 50, 3) - 0.5
        with torch.no_grad():
            first, second = (model.query(planes, points, F.normalize(torch.randn(1, 50, 3), dim=-1)) for _ in range(2))
        for name in ("sdf", *MATERIALS):
            same = torch.equal(getattr(first, name), getattr(second, name))
            assert same == (name != "radiance" or nde_type == "none"), (nde_type, name)


def test_radiance_does_not_bend_normals():
    """Normals reach the radiance without gradients: it cannot improve by turning them."""
    model = small_model()
    planes = random_planes(model, 1)
    model.query(
        planes, torch.rand(1, 50, 3) - 0.5, F.normalize(torch.randn(1, 50, 3), dim=-1)
    ).radiance.sum().backward()
    assert model.decoders.heads["radiance"].first.weight.grad.any()
    assert model.decoders.heads["panorama_level"].last.weight.grad.any()
    assert model.decoders.heads["normal"].last.weight.grad is None


@pytest.mark.parametrize(
    ("prediction_type", "absent"), [("rgb", {"base_colors", "roughness", "metallic"}), ("brdf", {"radiance"})]
)
def test_models_of_a_part_leave_the_rest_out(prediction_type, absent):
    model = small_model(prediction_type=prediction_type)
    with torch.no_grad():
        found = model.query(random_planes(model), torch.rand(2, 10, 3) - 0.5)
    assert {name for name, value in vars(found).items() if value is None} == absent | {"features"}
