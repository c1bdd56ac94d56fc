"""The schedulers against samplers written from the formulas."""

import math

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from small_mvgd import SMALL

from anyviews.models.mvgd import (
    MVGDTransformerModel,
    check_scheduler,
    default_scheduler,
    flow_scheduler,
    noise_levels,
    set_timesteps,
    sigmoid_ddim_scheduler,
)
from anyviews.models.mvgd.scheduling_mvgd import sigmoid_gamma


def test_gamma_of_the_sigmoid_schedule():
    assert [round(sigmoid_gamma(time), 3) for time in (0.25, 0.5, 0.75)] == [0.851, 0.5, 0.149]
    assert sigmoid_gamma(0.0) == 1
    assert sigmoid_gamma(1.0) == 1e-9


@pytest.mark.parametrize("tau", [1.0, 0.9])
def test_scheduler_follows_gamma(tau):
    scheduler = sigmoid_ddim_scheduler(tau=tau)
    expected = torch.tensor([sigmoid_gamma((i + 1) / 1000, tau=tau) for i in range(1000)])
    torch.testing.assert_close(scheduler.alphas_cumprod, expected, atol=1e-6, rtol=0)
    assert scheduler.alphas_cumprod[-1] > 0


def test_schedule_survives_saving(tmp_path):
    scheduler = sigmoid_ddim_scheduler("v_prediction")
    scheduler.save_pretrained(tmp_path)
    loaded = DDIMScheduler.from_pretrained(tmp_path)
    assert torch.equal(loaded.alphas_cumprod, scheduler.alphas_cumprod)
    assert loaded.config.prediction_type == "v_prediction"


def toy_prediction(kind: str, state: torch.Tensor, gamma: torch.Tensor) -> torch.Tensor:
    """A network whose clean estimate leaves [-1, 1], so that clipping matters."""
    clean = 1.5 * torch.tanh(state.roll(1, -1)) + 0.3 * gamma
    if kind == "sample":
        return clean
    noise = (state - gamma.sqrt() * clean) / (1 - gamma).sqrt()
    return noise if kind == "epsilon" else gamma.sqrt() * noise - (1 - gamma).sqrt() * clean


@pytest.mark.parametrize("kind", ["epsilon", "sample", "v_prediction"])
def test_ten_ddim_steps_equal_the_sampler_of_the_interface_network(kind):
    """RIN's sampler: clip the clean estimate, compute the noise from it again, go to the next noise level."""
    scheduler = sigmoid_ddim_scheduler(kind)
    set_timesteps(scheduler, 10, "cpu")
    start = torch.randn(4, 50)
    state = start
    for timestep, gamma in zip(scheduler.timesteps, noise_levels(scheduler, scheduler.timesteps), strict=True):
        prediction = toy_prediction(kind, state, gamma)
        state = scheduler.step(prediction, timestep, state, eta=0.0, use_clipped_model_output=True).prev_sample

    expected = start.double()
    for step in range(10):
        gamma = torch.tensor(max(sigmoid_gamma(1 - step / 10), 3e-7), dtype=torch.float64)
        following = sigmoid_gamma(1 - (step + 1) / 10)
        prediction = toy_prediction(kind, expected, gamma)
        if kind == "epsilon":
            clean = (expected - (1 - gamma).sqrt() * prediction) / gamma.sqrt()
        else:
            clean = prediction if kind == "sample" else gamma.sqrt() * expected - (1 - gamma).sqrt() * prediction
        clean = clean.clamp(-1, 1)
        noise = (expected - gamma.sqrt() * clean) / (1 - gamma).sqrt()
        expected = math.sqrt(following) * clean + math.sqrt(1 - following) * noise
    assert expected.abs().max() == 1
    torch.testing.assert_close(state.double(), expected, atol=5e-5, rtol=0)


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("steps", [1, 4, 7])
def test_exact_velocity_leads_to_the_clean_state(steps, shift):
    scheduler = flow_scheduler(shift)
    set_timesteps(scheduler, steps, "cpu")
    clean, noise = torch.rand(2, 30) * 2 - 1, torch.randn(2, 30)
    state = noise
    sigmas = noise_levels(scheduler, scheduler.timesteps)
    assert sigmas[0] == 1
    for timestep, sigma in zip(scheduler.timesteps, sigmas, strict=True):
        torch.testing.assert_close(state, (1 - sigma) * clean + sigma * noise, atol=1e-5, rtol=0)
        state = scheduler.step(noise - clean, timestep, state).prev_sample
    torch.testing.assert_close(state, clean, atol=1e-5, rtol=0)


def test_noise_levels_are_gamma_or_sigma():
    diffusion, flow = sigmoid_ddim_scheduler(), flow_scheduler()
    for scheduler in (diffusion, flow):
        set_timesteps(scheduler, 4, "cpu")
    levels = noise_levels(diffusion, diffusion.timesteps)
    expected = [sigmoid_gamma(time) for time in (1, 0.75, 0.5, 0.25)]
    torch.testing.assert_close(levels, torch.tensor(expected), atol=1e-6, rtol=0)
    torch.testing.assert_close(noise_levels(flow, flow.timesteps), torch.tensor([1, 0.75, 0.5, 0.25]))


def test_step_counts_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match=r"num_inference_steps=7 does not divide the 1000.*4, 5, 8, 10"):
        set_timesteps(sigmoid_ddim_scheduler(), 7, "cpu")
    set_timesteps(flow_scheduler(), 7, "cpu")  # the flow has no such condition


@pytest.mark.parametrize("steps", [0, -1, 1001])
@pytest.mark.parametrize("scheduler", [sigmoid_ddim_scheduler(), flow_scheduler()])
def test_impossible_step_counts_are_refused(scheduler, steps):
    with pytest.raises(ValueError, match=f"num_inference_steps={steps}; accepted are 1 to 1000"):
        set_timesteps(scheduler, steps, "cpu")


FLOW = {"noise_parametrization": "flow_sigma", "prediction_type": "flow"}


@pytest.mark.parametrize("options", [{}, {"prediction_type": "sample"}, {"prediction_type": "v_prediction"}, FLOW])
def test_default_scheduler_fits(options):
    config = MVGDTransformerModel(**SMALL, **options).config
    check_scheduler(default_scheduler(config), config)


def test_other_families_and_predictions_are_refused():
    diffusion, flow = MVGDTransformerModel(**SMALL).config, MVGDTransformerModel(**SMALL, **FLOW).config
    with pytest.raises(ValueError, match="needs a DDIMScheduler, found FlowMatchEulerDiscreteScheduler"):
        check_scheduler(flow_scheduler(), diffusion)
    with pytest.raises(ValueError, match="needs a DDIMScheduler, found DDPMScheduler"):
        check_scheduler(DDPMScheduler(), diffusion)
    with pytest.raises(ValueError, match="needs a FlowMatchEulerDiscreteScheduler, found DDIMScheduler"):
        check_scheduler(sigmoid_ddim_scheduler(), flow)
    with pytest.raises(ValueError, match="predicts 'epsilon' but the scheduler expects 'sample'"):
        check_scheduler(sigmoid_ddim_scheduler("sample"), diffusion)
