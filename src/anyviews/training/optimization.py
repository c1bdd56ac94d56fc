"""Small steps between a bare model and a trained one: memory, weight decay, and a clean end."""

import contextlib
import signal
from collections.abc import Iterator

from torch import nn


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


def decay_groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """Parameter groups of an optimiser: weight decay for matrices and kernels, none for biases and norms."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [parameter for parameter in trained if parameter.ndim > 1], "weight_decay": weight_decay},
        {"params": [parameter for parameter in trained if parameter.ndim <= 1], "weight_decay": 0.0},
    ]


@contextlib.contextmanager
def stop_on_signal() -> Iterator[list[int]]:
    """Collect SIGTERM and SIGINT in the list it yields; the second one has its usual effect."""
    received: list[int] = []
    usual = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def receive(number, frame):
        received.append(number)
        for each, handler in usual.items():
            signal.signal(each, handler)

    for number in usual:
        signal.signal(number, receive)
    try:
        yield received
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)
