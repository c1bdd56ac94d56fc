"""The denoiser's symmetries, its equivalent paths, its configuration and its checkpoints."""

from dataclasses import replace

import pytest
import torch
from diffusers.training_utils import EMAModel
from peft import LoraConfig
from safetensors.torch import load_file, save_file
from small_mvgd import (
    ARCHITECTURES,
    SMALL,
    assert_outputs_close,
    output_difference,
    random_inputs,
    random_rays,
    random_scene,
    small_model,
)

from anyviews.models.mvgd import (
    MVGD_SIZES,
    MVGDExplicitAttentionProcessor,
    MVGDSceneContext,
    MVGDTransformerModel,
)


architectures = pytest.mark.parametrize(
    "architecture", ARCHITECTURES, ids=["decoupled", "decoupled-direct", "joint", "joint-direct"]
)
WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


def pick(inputs: dict, index) -> dict:
    """The same arguments for prediction tokens picked per task: {task: indices}."""
    return {
        **inputs,
        "sample": {task: state[:, index[task]] for task, state in inputs["sample"].items()},
        "rays": {task: rays[:, index[task]] for task, rays in inputs["rays"].items()},
    }


@architectures
def test_order_of_scene_tokens_does_not_matter(architecture):
    model = small_model(**architecture)
    scene, inputs = random_scene(model), random_inputs(model)
    expected = model(scene=scene, **inputs)
    shuffled = MVGDSceneContext(scene.tokens[:, torch.randperm(12)])
    assert_outputs_close(model(scene=shuffled, **inputs), expected)
    assert output_difference(model(scene=MVGDSceneContext(scene.tokens.flip(0)), **inputs), expected) > 1e-3


@architectures
def test_order_of_latents_does_not_matter(architecture):
    model = small_model(**architecture)
    scene, inputs = random_scene(model), random_inputs(model)
    expected = model(scene=scene, **inputs)
    order = torch.randperm(6)
    model.latents.copy_(model.latents[order].clone())
    output = model(scene=scene, **{**inputs, "previous_latents": inputs["previous_latents"][:, order]})
    assert_outputs_close(replace_latents(output, output.latents[:, order.argsort()]), expected)


def replace_latents(output, latents):
    return type(output)(predictions=output.predictions, latents=latents)


@architectures
def test_prediction_tokens_follow_their_order(architecture):
    model = small_model(**architecture)
    scene, inputs = random_scene(model), random_inputs(model)
    order = {"rgb": torch.randperm(7), "depth": torch.randperm(5)}
    expected = model(scene=scene, **inputs)
    output = model(scene=scene, **pick(inputs, order))
    for task in order:
        expected.predictions[task] = expected.predictions[task][:, order[task]]
    assert_outputs_close(output, expected)


def test_order_of_tasks_does_not_matter():
    model = small_model()
    scene, inputs = random_scene(model), random_inputs(model)
    swapped = {**inputs, "sample": dict(reversed(inputs["sample"].items()))}
    assert_outputs_close(model(scene=scene, **swapped), model(scene=scene, **inputs))


@architectures
@pytest.mark.parametrize("chunk_tokens", [None, 5])
def test_masked_scene_tokens_equal_removed_ones(architecture, chunk_tokens):
    model = small_model(**architecture)
    scene, inputs = random_scene(model), random_inputs(model)
    mask = torch.tensor([True, False, True, True] * 3)
    expected = model(scene=MVGDSceneContext(scene.tokens[:, mask]), **inputs)
    masked = MVGDSceneContext(scene.tokens, mask.expand(2, -1), chunk_tokens=chunk_tokens)
    assert_outputs_close(model(scene=masked, **inputs), expected)
    assert_outputs_close(model(scene=model.cache_scene(masked), **inputs), expected)


