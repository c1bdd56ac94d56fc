"""Checkpoints that a run continues from exactly, and that are never half-written.

A checkpoint is a folder `checkpoint-<step>` of output_dir, which all processes share. It holds what accelerate saves
(model, optimiser, gradient scaler, random states), the averaged weights, and one file per process with its position in
the data and its generator. The empty file `complete` is written last; a folder without it is ignored.
"""

import json
import shutil
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.logging import get_logger
from diffusers.training_utils import EMAModel
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.distributed.tensor import DTensor, distribute_tensor

from .stream import BatchStream


logger = get_logger(__name__)

MARKER = "complete"


def step_of(checkpoint: Path) -> int:
    """The step in the name of a checkpoint folder."""
    return int(checkpoint.name.removeprefix("checkpoint-"))


def complete_checkpoints(output_dir: Path) -> list[Path]:
    """The complete checkpoints in a folder, oldest step first."""
    return sorted((marker.parent for marker in output_dir.glob(f"checkpoint-*/{MARKER}")), key=step_of)


def find_checkpoint(output_dir: Path, resume_from_checkpoint: str | None) -> Path | None:
    """The checkpoint to continue from, or None for a new run.

    Args:
        output_dir: folder of the run.
        resume_from_checkpoint: None, "latest" (a new run if there is none), or a checkpoint folder.

    Raises:
        FileNotFoundError: if the folder given is not a complete checkpoint.
        ValueError: if output_dir holds later checkpoints, which the run would mix with its own.
    """
    present = complete_checkpoints(output_dir)
    if resume_from_checkpoint == "latest":
        return present[-1] if present else None
    chosen = None
    if resume_from_checkpoint is not None:
        chosen = Path(resume_from_checkpoint)
        if not (chosen / MARKER).exists():
            raise FileNotFoundError(
                f"--resume_from_checkpoint {chosen} is not a complete checkpoint (it has no file named {MARKER}); "
                f"complete ones in {output_dir}: {', '.join(folder.name for folder in present) or 'none'}"
            )
    if present and (chosen is None or step_of(present[-1]) > step_of(chosen)):
        raise ValueError(
            f"--output_dir {output_dir} already holds {present[-1].name} of an earlier run; continue it with "
            "--resume_from_checkpoint latest, or choose another --output_dir"
        )
    return chosen


def save_checkpoint(
    accelerator: Accelerator,
    output_dir: Path,
    step: int,
    stream: BatchStream,
    generator: torch.Generator,
    ema: EMAModel | None,
    limit: int | None = None,
) -> Path:
    """Write `checkpoint-<step>` and mark it complete, then remove the oldest beyond `limit`; on all processes."""
    folder = output_dir / f"checkpoint-{step}"
    if accelerator.is_main_process and folder.exists():
        shutil.rmtree(folder)
    accelerator.wait_for_everyone()
    accelerator.save_state(str(folder))  # not only on the main process: each has its random state, and maybe shards

    rank = accelerator.process_index
    position = {"step": step, "num_processes": accelerator.num_processes, **stream.state_dict()}
    (folder / f"position-{rank}.json").write_text(json.dumps(position), encoding="utf-8")
    save_file({"generator": generator.get_state()}, folder / f"generator-{rank}.safetensors")
    if ema is not None:
        save_averages(ema, folder, accelerator.is_main_process)
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        (folder / MARKER).touch()
        _prune(output_dir, folder, limit)
    accelerator.wait_for_everyone()
    logger.info(f"saved {folder}")
    return folder


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
        ValueError: if it was written by another number of processes, or without averaged weights.
    """
    position = json.loads((folder / "position-0.json").read_text(encoding="utf-8"))
    if position["num_processes"] != accelerator.num_processes:
        raise ValueError(
            f"{folder} was written by {position['num_processes']} processes and this run has "
            f"{accelerator.num_processes}; give accelerate launch --num_processes {position['num_processes']}"
        )
    accelerator.load_state(str(folder))
    if ema is not None:
        load_averages(ema, folder)
    rank = accelerator.process_index
    position = json.loads((folder / f"position-{rank}.json").read_text(encoding="utf-8"))
    generator.set_state(load_file(folder / f"generator-{rank}.safetensors")["generator"])
    stream.load_state_dict(position)
    logger.info(f"continuing from {folder}")
    return position["step"]


def save_averages(ema: EMAModel, folder: Path, is_main_process: bool) -> None:
    """Write ema.safetensors on the main process; sharded weights are put together by all."""
    whole = [tensor.full_tensor() if isinstance(tensor, DTensor) else tensor for tensor in ema.shadow_params]
    if is_main_process:
        tensors = {str(index): tensor.contiguous() for index, tensor in enumerate(whole)}
        save_file(tensors, folder / "ema.safetensors", metadata={"steps": str(ema.optimization_step)})


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


def _prune(output_dir: Path, newest: Path, limit: int | None) -> None:
    """Remove what an interrupted save left behind, and the oldest checkpoints beyond the limit."""
    complete = complete_checkpoints(output_dir)
    unfinished = [folder for folder in output_dir.glob("checkpoint-*") if folder not in complete]
    surplus = complete[:-limit] if limit is not None else []
    for folder in [*unfinished, *surplus]:
        if folder != newest:
            shutil.rmtree(folder)
