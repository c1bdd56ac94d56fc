"""What MVGDPipeline does with its arguments."""

import inspect
import math

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from PIL import Image
from strategies import random_rotation
from tiny_pipeline import FLOW, TINY, arc_cameras, photos, scene, seeded, tiny_pipeline

from anyviews.cameras import Cameras
from anyviews.geometry.similarity import Similarity
from anyviews.models.mvgd import (
    MVGDTransformerModel,
    MVGDTransformerOutput,
    flow_scheduler,
    noise_levels,
    normalize_cameras,
    patchify,
    sigmoid_ddim_scheduler,
)
from anyviews.models.mvgd.scheduling_mvgd import sigmoid_gamma
from anyviews.pipelines import MVGDPipeline, MVGDPipelineOutput
from anyviews.views import Views


@pytest.fixture(scope="module")
def pipe() -> MVGDPipeline:
    return tiny_pipeline()


def assert_same(actual: MVGDPipelineOutput, expected: MVGDPipelineOutput, atol: float = 1e-4, scale: float = 1.0):
    """Equal images, and depths that are `scale` times the expected ones."""
    torch.testing.assert_close(actual.images, expected.images, atol=atol, rtol=0)
    torch.testing.assert_close(actual.depths.log(), expected.depths.log() + math.log(scale), atol=10 * atol, rtol=0)


def test_tensor_output(pipe):
    output = pipe(**scene(), generator=seeded())
    assert output.images.shape == (2, 3, 16, 16)
    assert output.depths.shape == (2, 1, 16, 16)
    assert 0 <= output.images.min() < output.images.max() <= 1
    assert (output.depths > 0).all()
    assert output.image_uncertainty is None and output.depth_uncertainty is None
    assert output.scene_scale.shape == output.saturated_depth.shape == (2,)
    assert output.cameras.batch_shape == (2,)


def test_image_and_array_outputs_hold_the_same_values(pipe):
    tensors = pipe(**scene(), generator=seeded())
    arrays = pipe(**{**scene(), "output_type": "np"}, generator=seeded())
    images = pipe(**{**scene(), "output_type": "pil"}, generator=seeded())
    np.testing.assert_array_equal(arrays.images, tensors.images.movedim(1, -1).numpy())
    np.testing.assert_array_equal(arrays.depths, tensors.depths[:, 0].numpy())
    np.testing.assert_array_equal(images.depths, arrays.depths)
    assert all(isinstance(image, Image.Image) and image.size == (16, 16) for image in images.images)
    pixels = np.stack([np.asarray(image) for image in images.images])
    np.testing.assert_allclose(pixels / 255, arrays.images, atol=0.5 / 255 + 1e-6)


def test_pil_is_the_default_output(pipe):
    assert inspect.signature(pipe.__call__).parameters["output_type"].default == "pil"


def test_tuple_output(pipe):
    images, depths = pipe(**scene(), generator=seeded(), return_dict=False)
    expected = pipe(**scene(), generator=seeded())
    assert torch.equal(images, expected.images)
    assert torch.equal(depths, expected.depths)


def test_latent_output_is_what_is_decoded(pipe):
    arguments = {**scene(targets=3), "ensemble_size": 2, "targets_per_pass": 2}
    output = pipe(**{**arguments, "output_type": "latent"}, generator=seeded())
    assert output.images.shape == (2, 3 * 64, 4 * 4)
    assert output.images.abs().max() <= 1
    assert output.scene_scale.shape == output.saturated_depth.shape == (3,)
    (states,) = pipe(**{**arguments, "output_type": "latent"}, generator=seeded(), return_dict=False)
    assert torch.equal(states, output.images)
    decoded = pipe.decode(states, output.cameras, ("rgb", "depth"), 1.0)
    expected = pipe(**arguments, generator=seeded())
    torch.testing.assert_close(decoded["images"], expected.images)
    torch.testing.assert_close(decoded["depths"] * expected.scene_scale[:, None, None, None], expected.depths)


@pytest.mark.parametrize("output_type", ["pil", "np", "pt"])
def test_scene_of_any_output(pipe, output_type):
    output = pipe(**{**scene(), "output_type": output_type, "ensemble_size": 2}, generator=seeded())
    result, expected = output.to_scene(), pipe(**{**scene(), "ensemble_size": 2}, generator=seeded())
    assert result.scale == "aligned"
    torch.testing.assert_close(result.images, expected.images, atol=0.5 / 255 + 1e-6, rtol=0)
    assert torch.equal(result.depths, expected.depths)
    assert torch.equal(result.depth_uncertainty, expected.depth_uncertainty)
    assert len(result.point_cloud()) == 2 * 16 * 16


