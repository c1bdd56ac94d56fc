"""Under which conditions figures were measured, for reports and cards."""

import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from .. import __version__


def conditions(device: str = "cpu") -> dict[str, Any]:
    """The package's commit and version, the hardware, torch's version, and the time of day.

    Args:
        device: that the figures were measured on.
    """
    return {
        "commit": _commit(),
        "anyviews": __version__,
        "torch": torch.__version__,
        "hardware": _hardware(device),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


def _commit() -> str:
    """Of the checkout that the package is imported from; empty without one."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except FileNotFoundError:
        return ""


def _hardware(device: str) -> str:
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{platform.machine()} {device.upper()}, {threads} thread{'s'[: threads > 1]}"
