import json
import os
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub
import pytest
import torch
from diffusers.models.attention_dispatch import _AttentionBackendRegistry
from safetensors.torch import load_file
from toy import ToyMethod, run_toy

from anyviews.training.arguments import DataArguments
from anyviews.training.tracking import read_records


EXACT = {"gradient_accumulation_steps": 2, "lr_scheduler": "cosine", "lr_warmup_steps": 3, "size": 30}


def exported(output_dir):
    return load_file(Path(output_dir) / "model.safetensors")


def assert_same_weights(actual, expected):
    assert actual.keys() == expected.keys()
    assert all(torch.equal(actual[name], expected[name]) for name in expected)


def test_resume_is_exact(tmp_path):
    expected, _ = run_toy(tmp_path / "whole", **EXACT)
    run_toy(tmp_path / "parts", terminate_at=10, **EXACT)  # in the fifth step
    rest, _ = run_toy(tmp_path / "parts", resume_from_checkpoint="latest", **EXACT)
    assert rest == expected[5:]
    assert read_records(tmp_path / "parts" / "losses.jsonl") == expected
    assert_same_weights(exported(tmp_path / "parts"), exported(tmp_path / "whole"))


def launch(output_dir, *arguments):
    # `accelerate launch --cpu --num_processes 2` starts one process; this way starts two
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    command += ["--main_process_port", "0", str(Path(__file__).with_name("toy.py")), f"--output_dir={output_dir}"]
    command += ["--dataset_name=toy"]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, *arguments], env=environment, check=True, timeout=240)
    return [json.loads((output_dir / f"summary-{rank}.json").read_text()) for rank in range(2)]


def test_two_processes_see_disjoint_data_and_resume_exactly(tmp_path):
    common = ["--gradient_accumulation_steps=2", "--train_batch_size=2", "--max_train_steps=6", "--logging_steps=2"]
    whole = launch(tmp_path / "whole", "--checkpointing_steps=2", *common)
    assert [each["num_processes"] for each in whole] == [2, 2]
    epochs = [each["seen"][:10] for each in whole]  # half of 22, in whole batches of 2
    assert len(set(epochs[0]) | set(epochs[1])) == 20
    assert whole[0]["records"] == whole[1]["records"]  # losses are averaged over the processes

    rest = launch(tmp_path / "rest", f"--resume_from_checkpoint={tmp_path}/whole/checkpoint-2", *common)
    for before, after in zip(whole, rest, strict=True):
        assert after["num_processes"] == 2
        assert after["records"] == before["records"][2:]
        assert after["seen"] == before["seen"][8:]
    assert_same_weights(exported(tmp_path / "rest"), exported(tmp_path / "whole"))


def test_more_steps_on_resume_follow_the_longer_schedule(tmp_path):
    settings = {"lr_scheduler": "linear", "learning_rate": 0.1}
    short, _ = run_toy(tmp_path, max_train_steps=4, **settings)
    longer, _ = run_toy(tmp_path, max_train_steps=10, resume_from_checkpoint="latest", **settings)
    assert [record["learning_rate"] for record in short] == pytest.approx([0.1, 0.075, 0.05, 0.025])
    assert [record["learning_rate"] for record in longer] == pytest.approx([0.06, 0.05, 0.04, 0.03, 0.02, 0.01])


def test_a_cosine_can_end_above_zero_and_still_warms_up_from_zero(tmp_path):
    settings = {"lr_scheduler": "cosine", "learning_rate": 0.4, "lr_end": 0.1, "lr_warmup_steps": 2}
    records, _ = run_toy(tmp_path, max_train_steps=6, **settings)
    rates = [record["learning_rate"] for record in records]
    assert rates == pytest.approx([0.0, 0.2, 0.4, 0.1 + 0.3 * 0.85355, 0.25, 0.1 + 0.3 * 0.14645], abs=1e-4)
    with pytest.raises(ValueError, match="--lr_scheduler cosine"):
        run_toy(tmp_path / "other", max_train_steps=1, lr_end=0.1, lr_scheduler="linear")


def test_sigterm_saves_without_export_and_restores_the_handlers(tmp_path):
    usual = signal.getsignal(signal.SIGTERM)
    records, method = run_toy(tmp_path, terminate_at=3)
    assert [record["step"] for record in records] == [1, 2, 3]
    assert method.calls == 3
    assert (tmp_path / "checkpoint-3" / "complete").exists()
    assert not (tmp_path / "model.safetensors").exists()
    assert signal.getsignal(signal.SIGTERM) is usual


def test_time_budget_saves_and_exports(tmp_path):
    records, _ = run_toy(tmp_path, max_train_seconds=0.0)
    assert len(records) == 1
    assert (tmp_path / "checkpoint-1" / "complete").exists()
    assert (tmp_path / "model.safetensors").exists()


def test_bf16_is_near_but_not_equal_to_full_precision(tmp_path):
    settings = {"max_train_steps": 3, "dropout": 0.0}
    full, _ = run_toy(tmp_path / "full", **settings)
    half, _ = run_toy(tmp_path / "half", mixed_precision="bf16", **settings)
    assert half[0]["loss"] != full[0]["loss"]
    assert half[0]["loss"] == pytest.approx(full[0]["loss"], rel=0.05)
    assert exported(tmp_path / "half")["0.weight"].dtype == torch.float32


