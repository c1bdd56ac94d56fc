"""Era3DUNetModel: invariances of its attention, regressors, configuration, saving."""

import math

import pytest
import torch
import torch.nn.functional as F
from diffusers.models.attention_dispatch import attention_backend
from small_era3d import REGRESSING, SMALL, small_unet, unet_inputs
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast

from anyviews.models.era3d import Era3DPixelAutoencoder, Era3DPrompts, Era3DUNetModel
from anyviews.models.era3d.attention_era3d import JointDomainAttention, PromptAttention, RowAttention
from anyviews.models.era3d.blocks_era3d import CameraRegressor
from anyviews.models.era3d.configuration_era3d import supported_fields
from anyviews.models.mvgd import MVGDExplicitAttentionProcessor


def run(unet, **inputs):
    with torch.no_grad():
        return unet(**inputs)


def close(actual, expected, atol=1e-5):
    torch.testing.assert_close(actual, expected, atol=atol, rtol=1e-4)


def plain_attention(layer, tokens, context):
    """One head after the other, as a textbook has it."""
    heads = []
    width = len(layer.to_q.weight) // layer.num_heads
    for i in range(layer.num_heads):
        part = slice(i * width, (i + 1) * width)
        query, key, value = (
            tokens @ layer.to_q.weight[part].T,
            context @ layer.to_k.weight[part].T,
            context @ layer.to_v.weight[part].T,
        )
        heads.append((query @ key.mT / math.sqrt(width)).softmax(-1) @ value)
    return layer.to_out[0](torch.cat(heads, dim=-1))


def test_joint_attention_sees_both_domains_of_one_view_only():
    layer = JointDomainAttention(8, 2, 8)
    tokens = torch.randn(6, 5, 8)
    for row in range(3):
        both = torch.cat([tokens[row], tokens[row + 3]])
        expected = plain_attention(layer, both, both)
        close(layer(tokens)[row], expected[:5])
        close(layer(tokens)[row + 3], expected[5:])


def test_row_attention_sees_one_image_row_of_all_views_of_an_object():
    layer, height, width, views = RowAttention(8, 2, 8), 3, 4, 2
    tokens = torch.randn(6, height * width, 8)
    images = tokens.unflatten(1, (height, width))
    found = layer(tokens, height, views).unflatten(1, (height, width))
    for group in range(3):
        members = images[2 * group : 2 * group + 2]
        for row in range(height):
            together = members[:, row].flatten(0, 1)
            expected = plain_attention(layer, together, together).unflatten(0, (views, width))
            close(found[2 * group : 2 * group + 2, row], expected)


def test_prompts_of_a_view_are_shared_by_all_copies():
    layer = PromptAttention(8, 2, 5)
    tokens, prompts = torch.randn(12, 4, 8), torch.randn(6, 3, 5)  # 2 domains, 2 copies, 3 views
    per_row = prompts.unflatten(0, (2, 1, 3)).expand(2, 2, 3, 3, 5).flatten(0, 2)
    expected = torch.stack([plain_attention(layer, t, p) for t, p in zip(tokens, per_row, strict=True)])
    close(layer(tokens, prompts), expected)
    close(layer(tokens, per_row), expected)
    close(layer(tokens, (layer.project_context(prompts),)), expected)


def test_cached_prompts_change_nothing():
    unet, inputs = small_unet(), unet_inputs(objects=2)
    cached = unet.cache_prompts(inputs["encoder_hidden_states"])
    assert len(cached) == 4
    close(run(unet, **{**inputs, "encoder_hidden_states": cached}).sample, run(unet, **inputs).sample)


def test_objects_do_not_see_each_other():
    unet, inputs = small_unet(**REGRESSING), unet_inputs(objects=2)
    both = run(unet, **inputs)
    for index in range(2):
        rows = torch.arange(24).unflatten(0, (2, 2, 6))[:, index].flatten()
        alone = run(unet, **{**inputs, "sample": inputs["sample"][rows], "class_labels": inputs["class_labels"][rows]})
        close(both.sample[rows], alone.sample)
        close(both.poses[index : index + 1], alone.poses)


def test_every_view_depends_on_every_other_view_and_domain():
    unet, inputs = small_unet(), unet_inputs()
    before = run(unet, **inputs).sample
    changed = inputs["sample"].clone()
    changed[7] += 1  # colour image of view 1
    difference = (run(unet, **{**inputs, "sample": changed}).sample - before).abs().amax((1, 2, 3))
    assert (difference > 1e-6).all()


