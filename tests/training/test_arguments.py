import dataclasses

import pytest

from anyviews.training.arguments import DataArguments, TrainingArguments, parse_arguments


def parse(tmp_path, text, *argv):
    config = tmp_path / "config.yaml"
    config.write_text(text)
    return parse_arguments(TrainingArguments, DataArguments, argv=["--config", str(config), *argv])


def test_command_line_wins_over_file_wins_over_defaults(tmp_path):
    training, data = parse(
        tmp_path,
        "learning_rate: 3e-4\nmax_train_steps: 7\nuse_ema: false\nmixed_precision: bf16\ndataset_name: shards\n",
        "--max_train_steps=9",
    )
    assert training.max_train_steps == 9
    assert training.learning_rate == 3e-4  # a string to YAML 1.1
    assert training.use_ema is False
    assert training.mixed_precision == "bf16"
    assert training.train_batch_size == TrainingArguments.train_batch_size
    assert data.dataset_name == "shards"


def test_dataset_options_from_file_and_command_line(tmp_path):
    _, data = parse(tmp_path, "dataset_options: {views: 6, size: 64}\n")
    assert data.dataset_options == {"views": 6, "size": 64}
    _, data = parse_arguments(TrainingArguments, DataArguments, argv=["--dataset_options", '{"views": 3}'])
    assert data.dataset_options == {"views": 3}


def test_unknown_key_of_the_file_fails_with_a_hint(tmp_path):
    with pytest.raises(ValueError, match=r"unknown key in .*config\.yaml: learning_rat; did you mean learning_rate"):
        parse(tmp_path, "learning_rat: 1\n")


@pytest.mark.parametrize("argument", ["--learning_rat=1", "--max_train_step=3", "stray"])
def test_unknown_argument_fails_and_abbreviations_are_unknown(argument):
    with pytest.raises(ValueError, match="unknown arguments on the command line"):
        parse_arguments(TrainingArguments, DataArguments, argv=[argument])


@pytest.mark.parametrize("text", ["max_train_steps: 1.5", "mixed_precision: fp8", "use_ema: maybe"])
def test_values_of_the_file_are_checked_like_the_command_line(tmp_path, text, capsys):
    with pytest.raises(SystemExit):
        parse(tmp_path, text)
    assert text.split(":")[0] in capsys.readouterr().err


@pytest.mark.parametrize("dataclass", [TrainingArguments, DataArguments])
def test_every_field_has_a_help_text(dataclass):
    assert all(field.metadata["help"].endswith(".") for field in dataclasses.fields(dataclass))
