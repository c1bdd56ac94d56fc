"""The two scheduler families that MVGD samples with, both diffusers' own, configured as the method needs them."""

import itertools
import math

import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler, SchedulerMixin
from jaxtyping import Float
from torch import Tensor


# diffusers' step divides by alpha; a beta of exactly 1 would make it zero
LARGEST_BETA = 0.999

FAMILIES = {"vp_gamma": DDIMScheduler, "flow_sigma": FlowMatchEulerDiscreteScheduler}


def sigmoid_gamma(time: float, start: float = -3.0, end: float = 3.0, tau: float = 1.0) -> float:
    """The sigmoid noise schedule: remaining signal power at time in [0, 1] (RIN, section 3.3)."""
    first, last, now = (_logistic(value / tau) for value in (start, end, time * (end - start) + start))
    return min(max((last - now) / (last - first), 1e-9), 1.0)


def _logistic(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def sigmoid_ddim_scheduler(
    prediction_type: str = "epsilon", num_train_timesteps: int = 1000, tau: float = 1.0
) -> DDIMScheduler:
    """DDIM with the exact sigmoid schedule (diffusers' own "sigmoid" is another one: a sigmoid in beta)."""
    gammas = [sigmoid_gamma(i / num_train_timesteps, tau=tau) for i in range(num_train_timesteps + 1)]
    betas = [min(1 - after / before, LARGEST_BETA) for before, after in itertools.pairwise(gammas)]
    return DDIMScheduler(
        num_train_timesteps=num_train_timesteps,
        trained_betas=betas,
        prediction_type=prediction_type,
        timestep_spacing="trailing",
        clip_sample=True,
        clip_sample_range=1.0,
        set_alpha_to_one=True,
        steps_offset=0,
    )


def flow_scheduler(shift: float = 1.0) -> FlowMatchEulerDiscreteScheduler:
    """Rectified flow with Euler steps: x = (1 - sigma) * x0 + sigma * noise, target noise - x0."""
    return FlowMatchEulerDiscreteScheduler(shift=shift)


def default_scheduler(config) -> SchedulerMixin:
    """The scheduler that fits a transformer's config."""
    if config.noise_parametrization == "flow_sigma":
        return flow_scheduler()
    return sigmoid_ddim_scheduler(config.prediction_type)


def check_scheduler(scheduler: SchedulerMixin, config) -> None:
    """Raise ValueError when a scheduler does not belong to what the transformer was trained to predict."""
    family = FAMILIES[config.noise_parametrization]
    if not isinstance(scheduler, family):
        raise ValueError(
            f"the transformer has noise_parametrization={config.noise_parametrization!r} and needs a "
            f"{family.__name__}, found {type(scheduler).__name__}; another family would sample noise. Use "
            "anyviews.models.mvgd.default_scheduler(transformer.config)"
        )
    found = getattr(scheduler.config, "prediction_type", "flow")
    if found != config.prediction_type:
        raise ValueError(
            f"the transformer predicts {config.prediction_type!r} but the scheduler expects {found!r}; rebuild it "
            f"with prediction_type={config.prediction_type!r}"
        )


def set_timesteps(scheduler: SchedulerMixin, num_inference_steps: int, device: torch.device | str) -> None:
    """Prepare a scheduler for sampling; raises ValueError for a step count that its schedule cannot take."""
    total = scheduler.config.num_train_timesteps
    if num_inference_steps < 1 or num_inference_steps > total:
        raise ValueError(f"num_inference_steps={num_inference_steps}; accepted are 1 to {total}")
    if isinstance(scheduler, FlowMatchEulerDiscreteScheduler):
        # the default sigmas of few steps waste the last one (they end ..., 0.112, 0.001, 0)
        sigmas = torch.linspace(1.0, 1.0 / num_inference_steps, num_inference_steps).tolist()
        scheduler.set_timesteps(sigmas=sigmas, device=device)
        return
    if total % num_inference_steps:
        near = [n for n in range(1, total + 1) if total % n == 0]
        near = sorted(sorted(near, key=lambda n: abs(n - num_inference_steps))[:4])
        raise ValueError(
            f"num_inference_steps={num_inference_steps} does not divide the {total} training steps, so DDIM would not "
            f"end at the clean image; accepted near it are {', '.join(map(str, near))}"
        )
    scheduler.set_timesteps(num_inference_steps, device=device)


def noise_levels(scheduler: SchedulerMixin, timesteps: Tensor) -> Float[Tensor, "steps"]:
    """What the transformer is told of the noise at timesteps: gamma for DDIM, sigma for flow matching."""
    if isinstance(scheduler, FlowMatchEulerDiscreteScheduler):
        return timesteps.float() / scheduler.config.num_train_timesteps
    return scheduler.alphas_cumprod.to(timesteps.device)[timesteps.long()]
