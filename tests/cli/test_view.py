"""`anyviews view` writes a page, or serves until interrupted, and says what it cannot show."""

import argparse
import functools
import json
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
import torch

from anyviews.cameras import Cameras
from anyviews.cli import view
from anyviews.cli.main import main
from anyviews.formats import load_scene, save_scene
from anyviews.formats.shown_scene import show_scenes
from anyviews.gaussians import Gaussians
from anyviews.scene import PointCloud, Scene


@pytest.fixture
def scene(tmp_path) -> Path:
    none = Cameras(torch.zeros(0, 3, 3), torch.zeros(0, 4, 4), torch.zeros(0, 2, dtype=torch.int64))
    generator = torch.Generator().manual_seed(0)
    numbers = torch.rand(50, 3, generator=generator)
    rotations = torch.tensor([1.0, 0, 0, 0]).expand(50, 4)
    gaussians = Gaussians.from_colors(numbers, rotations, torch.full((50, 3), 0.1), torch.full((50,), 0.9), numbers)
    save_scene(Scene(none, points=PointCloud(numbers, numbers), gaussians=gaussians), tmp_path / "scene.npz")
    return tmp_path / "scene.npz"


def test_a_page_is_written(scene, tmp_path, capsys):
    page = tmp_path / "page.html"
    assert main(["view", str(scene), "--export", str(page)]) == 0
    out = capsys.readouterr().out
    assert "50 gaussians, 0 triangles, 50 points, 0 cameras" in out and out.splitlines()[-1] == f"look at {page}"
    assert "http" not in page.read_text(encoding="utf-8")
    assert main(["view", str(scene), "--export", str(page)]) == 3
    assert "exists already" in capsys.readouterr().err
    options = ["--overwrite", "--max-gaussians", "20", "--json"]
    assert main(["view", str(scene), "--export", str(page), *options]) == 0
    out, err = capsys.readouterr()
    assert "20 most visible of 50" in json.loads(out)["warnings"][0] and "20 most visible of 50" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--export", "page.txt"), "ends in .html"),
        (("--port", "0"), "--port 0; accepted are 1 to 65535"),
        (("--port", "99999"), "accepted are 1 to 65535"),
    ],
)
def test_wrong_options_are_named(scene, capsys, options, message):
    assert main(["view", str(scene), *options]) == 3
    assert message in capsys.readouterr().err


def test_what_cannot_be_shown_is_named(tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("-")
    for name, message in (("notes.txt", "is of no kind that can be shown"), ("gone", "does not exist")):
        assert main(["view", str(tmp_path / name), "--export", str(tmp_path / "page.html")]) == 3
        assert message in capsys.readouterr().err
    assert not (tmp_path / "page.html").exists()


def test_without_viser_the_message_says_how_to_get_it(scene, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "viser", None)
    assert main(["view", str(scene)]) == 4
    message = capsys.readouterr().err
    assert 'pip install "anyviews[viewer]"' in message and "--export" in message


def test_a_port_in_use_is_refused(scene, capsys):
    pytest.importorskip("viser")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["view", str(scene), "--port", str(port)]) == 3
        assert f"127.0.0.1:{port} cannot be served at" in capsys.readouterr().err


def test_it_serves_until_interrupted(scene):
    pytest.importorskip("viser")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "anyviews.cli.main", "view", str(scene), "--port", str(port), "--json"]
    # a shell's background jobs ignore Ctrl-C, and hand that down
    heed = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heed)
    try:
        end = time.monotonic() + 90
        while "is ready" not in (line := process.stderr.readline()):
            assert process.poll() is None and time.monotonic() < end
        assert f"http://127.0.0.1:{port}" in line
        with urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=20) as answer:
            assert answer.status == 200
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0
    summary = json.loads(out)
    assert (summary["gaussians"], summary["address"]) == (50, f"http://127.0.0.1:{port}")


def test_without_a_browser_the_address_is_named(scene, monkeypatch, caplog):
    class Server:
        def __init__(self, **options):
            self.options = options

        def get_port(self):
            return 8081

        def sleep_forever(self):
            raise KeyboardInterrupt

        def stop(self):
            self.options = None

    class Library:
        ViserServer = Server

    from anyviews.viewer import live

    monkeypatch.setattr(view.webbrowser, "open", lambda address: False)
    monkeypatch.setattr(live, "LiveViewer", lambda *arguments: None)
    arguments = argparse.Namespace(host="127.0.0.1", port=None, open=True)
    shown = show_scenes([load_scene(scene)], 100, 100, "test")
    assert view.serve(Library, shown, ("",), arguments) == "http://127.0.0.1:8081"
    assert "no browser was found here; open http://127.0.0.1:8081" in caplog.text