def test_averaged_weights_match_a_direct_computation(tmp_path):
    """What is validated and exported is the average of the raw weights that a run without averaging exports."""
    raw = [None]
    for steps in range(1, 5):
        run_toy(tmp_path / str(steps), max_train_steps=steps, use_ema=False)
        raw.append(exported(tmp_path / str(steps)))
    average = dict(raw[1])  # the warm-up begins with decay 0
    for step in range(2, 5):
        decay = min(1 - step ** (-2 / 3), 0.5)
        average = {name: decay * average[name] + (1 - decay) * raw[step][name] for name in average}
    _, method = run_toy(tmp_path / "averaged", max_train_steps=4, ema_max_decay=0.5, validation_steps=4)
    for weights in (exported(tmp_path / "averaged"), method.validated[4]):
        for name, value in average.items():
            torch.testing.assert_close(weights[name], value, rtol=1e-5, atol=1e-7)


def test_validation_leaves_training_as_it_was(tmp_path):
    expected, _ = run_toy(tmp_path / "without")
    records, method = run_toy(tmp_path / "with", validation_steps=4)
    assert records == expected
    assert list(method.validated) == [4, 8, 10]
    scores = read_records(tmp_path / "with" / "validation.jsonl")
    assert [score["step"] for score in scores] == [4, 8, 10]
    assert all(score["error"] >= 0 for score in scores)
    assert (tmp_path / "with" / "validation" / "step-00000008" / "image.txt").exists()


def test_a_loss_that_is_not_finite_stops_the_run_and_the_curve_survives(tmp_path):
    settings = {"checkpointing_steps": 3, "logging_steps": 2}
    expected, _ = run_toy(tmp_path / "whole", **settings)
    with pytest.raises(FloatingPointError, match="not finite at step 5"):
        run_toy(tmp_path / "broken", break_at=5, **settings)
    path = tmp_path / "broken" / "losses.jsonl"
    assert read_records(path)[:4] == expected[:4]
    with path.open("a") as file:
        file.write('{"step": 7, "lo')  # as a killed process leaves it
    run_toy(tmp_path / "broken", resume_from_checkpoint="latest", **settings)
    assert read_records(path) == expected


def test_tensorboard_gets_losses_and_throughput(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    records, _ = run_toy(tmp_path, report_to="tensorboard", validation_steps=5)
    events = EventAccumulator(str(tmp_path / "logs" / "toy")).Reload()
    losses = events.Scalars("train/loss")
    assert [event.step for event in losses] == list(range(1, 11))
    assert [event.value for event in losses] == pytest.approx([record["loss"] for record in records])
    assert events.Scalars("train/examples_per_second")[0].value > 0
    assert [event.step for event in events.Scalars("validation/error")] == [5, 10]


def test_attention_backend_holds_in_the_loss_only(tmp_path):
    before = _AttentionBackendRegistry.get_active_backend()[0]
    found = []

    class OtherMethod(ToyMethod):
        def loss(self, model, batch, generator):
            found.append(_AttentionBackendRegistry.get_active_backend()[0].value)
            return super().loss(model, batch, generator)

    run_toy(tmp_path / "auto", max_train_steps=1, method_type=OtherMethod)
    run_toy(tmp_path / "native", max_train_steps=1, method_type=OtherMethod, attention_backend="native")
    assert found == ["_native_math", "native"]
    assert _AttentionBackendRegistry.get_active_backend()[0] == before


def test_publishing_needs_a_card(tmp_path):
    class OtherMethod(ToyMethod):
        def export(self, model, folder):
            (folder / "config.json").write_text("{}")

    with pytest.raises(FileNotFoundError, match=r"no README\.md"):
        run_toy(tmp_path, max_train_steps=1, push_to_hub=True, method_type=OtherMethod)


class _Hub(BaseHTTPRequestHandler):
    """The part of the Hub's interface that creating a repository and committing small files needs."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests[self.path] = body
        if self.path.endswith("/preupload/main"):
            files = json.loads(body)["files"]
            regular = {"uploadMode": "regular", "shouldIgnore": False}
            answer = {"files": [{"path": each["path"], **regular} for each in files]}
        elif "/commit/" in self.path:
            answer = {
                "commitUrl": "https://huggingface.co/user/toy/commit/1",
                "commitOid": "1",
                "pullRequestUrl": None,
            }
        else:
            answer = {"url": "https://huggingface.co/user/toy", "name": "user/toy", "id": "user/toy"}
        self._send(answer)

    def do_GET(self):
        self._send({})

    def _send(self, answer):
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *values):
        pass


def test_publishing_uploads_the_model_and_no_checkpoints(tmp_path, monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    server.requests = {}
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("HF_TOKEN", "hf_" + "x" * 34)
    run_toy(tmp_path, max_train_steps=2, push_to_hub=True, hub_model_id="user/toy")
    server.shutdown()
    commit = server.requests["/api/models/user/toy/commit/main"].decode()
    paths = {json.loads(line)["value"].get("path") for line in commit.splitlines()} - {None}
    assert paths == {"README.md", "model.safetensors", "losses.jsonl"}


def test_default_dataset_is_the_procedural_world_and_resumes_exactly(tmp_path):
    seeds = []

    class SampleMethod(ToyMethod):
        def transform(self, sample):
            seeds.append(sample.seed)
            return super().transform(sample.seed % 1000)

    settings = {
        "method_type": SampleMethod,
        "dataset_name": DataArguments().dataset_name,
        "dataset_options": {"views": 1, "height": 8, "width": 8},
        "max_train_steps": 3,
    }
    expected, _ = run_toy(tmp_path / "whole", **settings)
    whole, seeds[:] = list(seeds), []
    run_toy(tmp_path / "parts", terminate_at=1, **settings)
    rest, _ = run_toy(tmp_path / "parts", resume_from_checkpoint="latest", **settings)
    assert rest == expected[1:]
    assert seeds == whole
