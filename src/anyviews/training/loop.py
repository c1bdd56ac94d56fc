"""train: the loop that all training scripts share."""

import contextlib
import gc
import os
import time
from collections.abc import Iterator
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.logging import get_logger
from accelerate.utils import (
    DistributedType,
    InitProcessGroupKwargs,
    ProjectConfiguration,
    send_to_device,
    set_seed,
    str_to_bool,
)
from diffusers.optimization import get_scheduler
from diffusers.training_utils import EMAModel
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from transformers.optimization import get_cosine_with_min_lr_schedule_with_warmup

from .arguments import DataArguments, TrainingArguments
from .averages import averaged_tensors, averaged_weights
from .checkpoint import load_checkpoint, save_checkpoint
from .folders import check_output_dir, find_checkpoint
from .method import Method
from .optimization import (
    attention_of,
    build_optimizer,
    clip_each_gradient,
    enable_gradient_checkpointing,
    evaluation_mode,
    name_sharded_blocks,
    stop_on_signal,
)
from .publishing import export_whole, upload
from .stream import BatchStream
from .tracking import LossLog, append_records, forget_after, log_pictures, start_trackers, usable_trackers


logger = get_logger(__name__)

DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}


def train(method: Method, arguments: TrainingArguments, data: DataArguments) -> list[dict]:
    """Train a method, and leave the trained model, the learning curve and the checkpoints in arguments.output_dir.

    SIGTERM or SIGINT ends the run with a checkpoint and without an export: after the current step, or, with several
    processes, after the next step that is a multiple of logging_steps.

    Args:
        method: what is trained, on what loss.
        arguments: how to train.
        data: what to train on.

    Returns:
        One record per step of this launch: step, the losses averaged over processes, and the learning rate.

    Raises:
        OSError: before the first step, if output_dir cannot be written or is not shared by all processes.
        ValueError: if output_dir holds an earlier run that is not continued, or the way of sharding is not supported.
        FloatingPointError: if the loss is not finite.
        RuntimeError: if a checkpoint could not be saved.
    """
    run = Run(method, arguments, data)
    with stop_on_signal() as signals:
        run.loop(signals)
    if not run.interrupted:
        run.finish()
    records, accelerator = run.log.records, run.accelerator
    accelerator.wait_for_everyone()
    # DistributedDataParallel must not be the last owner of the process group: it would join gloo's threads while it
    # holds the interpreter's lock, which they may be waiting for
    accelerator.free_memory()
    del run
    gc.collect()
    accelerator.end_training()
    return records


