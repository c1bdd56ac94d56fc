"""EfficientViT-L2: published names, sizes and arithmetic, each against a description written apart from the module."""

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from script_modules import load_script

from anyviews.models.mvgd import MVGDImageEncoder
from anyviews.models.mvgd.efficientvit import (
    WEIGHT_LAYOUTS,
    EfficientViTL2,
    convert_efficientvit_state_dict,
    find_weight_layout,
)


ROOT = Path(__file__).resolve().parents[3]
WIDTHS, DEPTHS = (32, 64, 128, 256, 512), (1, 2, 2, 8, 8)
TINY = {"widths": (4, 6, 8, 10), "depths": (1, 1, 1, 1)}


# Published names and shapes, from the layer definitions of the two source repositories: full models, all stages.


def norm(prefix, channels):
    yield from ((f"{prefix}.{name}", (channels,)) for name in ("weight", "bias", "running_mean", "running_var"))
    yield f"{prefix}.num_batches_tracked", ()


def conv(prefix, outputs, inputs, kernel, bias=False):
    yield f"{prefix}.conv.weight", (outputs, inputs, kernel, kernel)
    if bias:
        yield f"{prefix}.conv.bias", (outputs,)
    else:
        yield from norm(f"{prefix}.norm", outputs)


def fused(prefix, inputs, outputs, ratio):
    yield from conv(f"{prefix}.spatial_conv", inputs * ratio, inputs, 3)
    yield from conv(f"{prefix}.point_conv", outputs, inputs * ratio, 1)


def mobile(prefix, inputs, outputs, ratio):
    yield from conv(f"{prefix}.inverted_conv", inputs * ratio, inputs, 1, bias=True)
    yield from conv(f"{prefix}.depth_conv", inputs * ratio, 1, 3, bias=True)
    yield from conv(f"{prefix}.point_conv", outputs, inputs * ratio, 1)


def attention(prefix, channels):
    yield f"{prefix}.context_module.main.qkv.conv.weight", (3 * channels, channels, 1, 1)
    yield f"{prefix}.context_module.main.aggreg.0.0.weight", (3 * channels, 1, 5, 5)
    yield f"{prefix}.context_module.main.aggreg.0.1.weight", (3 * channels, 32, 1, 1)
    yield from conv(f"{prefix}.context_module.main.proj", channels, 2 * channels, 1)
    yield from mobile(f"{prefix}.local_module.main", channels, channels, 6)


def backbone(stem_conv, stem_block, block):
    """Tensors of all five stages; the three arguments format the names of stem and stage blocks."""
    yield from conv(stem_conv, WIDTHS[0], 3, 3)
    for index in range(DEPTHS[0]):
        yield from conv(f"{stem_block(index)}.main.conv1", WIDTHS[0], WIDTHS[0], 3)
        yield from conv(f"{stem_block(index)}.main.conv2", WIDTHS[0], WIDTHS[0], 3)
    for stage in (1, 2, 3, 4):
        bottleneck = fused if stage < 3 else mobile
        inputs, outputs = WIDTHS[stage - 1], WIDTHS[stage]
        yield from bottleneck(f"{block(stage, 0)}.main", inputs, outputs, 24 if stage == 4 else 16)
        for index in range(1, DEPTHS[stage] + 1):
            if stage == 4:
                yield from attention(block(stage, index), outputs)
            else:
                yield from bottleneck(f"{block(stage, index)}.main", outputs, outputs, 4)


def mit_backbone(prefix):
    stages = f"{prefix}backbone.stages"
    return backbone(
        f"{stages}.0.op_list.0",
        lambda index: f"{stages}.0.op_list.{index + 1}",
        lambda stage, index: f"{stages}.{stage}.op_list.{index}",
    )


def classifier_head(in_conv, hidden, hidden_norm, logits):
    yield from conv(in_conv, 3072, 512, 1)
    yield f"{hidden}.weight", (3200, 3072)
    yield from ((f"{hidden_norm}.{name}", (3200,)) for name in ("weight", "bias"))
    yield from ((f"{logits}.weight", (1000, 3200)), (f"{logits}.bias", (1000,)))