def test_time_step_may_differ_by_row():
    unet, inputs = small_unet(), unet_inputs()
    one = run(unet, **inputs).sample
    close(run(unet, **{**inputs, "timestep": torch.full((12,), 500)}).sample, one)
    close(run(unet, **{**inputs, "timestep": 500}).sample, one)
    assert not torch.allclose(run(unet, **{**inputs, "timestep": 100}).sample, one, atol=1e-3)


def test_regressors_follow_the_arithmetic_of_the_method():
    """No official numbers exist for them; this spells the steps out."""
    unet = small_unet(**REGRESSING)
    maps = torch.randn(24, 16, 4, 4)
    pooled = maps.flatten(2).mean(-1).unflatten(0, (2, 2, 6))
    values = torch.zeros(2, 2)
    for k, regressor in enumerate((unet.elevation_regressor, unet.focal_regressor)):
        for b in range(2):
            for v in range(6):
                x = F.silu(regressor.linear_in[0](torch.cat([pooled[0, b, v], pooled[1, b, v]])))
                for block in regressor.blocks:
                    x = F.silu(x + block.linear2(F.silu(block.linear1(x))))
                values[b, k] += regressor.linear_out(x)[0] / 6
    close(unet.regress_cameras(maps), values)
    elevation, focal = values.unbind(-1)
    code = torch.stack([elevation.sin(), focal.sin(), elevation.cos(), focal.cos()], dim=-1)
    layers = unet.camera_embedding
    expected = layers.linear_2(F.silu(layers.linear_1(code)))
    rows = unet.embed_cameras(values).unflatten(0, (2, 2, 6))
    close(rows, expected[None, :, None].expand_as(rows))


def test_regressed_camera_reaches_the_way_up_only_and_gradients_stop_at_the_pooling():
    unet, inputs = small_unet(**REGRESSING), unet_inputs()
    without = small_unet()
    without.load_state_dict({k: v for k, v in unet.state_dict().items() if k in without.state_dict()})
    middle = []
    for model in (unet, without):
        handle = model.mid_block.register_forward_hook(lambda module, given, output: middle.append(output))
        run(model, **inputs)
        handle.remove()
    assert torch.equal(*middle)
    assert not torch.allclose(run(unet, **inputs).sample, run(without, **inputs).sample)
    unet(**inputs).poses.sum().backward()
    reached = {name.split(".")[0] for name, p in unet.named_parameters() if p.grad is not None}
    assert reached == {"elevation_regressor", "focal_regressor"}
    assert run(without, **inputs).poses is None


def test_new_multi_view_attention_starts_as_identity():
    block = Era3DUNetModel(**SMALL).down_blocks[0].attentions[0].transformer_blocks[0]
    assert block.attn_mv(torch.randn(12, 64, 8), 8, 6).abs().max() == block.attn_mv.to_out[0].bias.abs().max()
    assert not block.attn_mv.to_out[0].weight.any()


