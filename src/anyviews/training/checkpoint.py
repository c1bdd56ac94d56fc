"""Checkpoints that a run continues from exactly, and that are never taken for whole when they are not.

A checkpoint is a folder `checkpoint-<step>` of output_dir, which all processes share. It holds what accelerate saves
(model, optimiser, gradient scaler, random states), the averaged weights, and two files per process: its position in
the data and its generators. `folders.py` says when it counts as complete.
"""

import json
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.logging import get_logger
from accelerate.utils import DistributedType, gather_object
from diffusers.training_utils import EMAModel
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException

from .averages import load_averages, save_averages, whole_averages
from .folders import complete_checkpoints, mark_complete, prune, remove
from .stream import BatchStream


logger = get_logger(__name__)


def save_checkpoint(
    accelerator: Accelerator,
    output_dir: Path,
    step: int,
    stream: BatchStream,
    generator: torch.Generator,
    ema: EMAModel | None,
    limit: int | None = None,
) -> Path:
    """Write `checkpoint-<step>` and mark it complete, then remove the oldest beyond `limit`; on all processes.

    Raises:
        RuntimeError: in all processes, if one of them fails to write (a full disk); the unfinished folder is removed
            and earlier checkpoints are as they were.
    """
    folder = output_dir / f"checkpoint-{step}"
    if accelerator.is_main_process and folder.exists():
        remove(folder)
    accelerator.wait_for_everyone()
    # together, before anything can fail in one process alone and leave the others waiting
    averages = None if ema is None else whole_averages(ema, accelerator.is_main_process)
    failure: BaseException | None = None
    try:
        _write(accelerator, folder, step, stream, generator, ema, averages)
    except CheckpointException as error:  # of sharded weights; not an Exception
        failure = next(iter(error.failures.values()))[0]
    except Exception as error:  # each of the libraries that write reports a full disk by a type of its own
        failure = error
    _agree(accelerator, output_dir, folder, failure)
    if accelerator.is_main_process:
        try:
            mark_complete(folder)
        except OSError as error:
            failure = error
    _agree(accelerator, output_dir, folder, failure)
    if accelerator.is_main_process:
        prune(output_dir, folder, limit)
    accelerator.wait_for_everyone()
    logger.info(f"saved {folder}")
    return folder


def _write(
    accelerator: Accelerator,
    folder: Path,
    step: int,
    stream: BatchStream,
    generator: torch.Generator,
    ema: EMAModel | None,
    averages: dict[str, Tensor] | None,
) -> None:
    accelerator.save_state(str(folder))  # not only on the main process: each has its random state, and maybe shards
    rank = accelerator.process_index
    position = {
        "step": step,
        "num_processes": accelerator.num_processes,
        "sharding": _sharding(accelerator),
        **stream.state_dict(),
    }
    (folder / f"position-{rank}.json").write_text(json.dumps(position), encoding="utf-8")
    save_file({"loss": generator.get_state(), **_random_states(accelerator)}, folder / f"generator-{rank}.safetensors")
    if averages is not None and accelerator.is_main_process:
        save_averages(ema, folder, averages)


def _agree(accelerator: Accelerator, output_dir: Path, folder: Path, failure: BaseException | None) -> None:
    """Remove the folder and raise in all processes if writing it failed in one."""
    failures = gather_object([None if failure is None else f"process {accelerator.process_index}: {failure}"])
    if not any(failures):
        return
    if accelerator.is_main_process and folder.exists():
        remove(folder)
    accelerator.wait_for_everyone()
    earlier = complete_checkpoints(output_dir)
    raise RuntimeError(
        f"{folder} could not be saved and was removed ({'; '.join(filter(None, failures))}); "
        f"the last whole checkpoint is {earlier[-1].name if earlier else 'none'}. If the disk is full, free some "
        "space, then continue with --resume_from_checkpoint latest"
    ) from failure


def load_checkpoint(
    accelerator: Accelerator,
    folder: Path,
    stream: BatchStream,
    generator: torch.Generator,
    ema: EMAModel | None,
) -> int:
    """Put everything back as it was when the checkpoint was saved.

    Returns:
        The step of the checkpoint.

    Raises:
        ValueError: if it was written by another number of processes or loader workers, another way of sharding, or
            without averaged weights.
        RuntimeError: if accelerate did not restore the random state.
    """
    position = json.loads((folder / "position-0.json").read_text(encoding="utf-8"))
    if position["num_processes"] != accelerator.num_processes:
        raise ValueError(
            f"{folder} was written by {position['num_processes']} processes and this run has "
            f"{accelerator.num_processes}; give accelerate launch --num_processes {position['num_processes']}"
        )
    if position["sharding"] != _sharding(accelerator):
        raise ValueError(
            f"{folder} was written with sharding {position['sharding']} and this run has {_sharding(accelerator)}; "
            "give the accelerate config that it was written with"
        )
    rank = accelerator.process_index
    position = json.loads((folder / f"position-{rank}.json").read_text(encoding="utf-8"))
    stream.load_state_dict(position)
    if ema is not None:
        load_averages(ema, folder)
    accelerator.load_state(str(folder))
    generators = load_file(folder / f"generator-{rank}.safetensors")
    generator.set_state(generators["loss"])
    # accelerate restores these, and only logs it when it could not
    if not all(torch.equal(state, generators[name]) for name, state in _random_states(accelerator).items()):
        raise RuntimeError(
            f"accelerate could not restore the random state of process {rank} from {folder}; continue on the same "
            "kind of devices, with the same version of torch"
        )
    logger.info(f"continuing from {folder}")
    return position["step"]


def _random_states(accelerator: Accelerator) -> dict[str, Tensor]:
    """The states from which dropout draws in this process."""
    if accelerator.device.type == "cuda":
        return {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state(accelerator.device)}
    return {"cpu": torch.get_rng_state()}


def _sharding(accelerator: Accelerator) -> str:
    """What the files of a checkpoint are divided by, besides processes."""
    kind = accelerator.distributed_type
    return kind.value if kind in (DistributedType.FSDP, DistributedType.DEEPSPEED) else "none"
