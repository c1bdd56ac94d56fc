"""Era3D against the numbers of the official implementation."""

import pytest
import torch
from golden_era3d import (
    assert_close,
    golden,
    golden_config,
    golden_json,
    needs_golden,
    official_pipeline,
    official_unet,
)

from anyviews.models.era3d import RELEASED_SCHEDULER, Era3DUNetModel


pytestmark = needs_golden


def test_released_configuration_gives_the_released_weights():
    config = golden_json("era3d_unet_config")
    with torch.device("meta"):
        unet = Era3DUNetModel.from_config(config)
        level = Era3DUNetModel.from_config({**config, "regress_elevation": False, "regress_focal_length": False})
    shapes = {key: list(value.shape) for key, value in unet.state_dict().items()}
    assert shapes == golden_json("era3d_unet_keys")
    assert sum(value.numel() for value in unet.parameters()) == 947_664_646
    assert sum(value.numel() for value in level.parameters()) == 919_783_684
    assert len(level.state_dict()) == 802
    assert "decay" not in unet.config


@pytest.mark.parametrize("case", ["b1", "b1_cfg", "b2"])
def test_unet_gives_the_official_numbers(case):
    given = {name.removeprefix(f"{case}."): value for name, value in golden("unet_tiny_ortho_io").items()}
    seen = {}
    block = official_unet().down_blocks[0].attentions[0].transformer_blocks[0]
    taps = {f"tap.{name}": getattr(block, name) for name in ("attn1", "attn_mv", "attn2")}
    taps |= {"tap.block": block, "tap.mid": official_unet().mid_block}

    def record(name):
        def hook(module, inputs, output):
            seen.update({f"{name}.in": inputs[0], f"{name}.out": output})

        return hook

    handles = [module.register_forward_hook(record(name)) for name, module in taps.items()]
    with torch.no_grad():
        output = official_unet()(
            given["sample"], given["timestep"], given["encoder_hidden_states"], given["class_labels"]
        )
    for handle in handles:
        handle.remove()
    assert_close(output.sample, given["out"])
    recorded = [name for name in given if name.startswith("tap.")]
    assert len(recorded) == (9 if case == "b1" else 0)
    for name in recorded:
        assert_close(seen[name], given[name])


def test_whole_pipeline_gives_the_official_numbers_step_by_step():
    expected, after, first = golden("pipeline_tiny_io"), [], {}
    pipe = official_pipeline()

    def keep_first(module, inputs):
        first.setdefault("inputs", inputs)

    def keep(pipe, step, timestep, tensors):
        assert timestep == expected["timesteps"][step]
        after.append(tensors["latents"])
        return {}

    handle = pipe.unet.register_forward_pre_hook(keep_first)
    output = pipe(
        expected["image"], prepared=True, num_inference_steps=4, generator=torch.Generator().manual_seed(0),
        output_type="pt", callback_on_step_end=keep,
    )  # fmt: skip
    handle.remove()
    sample, timestep, _, labels = first["inputs"]
    assert_close(sample, expected["unet0.sample"])
    assert_close(labels, expected["unet0.class_labels"])
    assert timestep == expected["timesteps"][0]
    assert len(after) == 4
    for step, latents in enumerate(after):
        assert_close(latents, expected[f"latents_after_step{step}"])
    assert_close(torch.cat([output.normals, output.images]), expected["images_pt"])


def test_pipeline_without_guidance_and_noise_gives_the_official_numbers():
    expected = golden("pipeline_tiny_io")
    output = official_pipeline()(
        expected["image"], prepared=True, num_inference_steps=2, guidance_scale=1.0, eta=0.0,
        generator=torch.Generator().manual_seed(1), output_type="pt",
    )  # fmt: skip
    assert_close(torch.cat([output.normals, output.images]), expected["cfg1_eta0_steps2_seed1.images_pt"])


def test_random_draws_are_the_official_ones_in_order():
    expected, pipe, generator = golden("pipeline_tiny_io"), official_pipeline(), torch.Generator().manual_seed(0)
    shapes = [expected["noise.clip"].shape[1:], *[expected["noise.init"].shape[1:]] * 5]
    names = ["noise.clip", "noise.init", *(f"noise.step{i}" for i in range(4))]
    for name, shape in zip(names, shapes, strict=True):
        assert torch.equal(pipe._noise(tuple(shape), 1, generator), expected[name])


def test_image_encoder_gets_the_official_pixels():
    expected, pipe = golden("pipeline_tiny_io"), official_pipeline()
    image = (expected["image"] * 255).byte().movedim(0, -1).numpy()
    pixels = pipe.feature_extractor(images=[image], return_tensors="pt")["pixel_values"]
    assert_close(pixels, expected["clip_pixel_values"])


def test_scheduler_of_the_released_checkpoints():
    recorded = golden_config("pipeline_tiny_io", "scheduler")
    assert {**RELEASED_SCHEDULER, **recorded} == RELEASED_SCHEDULER
