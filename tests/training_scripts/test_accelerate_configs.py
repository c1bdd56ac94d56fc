"""The accelerate configs and docs/training.md: what accelerate reads, commands that parse, sizes that are right."""

import re
import shlex

import pytest
import torch
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils import DistributedType
from script_modules import load_script

from anyviews.models.mvgd import MVGDImageEncoder, MVGDTransformerModel
from anyviews.training.arguments import DataArguments, parse_arguments


# file: what accelerate must read in it (type, processes, machines)
CONFIGS = {
    "cpu.yaml": (DistributedType.NO, 1, 1),
    "single_gpu.yaml": (DistributedType.NO, 1, 1),
    "multi_gpu.yaml": (DistributedType.MULTI_GPU, 8, 1),
    "multi_node.yaml": (DistributedType.MULTI_GPU, 16, 2),
    "fsdp2.yaml": (DistributedType.FSDP, 8, 1),
    "deepspeed_zero2.yaml": (DistributedType.DEEPSPEED, 8, 1),
}


@pytest.fixture
def folder(repository):
    return repository / "training_scripts" / "accelerate_configs"


@pytest.fixture
def page(repository):
    return (repository / "docs" / "training.md").read_text(encoding="utf-8")


def test_every_config_is_tested_and_on_the_page(folder, page):
    assert {path.name for path in folder.iterdir()} == set(CONFIGS)
    assert set(re.findall(r"^\| `(\w+\.yaml)` \|", page, re.MULTILINE)) == set(CONFIGS)


@pytest.mark.parametrize("name", CONFIGS)
def test_accelerate_reads_the_config(folder, name):
    config = load_config_from_file(str(folder / name))
    assert (config.distributed_type, config.num_processes, config.num_machines) == CONFIGS[name]
    assert config.use_cpu == (name == "cpu.yaml")
    comment = "".join(line for line in (folder / name).read_text().splitlines() if line.startswith("#"))
    assert "When:" in comment and "Run:" in comment


@pytest.mark.parametrize("name", [name for name in CONFIGS if "deepspeed" not in name])  # it must be installed
def test_accelerate_launches_by_the_config(folder, name, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    arguments = launch_command_parser().parse_args(["--config_file", str(folder / name), "script.py"])
    arguments, _, _ = _validate_launch_command(arguments)
    kind, processes, machines = CONFIGS[name]
    assert (arguments.num_processes, arguments.num_machines) == (processes, machines)
    assert arguments.multi_gpu == (kind == DistributedType.MULTI_GPU)
    assert arguments.use_fsdp == (kind == DistributedType.FSDP)
    assert arguments.mixed_precision == ("no" if name == "cpu.yaml" else "bf16")
    if arguments.use_fsdp:
        assert str(arguments.fsdp_version) == "2"
        assert arguments.fsdp_state_dict_type == "SHARDED_STATE_DICT"


def test_commands_of_the_page_parse(repository, page):
    script = load_script(repository / "training_scripts" / "train_mvgd.py")
    commands = [
        block.replace("\\\n", " ")
        for block in re.findall(r"```bash\n(.*?)```", page, re.DOTALL)
        if "train_mvgd.py" in block
    ]
    assert len(commands) == 4
    for command in commands:
        launcher, rest = command.split("training_scripts/train_mvgd.py")
        launch_command_parser().parse_args([*shlex.split(launcher.split("accelerate launch")[1]), "script.py"])
        words = [word.replace("training_scripts/", f"{repository}/training_scripts/") for word in shlex.split(rest)]
        arguments, _ = parse_arguments(script.MVGDArguments, DataArguments, argv=words)
        assert arguments.output_dir != "output"


def test_sizes_of_the_page_are_those_of_the_models(page):
    rows = re.findall(r"^\| (tiny|small|base)(.*?) \| ([\d,]+) \| (.*) \|$", page, re.MULTILINE)
    assert len(rows) == 4
    for size, options, parameters, columns in rows:
        kind = "efficientvit_l2" if "efficientvit_l2" in options else "conv_stem"
        with torch.device("meta"):
            transformer = MVGDTransformerModel.from_size(size)
            encoder = MVGDImageEncoder(kind, transformer.config.image_feature_dim)
        count = sum(tensor.numel() for model in (transformer, encoder) for tensor in model.parameters())
        assert parameters == f"{count:,}"
        gigabytes = [count * each / 1e9 for each in (20, 24, 20 / 8, 16)]
        expected = [f"{value:.{3 if index == 2 else 2}f}" for index, value in enumerate(gigabytes)]
        assert columns.split(" | ") == expected
