"""`anyviews doctor`: what is installed, what this machine can do, and what would not work.

It must still run when torch or diffusers is missing, so everything that may be broken is imported inside a check.
"""

import argparse
import json
import os
import platform
import shutil
import sys
import warnings
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

from packaging.requirements import Requirement

from .. import __version__


HELP = "report versions, device, optional extras and checkpoints, and what would not work"

# The dispatcher's kernels that need nothing fetched at run time, plain one first.
ATTENTION_BACKENDS = ("native", "_native_math", "_native_flash", "_native_cudnn", "flash", "xformers", "sage", "flex")

OFFLINE_VARIABLES = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE")

# Tools for working on anyviews itself, not a purpose that a user would miss.
DEVELOPER_EXTRA = "dev"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The doctor takes no arguments of its own."""


def run(arguments: argparse.Namespace) -> dict:
    """Look at the installation and the machine; nothing is downloaded or changed."""
    packages, package_warnings = check_packages(extra=None)
    device, device_warnings = check_device() if packages["torch"] else ({}, [])
    hub, hub_warnings = check_hub() if packages["huggingface-hub"] else ({}, [])
    checkpoints, checkpoint_warnings = check_checkpoints(checkout_root())
    return {
        "anyviews": __version__,
        "python": platform.python_version(),
        "executable": sys.executable,
        "platform": platform.platform(),
        "packages": packages,
        "device": device,
        "attention": check_attention(device["default"]) if device and packages["diffusers"] else {},
        "extras": check_extras(),
        "hub": hub,
        "checkpoints": checkpoints,
        "warnings": [*package_warnings, *device_warnings, *hub_warnings, *checkpoint_warnings],
    }


def checkout_root() -> Path | None:
    """The source checkout that this package runs from, or None when it was installed from a wheel."""
    root = Path(__file__).resolve().parents[3]
    return root if (root / "setup.py").is_file() else None


def pip_line(extra: str | None) -> str:
    """The command that installs anyviews with an extra into this very Python."""
    root, suffix = checkout_root(), f"[{extra}]" if extra else ""
    target = f'-e "{root}{suffix}"' if root else f'"anyviews{suffix}"'
    return f'"{sys.executable}" -m pip install {target}'


def check_packages(extra: str | None) -> tuple[dict[str, str | None], list[str]]:
    """Versions of the packages that an extra (None: the core) asks for, None where missing, and how to mend that."""
    found, problems = {}, []
    for line in distribution("anyviews").requires:
        requirement = Requirement(line)
        marker = requirement.marker
        wanted = marker is None if extra is None else marker is not None and marker.evaluate({"extra": extra})
        if not wanted:
            continue
        try:
            found[requirement.name] = version(requirement.name)
        except PackageNotFoundError:
            found[requirement.name] = None
            problems.append(f"{requirement.name} is not installed; {pip_line(extra)}")
            continue
        if not requirement.specifier.contains(found[requirement.name], prereleases=True):
            problems.append(
                f"{requirement.name} {found[requirement.name]} is installed but {requirement.specifier} is needed; "
                f"{pip_line(extra)}"
            )
    return found, problems


def check_extras() -> dict[str, dict]:
    """Every optional extra: is it complete, and if not, the pip line that completes it."""
    extras = {}
    for extra in distribution("anyviews").metadata.get_all("Provides-Extra"):
        if extra != DEVELOPER_EXTRA:
            packages, problems = check_packages(extra)
            fix = {"fix": pip_line(extra)} if problems else {}
            extras[extra] = {"installed": not problems, "packages": packages, **fix}
    return extras


def check_device() -> tuple[dict, list[str]]:
    """The devices that torch can use."""
    try:
        import torch
    except (ImportError, OSError) as error:
        return {}, [f"torch is installed but cannot be imported: {error}"]

    gpus = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    mps = torch.backends.mps.is_available()
    device = {
        "default": "cuda" if gpus else "mps" if mps else "cpu",
        "cuda": [
            {
                "name": gpu.name,
                "memory_gib": round(gpu.total_memory / 2**30, 1),
                "capability": f"{gpu.major}.{gpu.minor}",
                "bf16": gpu.major >= 8,
            }
            for gpu in gpus
        ],
        "mps": mps,
        "cpu": {
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "instructions": torch.backends.cpu.get_cpu_capability(),
            "bf16_instructions": bool(torch.cpu.get_capabilities().get("avx512_bf16", False)),
        },
    }
    found = []
    if torch.version.cuda and not gpus:
        found.append(f"torch is built for CUDA {torch.version.cuda} but no GPU answers; check the driver (nvidia-smi)")
    if device["default"] == "cpu":
        found.append("no GPU: everything runs on the CPU; use the tiny checkpoints")
    return device, found


def check_attention(device: str) -> dict[str, str]:
    """Try every attention kernel of diffusers' dispatcher on a tiny input: "usable", or why not."""
    try:
        import torch
        from diffusers import attention_backend
        from diffusers.models.attention_dispatch import dispatch_attention_fn
    except (ImportError, RuntimeError) as error:
        return {"native": f"diffusers cannot be imported: {error}"}

    # fused kernels exist for half precision only
    query = torch.zeros(1, 16, 2, 64, device=device, dtype=torch.float32 if device == "cpu" else torch.bfloat16)
    usable = {}
    for name in ATTENTION_BACKENDS:
        try:
            with attention_backend(name), torch.no_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                dispatch_attention_fn(query, query, query)
            usable[name] = "usable"
        except Exception as error:  # a kernel may fail in any way; the doctor only reports it
            usable[name] = f"not usable: {error}"
    return usable