class Run:
    """One launch of a training: what it holds, and the steps of its life in the order in which they happen."""

    def __init__(self, method: Method, arguments: TrainingArguments, data: DataArguments):
        self.method, self.arguments = method, arguments
        self.started = time.monotonic()
        self.output_dir = Path(arguments.output_dir)
        self.accelerator = accelerator = Accelerator(
            gradient_accumulation_steps=arguments.gradient_accumulation_steps,
            mixed_precision=arguments.mixed_precision,
            log_with=usable_trackers(arguments.report_to),
            project_config=ProjectConfiguration(str(self.output_dir), logging_dir=str(self.output_dir / "logs")),
            # the other processes wait while the main one validates
            kwargs_handlers=[InitProcessGroupKwargs(timeout=timedelta(hours=2))],
        )
        plugin = accelerator.state.deepspeed_plugin
        check_sharding(accelerator.distributed_type, None if plugin is None else plugin.zero_stage)
        check_clipping(arguments.gradient_clipping, accelerator.distributed_type)
        check_schedule(arguments.lr_scheduler, arguments.lr_end)
        check_optimizer(arguments.optimizer, accelerator.distributed_type)
        check_output_dir(accelerator, self.output_dir)
        checkpoint = find_checkpoint(self.output_dir, arguments.resume_from_checkpoint)
        start_trackers(accelerator, method.name, {**asdict(data), **asdict(arguments)})
        if arguments.allow_tf32:
            torch.set_float32_matmul_precision("high")
        self._build_model()
        self.stream = BatchStream(
            method.open_dataset(data, accelerator.process_index, accelerator.num_processes),
            batch_size=arguments.train_batch_size,
            collate=method.collate,
            num_workers=data.dataloader_num_workers,
            pin_memory=accelerator.device.type == "cuda",
        )
        self.generator = torch.Generator(accelerator.device)
        self.generator.manual_seed(arguments.seed * 1_000_003 + accelerator.process_index)
        self.step = 0
        if checkpoint is not None:
            self.step = load_checkpoint(accelerator, checkpoint, self.stream, self.generator, self.ema)
        self._build_schedule()
        self._open_log()
        self.interrupted = False

    def _build_model(self) -> None:
        arguments, accelerator = self.arguments, self.accelerator
        set_seed(arguments.seed)  # the same weights in all processes
        model = self.method.build(arguments)
        model.train()
        if arguments.gradient_checkpointing:
            enable_gradient_checkpointing(model)
        if arguments.compile:
            model.compile()
        self.method.place(accelerator.device, DTYPES.get(accelerator.mixed_precision, torch.float32))
        optimizer = build_optimizer(model, arguments)
        if accelerator.state.deepspeed_plugin is not None:  # it clips itself, and has no loader to ask for the size
            settings = accelerator.state.deepspeed_plugin.deepspeed_config
            settings["train_micro_batch_size_per_gpu"] = arguments.train_batch_size
            settings["gradient_clipping"] = arguments.max_grad_norm
        if accelerator.distributed_type == DistributedType.FSDP:
            name_sharded_blocks(model)
        # neither the loader (see BatchStream) nor the schedule (see _build_schedule) is prepared
        self.model, self.optimizer = accelerator.prepare(model, optimizer)
        self.parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.ema = None
        self.averaged = averaged_tensors(self.model)
        if arguments.use_ema:
            # sharded weights and whole statistics cannot be stepped in one call
            foreach = len({isinstance(tensor, DTensor) for tensor in self.averaged}) == 1
            self.ema = EMAModel(self.averaged, decay=arguments.ema_max_decay, use_ema_warmup=True, foreach=foreach)
            self.ema.to(dtype=torch.float32)  # steps of the average are too small for bf16 weights
        set_seed(arguments.seed, device_specific=True)  # different dropout in each process

    def _build_schedule(self) -> None:
        """The learning rate is a function of the step alone, so nothing of it is saved.

        A run that is resumed with more steps or another rate thus follows its new schedule from its first step on.
        """
        for group in self.optimizer.param_groups:
            muon = group.get("muon", False)
            rate = self.arguments.muon_learning_rate if muon else self.arguments.learning_rate
            group["lr"] = group["initial_lr"] = rate
        if self.arguments.lr_end:
            self.schedule = get_cosine_with_min_lr_schedule_with_warmup(
                self.optimizer,
                self.arguments.lr_warmup_steps,
                self.arguments.max_train_steps,
                last_epoch=self.step - 1,
                min_lr_rate=self.arguments.lr_end / self.arguments.learning_rate,
            )
            return
        # by keyword: the third positional parameter is step_rules, unlike in transformers
        self.schedule = get_scheduler(
            self.arguments.lr_scheduler,
            self.optimizer,
            num_warmup_steps=self.arguments.lr_warmup_steps,
            num_training_steps=self.arguments.max_train_steps,
            last_epoch=self.step - 1,
        )

    def _open_log(self) -> None:
        arguments, accelerator = self.arguments, self.accelerator
        paths = [self.output_dir / "losses.jsonl", self.output_dir / "validation.jsonl"]
        if accelerator.is_main_process:
            for path in paths:
                forget_after(path, self.step)
        micro_batches = arguments.gradient_accumulation_steps * accelerator.num_processes
        self.log = LossLog(accelerator, paths[0], examples_per_step=arguments.train_batch_size * micro_batches)

    def loop(self, signals: list[int]) -> None:
        """Train until max_train_steps, max_train_seconds or a signal; the last state is always saved."""
        arguments = self.arguments
        while self.step < arguments.max_train_steps:
            learning_rate = self.schedule.get_last_lr()[0]
            losses = self._train_step()
            self.step += 1
            self.log.record(self.step, learning_rate, losses)
            self.interrupted, out_of_time = self._should_stop(signals)
            last = self.interrupted or out_of_time or self.step == arguments.max_train_steps
            if last or self.step % arguments.logging_steps == 0:
                self.log.flush()
            if arguments.validation_steps and not self.interrupted:
                if last or self.step % arguments.validation_steps == 0:
                    self._validate()
            if last or self.step % arguments.checkpointing_steps == 0:
                self._save()
            if last:
                break

    def _train_step(self) -> dict[str, Tensor]:
        """One optimiser step over gradient_accumulation_steps micro-batches; returns their mean losses."""
        device = self.accelerator.device
        collected: list[dict[str, Tensor]] = []
        for _ in range(self.arguments.gradient_accumulation_steps):
            batch = send_to_device(next(self.stream), device, non_blocking=True)
            # the backward pass is inside because checkpointing calls the attention there again
            with self.accelerator.accumulate(self.model), attention_of(self.arguments.attention_backend, device):
                losses = self.method.loss(self.model, batch, self.generator)
                self.accelerator.backward(losses["loss"])
                collected.append({name: loss.detach().float() for name, loss in losses.items()})
                if self.accelerator.sync_gradients:
                    self._clip_gradients()
                self.optimizer.step()
                self.optimizer.zero_grad()
        self.schedule.step()
        if self.ema is not None:
            self.ema.step(self.averaged)
        return {name: torch.stack([losses[name] for losses in collected]).mean() for name in collected[0]}

    def _clip_gradients(self) -> None:
        if self.arguments.gradient_clipping == "model":
            self.accelerator.clip_grad_norm_(self.parameters, self.arguments.max_grad_norm)
            return
        self.accelerator.unscale_gradients()
        clip_each_gradient(self.parameters, self.arguments.max_grad_norm)

    def _should_stop(self, signals: list[int]) -> tuple[bool, bool]:
        """Whether a signal came, and whether the time is up, in any process."""
        limit = self.arguments.max_train_seconds
        out_of_time = limit is not None and time.monotonic() - self.started > limit
        if self.accelerator.num_processes == 1:
            return bool(signals), out_of_time
        if self.step % self.arguments.logging_steps:  # agreeing stops the device: do it where the log does, too
            return False, False
        flags = torch.tensor([bool(signals), out_of_time], dtype=torch.float32, device=self.accelerator.device)
        interrupted, out_of_time = (self.accelerator.reduce(flags, "sum") > 0).tolist()
        return interrupted, out_of_time

    @contextlib.contextmanager
    def _averaged_model(self) -> Iterator[nn.Module | None]:
        """The bare model with the averaged weights, in evaluation mode, on the main process; on others None."""
        accelerator = self.accelerator
        devices = [torch.cuda.current_device()] if accelerator.device.type == "cuda" else []
        with (
            averaged_weights(self.averaged, self.ema),
            evaluation_mode(self.model),
            torch.random.fork_rng(devices),  # dropout goes on as if nothing had been validated
        ):
            model = accelerator.unwrap_model(self.model)
            if accelerator.distributed_type == DistributedType.FSDP:
                # a sharded model runs on all processes or on none, so the main one works with a whole copy
                weights = accelerator.get_state_dict(self.model)
                if accelerator.is_main_process:
                    model = self.method.build(self.arguments).to(accelerator.device).eval()
                    model.load_state_dict(weights)
            yield model if accelerator.is_main_process else None
            accelerator.wait_for_everyone()

    def _validate(self) -> None:
        with self._averaged_model() as model, torch.no_grad():
            if model is not None:
                folder = self.output_dir / "validation" / f"step-{self.step:08d}"
                folder.mkdir(parents=True, exist_ok=True)
                scores = self.method.validate(model, self.step, folder)
                append_records(self.output_dir / "validation.jsonl", [{"step": self.step, **scores}])
                self.accelerator.log({f"validation/{name}": score for name, score in scores.items()}, self.step)
                log_pictures(self.accelerator.trackers, folder, self.step)
                logger.info(f"step {self.step}: " + ", ".join(f"{name} {scores[name]:.5g}" for name in scores))
        self.log.restart_clock()

    def _save(self) -> None:
        self.log.flush()
        if self.accelerator.distributed_type == DistributedType.FSDP:
            # of buffers, which are not sharded and differ between processes, it saves those of any one process
            for buffer in self.model.buffers():
                torch.distributed.broadcast(buffer, src=0)
        limit = self.arguments.checkpoints_total_limit
        save_checkpoint(self.accelerator, self.output_dir, self.step, self.stream, self.generator, self.ema, limit)
        self.log.restart_clock()

    def finish(self) -> None:
        """Export the averaged weights into output_dir, and upload it if asked to."""
        with self._averaged_model() as model:
            if model is not None:
                export_whole(lambda folder: self.method.export(model, folder), self.output_dir)
        if self.arguments.push_to_hub and self.accelerator.is_main_process:
            logger.info(f"uploaded to {upload(self.output_dir, self.arguments)}")
        self.accelerator.wait_for_everyone()