@architectures
def test_masked_prediction_tokens_equal_removed_ones(architecture):
    model = small_model(**architecture)
    scene, inputs = random_scene(model), random_inputs(model)
    kept = {"rgb": torch.arange(7), "depth": torch.tensor([0, 3, 4])}
    expected = model(scene=scene, **pick(inputs, kept))
    masks = {"rgb": torch.ones(2, 7, dtype=bool), "depth": torch.tensor([True, False, False, True, True]).expand(2, 5)}
    output = model(scene=scene, masks=masks, **inputs)
    output.predictions["depth"] = output.predictions["depth"][:, kept["depth"]]
    assert_outputs_close(output, expected)


@architectures
def test_cached_and_streamed_scenes_equal_the_plain_one(architecture):
    model = small_model(**architecture)
    scene, inputs = random_scene(model), random_inputs(model)
    expected = model(scene=scene, **inputs)
    cached = model.cache_scene(scene)
    assert len(cached.key_values[0]) == 1 + architecture["token_scene_attention"]
    assert_outputs_close(model(scene=cached, **inputs), expected)
    for chunk_tokens in (1, 5, 64):
        assert_outputs_close(model(scene=replace(scene, chunk_tokens=chunk_tokens), **inputs), expected)


@architectures
@pytest.mark.parametrize("masked", [False, True])
def test_members_that_share_scenes_equal_repeated_scenes(architecture, masked):
    model = small_model(**architecture)
    scene, inputs = random_scene(model, scenes=2), random_inputs(model, batch=6)
    mask = torch.rand(2, 12) < 0.7 if masked else None
    repeated_mask = mask.repeat_interleave(3, 0) if masked else None
    shared = MVGDSceneContext(scene.tokens, mask)
    expected = model(scene=MVGDSceneContext(scene.tokens.repeat_interleave(3, 0), repeated_mask), **inputs)
    assert_outputs_close(model(scene=shared, **inputs), expected)
    assert_outputs_close(model(scene=model.cache_scene(shared), **inputs), expected)
    assert_outputs_close(model(scene=replace(shared, chunk_tokens=5), **inputs), expected)


def test_samples_of_a_batch_do_not_mix():
    model = small_model()
    scene, inputs = random_scene(model), random_inputs(model)
    expected = model(scene=scene, **inputs)
    alone = {name: value[1:] if isinstance(value, torch.Tensor) else None for name, value in inputs.items()}
    alone["sample"] = {task: state[1:] for task, state in inputs["sample"].items()}
    alone["rays"] = {task: rays[1:] for task, rays in inputs["rays"].items()}
    output = model(scene=MVGDSceneContext(scene.tokens[1:]), **alone)
    expected.predictions = {task: p[1:] for task, p in expected.predictions.items()}
    assert_outputs_close(output, replace_latents(expected, expected.latents[1:]))


@pytest.mark.parametrize("task", ["rgb", "depth"])
def test_one_task_alone_is_a_pass_of_its_own(task):
    model = small_model()
    scene, inputs = random_scene(model), random_inputs(model)
    alone = {**inputs, "sample": {task: inputs["sample"][task]}}
    output = model(scene=scene, **alone)
    assert list(output.predictions) == [task]
    assert output.predictions[task].shape == inputs["sample"][task].shape
    joint = model(scene=scene, **inputs).predictions[task]
    assert (output.predictions[task] - joint).abs().max() > 1e-4  # the tasks inform each other


def test_everything_that_is_given_has_an_influence():
    model = small_model()
    scene, inputs = random_scene(model), random_inputs(model)
    expected = model(scene=scene, **inputs)
    other = random_inputs(model)
    for name, value in other.items():
        assert output_difference(model(scene=scene, **{**inputs, name: value}), expected) > 1e-3, name


def test_untrained_self_conditioning_has_no_effect_and_latents_can_be_given_back():
    model = small_model()
    torch.nn.init.zeros_(model.norm_previous_out.weight)  # as it is created
    assert MVGDTransformerModel(**SMALL).norm_previous_out.weight.count_nonzero() == 0
    scene, inputs = random_scene(model), random_inputs(model)
    first = model(scene=scene, **{**inputs, "previous_latents": None})
    assert_outputs_close(model(scene=scene, **{**inputs, "previous_latents": first.latents}), first, atol=0)


