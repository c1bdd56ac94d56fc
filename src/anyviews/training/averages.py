"""Averaged weights: what the moving average follows, swapping it in, and its file in a checkpoint."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import torch
from diffusers.training_utils import EMAModel
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.modules.batchnorm import _NormBase


def averaged_tensors(model: nn.Module) -> list[nn.Parameter]:
    """What the moving average follows: the trained parameters, and the running statistics of norm layers.

    Statistics of the current activations do not fit to averaged weights, so they are averaged alike. EMAModel copies
    what needs no gradient instead of averaging it; hence each statistic stands in the list as a parameter that shares
    its memory. Counters of batches stay the model's own.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    norms = [module for module in model.modules() if isinstance(module, _NormBase) and module.running_mean is not None]
    return trained + [nn.Parameter(value) for norm in norms for value in (norm.running_mean, norm.running_var)]


@contextlib.contextmanager
def averaged_weights(tensors: list[nn.Parameter], ema: EMAModel | None) -> Iterator[None]:
    """Put the averages into the tensors that they follow for a while.

    EMAModel's own `store`, `copy_to` and `restore` do not work with the sharded parameters of FSDP2.
    """
    if ema is None:
        yield
        return
    kept = [tensor.detach().clone() for tensor in tensors]
    with torch.no_grad():
        for tensor, average in zip(tensors, ema.shadow_params, strict=True):
            tensor.copy_(average)
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, value in zip(tensors, kept, strict=True):
                tensor.copy_(value)


def whole_averages(ema: EMAModel, is_main_process: bool) -> dict[str, Tensor]:
    """The averages as ema.safetensors holds them; all processes put sharded ones together, the main one keeps them.

    One at a time leaves the device: whole, a sharded model need not fit there.
    """
    whole = {}
    for index, average in enumerate(ema.shadow_params):
        tensor = average.full_tensor() if isinstance(average, DTensor) else average
        if is_main_process:
            whole[str(index)] = tensor.cpu().contiguous()
    return whole


def save_averages(ema: EMAModel, folder: Path, whole: dict[str, Tensor]) -> None:
    """Write ema.safetensors from `whole_averages`; on the main process."""
    save_file(whole, folder / "ema.safetensors", metadata={"steps": str(ema.optimization_step)})


def load_averages(ema: EMAModel, folder: Path) -> None:
    """Read ema.safetensors into `ema`, which already has the tensors of the same model.

    Raises:
        ValueError: if the file is missing or holds another number of tensors.
    """
    path = folder / "ema.safetensors"
    if not path.exists():
        raise ValueError(f"{folder} has no averaged weights; continue with --use_ema false, as it was trained")
    with safe_open(path, framework="pt") as file:
        count = len(file.keys())
        if count != len(ema.shadow_params):
            raise ValueError(f"{path} holds {count} averaged tensors and the model trains {len(ema.shadow_params)}")
        ema.optimization_step = int(file.metadata()["steps"])
        for index, average in enumerate(ema.shadow_params):
            value = file.get_tensor(str(index)).to(average.device)
            if isinstance(average, DTensor):
                value = distribute_tensor(value, average.device_mesh, average.placements)
            average.copy_(value)
