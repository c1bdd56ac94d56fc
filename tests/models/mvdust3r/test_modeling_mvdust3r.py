"""Every fast path equals the plain computation, gradients included, and the symmetries of the method hold."""

import time

import pytest
import torch
from small_mvdust3r import NAMES, plain_forward, random_images, small_model

from anyviews.models.mvdust3r import MVDust3rPlusConfig, MVDust3rPlusModel
from anyviews.models.mvdust3r.heads_mvdust3r import activate_confidence


VARIANTS = {
    "one reference": {"num_references": 1},
    "two references": {"num_references": 2},
    "three references": {},
    "as many references as views": {"num_references": 4},
    "points only": {"use_skip": False, "use_gaussians": False},
}


def assert_same(found, expected, atol=2e-5, **selection):
    """Two outputs, or an output and a dictionary, agree in every field."""
    expected = {name: expected[name] for name in NAMES if name in expected}
    assert expected
    for name, value in expected.items():
        torch.testing.assert_close(
            getattr(found, name), value, atol=atol, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize("variant", VARIANTS)
def test_all_paths_equal_the_plain_computation(variant):
    model, images = small_model(**VARIANTS[variant]), random_images()
    with torch.no_grad():
        expected = plain_forward(model, images, list(range(model.config.num_references)))
        assert_same(model(images, all_paths=True), expected)
        assert_same(model(images), {name: value[:, :1] for name, value in expected.items()})


@pytest.mark.parametrize("variant", VARIANTS)
def test_training_equals_the_plain_computation(variant):
    """Outputs, all gradients and the statistics of batch normalisation, in training mode."""
    model, images = small_model(**VARIANTS[variant]), random_images()
    twin = small_model(**VARIANTS[variant])
    twin.load_state_dict(model.state_dict())
    model.train()
    twin.train()
    found = model(images)
    expected = plain_forward(twin, images, list(range(model.config.num_references)))
    assert_same(found, expected)
    weights = {name: torch.randn_like(value) for name, value in expected.items()}
    sum((getattr(found, name) * weight).sum() for name, weight in weights.items()).backward()
    sum((expected[name] * weight).sum() for name, weight in weights.items()).backward()
    for (name, parameter), other in zip(model.named_parameters(), twin.parameters(), strict=True):
        assert parameter.grad is not None, f"{name} is never used"
        # the bias before a batch normalisation has no gradient but rounding
        torch.testing.assert_close(parameter.grad, other.grad, atol=1e-4, rtol=1e-3, msg=lambda m, n=name: f"{n}: {m}")
    assert model.encoder_layers[0].mlp.up.weight.grad.abs().max() > 0.1
    for (name, buffer), other in zip(model.named_buffers(), twin.buffers(), strict=True):
        torch.testing.assert_close(buffer, other, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("num_references", [1, 3])
def test_gradients_do_not_change_the_result(num_references):
    """Windows at once without gradients, window by window with them; with any attention implementation."""
    model, images = small_model(num_references=num_references), random_images(views=5)
    with torch.no_grad():
        expected = model(images, all_paths=True)
    assert_same(model(images, all_paths=True), expected)
    model.set_attn_implementation("eager")
    assert model.decoder.source_layers[0].cross_attention.config._attn_implementation == "eager"
    assert_same(model(images, all_paths=True), expected)
    with torch.no_grad():
        assert_same(model(images, all_paths=True), expected)


@pytest.mark.parametrize("head_views", [1, 3, 100, None])
def test_heads_in_chunks(head_views):
    model, images = small_model(), random_images(batch=3)
    with torch.no_grad():
        assert_same(model(images, all_paths=True, head_views=head_views), model(images, all_paths=True))


def test_gradient_checkpointing_changes_nothing():
    images = random_images()
    model = small_model().train()
    plain = small_model().train()
    plain.load_state_dict(model.state_dict())
    model.activation_checkpointing_enable()
    for each in (model, plain):
        output = each(images)
        (output.points.square().mean() + output.confidence.mean() + output.scales.square().mean()).backward()
    assert model.source_point_head.skip.layers[0].gradient_checkpointing
    for (name, parameter), other in zip(model.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, other.grad, msg=lambda m, n=name: f"{n}: {m}")
    for (name, buffer), other in zip(model.named_buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(buffer, other, msg=lambda m, n=name: f"{n}: {m}")


def test_gradient_checkpointing_keeps_less():
    def kept(checkpointing: bool) -> int:
        model = small_model().train()
        if checkpointing:
            model.activation_checkpointing_enable()
        sizes = {}

        def pack(tensor):
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            model(random_images())
        return sum(sizes.values())

    assert kept(True) < 0.5 * kept(False)


def test_a_group_of_scenes_equals_each_scene():
    model, images = small_model(), random_images(batch=3)
    with torch.no_grad():
        together = model(images, all_paths=True)
        for scene in range(3):
            alone = model(images[scene : scene + 1], all_paths=True)
            assert_same(alone, {name: together[name][scene : scene + 1] for name in NAMES})


def test_references_are_a_choice():
    """Naming references equals moving them to the front; the output stays in the order of the input."""
    model, images = small_model(), random_images(views=5)
    references, order = [3, 0, 4], [3, 0, 4, 1, 2]
    with torch.no_grad():
        chosen = model(images, references=references, all_paths=True)
        moved = model(images[:, order], all_paths=True)
    assert chosen.references == tuple(references)
    assert_same(moved, {name: chosen[name][:, :, order] for name in NAMES})


def test_first_path_is_symmetric():
    """It does not matter in which order the other references, and all other views, come."""
    model, images = small_model(), random_images(views=6)
    with torch.no_grad():
        expected = model(images)
        for order in ([0, 2, 1, 3, 4, 5], [0, 1, 2, 5, 3, 4], [0, 2, 1, 4, 5, 3]):
            assert_same(model(images[:, order]), {name: expected[name][:, :, order] for name in NAMES})
        moved = model(images[:, [1, 0, 2, 3, 4, 5]])
    assert (moved.points[:, :, [1, 0, 2, 3, 4, 5]] - expected.points).abs().max() > 1e-2


def test_fresh_fusion_layers_change_nothing():
    """The first path of a fresh MV-DUSt3R+ equals MV-DUSt3R with the same weights."""
    plus = MVDust3rPlusModel.from_size("tiny", num_references=3).eval()
    single = MVDust3rPlusModel.from_size("tiny", num_references=1).eval()
    weights = plus.state_dict()
    assert any(key.startswith("decoder.fusion_layers") for key in weights)
    single.load_state_dict({key: value for key, value in weights.items() if "fusion_layers" not in key})
    images = random_images(batch=1, height=16, width=16)
    with torch.no_grad():
        torch.testing.assert_close(plus(images).points, single(images).points)
        several = single(images, references=[0, 1, 2], all_paths=True)  # paths without fusion do not meet
        torch.testing.assert_close(several.points, plus(images, all_paths=True).points)


def test_fresh_skip_branches_change_nothing():
    model = MVDust3rPlusModel.from_size("tiny").eval()
    with torch.no_grad():
        for head in (model.reference_point_head, model.source_point_head):
            assert not head.skip(torch.rand(1, 6, 8, 8)).any()
        assert model.source_point_head.projection.weight.any()


def test_fewer_views_than_references():
    model = small_model(num_references=4)
    with torch.no_grad():
        assert model(random_images(views=2), all_paths=True).points.shape[:3] == (2, 2, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pixel_values": random_images(views=1)}, "1 view was given; 2 or more"),
        ({"pixel_values": random_images(height=10)}, "10x12 pixels do not divide into patches.* multiples of 4"),
        ({"references": [0]}, "2 or more different views from 0 to 3, because this model fuses"),
        ({"references": [0, 0]}, "2 or more different views"),
        ({"references": [0, 4]}, "from 0 to 3"),
    ],
)
def test_unusable_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        small_model()(**{"pixel_values": random_images(), **arguments})


def test_confidence_has_a_gradient_at_its_bound():
    raw = torch.tensor([-100.0, 0.0, 20.0, 100.0], requires_grad=True)
    confidence = activate_confidence(raw, 1.0, 1e9)
    confidence.sum().backward()
    torch.testing.assert_close(confidence, torch.tensor([1.0, 2.0, 1 + 4.851652e8, 1e9]))
    assert raw.grad.isfinite().all()


def test_tiny_is_fast():
    model = MVDust3rPlusModel.from_size("tiny").eval()
    images = random_images(batch=1, views=6, height=64, width=64)
    seconds = []
    with torch.no_grad():
        for _ in range(3):
            start = time.process_time()
            model(images)
            seconds.append(time.process_time() - start)
    assert min(seconds) < 1


def test_sizes_of_the_paper():
    """Parameters as published, but for the unused mask token."""
    for num_references, expected in ((1, 547_989_522), (4, 661_429_266)):
        with torch.device("meta"):
            model = MVDust3rPlusModel(MVDust3rPlusConfig(num_references=num_references, gaussian_colors="head"))
        assert sum(parameter.numel() for parameter in model.parameters()) == expected - 768