def test_without_self_conditioning_previous_latents_are_ignored():
    model = small_model(latent_self_conditioning=False)
    scene, inputs = random_scene(model), random_inputs(model)
    expected = model(scene=scene, **{**inputs, "previous_latents": None})
    assert_outputs_close(model(scene=scene, **inputs), expected, atol=0)


def test_tuple_output():
    model = small_model()
    scene, inputs = random_scene(model), random_inputs(model)
    predictions, latents = model(scene=scene, **inputs, return_dict=False)
    expected = model(scene=scene, **inputs)
    assert torch.equal(latents, expected.latents)
    assert torch.equal(predictions["rgb"], expected.predictions["rgb"])


@architectures
def test_exact_copies_of_latents_change_nothing(architecture):
    model = small_model(**architecture)
    scene, inputs = random_scene(model), {**random_inputs(model), "previous_latents": None}
    expected = model(scene=scene, **inputs)
    model.expand_latents(2, noise_std=0.0)
    output = model(scene=scene, **inputs)
    assert_outputs_close(output, replace_latents(expected, expected.latents.repeat(1, 2, 1)))


@pytest.mark.parametrize("noise_std", [0.0, 0.01])
@torch.enable_grad()
def test_only_noisy_copies_of_latents_diverge(noise_std):
    model = small_model()
    scene, inputs = random_scene(model), {**random_inputs(model), "previous_latents": None}
    before = model.latents.clone()
    model.expand_latents(2, noise_std)
    assert torch.equal(model.latents[:6], before)
    model(scene=scene, **inputs).predictions["rgb"].square().mean().backward()
    first, second = model.latents.grad.split(6)
    difference = ((first - second).norm() / first.norm()).item()
    # equal gradients would keep exact copies equal for ever
    assert difference < 1e-5 if noise_std == 0 else difference > 1e-3


def test_expanded_latents_are_saved_with_their_number(tmp_path):
    model = small_model()
    model.expand_latents(3)
    assert model.config.num_latents == 18
    model.save_pretrained(tmp_path)
    assert torch.equal(MVGDTransformerModel.from_pretrained(tmp_path).latents, model.latents)
    with pytest.raises(ValueError, match="factor must be at least 1, found 0"):
        model.expand_latents(0)


@architectures
@torch.enable_grad()
def test_explicit_attention_equals_dispatched_with_gradients(architecture):
    model = small_model(**architecture)
    inputs = random_inputs(model)
    features, rays = torch.randn(2, 12, 8), random_rays(2, 12)
    masks = {"rgb": torch.ones(2, 7, dtype=bool), "depth": torch.tensor([True, False, True, True, True]).expand(2, 5)}
    results = []
    for processor in (None, MVGDExplicitAttentionProcessor()):
        if processor is not None:
            model.set_attn_processor(processor)
        model.zero_grad()
        scene = MVGDSceneContext(model.embed_scene(features, rays), torch.arange(12).expand(2, -1) < 9)
        output = model(scene=scene, masks=masks, **inputs)
        sum(p.square().mean() for p in output.predictions.values()).backward()
        results.append((output, [p.grad.clone() for p in model.parameters() if p.grad is not None]))
    assert_outputs_close(results[1][0], results[0][0])
    for explicit, dispatched in zip(results[1][1], results[0][1], strict=True):
        torch.testing.assert_close(explicit, dispatched, atol=1e-5, rtol=1e-3)


@architectures
@torch.enable_grad()
def test_gradient_checkpointing_keeps_the_gradients(architecture):
    model = small_model(**architecture).train()
    inputs = random_inputs(model)
    features, rays = torch.randn(2, 12, 8), random_rays(2, 12)
    gradients = []
    for checkpointing in (False, True):
        if checkpointing:
            model.enable_gradient_checkpointing()
        model.zero_grad()
        scene = MVGDSceneContext(model.embed_scene(features, rays))
        model(scene=scene, **inputs).predictions["rgb"].square().mean().backward()
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
    assert "blocks.0.attn_read.to_q.weight" in gradients[0]
    torch.testing.assert_close(gradients[1], gradients[0])


