"""What stands between a bare model and its steps: memory, attention, weight decay, and signals."""

import contextlib
import signal
import time
from collections.abc import Iterable, Iterator

import torch
from diffusers.models.attention_dispatch import attention_backend
from torch import nn

from .arguments import TrainingArguments
from .muon import MuonWithAdamW, muon_groups


SECONDS_BETWEEN_INTERRUPTS = 3.0


def enable_gradient_checkpointing(model: nn.Module) -> None:
    """Turn it on in a diffusers or transformers model, or in each such model that a plain module holds.

    Raises:
        ValueError: if there is none that supports it.
    """
    enabled = False
    waiting = [model]
    while waiting:
        module = waiting.pop()
        if getattr(module, "_supports_gradient_checkpointing", False):
            module.enable_gradient_checkpointing()
        elif getattr(module, "supports_gradient_checkpointing", False):
            # the reentrant kind does not work with DistributedDataParallel
            module.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        else:
            waiting += module.children()
            continue
        enabled = True
    if not enabled:
        raise ValueError(f"{type(model).__name__} does not support --gradient_checkpointing; leave it out")


def attention_of(name: str, device: torch.device) -> contextlib.AbstractContextManager:
    """The attention backend of diffusers for a while; it is a process-wide setting, hence the context.

    Args:
        name: a backend of diffusers, or auto.
        device: of the model; auto leaves the backend as it is unless this is a CPU.
    """
    if name != "auto":
        return attention_backend(name)
    # the backward pass of the fused kernel is slow on a CPU
    return attention_backend("_native_math") if device.type == "cpu" else contextlib.nullcontext()


def build_optimizer(model: nn.Module, arguments: TrainingArguments) -> torch.optim.Optimizer:
    """The optimiser that the arguments name; the schedule sets its learning rates."""
    options = {
        "lr": arguments.learning_rate,
        "betas": (arguments.adam_beta1, arguments.adam_beta2),
        "eps": arguments.adam_epsilon,
    }
    if arguments.optimizer == "muon":
        return MuonWithAdamW(muon_groups(model, arguments.adam_weight_decay), **options)
    return torch.optim.AdamW(decay_groups(model, arguments.adam_weight_decay), **options)


def clip_each_gradient(parameters: Iterable[nn.Parameter], max_norm: float) -> None:
    """Scale the gradient of each tensor down to a norm; values that are not finite become 0 first.

    One tensor with a bad gradient thus takes nothing away from the steps of all others.
    """
    for parameter in parameters:
        if parameter.grad is not None:
            parameter.grad.nan_to_num_(nan=0.0, posinf=0.0, neginf=0.0)
            nn.utils.clip_grad_norm_(parameter, max_norm)


def decay_groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """Parameter groups of an optimiser: weight decay for matrices and kernels, none for biases and norms."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [parameter for parameter in trained if parameter.ndim > 1], "weight_decay": weight_decay},
        {"params": [parameter for parameter in trained if parameter.ndim <= 1], "weight_decay": 0.0},
    ]


def name_sharded_blocks(model: nn.Module) -> None:
    """Tell FSDP which blocks are gathered one at a time: those that the models within a plain module name.

    Without this, accelerate asks the outermost module only, finds no names in a plain one, and gathers all at once.
    """
    modules = list(model.modules())
    named = {name for module in modules for name in getattr(module, "_no_split_modules", None) or ()}
    model._no_split_modules = sorted(named & {type(module).__name__ for module in modules})


@contextlib.contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Put all modules into evaluation mode for a while; those that were in it before stay in it after."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


@contextlib.contextmanager
def stop_on_signal() -> Iterator[list[int]]:
    """Collect SIGTERM and SIGINT in the list it yields; SIGINT interrupts as usual when it comes again much later.

    Launchers and job schedulers both pass a signal on, so that it often comes twice in a row.
    """
    received: list[int] = []
    usual = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    first = time.monotonic()

    def receive(number, frame):
        nonlocal first
        if not received:
            first = time.monotonic()
        received.append(number)
        if number == signal.SIGINT and time.monotonic() - first > SECONDS_BETWEEN_INTERRUPTS:
            raise KeyboardInterrupt

    for number in usual:
        signal.signal(number, receive)
    try:
        yield received
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)