def test_seeds_decide_the_result(pipe):
    first, again = pipe(**scene(), generator=seeded(5)), pipe(**scene(), generator=seeded(5))
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.depths, again.depths)
    other = pipe(**scene(), generator=seeded(6))
    assert (first.images - other.images).abs().mean() > 1e-3


def test_ensemble_members_equal_runs_of_their_own(pipe):
    arguments = {**scene(targets=1), "output_type": "latent"}
    together = pipe(**{**arguments, "ensemble_size": 3}, generator=[seeded(i) for i in range(3)]).images
    for i in range(3):
        alone = pipe(**arguments, generator=seeded(i)).images
        torch.testing.assert_close(together[i : i + 1], alone, atol=1e-4, rtol=1e-4)


def test_ensemble_is_mean_colour_and_median_depth_with_their_spread(pipe):
    arguments = {**scene(targets=1), "ensemble_size": 3}
    states = pipe(**{**arguments, "output_type": "latent"}, generator=seeded()).images
    members = [pipe.decode(state[None], arc_cameras(1), ("rgb", "depth"), 2.0) for state in states]
    colours, depths = (torch.cat([member[name] for member in members]) for name in ("images", "depths"))
    output = pipe.decode(states, arc_cameras(1), ("rgb", "depth"), 2.0)
    torch.testing.assert_close(output["images"][0], colours.mean(0))
    torch.testing.assert_close(output["depths"][0], depths.median(0).values)
    torch.testing.assert_close(output["image_uncertainty"][0], colours.std(0, correction=0).mean(0, keepdim=True))
    torch.testing.assert_close(output["depth_uncertainty"][0], depths.log().std(0, correction=0), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("task", ["rgb", "depth"])
def test_one_task(pipe, task):
    output = pipe(**scene(), tasks=(task,), generator=seeded())
    assert (output.images is None) == (task == "depth")
    assert (output.depths is None) == (task == "rgb")
    assert output.saturated_depth.shape == (2,)


@pytest.mark.parametrize("targets_per_pass", [1, 2, 3, 5])
def test_targets_in_groups(pipe, targets_per_pass):
    output = pipe(**scene(targets=3), targets_per_pass=targets_per_pass, generator=seeded())
    assert output.images.shape == (3, 3, 16, 16)
    assert output.depths.shape == (3, 1, 16, 16)
    assert output.scene_scale.shape == output.saturated_depth.shape == (3,)
    groups = [output.scene_scale[i : i + targets_per_pass] for i in range(0, 3, targets_per_pass)]
    assert all(len(group.unique()) == 1 for group in groups)
    assert len(output.scene_scale.unique()) == len(groups)


def test_a_pass_of_its_own_gives_a_target_its_result(pipe):
    both, generator = pipe(**scene(), generator=seeded()), seeded()
    for i in range(2):
        alone = pipe(**{**scene(), "target_cameras": scene()["target_cameras"][i : i + 1]}, generator=generator)
        torch.testing.assert_close(alone.images[0], both.images[i])


def test_joint_targets_share_what_they_know(pipe):
    noise = [seeded(0)]
    arguments = {**scene(), "targets_per_pass": 2}
    first = pipe(**arguments, generator=noise)
    moved = {**arguments, "target_cameras": Cameras.cat([arguments["target_cameras"][:1], arc_cameras(1, start=0.3)])}
    second = pipe(**moved, generator=[seeded(0)])
    assert (first.images[0] - second.images[0]).abs().max() > 1e-4


def test_later_targets_see_earlier_ones_when_incremental(pipe):
    plain = pipe(**scene(targets=3), generator=seeded())
    incremental = pipe(**scene(targets=3), incremental=True, generator=seeded())
    assert torch.equal(incremental.images[0], plain.images[0])
    assert (incremental.images[1] - plain.images[1]).abs().max() > 1e-4
    # the second target alone, with the first generated image among the photos
    arguments, generator = scene(targets=3), seeded()
    torch.randn(1, 64, 16, generator=generator)
    cameras = Cameras.cat([arguments["cameras"], arguments["target_cameras"][:1]])
    images = torch.cat([arguments["images"], plain.images[:1]])
    second = {**arguments, "images": images, "cameras": cameras, "target_cameras": arguments["target_cameras"][1:2]}
    torch.testing.assert_close(pipe(**second, generator=generator).images[0], incremental.images[1], atol=1e-4, rtol=0)


def test_incremental_targets_may_have_another_shape_than_the_photos(pipe):
    arguments = {**scene(targets=3), "target_cameras": arc_cameras(3, height=24, width=48, start=0.05)}
    output = pipe(**arguments, incremental=True, generator=seeded())
    assert output.images.shape == (3, 3, 8, 16)


def test_context_is_limited_to_the_nearest_views(pipe):
    arguments = {**scene(views=7, targets=1), "target_cameras": arc_cameras(7)[4:5]}
    limited = pipe(**arguments, max_context_views=3, generator=seeded())
    nearest = {**arguments, "images": arguments["images"][3:6], "cameras": arguments["cameras"][3:6]}
    assert_same(limited, pipe(**nearest, generator=seeded()))
    assert_same(pipe(**arguments, max_context_views=9, generator=seeded()), pipe(**arguments, generator=seeded()))


@pytest.mark.parametrize("options", [{}, {"read_mode": "joint"}, {"sweep_depths": 8}])
def test_the_order_of_photos_does_not_matter(options):
    pipe, arguments, order = tiny_pipeline(**options), scene(views=5), [3, 0, 4, 2, 1]
    expected = pipe(**arguments, generator=seeded())
    shuffled = {**arguments, "images": arguments["images"][order], "cameras": arguments["cameras"][order]}
    assert_same(pipe(**shuffled, generator=seeded()), expected)
    mismatched = {**arguments, "images": arguments["images"][order]}
    assert (pipe(**mismatched, generator=seeded()).images - expected.images).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("photo_size", "target_size", "generated"),
    [((12, 16), (12, 16), (12, 16)), ((16, 16), (9, 48), (4, 16)), ((40, 20), (60, 60), (16, 16))],
)
def test_aspect_ratios(pipe, photo_size, target_size, generated):
    arguments = scene()
    arguments.update(
        images=photos(3, *photo_size),
        cameras=arc_cameras(3, *photo_size),
        target_cameras=arc_cameras(2, *target_size, start=0.05),
    )
    output = pipe(**arguments, targets_per_pass=2, generator=seeded())
    assert output.images.shape == (2, 3, *generated)
    assert (output.cameras.height, output.cameras.width) == generated
    fields_of_view = output.cameras.intrinsics[:, [0, 1], [0, 1]] / torch.tensor([generated[1], generated[0]])
    given = arguments["target_cameras"].intrinsics[:, [0, 1], [0, 1]] / torch.tensor([target_size[1], target_size[0]])
    torch.testing.assert_close(fields_of_view, given)


