import argparse
import json
import os
import subprocess
import sys

import pytest

from anyviews import __version__
from anyviews.cli import doctor, main


@pytest.fixture(scope="module")
def summary():
    return doctor.run(argparse.Namespace())


def test_reports_versions_device_and_kernels(summary):
    import torch

    assert summary["anyviews"] == __version__
    assert summary["packages"]["torch"] == torch.__version__
    assert summary["device"]["default"] == ("cuda" if torch.cuda.is_available() else summary["device"]["default"])
    assert summary["attention"]["native"] == "usable"
    assert set(summary["attention"]) == set(doctor.ATTENTION_BACKENDS)


def test_summary_is_json_and_describable(summary):
    assert json.loads(json.dumps(summary)) == summary
    text = doctor.describe(summary)
    for expected in (__version__, "diffusers", "native", "default", *summary["warnings"]):
        assert expected in text


def test_missing_extra_comes_with_its_pip_line(summary):
    assert "dev" not in summary["extras"]
    assert {"train", "gsplat"} <= set(summary["extras"])
    for name, extra in summary["extras"].items():
        assert extra["installed"] == (None not in extra["packages"].values())
        if not extra["installed"]:
            assert sys.executable in extra["fix"] and f"[{name}]" in extra["fix"]


def test_command_line_succeeds_with_warnings_and_reports_offline_and_unwritable_cache(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    environment = {**os.environ, "HF_HUB_CACHE": str(blocked / "hub"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "anyviews.cli.main", "doctor", "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["hub"]["writable"] is False
    assert summary["hub"]["offline_variables"]["HF_HUB_OFFLINE"] == "1"
    assert any("HF_HOME" in warning for warning in summary["warnings"])
    assert any("HF_HUB_OFFLINE" in warning for warning in summary["warnings"])


def test_survives_an_installation_without_torch(tmp_path):
    """Torch hidden from both its metadata and its import: the doctor says so instead of failing."""
    hide = (
        "import importlib.metadata as metadata, sys\n"
        "sys.modules['torch'] = None\n"
        "found = metadata.version\n"
        "def version(name):\n"
        "    if name == 'torch':\n"
        "        raise metadata.PackageNotFoundError(name)\n"
        "    return found(name)\n"
        "metadata.version = version\n"
        "from anyviews.cli.main import main\n"
        "sys.exit(main(['doctor', '--json']))\n"
    )
    script = tmp_path / "hidden.py"
    script.write_text(hide)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["packages"]["torch"] is None and summary["device"] == {} and summary["attention"] == {}
    assert any(warning.startswith("torch is not installed") for warning in summary["warnings"])


def test_checkpoints_are_found_and_broken_ones_named(tmp_path):
    whole, broken = tmp_path / "checkpoints/whole", tmp_path / "checkpoints/broken"
    for folder in (whole, broken):
        folder.mkdir(parents=True)
        (folder / "model_index.json").write_text('{"_class_name": "SomePipeline"}')
    (whole / "transformer").mkdir()
    (whole / "transformer/model.safetensors").write_bytes(bytes(2_000_000))
    checkpoints, warnings = doctor.check_checkpoints(tmp_path)
    assert checkpoints == [{"path": str(whole), "class": "SomePipeline", "megabytes": 2.0}]
    assert len(warnings) == 1 and str(broken) in warnings[0]


def test_no_checkpoints_outside_a_checkout():
    assert doctor.check_checkpoints(None) == ([], [])


def test_doctor_is_a_verb():
    assert "doctor" in main.VERBS
