"""Folders of a run: output_dir, which must be writable and shared, and the checkpoints in it, whole or damaged.

A checkpoint is a folder `checkpoint-<step>`. Its last file to be written is `complete`, the list of all others with
their sizes; a folder without it, or whose files do not match it, is passed over.
"""

import json
import os
import re
import shutil
from pathlib import Path

from accelerate import Accelerator
from accelerate.logging import get_logger
from accelerate.utils import broadcast_object_list, gather_object

from ..formats.files import new_file


logger = get_logger(__name__)

MARKER = "complete"


def step_of(checkpoint: Path) -> int:
    """The step in the name of a checkpoint folder."""
    return int(checkpoint.name.removeprefix("checkpoint-"))


def all_checkpoints(output_dir: Path) -> list[Path]:
    """The checkpoints in a folder, whole or damaged, oldest step first; `checkpoint-best` is none of ours."""
    found = [path for path in output_dir.glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", path.name)]
    return sorted(found, key=step_of)


def damage(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint, or None if all its files are there in their full length."""
    try:
        sizes = json.loads((checkpoint / MARKER).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return f"it has no file named {MARKER}, so that saving it was cut short"
    except ValueError:
        return f"its file {MARKER} is damaged"
    for name, size in sizes.items():
        path = checkpoint / name
        if not path.exists():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size} bytes instead of {size}"
    return None


def complete_checkpoints(output_dir: Path) -> list[Path]:
    """The whole checkpoints in a folder, oldest step first."""
    return [checkpoint for checkpoint in all_checkpoints(output_dir) if damage(checkpoint) is None]


def find_checkpoint(output_dir: Path, resume_from_checkpoint: str | None) -> Path | None:
    """The checkpoint to continue from, or None for a new run.

    Args:
        output_dir: folder of the run.
        resume_from_checkpoint: None, "latest" (the newest whole one; a new run if none was ever saved), or a
            checkpoint folder.

    Raises:
        FileNotFoundError: if the folder given is not a whole checkpoint, or none of those that were is any more.
        ValueError: if output_dir holds later checkpoints, which the run would mix with its own.
    """
    present = complete_checkpoints(output_dir)
    if resume_from_checkpoint == "latest":
        chosen = present[-1] if present else None
        _tell_of_damage(output_dir, chosen)
        damaged = [folder for folder in all_checkpoints(output_dir) if (folder / MARKER).exists()]
        if chosen is None and damaged:  # to begin at step 0 again is not what anyone wants
            raise FileNotFoundError(
                f"no checkpoint in {output_dir} is whole: {damaged[-1].name} cannot be used, {damage(damaged[-1])}; "
                "restore its files, or choose another --output_dir"
            )
        return chosen
    chosen = None
    if resume_from_checkpoint is not None:
        chosen = Path(resume_from_checkpoint)
        if problem := damage(chosen):
            raise FileNotFoundError(
                f"--resume_from_checkpoint {chosen} is not a complete checkpoint ({problem}); "
                f"complete ones in {output_dir}: {', '.join(folder.name for folder in present) or 'none'}"
            )
    if present and (chosen is None or step_of(present[-1]) > step_of(chosen)):
        raise ValueError(
            f"--output_dir {output_dir} already holds {present[-1].name} of an earlier run; continue it with "
            "--resume_from_checkpoint latest, or choose another --output_dir"
        )
    return chosen


def _tell_of_damage(output_dir: Path, chosen: Path | None) -> None:
    instead = f"continuing from {chosen.name}" if chosen else "starting a new run"
    for checkpoint in all_checkpoints(output_dir):
        if (chosen is None or step_of(checkpoint) > step_of(chosen)) and (problem := damage(checkpoint)):
            logger.warning(f"{checkpoint} is not used: {problem}; {instead}")


def mark_complete(checkpoint: Path) -> None:
    """Write the list of files that makes a checkpoint count, once they are on the disk."""
    files = sorted(path for path in checkpoint.rglob("*") if path.is_file())
    for path in files:
        _flush_to_disk(path)
    sizes = {path.relative_to(checkpoint).as_posix(): path.stat().st_size for path in files}
    with new_file(checkpoint / MARKER) as temporary:
        temporary.write_text(json.dumps(sizes, indent=1), encoding="utf-8")
        _flush_to_disk(temporary)


def _flush_to_disk(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def prune(output_dir: Path, newest: Path, limit: int | None) -> None:
    """Remove what interrupted saves left behind, and the oldest checkpoints beyond the limit.

    One that was complete and lost a file since is left to the user.
    """
    complete = complete_checkpoints(output_dir)
    unfinished = [folder for folder in all_checkpoints(output_dir) if not (folder / MARKER).exists()]
    surplus = complete[:-limit] if limit is not None else []
    for folder in [*unfinished, *surplus]:
        if folder != newest:
            remove(folder)


def remove(checkpoint: Path) -> None:
    """Remove a checkpoint, its marker first, so that what a kill leaves of it does not pass for one."""
    (checkpoint / MARKER).unlink(missing_ok=True)
    shutil.rmtree(checkpoint)


def check_output_dir(accelerator: Accelerator, output_dir: Path) -> None:
    """Make output_dir, and try before the first step whether all processes can write there and see one folder.

    Raises:
        OSError: in all processes, if one of them cannot write, or sees another folder than the first process.
    """
    rank = accelerator.process_index
    probes = [output_dir / f".process-{other}" for other in range(accelerator.num_processes)]
    problem = None
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        probes[rank].write_text("can this process write here?", encoding="utf-8")
    except OSError as error:
        problem = error.strerror
    problems = gather_object([problem])
    if any(problems):
        first = next(index for index, each in enumerate(problems) if each)
        raise OSError(
            f"--output_dir {output_dir} cannot be written by process {first} ({problems[first]}); give a folder that "
            "can, or change its permissions"
        )
    unseen = [[index for index, probe in enumerate(probes) if not probe.exists()]]
    broadcast_object_list(unseen)
    accelerator.wait_for_everyone()
    probes[rank].unlink()
    if unseen[0]:
        raise OSError(
            f"process 0 does not see what the processes {unseen[0]} write to --output_dir {output_dir}; give a folder "
            "on a file system that all machines share"
        )
