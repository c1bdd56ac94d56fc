"""Runs of the toy to the end, and what they leave, to compare bit by bit."""

from processes import train_toys


SETTINGS = {"max_train_steps": 6, "train_batch_size": 2, "checkpointing_steps": 2, "logging_steps": 1}


def train_to_the_end(output_dir, **settings):
    ended = train_toys(output_dir, **settings)
    assert set(ended.codes) == {0}, ended.output
    return ended


def contents(folder):
    """Everything that a run leaves, byte by byte: weights, averages, optimiser, random states, positions, losses."""
    files = [*folder.glob("checkpoint-6/**/*"), folder / "model.safetensors", folder / "losses.jsonl"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files if path.is_file()}


def assert_same(folder, expected):
    found = contents(folder)
    assert found.keys() == expected.keys()
    assert [name for name in expected if found[name] != expected[name]] == []
    assert {f"checkpoint-6/{name}" for name in ("model.safetensors", "ema.safetensors", "optimizer.bin")} <= set(found)