@pytest.mark.parametrize("scene_scale", [3, 3.0])
def test_scene_scale_is_the_unit_of_depth(pipe, scene_scale):
    arguments = {**scene(targets=1), "scene_scale": scene_scale}
    output = pipe(**arguments, generator=seeded())
    assert output.scene_scale.tolist() == [3]
    assert output.depths.max() <= 3 * 32 * (1 + 1e-5)
    assert output.depths.min() >= 3 * 0.5 * (1 - 1e-5)
    baseline = pipe(**scene(targets=1), generator=seeded())
    expected = normalize_cameras(scene(targets=1)["cameras"][None], scene(targets=1)["target_cameras"][None]).scale
    torch.testing.assert_close(baseline.scene_scale, expected)
    same = pipe(**{**arguments, "scene_scale": expected.item()}, generator=seeded())
    assert_same(same, baseline)


def test_scene_scale_allows_a_single_place(pipe):
    arguments = {**scene(), "target_cameras": arc_cameras(3)[:1], "images": photos(1), "cameras": arc_cameras(3)[:1]}
    assert pipe(**arguments, scene_scale=1.5).depths.isfinite().all()


@pytest.mark.parametrize("options", [{}, {"depth_type": "distance"}, {"scale_from": "translation"}, FLOW])
def test_the_world_frame_and_unit_do_not_matter(options):
    pipe = tiny_pipeline(**options)
    arguments = {**scene(), "targets_per_pass": 2}
    expected = pipe(**arguments, generator=seeded())
    rotation = random_rotation(seeded(3), dtype=torch.float32)
    similarity = Similarity(torch.tensor(7.5), rotation, torch.tensor([30.0, -20.0, 10.0]))
    moved = {name: similarity.apply_cameras(arguments[name]) for name in ("cameras", "target_cameras")}
    assert_same(pipe(**{**arguments, **moved}, generator=seeded()), expected, atol=1e-3, scale=7.5)


