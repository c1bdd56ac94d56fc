"""Trains the toy in processes of its own, which can be killed and can form a group; they are forked, hence fast."""

import faulthandler
import multiprocessing
import os
import resource
import socket
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path

import pytest
import torch
from accelerate import PartialState
from accelerate.utils import DistributedType
from toy import run_toy, write_summary


FSDP = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "NO_WRAP",
    "FSDP_STATE_DICT_TYPE": "SHARDED_STATE_DICT",
    "FSDP_CPU_RAM_EFFICIENT_LOADING": "false",
}


# Seconds after which processes count as hung; on a quiet machine they end after one or two.
PATIENCE = 200


@dataclass
class Ended:
    """How the processes of a launch ended: their exit codes, negative for signals, and all that they printed."""

    codes: list[int]
    output: str


def train_toys(output_dir, processes=1, sharded=False, largest_file=None, output_dirs=None, **values) -> Ended:
    """Train the toy in one process or a group, as `accelerate launch` does: when one dies, the others are killed.

    `sharded` runs FSDP2 on CPUs, which accelerate itself does on GPUs only. `largest_file` is a limit in bytes that
    makes the system refuse longer files, as a full disk would. `output_dirs` gives every process a folder of its own.
    """
    with pytest.MonkeyPatch.context() as patch:
        # the server and its forks import this module by name
        patch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])]))
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["processes"])
        multiprocessing.forkserver.ensure_running()
    log = Path(output_dir).with_name(Path(output_dir).name + ".log")
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("")
    group = {} if processes == 1 else {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1"}
    if group:
        with socket.create_server(("127.0.0.1", 0)) as server:
            group["MASTER_PORT"] = str(server.getsockname()[1])
    started = []
    for rank in range(processes):
        folder = output_dirs[rank] if output_dirs else output_dir
        process = context.Process(target=_train, args=(folder, rank, group, sharded, largest_file, log, values))
        process.start()
        started.append(process)
    hung = False
    running = {process.sentinel: process for process in started}
    while running:
        ended = wait(running, timeout=PATIENCE)
        processes_ended = [running.pop(sentinel) for sentinel in ended]
        for process in processes_ended:
            process.join()
        hung = hung or not ended
        if hung or any(process.exitcode < 0 for process in processes_ended):
            for process in running.values():
                process.kill()
    assert not hung, f"the processes wait for ever: {log.read_text()}"
    return Ended([process.exitcode for process in started], log.read_text())


def _train(output_dir, rank, group, sharded, largest_file, log, values):
    stream = os.open(log, os.O_WRONLY | os.O_APPEND)
    for number in (1, 2):
        os.dup2(stream, number)
    faulthandler.dump_traceback_later(PATIENCE - 5)
    os.environ["ACCELERATE_USE_CPU"] = "true"
    multiprocessing.set_start_method("fork", force=True)  # loader workers as a training has them
    torch.set_num_threads(1)
    if group:
        os.environ.update(group, RANK=str(rank), LOCAL_RANK=str(rank), LOCAL_WORLD_SIZE=group["WORLD_SIZE"])
    if sharded:
        os.environ.update(FSDP)
    if sharded and group:
        PartialState(cpu=True)
        PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU
    if largest_file is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, resource.RLIM_INFINITY))
    try:
        write_summary(output_dir, rank, *run_toy(output_dir, **values))
    finally:  # the error goes into a file, too
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
