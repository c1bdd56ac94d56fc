"""Learning curves: losses averaged over processes, appended to files while training, and sent to trackers."""

import json
import logging
import math
import time
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.logging import get_logger
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker, get_available_trackers
from PIL import Image
from torch import Tensor


logger = get_logger(__name__)

NONE = "none"
# Trackers that take the pictures of a step as a list; others take one at a time.
LISTED = ("wandb", "swanlab")


def read_records(path: Path) -> list[dict]:
    """The records of a .jsonl file; a last line that a killed process left unfinished is dropped."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    return [json.loads(line) for line in lines]


def append_records(path: Path, records: list[dict]) -> None:
    """Append records to a .jsonl file."""
    with path.open("a", encoding="utf-8") as file:
        file.write("".join(json.dumps(record) + "\n" for record in records))


def forget_after(path: Path, step: int) -> None:
    """Drop the records after `step`, which a resumed run will write again."""
    if not path.exists():
        return
    kept = [record for record in read_records(path) if record["step"] <= step]
    partial = path.with_name(path.name + ".partial")
    partial.write_text("".join(json.dumps(record) + "\n" for record in kept), encoding="utf-8")
    partial.replace(path)


class LossLog:
    """Collects the losses of every step; `flush` averages them over processes and writes them out.

    Values stay on the device until `flush`, so that a GPU is not stopped at every step.

    Args:
        accelerator: for averaging and trackers.
        path: losses.jsonl.
        examples_per_step: over all processes, for the throughput.
    """

    def __init__(self, accelerator: Accelerator, path: Path, examples_per_step: int):
        self.accelerator, self.path, self.examples_per_step = accelerator, path, examples_per_step
        self.records: list[dict] = []
        self._waiting: list[tuple[int, float, dict[str, Tensor]]] = []
        self.restart_clock()

    def restart_clock(self) -> None:
        """Leave the time since the last flush, such as of a validation, out of the throughput."""
        self._started = time.perf_counter()

    def record(self, step: int, learning_rate: float, losses: dict[str, Tensor]) -> None:
        """Remember the losses of one step."""
        self._waiting.append((step, learning_rate, losses))

    def flush(self) -> None:
        """Average, check and write what was recorded since the last flush; on all processes together.

        Raises:
            FloatingPointError: if a loss is not finite.
        """
        if not self._waiting:
            return
        names = list(self._waiting[0][2])
        table = torch.stack([torch.stack([losses[name] for name in names]) for _, _, losses in self._waiting])
        rows = self.accelerator.reduce(table, "mean").tolist()
        new = [
            {"step": step, **dict(zip(names, row, strict=True)), "learning_rate": learning_rate}
            for (step, learning_rate, _), row in zip(self._waiting, rows, strict=True)
        ]
        rate = len(new) * self.examples_per_step / (time.perf_counter() - self._started)
        self._waiting = []
        self.records += new
        if self.accelerator.is_main_process:
            append_records(self.path, new)
        for record in new:
            self.accelerator.log({f"train/{name}": record[name] for name in record if name != "step"}, record["step"])
        self.accelerator.log({"train/examples_per_second": rate}, new[-1]["step"])
        logger.info(f"step {new[-1]['step']}: loss {new[-1]['loss']:.5g}, {rate:.3g} examples/s")
        if broken := [record["step"] for record in new if not math.isfinite(record["loss"])]:
            raise FloatingPointError(
                f"the loss is not finite at step {broken[0]}; resume from the last checkpoint with a lower "
                "--learning_rate or --max_grad_norm, or with --mixed_precision bf16 or no instead of fp16"
            )
        self.restart_clock()


def usable_trackers(report_to: str) -> list[str]:
    """The trackers to start: the one that is asked for, none, or, for "all", those that are installed.

    Raises:
        ValueError: if accelerate does not know it.
    """
    if report_to == NONE:
        return []
    installed = [str(name) for name in get_available_trackers()]
    if report_to == "all":
        return installed
    if report_to not in LOGGER_TYPE_TO_CLASS:
        raise ValueError(f"--report_to {report_to}; accepted are {', '.join(LOGGER_TYPE_TO_CLASS)}, all and {NONE}")
    if report_to not in installed:
        # the curves are in files, too: not worth losing a run
        extra = '"anyviews[train]"' if report_to == "tensorboard" else report_to
        logging.getLogger(__name__).warning(
            f"--report_to {report_to} is not installed, so nothing is sent there: pip install {extra}; "
            "losses.jsonl and validation/ hold it all"
        )
        return []
    return [report_to]


def log_pictures(trackers: list[GeneralTracker], folder: Path, step: int) -> None:
    """Send the .png files of a folder to the trackers that take pictures.

    Args:
        trackers: of the run.
        folder: of one validation; a file `step-<step>.png` is shown as "picture", others by their names.
        step: of the training.
    """
    for file in sorted(folder.glob("*.png")):
        name = f"validation/{file.stem.replace(f'step-{step}', 'picture')}"
        with Image.open(file) as picture:
            pixels = np.asarray(picture.convert("RGB"))
        for tracker in trackers:
            if tracker.name == "tensorboard":
                tracker.log_images({name: pixels[None]}, step, dataformats="NHWC")
            elif hasattr(tracker, "log_images"):
                tracker.log_images({name: [pixels] if tracker.name in LISTED else pixels}, step)


def start_trackers(accelerator: Accelerator, name: str, settings: dict) -> None:
    """Start the trackers of accelerate with the run's settings."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    logging.getLogger("accelerate").setLevel(logging.WARNING)  # it tells of every file of every checkpoint
    # TensorBoard's table of settings takes scalars only
    scalars = {key: value for key, value in settings.items() if isinstance(value, bool | int | float | str)}
    accelerator.init_trackers(name, config=scalars)