def test_worlds_far_from_their_origin_keep_their_precision(pipe):
    arguments = scene()
    double = {name: arguments[name].to(dtype=torch.float64) for name in ("cameras", "target_cameras")}
    offset = torch.tensor([4.0e6, 5.0e5, 100.0], dtype=torch.float64)
    shift = Similarity(torch.tensor(1.0).double(), torch.eye(3).double(), offset)
    moved = {name: shift.apply_cameras(cameras) for name, cameras in double.items()}
    assert_same(pipe(**{**arguments, **moved}, generator=seeded()), pipe(**arguments, generator=seeded()))


def test_cameras_may_differ_in_precision(pipe):
    arguments = scene()
    mixed = {**arguments, "cameras": arguments["cameras"].to(dtype=torch.float64)}
    assert_same(pipe(**mixed, generator=seeded()), pipe(**arguments, generator=seeded()))


def test_distance_is_turned_into_z_depth(pipe):
    maps = torch.zeros(1, 2, 1, 16, 16)
    z = pipe.decode(patchify(maps, 2), arc_cameras(2), ("depth",), 1.0)["depths"]
    distance = tiny_pipeline(depth_type="distance").decode(patchify(maps, 2), arc_cameras(2), ("depth",), 1.0)[
        "depths"
    ]
    torch.testing.assert_close(z, torch.full_like(z, 4.0))
    corner = torch.tensor([7.5 / 19.2, 7.5 / 19.2, 1]).norm()
    torch.testing.assert_close(distance[:, 0, 0, 0], torch.full((2,), 4 / corner))


def test_saturated_depth_counts_the_far_end(pipe):
    states = torch.full((1, 1, 1, 16, 16), 0.2)
    states[..., :4] = 1.0
    assert pipe.decode(patchify(states, 2), arc_cameras(1), ("depth",), 1.0)["saturated"].tolist() == [0.25]


@pytest.mark.parametrize("conditioning", [True, False])
@pytest.mark.parametrize(("kind", "atol"), [("sample", 5e-5), ("epsilon", 1e-3)])
def test_ten_steps_equal_an_independent_sampler(conditioning, kind, atol):
    """RIN's sampler with its latent self-conditioning, written from the paper's formulas.

    The first step from noise divides its rounding by a signal of 5e-4, unless the clean estimate is clipped.
    """
    pipe = tiny_pipeline(prediction_type=kind, latent_self_conditioning=conditioning)
    for head in pipe.transformer.heads.values():
        head.weight.data *= 0.3  # a network that steers less also amplifies rounding less
    arguments = {**scene(targets=1), "num_inference_steps": 10, "output_type": "latent"}
    actual = pipe(**arguments, generator=seeded()).images
    views, targets = Views(arguments["images"], arguments["cameras"]), arguments["target_cameras"]
    plan = pipe.plan(views, 3, targets, ("rgb", "depth"), 1, None, None)
    with torch.no_grad():
        context, rays, _ = pipe.prepare_scene(pipe.encode(views, 3), targets, plan, None)
        state, latents = torch.randn(1, 64, 16, generator=seeded()), None
        for step in range(10):
            # diffusers cannot represent a signal power of exactly zero; its last one is 3e-7
            gamma, following = max(sigmoid_gamma(1 - step / 10), 3e-7), sigmoid_gamma(1 - (step + 1) / 10)
            output = pipe.transformer(
                {"rgb": state[..., :12], "depth": state[..., 12:]},
                {"rgb": rays, "depth": rays},
                torch.tensor([gamma]),
                context,
                latents,
            )
            latents = output.latents
            clean = torch.cat([output.predictions["rgb"], output.predictions["depth"]], dim=-1)
            if kind == "epsilon":
                clean = (state - math.sqrt(1 - gamma) * clean) / math.sqrt(gamma)
            clean = clean.clamp(-1, 1)
            noise = (state - math.sqrt(gamma) * clean) / math.sqrt(1 - gamma)
            state = math.sqrt(following) * clean + math.sqrt(1 - following) * noise
    torch.testing.assert_close(actual, state, atol=atol, rtol=0)


