"""LGM as a model: its arithmetic against a plain form, gradients, precision, files and errors."""

import pytest
import torch
from golden_lgm import flat
from plain_lgm import random_inputs, small_model
from script_modules import load_script
from transformers import AutoModel

from anyviews.models.lgm import LGM_SIZES, LGMConfig, LGMModel, lgm_cameras, prepare_images
from anyviews.models.lgm.layers_lgm import blockwise_attention, eager_attention_forward


@pytest.fixture(scope="module")
def plain(repository):
    return load_script(repository / "utils" / "benchmark_lgm.py").plain_maps


@pytest.mark.parametrize("options", [{}, {"layers_per_block": 1, "mid_attention": False, "skip_scale": 1.0}])
@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_plain_form(plain, options, implementation):
    model, values = small_model(**options), random_inputs()
    model.set_attn_implementation(implementation)
    with torch.no_grad():
        found = model(values).maps
        expected = torch.stack([plain(model.state_dict(), one, model.config) for one in values])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_gradients_of_all_attentions_and_of_the_plain_form_agree(plain):
    model, values = small_model(), random_inputs(1)
    gradients = []
    for implementation in ("sdpa", "eager", "plain"):
        model.zero_grad()
        if implementation == "plain":
            maps = plain(dict(model.named_parameters()), values[0], model.config)[None]
        else:
            model.set_attn_implementation(implementation)
            maps = model(values).maps
        maps.square().mean().backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
    for name, *found in zip(dict(model.named_parameters()), *gradients, strict=True):
        torch.testing.assert_close(found[0], found[2], atol=1e-5, rtol=1e-4, msg=name)
        torch.testing.assert_close(found[1], found[2], atol=1e-5, rtol=1e-4, msg=name)


def test_output_does_not_depend_on_whether_gradients_are_recorded():
    model, values = small_model(), random_inputs()
    with torch.no_grad():
        without = model(values)
    torch.testing.assert_close(without.maps, model(values).maps, atol=1e-5, rtol=1e-5)
    assert without.maps.shape == (2, 4, 14, 8, 8)
    assert without.gaussians.batch_shape == (2,) and len(without.gaussians) == 4 * 8 * 8
    without.gaussians.validate()