def mit_classifier():
    yield from mit_backbone("")
    yield from classifier_head(
        "head.op_list.0", "head.op_list.2.linear", "head.op_list.2.norm", "head.op_list.3.linear"
    )


def timm_classifier():
    yield from backbone(
        "stem.in_conv", lambda index: f"stem.res{index}", lambda stage, index: f"stages.{stage - 1}.blocks.{index}"
    )
    yield from classifier_head("head.in_conv", "head.classifier.0", "head.classifier.1", "head.classifier.4")


def sam_image_encoder():
    yield from mit_backbone("image_encoder.")
    for index, channels in enumerate((512, 256, 128)):
        yield from conv(f"image_encoder.neck.input_ops.{index}.op_list.0", 256, channels, 1)
    for index in range(12):
        yield from fused(f"image_encoder.neck.middle.op_list.{index}.main", 256, 256, 1)
    yield from conv("image_encoder.neck.output_ops.0.op_list.0", 256, 256, 1, bias=True)
    yield from ((f"image_encoder.norm.{name}", (256,)) for name in ("weight", "bias"))


def sam():
    yield from sam_image_encoder()
    yield "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix", (2, 128)
    yield "mask_decoder.iou_token.weight", (1, 256)


PUBLISHED = {"efficientvit-sam-l2": sam, "efficientvit-l2": mit_classifier, "timm-efficientvit-l2": timm_classifier}


def published(name):
    """A published state dict without storage."""
    return {key: torch.empty(shape, device="meta") for key, shape in PUBLISHED[name]()}


def count(tensors):
    """Number of parameters: buffers of batch norms are none."""
    buffers = ("running_mean", "running_var", "num_batches_tracked")
    return sum(torch.Size(shape).numel() for key, shape in tensors if not key.endswith(buffers))


def randomize(model, generator):
    """Weights and statistics that make every part of the arithmetic matter."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
            module.bias.data.normal_(0, 0.2, generator=generator)
            module.running_mean.normal_(0, 0.2, generator=generator)
            # Variances near the epsilons, so that a wrong epsilon shows; scales that bring the output back to one.
            module.running_var.uniform_(1e-6, 2e-6, generator=generator)
            module.weight.data.mul_(1e-3)
    return model


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return randomize(EfficientViTL2(norm_eps=1e-7), torch.Generator().manual_seed(0)).eval()


@pytest.fixture
def tiny():
    torch.manual_seed(0)
    return EfficientViTL2(**TINY)


# Published weights


def test_description_has_the_published_number_of_parameters():
    assert round(count(mit_classifier()) / 1e6, 1) == 63.7
    assert count(timm_classifier()) == count(mit_classifier())
    # 61.3 M with SAM's prompt encoder and mask decoder, which have 4.06 M.
    assert abs(count(sam_image_encoder()) / 1e6 + 4.06 - 61.3) < 0.05


def test_number_of_parameters_per_stage(model):
    described = [
        (key, shape)
        for key, shape in mit_backbone("")
        if not key.startswith(WEIGHT_LAYOUTS["efficientvit-l2"].dropped)
    ]
    by_stage = [count(t for t in described if t[0].startswith(f"backbone.stages.{stage}.")) for stage in range(4)]
    assert [sum(p.numel() for p in stage.parameters()) for stage in model.stages] == by_stage
    assert by_stage == [19_488, 510_336, 2_036_480, 5_097_984]
    assert (sum(by_stage), count(mit_classifier())) == (7_664_288, 63_707_016)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_names_map_one_to_one(name):
    source = published(name)
    assert find_weight_layout(source) == name
    converted = convert_efficientvit_state_dict(source)
    with torch.device("meta"):
        EfficientViTL2().load_state_dict(converted, strict=True)
    kept = [key for key in source if not key.startswith(WEIGHT_LAYOUTS[name].dropped)]
    assert len(kept) == len(converted) == len({id(tensor) for tensor in converted.values()})
    assert {id(source[key]) for key in kept} == {id(tensor) for tensor in converted.values()}
    assert all(any(key.startswith(prefix) for key in source) for prefix in WEIGHT_LAYOUTS[name].dropped)


@pytest.mark.parametrize("name", PUBLISHED)
def test_missing_unknown_and_misshapen_tensors_are_named(name):
    source = published(name)
    key = WEIGHT_LAYOUTS[name].source_key("stages.3.8.point_conv.norm.running_var")
    with pytest.raises(ValueError, match=rf"missing \['{key}'\]"):
        convert_efficientvit_state_dict({k: v for k, v in source.items() if k != key})
    with pytest.raises(ValueError, match=r"unknown \['surprise.weight'\]"):
        convert_efficientvit_state_dict({**source, "surprise.weight": torch.zeros(1)})
    with pytest.raises(ValueError, match=rf"{key} \(7,\) instead of \(256,\)"):
        convert_efficientvit_state_dict({**source, key: torch.zeros(7)})


def test_small_variants_are_refused():
    with pytest.raises(ValueError, match=r"backbone\.input_stem"):
        convert_efficientvit_state_dict({"backbone.input_stem.op_list.0.conv.weight": torch.zeros(16, 3, 3, 3)})


def as_published(model, name):
    """The model's weights under their published names, matched by order, in which both repositories agree with us."""
    kept = [key for key, _ in PUBLISHED[name]() if not key.startswith(WEIGHT_LAYOUTS[name].dropped)]
    return dict(zip(kept, model.state_dict().values(), strict=True))