class ExactVelocity(MVGDTransformerModel):
    """Answers with the velocity from the noise that it saw first to one clean state."""

    def forward(self, sample, rays, noise_level, scene, previous_latents=None):
        if noise_level[0] == 1:
            self.noise = sample
        predictions = {task: noise - self.clean[task] for task, noise in self.noise.items()}
        return MVGDTransformerOutput(predictions=predictions, latents=torch.zeros(len(noise_level), 4, 32))


@pytest.mark.parametrize("steps", [1, 3, 10])
def test_exact_velocity_is_followed_to_the_clean_state(steps):
    transformer = ExactVelocity(**TINY | FLOW)
    transformer.clean = {"rgb": torch.rand(1, 64, 12) * 2 - 1, "depth": torch.rand(1, 64, 4) * 2 - 1}
    pipe = MVGDPipeline(tiny_pipeline().image_encoder, transformer, flow_scheduler())
    pipe.set_progress_bar_config(disable=True)
    # two passes: the scheduler counts its steps and must start again for the second one
    states = pipe(**{**scene(targets=2), "num_inference_steps": steps, "output_type": "latent"}).images
    expected = torch.cat([transformer.clean["rgb"], transformer.clean["depth"]], dim=-1).repeat(1, 2, 1)
    torch.testing.assert_close(states, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("options", [{}, FLOW])
def test_schedulers_can_be_used_again(options):
    pipe = tiny_pipeline(**options)
    first = pipe(**scene(), generator=seeded())
    assert torch.equal(pipe(**scene(), generator=seeded()).images, first.images)


def test_callback_sees_every_step(pipe):
    calls = []

    def record(pipeline, step, timestep, tensors):
        calls.append((step, int(timestep), {name: tensor.shape for name, tensor in tensors.items()}))
        assert pipeline.current_timestep == timestep
        return tensors

    pipe(
        **{**scene(), "ensemble_size": 2},
        callback_on_step_end=record,
        callback_on_step_end_tensor_inputs=("sample", "latents"),
    )
    shapes = {"sample": (2, 64, 16), "latents": (2, 4, 32)}
    assert calls == [(0, 999, shapes), (1, 499, shapes)] * 2
    assert pipe.num_timesteps == 2


def test_callback_without_changes_changes_nothing(pipe):
    def keep(pipeline, step, timestep, tensors):
        return tensors

    arguments = {**scene(), "callback_on_step_end_tensor_inputs": ("sample", "latents")}
    observed = pipe(**arguments, callback_on_step_end=keep, generator=seeded())
    assert torch.equal(observed.images, pipe(**scene(), generator=seeded()).images)


def test_callback_can_replace_tensors(pipe):
    def paint(pipeline, step, timestep, tensors):
        return {"sample": torch.full_like(tensors["sample"], 0.5)} if step == 1 else {}

    output = pipe(**scene(), callback_on_step_end=paint, generator=seeded())
    torch.testing.assert_close(output.images, torch.full((2, 3, 16, 16), 0.75))

    def forget(pipeline, step, timestep, tensors):
        return {"latents": torch.zeros_like(tensors["latents"])}

    arguments = {**scene(), "callback_on_step_end_tensor_inputs": ("latents",)}
    forgetful = pipe(**arguments, callback_on_step_end=forget, generator=seeded())
    assert (forgetful.images - pipe(**scene(), generator=seeded()).images).abs().max() > 1e-4


def test_callback_can_interrupt(pipe):
    steps = []

    def stop(pipeline, step, timestep, tensors):
        steps.append(step)
        pipeline._interrupt = step == 1
        return {}

    arguments = {**scene(targets=3), "num_inference_steps": 5}
    output = pipe(**arguments, callback_on_step_end=stop, generator=seeded())
    assert steps == [0, 1]
    assert output.images.shape == (1, 3, 16, 16) and len(output.cameras) == 1  # later passes are not begun
    assert pipe.interrupt
    assert pipe(**scene(), generator=seeded()).images.isfinite().all() and not pipe.interrupt


@pytest.mark.parametrize("kind", ["views", "pil", "arrays", "8-bit tensor", "double"])
def test_photos_of_any_kind(pipe, kind):
    arguments = scene()
    pixels = (arguments["images"] * 255).round().to(torch.uint8)
    expected = pipe(**{**arguments, "images": pixels.float() / 255}, generator=seeded())
    array = pixels.movedim(1, -1).numpy()
    if kind == "views":
        views = Views(pixels.float() / 255, arguments.pop("cameras"))
        assert_same(pipe(**{**arguments, "images": views}, generator=seeded()), expected)
        return
    given = {
        "pil": [Image.fromarray(image) for image in array],
        "arrays": list(array),
        "8-bit tensor": pixels,
        "double": array.astype(np.float64) / 255,
    }[kind]
    assert_same(pipe(**{**arguments, "images": given}, generator=seeded()), expected)


def test_saved_and_loaded_pipelines_agree(tmp_path, pipe):
    pipe.save_pretrained(tmp_path)
    loaded = MVGDPipeline.from_pretrained(tmp_path)
    assert isinstance(loaded.scheduler, DDIMScheduler)
    loaded.set_progress_bar_config(disable=True)
    assert_same(loaded(**scene(), generator=seeded()), pipe(**scene(), generator=seeded()))
    again = MVGDPipeline.from_pretrained(tmp_path, scheduler=sigmoid_ddim_scheduler("sample", tau=0.9))
    assert noise_levels(again.scheduler, torch.tensor([250])) != noise_levels(pipe.scheduler, torch.tensor([250]))


def test_half_precision_is_close(tmp_path, pipe):
    expected = pipe(**scene(), generator=seeded())
    pipe.save_pretrained(tmp_path)
    for half in (
        tiny_pipeline().to(torch.bfloat16),
        MVGDPipeline.from_pretrained(tmp_path, dtype=torch.bfloat16),
        MVGDPipeline.from_pretrained(tmp_path, dtype={"transformer": torch.bfloat16, "default": torch.float32}),
    ):
        assert half.transformer.dtype == torch.bfloat16
        half.set_progress_bar_config(disable=True)
        output = half(**scene(), generator=seeded())
        assert output.images.dtype == output.depths.dtype == torch.float32
        assert 0 < (output.images - expected.images).abs().mean() < 0.02


def test_layerwise_casting():
    pipe, expected = tiny_pipeline(), tiny_pipeline()(**scene(), generator=seeded())
    pipe.transformer.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.float32)
    assert pipe.transformer.blocks[0].write_ff.net[0].proj.weight.dtype == torch.float8_e4m3fn
    output = pipe(**scene(), generator=seeded())
    assert 0 < (output.images - expected.images).abs().mean() < 0.1