def test_checkpointing_gives_the_same_gradients():
    """In inputs that need no gradient, as training has them."""
    model, values = small_model().train(), random_inputs(1)
    gradients = []
    for _ in range(2):
        model.zero_grad()
        model(values).maps.square().mean().backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    for first, second in zip(*gradients, strict=True):
        torch.testing.assert_close(first, second, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("anchor", ["origin", "rays"])
def test_objects_of_a_batch_do_not_meet_and_views_may_be_in_any_order(anchor):
    model, values = small_model(anchor=anchor), random_inputs(3)
    order = [2, 0, 3, 1]
    with torch.no_grad():
        together = model(values).maps
        alone = torch.cat([model(one[None]).maps for one in values])
        reordered = model(values[:, order]).maps
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(reordered, together[:, order], atol=1e-5, rtol=1e-5)


def test_fresh_positions_anchored_to_rays_lie_on_the_planes_through_the_origin():
    model = LGMModel.from_size("micro").eval()
    with torch.no_grad():
        model.conv.weight.zero_()
        model.conv.weight[11:].normal_()
        gaussians = model(prepare_images(torch.rand(4, 3, 64, 64), size=64)[None]).gaussians[0]
    means = gaussians.means.unflatten(0, (4, 32, 32))
    pixels, _ = lgm_cameras(size=32).project(means.flatten(1, 2))
    wanted = torch.stack(torch.meshgrid(torch.arange(32) + 0.5, torch.arange(32) + 0.5, indexing="xy"), dim=-1)
    # the mean of four rays is not quite the ray of their middle
    assert (pixels.unflatten(1, (32, 32)) - wanted).abs().max() < 0.2
    # nearest to the origin: the ray's direction from there is at a right angle to the line of sight
    to_eye = lgm_cameras().centers[:, None, None] - means
    assert ((means * to_eye).sum(-1).abs() / to_eye.norm(dim=-1)).max() < 1e-3
    assert 0.2 < gaussians.opacities.mean() < 0.3 and 0.02 < gaussians.scales.mean() < 0.03


def test_round_trip(tmp_path):
    model, values = small_model(anchor="rays"), random_inputs()
    model.save_pretrained(tmp_path)
    for loader in (LGMModel, AutoModel):
        loaded = loader.from_pretrained(tmp_path)
        assert isinstance(loaded, LGMModel) and loaded.config.to_diff_dict() == model.config.to_diff_dict()
        with torch.no_grad():
            torch.testing.assert_close(loaded(values).maps, model(values).maps, atol=1e-5, rtol=1e-5)


def test_attention_by_blocks():
    query, key, value = torch.randn(3, 2, 4, 300, 8)
    attended, _ = eager_attention_forward(torch.nn.Identity(), query, key, value, None, scaling=0.3)
    torch.testing.assert_close(blockwise_attention(query, key, value, 0.3), attended, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("way", ["loaded", "cast", "autocast"])
def test_bfloat16(tmp_path, way):
    model, values = small_model(), random_inputs()
    with torch.no_grad():
        expected = flat(model(values).gaussians)
        if way == "loaded":
            model.save_pretrained(tmp_path)
            model = LGMModel.from_pretrained(tmp_path, dtype=torch.bfloat16)
            kept = {name for name, value in model.named_parameters() if value.dtype == torch.float32}
            assert kept == {f"{layer}.{kind}" for layer in ("conv", "unet.conv_out") for kind in ("weight", "bias")}
        elif way == "cast":
            model = model.to(torch.bfloat16)
        with torch.autocast("cpu", torch.bfloat16, enabled=way == "autocast"):
            output = model(values)
    found = flat(output.gaussians)
    assert found.dtype == output.maps.dtype == torch.float32
    assert (found - expected).abs().mean() < 0.01 * expected.std()
    assert len(output.maps.unique()) > 0.9 * output.maps.numel(), "the last layers are not rounded"


@pytest.mark.parametrize("size", LGM_SIZES)
def test_sizes(size):
    with torch.device("meta"):
        model = LGMModel.from_size(size)
    counts = {"tiny": 59_743_360, "small": 412_958_240, "big": 415_042_848}
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count == counts.get(size, count) and count > 1e6
    assert model.config.splat_size == {"micro": 32, "tiny": 64, "small": 64, "big": 128}[size]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"down_channels": (32, 40, 64)}, r"down_channels hold \[40\]; accepted are multiples of 32"),
        ({"up_channels": (64,)}, "1 up_channels and 2 up_attention"),
        ({"up_channels": (64,) * 4, "up_attention": (False,) * 4}, "may not be longer"),
        ({"input_size": 18}, "cannot be halved 2 times; accepted are multiples of 4"),
        ({"num_heads": 48}, "num_heads=48"),
        ({"num_heads": 0}, "num_heads=0 must be above 0"),
        ({"anchor": "pixels"}, "is not one of origin, rays"),
        ({"field_of_view": 190.0}, "between 0 and 180"),
        ({"near": 3.0}, "0 < near < far"),
        ({"num_views": 0}, "num_views=0 must be above 0"),
    ],
)
def test_impossible_configurations_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        small_model(**options)
    with pytest.raises(ValueError, match="accepted are micro, tiny, small, big"):
        LGMConfig.from_size("base")


def test_wrong_inputs_are_refused():
    model = small_model()
    with pytest.raises(ValueError, match=r"shape \(2, 3, 9, 16, 16\); accepted is \(batch, 4, 9, 16, 16\)"):
        model(random_inputs()[:, :3])
    with pytest.raises(ValueError, match=r"prepare_images\(images, cameras, size=16\)"):
        model(random_inputs(size=32))
    with pytest.raises(ValueError, match="24x32 pixels; accepted are square ones"):
        prepare_images(torch.rand(4, 3, 24, 32))
    with pytest.raises(ValueError, match="3 images without cameras; give 4"):
        prepare_images(torch.rand(3, 3, 32, 32))
    with pytest.raises(ValueError, match="batch shape"):
        prepare_images(torch.rand(2, 4, 3, 32, 32), lgm_cameras())
    with pytest.raises(ValueError, match="looks along up"):
        lgm_cameras(elevations=90.0)