def test_every_weight_is_trained():
    """No parameter is left without a gradient once all inputs are given."""
    with torch.enable_grad():
        model = small_model(token_scene_attention=True, qk_norm=True)
        features, rays = torch.randn(2, 12, 8), random_rays(2, 12)
        output = model(scene=MVGDSceneContext(model.embed_scene(features, rays)), **random_inputs(model))
        sum(p.square().mean() for p in output.predictions.values()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or p.grad.abs().max() == 0] == []


@architectures
@pytest.mark.parametrize("chunk_tokens", [None, 5])
def test_bfloat16_is_close(architecture, chunk_tokens):
    model = small_model(**architecture)
    scene, inputs = random_scene(model), random_inputs(model)
    expected = model(scene=scene, **inputs)
    half = {**inputs, "sample": {task: s.bfloat16() for task, s in inputs["sample"].items()}}
    half["previous_latents"] = half["previous_latents"].bfloat16()
    output = model.bfloat16()(scene=MVGDSceneContext(scene.tokens.bfloat16(), chunk_tokens=chunk_tokens), **half)
    assert output.latents.dtype == output.predictions["rgb"].dtype == torch.bfloat16
    scale = max(p.abs().max().item() for p in expected.predictions.values())
    assert 0 < output_difference(output, expected) < 0.05 * scale


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"noise_parametrization": "edm"}, "noise_parametrization='edm' is not one of vp_gamma, flow_sigma"),
        ({"read_mode": "both"}, "read_mode='both' is not one of decoupled, joint"),
        ({"depth_type": "disparity"}, "depth_type='disparity' is not one of z, distance"),
        ({"scale_from": "depth"}, "scale_from='depth' is not one of center, translation"),
        ({"prediction_type": "flow"}, "prediction_type='flow' does not fit noise_parametrization='vp_gamma'"),
        ({"noise_parametrization": "flow_sigma"}, "prediction_type='epsilon' does not fit .* accepted are flow"),
        ({"tasks": ("rgb", "normal")}, r"tasks=\('rgb', 'normal'\) must be some of rgb, depth"),
        ({"patch_size": 0}, "patch_size=0 must be above 0"),
        ({"tasks": ()}, r"tasks=\(\) must be some of rgb, depth"),
        ({"depth_min": 0.0}, "need 0 < depth_min < depth_max, found 0.0 and 200.0"),
        ({"depth_min": 300.0}, "need 0 < depth_min < depth_max, found 300.0 and 200.0"),
        ({"image_size": 18}, "image_size=18 must be a multiple of 4 and of patch_size=1"),
        ({"image_size": 20, "patch_size": 8}, "image_size=20 must be a multiple of 4 and of patch_size=8"),
        ({"num_attention_heads": 5}, "latent_dim=32 is not a multiple of num_attention_heads=5"),
        ({"token_dim": 17}, "token_dim=17 is not a multiple of num_attention_heads=2"),
    ],
)
def test_impossible_configurations_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        MVGDTransformerModel(**{**SMALL, **options})


@pytest.mark.parametrize(("size", "millions"), [("tiny", (1, 3)), ("small", (20, 40)), ("base", (390, 420))])
def test_sizes(size, millions):
    with torch.device("meta"):
        model = MVGDTransformerModel.from_size(size)
    assert millions[0] < sum(p.numel() for p in model.parameters()) / 1e6 < millions[1]
    assert size in MVGD_SIZES