def check_optimizer(optimizer: str, distributed_type: DistributedType) -> None:
    """Refuse Muon where a process does not hold whole matrices, which it makes orthogonal.

    Raises:
        ValueError: for Muon with FSDP or DeepSpeed.
    """
    if optimizer == "muon" and distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED):
        raise ValueError(
            f"--optimizer muon needs whole matrices and {distributed_type.value} divides them among processes; give "
            "--optimizer adamw, or an accelerate config without sharding, such as "
            "training_scripts/accelerate_configs/multi_gpu.yaml"
        )


def check_schedule(lr_scheduler: str, lr_end: float) -> None:
    """Raise ValueError for an end that the schedule does not have."""
    if lr_end and lr_scheduler != "cosine":
        raise ValueError(f"--lr_end {lr_end} is where a cosine ends; give --lr_scheduler cosine, not {lr_scheduler}")


def check_clipping(gradient_clipping: str, distributed_type: DistributedType) -> None:
    """Refuse DeepSpeed where each tensor is to be clipped: it clips the whole model's gradients itself."""
    if gradient_clipping == "tensor" and distributed_type == DistributedType.DEEPSPEED:
        raise ValueError(
            "DeepSpeed clips gradients itself, all in one; give --gradient_clipping model or another accelerate config"
        )


def check_sharding(distributed_type: DistributedType, zero_stage: int | None) -> None:
    """Refuse what accelerate would ignore, and what the averaged weights cannot follow.

    Args:
        distributed_type: what accelerate runs.
        zero_stage: of DeepSpeed, if it is used.

    Raises:
        ValueError: for FSDP without GPUs, and for ZeRO-3.
    """
    asked = str_to_bool(os.environ.get("ACCELERATE_USE_FSDP", "false"))
    if asked and distributed_type != DistributedType.FSDP:
        raise ValueError(
            f"FSDP is asked for and accelerate runs {distributed_type.value} instead, because it shards "
            "on two or more GPUs only; give another accelerate config, such as training_scripts/accelerate_configs/"
            "multi_gpu.yaml"
        )
    if zero_stage == 3:
        raise ValueError(
            "DeepSpeed ZeRO-3 leaves no process with weights to average or to validate; give zero_stage: 2, or shard "
            "the weights with training_scripts/accelerate_configs/fsdp2.yaml"
        )