def test_gradient_checkpointing_gives_the_same_gradients():
    inputs, gradients = unet_inputs(), []
    for checkpointing in (False, True):
        unet = small_unet(**REGRESSING).train()
        if checkpointing:
            unet.enable_gradient_checkpointing()
        unet(**inputs).sample.square().mean().backward()
        gradients.append({name: p.grad for name, p in unet.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, msg=name)


@pytest.mark.parametrize("how", ["explicit", "_native_math"])
def test_all_ways_of_attention_agree(how):
    unet, inputs = small_unet(), unet_inputs()
    expected = run(unet, **inputs).sample
    if how == "explicit":
        unet.set_attn_processor(MVGDExplicitAttentionProcessor())
        assert len(unet.attn_processors) == 12
        found = run(unet, **inputs).sample
    else:
        with attention_backend(how):
            found = run(unet, **inputs).sample
    close(found, expected)


def test_bfloat16_is_near():
    unet, inputs = small_unet(), unet_inputs()
    expected = run(unet, **inputs).sample
    inputs = {k: v.bfloat16() if v.is_floating_point() else v for k, v in inputs.items()}
    found = run(unet.bfloat16(), **inputs).sample
    assert found.dtype == torch.bfloat16
    assert (found.float() - expected).norm() < 0.05 * expected.norm()


def test_saved_and_loaded_again(tmp_path):
    unet, inputs = small_unet(**REGRESSING), unet_inputs()
    unet.save_pretrained(tmp_path)
    loaded = Era3DUNetModel.from_pretrained(tmp_path)
    close(run(loaded, **inputs).sample, run(unet, **inputs).sample)
    with pytest.raises(ValueError, match=r"elevation_regressor"):
        Era3DUNetModel.from_pretrained(tmp_path, regress_elevation=False, regress_focal_length=False)


def test_lora_reaches_attention(tmp_path):
    from peft import LoraConfig

    unet, inputs = small_unet(), unet_inputs()
    expected = run(unet, **inputs).sample
    unet.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_v", "to_out.0"], init_lora_weights=False))
    assert not torch.allclose(run(unet, **inputs).sample, expected)
    unet.disable_adapters()
    close(run(unet, **inputs).sample, expected)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"down_block_types": ("DownBlock2D", "AttnDownBlock2D")}, "AttnDownBlock2D"),
        ({"attention_head_dim": (2,)}, "one entry per level"),
        ({"attention_head_dim": (3, 2)}, "multiple of its 3 heads"),
        ({"sample_size": 7}, "sample_size=7"),
        ({"regress_elevation": True}, "must be equal"),
    ],
)
def test_impossible_configurations_are_refused(overrides, message):
    with pytest.raises(ValueError, match=message):
        Era3DUNetModel(**{**SMALL, **overrides})


def test_released_fields_are_checked_or_dropped():
    assert supported_fields({"decay": 0.9999, "use_dino": True, "time_cond_proj_dim": None, "sample_size": 8}) == {
        "sample_size": 8
    }
    with pytest.raises(ValueError, match="selfattn_block='custom'"):
        supported_fields({"selfattn_block": "custom"})


def test_incomplete_objects_are_refused():
    with pytest.raises(ValueError, match="11 rows"):
        small_unet()(**{**unet_inputs(), "sample": torch.zeros(11, 24, 8, 8), "class_labels": torch.zeros(11, 16)})


def test_unknown_size_is_refused():
    with pytest.raises(ValueError, match="huge"):
        Era3DUNetModel.from_size("huge")


def test_regressor_learns_a_number():
    torch.manual_seed(0)
    regressor, features = CameraRegressor(4, 16, 2), torch.randn(64, 4)
    goal = features[:, :1] * features[:, 1:2]
    optimizer = torch.optim.Adam(regressor.parameters(), lr=1e-2)
    for _ in range(150):
        loss = F.mse_loss(regressor(features), goal)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.05 * goal.var()


def test_prompts_made_by_a_text_encoder():
    words = {"[PAD]": 0, "[UNK]": 1, "normal": 2, "color": 3, "front": 4, "front_left": 5}
    backend = Tokenizer(WordLevel(words, unk_token="[UNK]"))
    backend.pre_tokenizer = WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="[PAD]", model_max_length=12)
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=6, hidden_size=4, intermediate_size=4, num_hidden_layers=1, num_attention_heads=1,
            max_position_embeddings=12, eos_token_id=0,
        )
    ).eval()  # fmt: skip
    prompts = Era3DPrompts.from_text_encoder(tokenizer, text_encoder)
    text = "a rendering image of 3D models, front_left view, color map."
    ids = tokenizer([text], padding="max_length", max_length=12, return_tensors="pt").input_ids
    assert ids.tolist() == [[1, 1, 1, 1, 1, 1, 5, 1, 3, 1, 0, 0]]
    with torch.no_grad():
        close(prompts()[11:], text_encoder(ids).last_hidden_state)
    assert prompts().shape == (12, 12, 4)
    assert not torch.allclose(prompts()[5], prompts()[11])


@pytest.mark.parametrize("block", [1, 2, 4])
def test_pixels_as_latents_lose_nothing(block, tmp_path):
    vae, images = Era3DPixelAutoencoder(block), torch.rand(2, 3, 8, 8) * 2 - 1
    latents = vae.encode(images).latent_dist.mode()
    assert latents.shape == (2, 3 * block**2, 8 // block, 8 // block)
    close(vae.decode(latents).sample, images)
    vae.save_pretrained(tmp_path)
    close(Era3DPixelAutoencoder.from_pretrained(tmp_path).encode(images).latent_dist.mode(), latents)
