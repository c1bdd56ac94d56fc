"""Era3DPipeline: layouts, refinement, what a diffusers user expects, saving."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from models.era3d.small_era3d import REGRESSING, photo, seeded, small_pipeline
from PIL import Image

import anyviews
from anyviews.models.era3d import RELEASED_SCHEDULER, VIEW_AZIMUTHS, ZERO_SNR_SCHEDULER
from anyviews.pipelines.pipeline_era3d import Era3DPipeline


needs_exports = pytest.mark.skipif(
    not hasattr(anyviews, "Era3DUNetModel"), reason="needs the components among the public names of anyviews"
)


@pytest.fixture(scope="module")
def pipe() -> Era3DPipeline:
    return small_pipeline()


def call(pipe, image=None, seed=0, steps=2, **options):
    image = photo() if image is None and "condition" not in options else image
    options = {"generator": seeded(seed), "num_inference_steps": steps, "output_type": "pt", **options}
    return pipe(image, **options)


def both(output):
    return torch.cat([output.normals, output.images])


def close(actual, expected, atol=1e-5):
    torch.testing.assert_close(actual, expected, atol=atol, rtol=0)


def test_one_image_gives_six_normal_maps_and_six_images(pipe):
    output = call(pipe)
    assert len(VIEW_AZIMUTHS) == 6
    assert output.normals.shape == output.images.shape == (6, 3, 16, 16)
    assert 0 <= both(output).min() and both(output).max() <= 1
    assert output.poses is None
    assert not torch.equal(output.normals, output.images)


def test_several_objects_are_as_each_alone(pipe):
    images = [photo(seed=1), photo(seed=2)]
    together = call(pipe, images, generator=[seeded(5), seeded(6)])
    for i in range(2):
        alone = call(pipe, images[i], generator=[seeded(5 + i)])
        close(together.images[6 * i : 6 * i + 6], alone.images)
        close(together.normals[6 * i : 6 * i + 6], alone.normals)
    close(both(call(pipe, generator=[seeded(5)])), both(call(pipe, generator=seeded(5))))


def test_guidance_is_the_difference_to_no_condition_in_each_domain(pipe):
    seen = []
    handle = pipe.unet.register_forward_hook(lambda module, inputs, output: seen.append((inputs, output.sample)))
    guided = call(pipe, steps=1, guidance_scale=2.5, eta=0.0, output_type="latent")
    handle.remove()
    (sample, timestep, _, labels), predicted = seen[0]
    assert len(sample) == 24
    assert not labels[0:6].any() and not labels[12:18].any()
    assert labels[6:12].any() and labels[18:24].any()
    assert not sample[0:6, 12:].any() and sample[6:12, 12:].any()
    assert torch.equal(sample[0:6, :12], sample[6:12, :12])
    parts = predicted.split(6)
    expected = torch.cat([parts[0] + 2.5 * (parts[1] - parts[0]), parts[2] + 2.5 * (parts[3] - parts[2])])
    noise = torch.cat([sample[6:12, :12], sample[18:24, :12]])
    step = pipe.scheduler.step(expected, timestep, noise, eta=0.0).prev_sample
    close(torch.cat([guided.normals, guided.images]), step)


def test_poses_are_those_of_the_conditional_rows():
    pipe, output = small_pipeline(**REGRESSING), []
    pipe.unet.register_forward_hook(lambda module, inputs, result: output.append(result.poses))
    found = call(pipe, [photo(seed=1), photo(seed=2)], steps=1)
    assert output[0].shape == (4, 2)
    close(found.poses, output[0][2:])


def test_seeds_and_latents_decide_the_result(pipe):
    assert torch.equal(both(call(pipe)), both(call(pipe)))
    assert not torch.equal(both(call(pipe, seed=1)), both(call(pipe)))
    condition = pipe.encode(pipe.prepare_pictures(photo()), generator=seeded())
    latents = pipe.prepare_latents(condition, seeded(4))
    given = [call(pipe, condition=condition, latents=latents, eta=0.0, seed=seed) for seed in (0, 1)]
    close(both(given[0]), both(given[1]))


def test_refinement_reuses_the_condition_and_gives_what_a_whole_call_gives(pipe):
    """Image latents, image embeddings and keys and values of prompts are computed once."""
    first = call(pipe)
    calls = []
    handles = [
        module.register_forward_pre_hook(lambda module, inputs: calls.append(module))
        for module in (pipe.image_encoder, pipe.prompts)
    ]
    generator = seeded(8)
    options = {"strength": 0.5, "init_images": first.images, "init_normals": first.normals, "steps": 4}
    reused = call(pipe, condition=first.condition, generator=generator, **options)
    for handle in handles:
        handle.remove()
    assert calls == []
    # a whole call draws the noise of the image embedding first
    pictures = pipe.prepare_pictures(photo())
    condition = pipe.encode(pictures, generator=seeded())
    again = call(pipe, condition=condition, generator=seeded(8), **options)
    close(both(reused), both(again))
    cached = condition.prompts
    assert len(cached) == 4
    embedded = replace(condition, prompts=pipe.prompts())
    close(both(call(pipe, condition=embedded, generator=seeded(8), **options)), both(again))


@pytest.mark.parametrize(
    ("strength", "kept", "first"), [(0.5, 20, 476), (0.9, 36, 876), (0.95, 38, 926), (1.0, 40, 976)]
)
def test_strength_keeps_the_last_steps(pipe, strength, kept, first):
    timesteps = pipe.prepare_timesteps(40, strength)
    assert (len(timesteps), timesteps[0].item(), timesteps[-1].item()) == (kept, first, 1)
    assert torch.equal(timesteps, pipe.prepare_timesteps(40)[-kept:])


def test_strength_survives_rounding(pipe):
    assert 100 * 0.29 < 29
    assert len(pipe.prepare_timesteps(100, 0.29)) == 29


@pytest.mark.parametrize("init_normals", ["first_pass", "noise", "zeros", "images"])
def test_refinement_starts_from_noised_views(pipe, init_normals):
    first = call(pipe)
    given = first.normals if init_normals == "images" else init_normals
    noise = torch.randn(12, 12, 8, 8, generator=seeded(3))
    timestep = pipe.prepare_timesteps(40, 0.95)[0]
    found = pipe.noised_latents(noise, first.images, given, timestep, first.condition)
    alpha = DDIMScheduler(**RELEASED_SCHEDULER).alphas_cumprod[926]
    assert alpha.item() == pytest.approx(0.0037, abs=5e-5)
    colors = pipe.to_latents(first.images)
    close(found[6:], alpha.sqrt() * colors + (1 - alpha).sqrt() * noise[6:])
    expected = {
        "first_pass": alpha.sqrt() * first.condition.normal_latents + (1 - alpha).sqrt() * noise[:6],
        "images": alpha.sqrt() * pipe.to_latents(first.normals) + (1 - alpha).sqrt() * noise[:6],
        "noise": noise[:6],
        "zeros": (1 - alpha).sqrt() * noise[:6],
    }[init_normals]
    close(found[:6], expected)


def test_less_strength_stays_nearer_to_the_given_views(pipe):
    first = call(pipe)
    errors = []
    for strength in (0.1, 0.5, 1.0):
        options = {"strength": strength, "init_images": first.images, "condition": first.condition}
        refined = call(pipe, steps=10, guidance_scale=1.0, **options)
        errors.append((refined.images - first.images).square().mean().item())
    assert errors[0] < errors[1] < errors[2]


def test_given_views_may_be_pictures_of_any_size(pipe):
    colors = torch.rand(6, 3)
    even = colors[:, :, None, None].expand(6, 3, 40, 40)
    pictures = [Image.fromarray((image * 255).round().byte().movedim(0, -1).numpy()) for image in even]
    pictures[2].putalpha(0)
    colors[2] = 1  # transparent becomes white
    found = pipe._given_views(pictures, "init_images", 6)
    close(found, colors[:, :, None, None].expand(6, 3, 16, 16), atol=1 / 255)


def test_callback_changes_latents_and_interrupts(pipe):
    steps = []

    def zero_and_stop(pipe, step, timestep, tensors):
        steps.append((step, int(timestep), tuple(tensors["latents"].shape)))
        pipe._interrupt = True
        return {"latents": torch.zeros_like(tensors["latents"])}

    output = call(pipe, callback_on_step_end=zero_and_stop, output_type="latent")
    assert steps == [(0, 501, (12, 12, 8, 8))]
    assert not output.images.any()
    assert pipe.num_timesteps == 2


def test_kinds_of_output(pipe):
    tensors = call(pipe)
    arrays, pictures = call(pipe, output_type="np"), call(pipe, output_type="pil")
    close(torch.from_numpy(arrays.images).movedim(-1, 1), tensors.images)
    assert len(pictures.normals) == 6 and pictures.normals[0].size == (16, 16)
    assert np.abs(np.asarray(pictures.images[2]) / 255 - arrays.images[2]).max() < 0.003
    normals, images = call(pipe, return_dict=False)
    assert torch.equal(normals, tensors.normals) and torch.equal(images, tensors.images)
    latents = call(pipe, output_type="latent")
    close(pipe.decode(latents.images), tensors.images)


def test_kinds_of_input_agree(pipe, tmp_path):
    image = (photo() * 255).round().byte()
    picture = Image.fromarray(image.movedim(0, -1).numpy())
    picture.save(tmp_path / "object.png")
    expected = pipe.prepare_pictures(image)
    for given in (picture, tmp_path / "object.png", str(tmp_path / "object.png"), np.asarray(picture), image / 255):
        close(pipe.prepare_pictures(given), expected)
    close(pipe.prepare_pictures(image[:3], mask=image[3:]), expected)
    close(pipe.prepare_pictures(image[:3], background_remover=lambda photo: picture.getchannel("A")), expected)
    close(pipe.prepare_pictures([image, image]), expected.repeat(2, 1, 1, 1))


def test_objects_are_centred_on_white_at_the_models_share(pipe):
    image = torch.zeros(4, 40, 60)
    image[3, 4:24, 30:58] = 1
    (picture,) = pipe.prepare_pictures(image, foreground_share=0.75)
    dark = (picture < 0.5).all(0)
    rows, columns = dark.any(1).nonzero()[:, 0], dark.any(0).nonzero()[:, 0]
    assert (columns.min().item(), columns.max().item()) == (2, 13)
    assert (rows.min().item(), rows.max().item()) in {(3, 11), (4, 12), (3, 12)}
    assert (picture[:, 0] == 1).all() and (picture[:, :, 0] == 1).all()
    close(pipe.prepare_pictures(image), pipe.prepare_pictures(image, foreground_share=420 / 512))


def test_given_prompt_embeddings_are_used(pipe):
    same = call(pipe, prompt_embeds=pipe.prompts())
    other = call(pipe, prompt_embeds=torch.randn(12, 5, 6))
    close(both(same), both(call(pipe)))
    assert not torch.allclose(both(other), both(same))


def test_bfloat16_runs():
    output = call(small_pipeline().to(torch.bfloat16))
    assert output.images.dtype == torch.float32 and output.images.isfinite().all()


@needs_exports
def test_saved_and_loaded_in_a_fresh_process(tmp_path):
    pipe = small_pipeline(**REGRESSING)
    pipe.register_to_config(guidance_scale=1.5)
    pipe.save_pretrained(tmp_path / "pipe")
    expected = call(pipe)
    image = photo()
    torch.save({"image": image}, tmp_path / "image.pt")
    code = (
        "import sys, torch, anyviews\n"
        "folder = sys.argv[1]\n"
        "pipe = anyviews.Era3DPipeline.from_pretrained(folder + '/pipe')\n"
        "assert pipe.config.guidance_scale == 1.5\n"
        "image = torch.load(folder + '/image.pt', weights_only=True)['image']\n"
        "output = pipe(image, generator=torch.Generator().manual_seed(0), num_inference_steps=2, output_type='pt')\n"
        "torch.save({'images': output.images, 'poses': output.poses}, folder + '/found.pt')\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True)
    found = torch.load(tmp_path / "found.pt", weights_only=True)
    close(found["images"], expected.images)
    close(found["poses"], expected.poses)
    index = (Path(tmp_path) / "pipe" / "model_index.json").read_text()
    assert '"anyviews"' in index and "anyviews.models" not in index


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 7, 20])
def test_a_schedule_that_begins_with_pure_noise_gives_numbers(steps):
    pipe = small_pipeline()
    pipe.scheduler = DDIMScheduler(**ZERO_SNR_SCHEDULER)
    assert pipe.scheduler.alphas_cumprod[-1] == 0
    latents = call(pipe, steps=steps, eta=1.0, output_type="latent").images
    assert latents.isfinite().all()
