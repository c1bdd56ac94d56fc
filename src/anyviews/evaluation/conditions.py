"""Under which conditions figures were measured, for reports and cards."""

import platform
import subprocess
import time
from typing import Any

import torch


def conditions(started: float, seed: int = 0) -> dict[str, Any]:
    """The commit of the working directory, the hardware, torch's version, the seed, and the seconds since `started`.

    Args:
        started: of `time.monotonic`.
        seed: that the figures depend on.
    """
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return {
        "commit": commit.stdout.strip(),
        "hardware": f"{platform.machine()} CPU, {torch.get_num_threads()} threads",
        "torch": torch.__version__,
        "seed": seed,
        "seconds": round(time.monotonic() - started),
    }