def test_any_field_of_a_size_can_be_overridden():
    model = MVGDTransformerModel.from_size("tiny", num_blocks=1, token_dim=32, depth_max=9.0)
    assert (len(model.blocks), model.config.token_dim, model.config.depth_max) == (1, 32, 9.0)
    assert model.config.num_latents == MVGD_SIZES["tiny"]["num_latents"]
    with pytest.raises(ValueError, match="unknown size 'huge'; accepted are tiny, small, base"):
        MVGDTransformerModel.from_size("huge")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"tasks": ("depth",), "ray_points": 2, "ray_footprint": True, "qk_norm": True},
        {"noise_parametrization": "flow_sigma", "prediction_type": "flow", "read_mode": "joint"},
    ],
)
def test_saved_and_loaded_models_agree(tmp_path, options):
    model = small_model(**options)
    model.save_pretrained(tmp_path)
    loaded = MVGDTransformerModel.from_pretrained(tmp_path)
    assert {**loaded.config, "tasks": tuple(loaded.config.tasks)}.items() >= {**SMALL, **options}.items()
    inputs = random_inputs(model)
    inputs["sample"] = {task: inputs["sample"][task] for task in model.config.tasks}
    scene = random_scene(model)
    assert_outputs_close(loaded(scene=scene, **inputs), model(scene=scene, **inputs))


def test_averaged_weights_can_be_saved_and_loaded(tmp_path):
    model = small_model()
    average = EMAModel(model.parameters(), decay=0.9, model_cls=MVGDTransformerModel, model_config=dict(model.config))
    torch.nn.init.zeros_(model.latents)
    average.step(model.parameters())
    average.save_pretrained(tmp_path)
    loaded = EMAModel.from_pretrained(tmp_path, MVGDTransformerModel)
    for actual, expected in zip(loaded.shadow_params, average.shadow_params, strict=True):
        assert torch.equal(actual, expected)
    assert average.shadow_params[0].shape == next(model.parameters()).shape


def test_models_with_an_adapter_are_not_saved(tmp_path):
    model = small_model()
    model.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_v"]), adapter_name="style")
    with pytest.raises(ValueError, match=r"LoRA adapter is attached \(style\); save it with save_lora_adapter"):
        model.save_pretrained(tmp_path)
    assert list(tmp_path.iterdir()) == []
    model.fuse_lora()
    model.unload_lora()  # what the message recommends
    model.save_pretrained(tmp_path)
    scene, inputs = random_scene(model), random_inputs(model)
    loaded = MVGDTransformerModel.from_pretrained(tmp_path)
    assert_outputs_close(loaded(scene=scene, **inputs), model(scene=scene, **inputs))


@pytest.fixture
def saved_weights(tmp_path):
    small_model().save_pretrained(tmp_path)
    return tmp_path / WEIGHTS


def test_checkpoints_without_all_weights_are_refused(saved_weights):
    weights = load_file(saved_weights)
    del weights["norm_out.weight"], weights["latents"]
    save_file(weights, saved_weights, {"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks weights of MVGDTransformerModel: latents, norm_out\.weight;"):
        MVGDTransformerModel.from_pretrained(saved_weights.parent)


def test_checkpoints_with_unknown_weights_are_refused(saved_weights):
    save_file({**load_file(saved_weights), "extra.bias": torch.ones(2)}, saved_weights, {"format": "pt"})
    with pytest.raises(ValueError, match=r"holds unknown weights of MVGDTransformerModel: extra\.bias;"):
        MVGDTransformerModel.from_pretrained(saved_weights.parent)


def test_checkpoints_with_weights_of_other_shapes_are_refused(saved_weights):
    save_file({**load_file(saved_weights), "norm_out.weight": torch.ones(3)}, saved_weights, {"format": "pt"})
    with pytest.raises(ValueError, match=r"norm_out\.weight expected shape torch\.Size\(\[16\]\), but got"):
        MVGDTransformerModel.from_pretrained(saved_weights.parent)


def test_truncated_checkpoints_are_refused(saved_weights):
    content = saved_weights.read_bytes()
    saved_weights.write_bytes(content[: len(content) // 2])
    with pytest.raises(OSError, match=WEIGHTS):
        MVGDTransformerModel.from_pretrained(saved_weights.parent)


def test_loading_can_report_what_was_loaded(saved_weights):
    model, info = MVGDTransformerModel.from_pretrained(saved_weights.parent, output_loading_info=True)
    assert isinstance(model, MVGDTransformerModel)
    assert info["missing_keys"] == []
