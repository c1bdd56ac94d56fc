"""Arguments that all training scripts share; names follow the diffusers examples.

Precedence: defaults of the dataclasses, then the YAML file given with `--config`, then the command line.
"""

import argparse
import dataclasses
import difflib
import json
import sys
from pathlib import Path
from typing import Any, Literal

import yaml
from transformers import HfArgumentParser


def argument(default: Any, help: str) -> Any:
    """A dataclass field with the text that `--help` shows."""
    return dataclasses.field(default=default, metadata={"help": help})


@dataclasses.dataclass
class DataArguments:
    """Where the training samples come from; a script may subclass it for more fields."""

    dataset_name: str = argument(
        "procedural-rooms",
        "procedural-rooms, procedural-apartments, procedural-objects, a folder of parquet shards, or a Hub repository "
        "id; several with weights are mixed: procedural-rooms:0.3,FOLDER:0.7.",
    )
    dataset_split: str = argument("train", "Split of the dataset.")
    dataset_options: dict = dataclasses.field(
        default_factory=dict,
        metadata={"help": "Further options of anyviews.data.open_samples: JSON, or a mapping in the YAML file."},
    )
    data_seed: int = argument(0, "Seed of the order of the samples and of the random choices made for each.")
    dataloader_num_workers: int = argument(0, "Processes that read and transform samples, per training process.")


@dataclasses.dataclass
class TrainingArguments:
    """How to train; a script may subclass it for the fields of its own method."""

    output_dir: str = argument("output", "Folder of the trained model, the checkpoints, and the logs.")
    pretrained_model_name_or_path: str | None = argument(None, "Model to start from: a folder or a Hub id.")
    seed: int = argument(0, "Seed of the weights, of dropout and of the noise in the loss.")
    resolution: int = argument(256, "Side of the training images in pixels.")
    train_batch_size: int = argument(4, "Samples per process and micro-batch.")
    gradient_accumulation_steps: int = argument(1, "Micro-batches per optimiser step.")
    gradient_checkpointing: bool = argument(False, "Recompute activations in the backward pass to save memory.")
    mixed_precision: Literal["no", "fp16", "bf16"] | None = argument(
        None, "Precision of the forward pass; default: accelerate's setting."
    )
    allow_tf32: bool = argument(False, "Allow TF32 matrix products on Ampere and newer GPUs.")
    compile: bool = argument(False, "Compile the model with torch.compile.")
    attention_backend: str = argument(
        "auto", "Backend of diffusers' attention; auto: _native_math on a CPU, where it is fastest, else unchanged."
    )
    max_train_steps: int = argument(1000, "Optimiser steps in all; may be raised when resuming.")
    max_train_seconds: float | None = argument(None, "Stop and export after this wall time of this launch.")

    learning_rate: float = argument(1e-4, "Learning rate after warm-up.")
    lr_scheduler: Literal[
        "constant", "constant_with_warmup", "linear", "cosine", "cosine_with_restarts", "polynomial"
    ] = argument("constant_with_warmup", "Schedule of the learning rate over max_train_steps.")
    lr_warmup_steps: int = argument(0, "Steps of linear warm-up.")
    lr_end: float = argument(0.0, "Learning rate that a cosine ends at.")
    optimizer: Literal["adamw", "muon"] = argument(
        "adamw", "adamw, or muon: Muon for the linear layers of repeated blocks and AdamW for all else."
    )
    muon_learning_rate: float = argument(2e-3, "Learning rate of Muon after warm-up.")
    adam_beta1: float = argument(0.9, "First moment decay of AdamW.")
    adam_beta2: float = argument(0.999, "Second moment decay of AdamW.")
    adam_epsilon: float = argument(1e-8, "Epsilon of AdamW.")
    adam_weight_decay: float = argument(1e-2, "Weight decay of the matrices; biases and norms have none.")
    max_grad_norm: float = argument(1.0, "Gradients are scaled down to this norm.")
    gradient_clipping: Literal["model", "tensor"] = argument(
        "model", "Whose norm that is: the whole model's, or each tensor's, whose values that are not finite become 0."
    )

    use_ema: bool = argument(True, "Keep a moving average of the weights; it is what is validated and exported.")
    ema_max_decay: float = argument(0.9999, "Decay of the moving average after its warm-up.")

    logging_steps: int = argument(10, "Steps between reports of the losses (every step is reported).")
    report_to: str = argument("tensorboard", "Tracker of accelerate: tensorboard, wandb, ..., all or none.")
    validation_steps: int | None = argument(None, "Steps between validations; default: none.")
    checkpointing_steps: int = argument(500, "Steps between checkpoints.")
    checkpoints_total_limit: int | None = argument(None, "Checkpoints to keep; default: all.")
    resume_from_checkpoint: str | None = argument(
        None, "A checkpoint folder, or latest: the newest one in output_dir if there is one."
    )
    push_to_hub: bool = argument(False, "Upload the trained model to the Hub.")
    hub_model_id: str | None = argument(None, "Repository to upload to; default: the name of output_dir.")


def parse_arguments(*types: type, argv: list[str] | None = None) -> tuple:
    """Parse the command line, and the YAML file it names with --config, into dataclasses.

    Args:
        types: dataclasses such as TrainingArguments and DataArguments; their field names must not overlap.
        argv: arguments without the program's name; default: sys.argv.

    Returns:
        One instance per type.

    Raises:
        ValueError: naming the keys, of the file or the command line, that no type has.
    """
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    finder.add_argument("--config")
    given, rest = finder.parse_known_args(sys.argv[1:] if argv is None else argv)

    names = [field.name for dataclass in types for field in dataclasses.fields(dataclass)]
    parser = HfArgumentParser(types, allow_abbrev=False)
    parser.add_argument("--config", help="YAML file with defaults for any of the arguments.")
    for action in parser._actions:
        if action.type is dict:
            action.type = json.loads
    from_file = _command_line(Path(given.config), names) if given.config else []
    *parsed, unknown = parser.parse_args_into_dataclasses(
        [*from_file, *rest], return_remaining_strings=True, look_for_args_file=False
    )
    if unknown:
        raise ValueError(f"unknown arguments on the command line: {' '.join(unknown)}; --help lists the known ones")
    return tuple(parsed[: len(types)])


def _command_line(path: Path, names: list[str]) -> list[str]:
    """The keys of a YAML file as command-line words, so that the same parser converts and checks both."""
    values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    words = []
    for key, value in values.items():
        if key not in names:
            near = difflib.get_close_matches(str(key), names, n=1)
            hint = f"did you mean {near[0]}?" if near else "--help lists the known ones"
            raise ValueError(f"unknown key in {path}: {key}; {hint}")
        if isinstance(value, list):
            words += [f"--{key}", *map(str, value)]
        elif value is not None:
            words.append(f"--{key}={json.dumps(value) if isinstance(value, dict) else value}")
    return words