def reference(tensors, images, epsilon):
    """EfficientViT-L2 up to stride 16, evaluated with plain functions on the classifier's published names."""

    def layer(hidden, name, stride=1, groups=1, activation=False):
        weight, bias = tensors[f"{name}.conv.weight"], tensors.get(f"{name}.conv.bias")
        hidden = F.conv2d(hidden, weight, bias, stride, weight.shape[-1] // 2, groups=groups)
        if bias is None:
            mean, variance, scale, shift = (
                tensors[f"{name}.norm.{part}"][:, None, None]
                for part in ("running_mean", "running_var", "weight", "bias")
            )
            hidden = (hidden - mean) / (variance + epsilon).sqrt() * scale + shift
        return F.gelu(hidden, approximate="tanh") if activation else hidden

    def bottleneck(hidden, name, stride):
        if f"{name}.spatial_conv.conv.weight" in tensors:
            hidden = layer(hidden, f"{name}.spatial_conv", stride, activation=True)
        else:
            hidden = layer(hidden, f"{name}.inverted_conv", activation=True)
            hidden = layer(hidden, f"{name}.depth_conv", stride, groups=hidden.shape[1], activation=True)
        return layer(hidden, f"{name}.point_conv")

    stages = "backbone.stages"
    hidden = layer(images, f"{stages}.0.op_list.0", 2, activation=True)
    body = layer(hidden, f"{stages}.0.op_list.1.main.conv1", activation=True)
    hidden = hidden + layer(body, f"{stages}.0.op_list.1.main.conv2")
    features = []
    for stage in (1, 2, 3):
        hidden = bottleneck(hidden, f"{stages}.{stage}.op_list.0.main", 2)
        for index in range(1, DEPTHS[stage] + 1):
            hidden = hidden + bottleneck(hidden, f"{stages}.{stage}.op_list.{index}.main", 1)
        features.append(hidden)
    return features


@torch.no_grad()
def test_features_equal_the_published_definition(model):
    # In float64: the two approximations of GELU differ by less than what float32 loses over the depth.
    images = torch.randn(1, 3, 32, 48, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    weights = {key: tensor.double() for key, tensor in as_published(model, "efficientvit-l2").items()}
    loaded = EfficientViTL2(norm_eps=WEIGHT_LAYOUTS["efficientvit-l2"].norm_eps).double().eval()
    loaded.load_state_dict(convert_efficientvit_state_dict(weights))
    for feature, expected in zip(loaded(images), reference(weights, images, 1e-7), strict=True):
        assert expected.std() > 0.1
        torch.testing.assert_close(feature, expected, rtol=1e-8, atol=1e-8)
    # The other epsilon is another function: it belongs to the weights.
    other = EfficientViTL2(norm_eps=1e-6).double().eval()
    other.load_state_dict(loaded.state_dict())
    assert (other(images)[0] - loaded(images)[0]).abs().max() > 1e-2


@pytest.mark.parametrize(
    ("name", "suffix"), [("efficientvit-sam-l2", ".pt"), ("timm-efficientvit-l2", ".safetensors")]
)
def test_conversion_script(tmp_path, model, name, suffix):
    script = load_script(ROOT / "utils" / "convert_efficientvit.py")
    weights = as_published(model, name)
    weights[f"{WEIGHT_LAYOUTS[name].dropped[1]}weight"] = torch.zeros(2)
    source, output = tmp_path / f"weights{suffix}", tmp_path / "encoder"
    if suffix == ".pt":
        torch.save({"state_dict": weights}, source)
    else:
        save_file(weights, source)
    script.main([str(source), str(output)])

    encoder = MVGDImageEncoder.from_pretrained(output)
    assert encoder.config.norm_eps == WEIGHT_LAYOUTS[name].norm_eps
    for key, tensor in model.state_dict().items():
        assert torch.equal(encoder.backbone.state_dict()[key], tensor), key
    record = json.loads((output / "source.json").read_text())
    assert (record["layout"], record["weights_license"]) == (name, "Apache-2.0")
    assert list(record["dropped_tensors"].values())[:2] == [0, 1]
    with pytest.raises(ValueError, match="not empty"):
        script.main([str(source), str(output)])
    with pytest.raises(ValueError, match=r"expected a \.safetensors"):
        script.main([str(tmp_path / "weights.bin"), str(tmp_path / "other")])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["encoder", source.name]


# The module


@torch.no_grad()
def test_strides_and_channels(model):
    shapes = [tuple(feature.shape) for feature in model(torch.zeros(2, 3, 64, 32))]
    assert shapes == [(2, 64, 16, 8), (2, 128, 8, 4), (2, 256, 4, 2)]
    assert sum(shape[1] for shape in shapes) == 448
    assert model(torch.zeros(1, 3, 64, 64))[2].shape == (1, 256, 4, 4)


def test_other_sizes_and_depths_are_refused(tiny):
    with pytest.raises(ValueError, match=r"72x64 pixels.*multiples of 16.*to 64x64"):
        tiny(torch.zeros(1, 3, 72, 64))
    with pytest.raises(ValueError, match="four entries each"):
        EfficientViTL2(widths=WIDTHS)


def test_eval_mode_trains_with_stored_statistics(tiny):
    tiny.eval()
    statistics = {name: buffer.clone() for name, buffer in tiny.named_buffers()}
    images = torch.randn(3, 3, 32, 32)
    features = tiny(images)
    sum(feature.square().mean() for feature in features).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in tiny.parameters())
    assert all(torch.equal(buffer, statistics[name]) for name, buffer in tiny.named_buffers())
    for feature, alone in zip(features, tiny(images[1:2]), strict=True):
        torch.testing.assert_close(feature[1:2], alone)


def test_train_mode_uses_and_updates_batch_statistics(tiny):
    tiny.train()
    images = torch.randn(3, 3, 32, 32)
    norm = tiny.stages[0][0].norm
    convolved = tiny.stages[0][0].conv(images)
    tiny(images)[2].square().mean().backward()
    torch.testing.assert_close(norm.running_mean, 0.1 * convolved.mean((0, 2, 3)))
    assert norm.num_batches_tracked == 1
    assert all(parameter.grad.isfinite().all() for parameter in tiny.parameters())
    assert not torch.allclose(tiny(images)[2][1:2], tiny(images[1:2])[2], atol=1e-2)


@torch.no_grad()
def test_bfloat16_is_close_to_float32():
    torch.manual_seed(0)
    full = EfficientViTL2().eval()
    images = torch.randn(1, 3, 64, 64)
    expected = full(images)
    for feature, exact in zip(full.bfloat16()(images.bfloat16()), expected, strict=True):
        assert feature.dtype == torch.bfloat16
        assert (feature.float() - exact).norm() / exact.norm() < 0.02