def check_hub() -> tuple[dict, list[str]]:
    """The Hub's cache and whether downloads are switched off."""
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE)
    existing = next(folder for folder in (cache, *cache.parents) if folder.exists())
    writable = existing.is_dir() and os.access(existing, os.W_OK)
    offline = {name: os.environ[name] for name in OFFLINE_VARIABLES if name in os.environ}
    hub = {
        "cache": str(cache),
        "writable": writable,
        "free_gib": round(shutil.disk_usage(existing).free / 2**30, 1),
        "offline_variables": offline,
    }
    found = []
    if not writable:
        found.append(f"the Hub's cache {cache} cannot be written; set HF_HOME to a folder that can")
    if constants.HF_HUB_OFFLINE:
        found.append("HF_HUB_OFFLINE is set: only folders and what is cached can be loaded; unset it to download")
    return hub, found


def check_checkpoints(root: Path | None) -> tuple[list[dict], list[str]]:
    """The checkpoints that ship with a source checkout."""
    if root is None:
        return [], []
    checkpoints, found = [], []
    for folder in sorted(path for path in (root / "checkpoints").glob("*") if path.is_dir()):
        index = next((folder / name for name in ("model_index.json", "config.json") if (folder / name).exists()), None)
        weights = sorted(folder.rglob("*.safetensors"))
        if index is None or not weights:
            found.append(f"{folder} is not a complete checkpoint (no index or no safetensors); check it out again")
            continue
        checkpoints.append(
            {
                "path": str(folder),
                "class": json.loads(index.read_text(encoding="utf-8")).get("_class_name"),
                "megabytes": round(sum(path.stat().st_size for path in weights) / 1e6, 1),
            }
        )
    if not checkpoints:
        found.append(f"no checkpoint in {root / 'checkpoints'}; give pipelines a path or a Hub repository instead")
    return checkpoints, found


def describe(summary: dict) -> str:
    """The report as text."""
    lines = [
        f"anyviews {summary['anyviews']}, Python {summary['python']} ({summary['executable']})",
        summary["platform"],
        "",
        "packages",
        *(f"  {name:<16} {found or 'MISSING'}" for name, found in summary["packages"].items()),
        "",
        "device",
        *describe_device(summary["device"]),
        "",
        "attention",
        *(f"  {name:<16} {usable}" for name, usable in summary["attention"].items()),
        "",
        "extras",
        *(
            f"  {name:<16} {'installed' if extra['installed'] else 'not installed; ' + extra['fix']}"
            for name, extra in summary["extras"].items()
        ),
        "",
        "checkpoints",
        *(f"  {found['path']}  {found['class']}, {found['megabytes']} MB" for found in summary["checkpoints"]),
        "",
        "Hub",
        *(f"  {name:<16} {value}" for name, value in summary["hub"].items()),
        "",
        *([f"{len(summary['warnings'])} warning(s)"] if summary["warnings"] else ["no warnings"]),
        *(f"  - {warning}" for warning in summary["warnings"]),
    ]
    return "\n".join(lines)


def describe_device(device: dict) -> list[str]:
    """The device section, one line per device."""
    if not device:
        return ["  unknown: torch does not work"]
    cpu = device["cpu"]
    lines = [f"  default          {device['default']}"]
    lines += [
        f"  cuda:{i:<11} {gpu['name']}, {gpu['memory_gib']} GiB, compute capability {gpu['capability']}"
        for i, gpu in enumerate(device["cuda"])
    ]
    bf16 = "yes" if cpu["bf16_instructions"] else "no"
    lines.append(
        f"  cpu              {cpu['cores']} cores, {cpu['threads']} threads, {cpu['instructions']}, bf16 "
        f"instructions: {bf16}"
    )
    return lines