def test_offloading_without_an_accelerator_says_so(pipe):
    if torch.accelerator.is_available():
        pytest.skip("this machine has an accelerator")
    with pytest.raises(RuntimeError, match="requires accelerator"):
        pipe.enable_model_cpu_offload()


def test_offloading_moves_weights_for_the_scene_tokens_too():
    pipe = tiny_pipeline()
    expected = pipe(**scene(targets=1), generator=seeded())
    pipe.enable_model_cpu_offload(device="cpu")
    moved, pre_forward = [], pipe.transformer._hf_hook.pre_forward

    def record(module, *arguments, **options):
        moved.append(module)
        return pre_forward(module, *arguments, **options)

    pipe.transformer._hf_hook.pre_forward = record
    output = pipe(**scene(targets=1), generator=seeded())
    assert len(moved) > 2  # the methods that make scene tokens, beside two steps
    assert torch.equal(output.images, expected.images)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_offloading_on_a_gpu():
    pipe = tiny_pipeline()
    expected = pipe(**scene(), generator=seeded())
    pipe.enable_model_cpu_offload()
    assert_same(pipe(**scene(), generator=seeded()), expected, atol=1e-3)


def test_progress_bar(capsys):
    pipe = tiny_pipeline()
    pipe.set_progress_bar_config(disable=True)
    pipe(**scene())
    assert capsys.readouterr().err == ""
    pipe.set_progress_bar_config(disable=False, desc="views")
    pipe(**scene())
    progress = capsys.readouterr().err
    assert "views" in progress and "4/4" in progress
