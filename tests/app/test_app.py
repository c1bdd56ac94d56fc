"""The app runs every method on its example, hands out every format, says what is wrong, and leaves nothing behind."""

import io
import json
import re
import urllib.parse
import urllib.request
import zipfile
from importlib import import_module
from pathlib import Path

import pytest
from formats.headless_browser import HeadlessBrowser
from PIL import Image
from tiny_checkpoints import write_checkpoints

from anyviews.app.server import running_app
from anyviews.cli.outputs import FILES


pytest.importorskip("gradio", reason="needs gradio (the extra app)")

from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError


# Options that make a run short, and the first words about its result.
QUICK = {
    "mvgd": ({"frames": 2, "steps": 1, "ensemble": 1}, "orbit: 2 views of 32x32 from "),
    "mvdust3r": ({}, " of 4 photos in an arbitrary unit"),
    "lirm": (
        {"resolution": 16, "texture_size": 32, "max_faces": 200, "frames": 2},
        " faces with materials of 8 photos",
    ),
    "mvboost": ({"steps": 1, "frames": 2}, "00.png: "),
}


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    with running_app(write_checkpoints(tmp_path_factory.mktemp("checkpoints")), "cpu") as blocks:
        yield blocks


@pytest.fixture
def client(app, tmp_path) -> Client:
    timeout = {"timeout": 120}
    return Client(app.local_url, download_files=tmp_path / "downloads", verbose=False, httpx_kwargs=timeout)


@pytest.fixture
def results(app) -> Path:
    """The folder that runs of the app write into."""
    return Path(app.GRADIO_CACHE).with_name("results")


def example_of(client: Client, method: str) -> list:
    return [handle_file(file) for file in client.predict(api_name=f"/{method}_example")]


def picture_file(path: Path, side: int = 16) -> Path:
    Image.new("RGB", (side, side), (200, 50, 50)).save(path)
    return path


def content(app, html: str) -> str:
    """The page that a frame shows."""
    address = urllib.parse.urljoin(app.local_url, re.search('src="([^"]+)"', html)[1])
    with urllib.request.urlopen(address, timeout=20) as answer:
        assert answer.headers["content-disposition"].startswith("inline")
        return answer.read().decode()


@pytest.mark.parametrize("name", QUICK)
def test_each_tab_runs_its_example_in_every_format(app, client, results, name):
    method = import_module(f"anyviews.cli.methods.{name}")
    options, words = QUICK[name]
    photos = example_of(client, name)
    said, html, files = client.predict(photos, formats=list(method.FORMATS), **options, api_name=f"/{name}")
    assert words in said
    page = content(app, html)
    # the command is there, and where the server keeps its files is not
    assert "anyviews run example " in page and str(results) not in page
    found = {Path(file).name for file in files}
    assert {"index.html", "result.json"} <= found
    for kind in method.FORMATS:
        file = FILES[kind]
        # an untrained network finds no poses, and what needs them is named
        unwritten = name == "mvdust3r" and kind in said
        assert unwritten or file in found or f"{file}.zip" in found, kind
    assert all(Path(file).stat().st_size > 0 for file in files)


def test_a_run_takes_the_place_of_the_one_before(client, results):
    photos = example_of(client, "mvgd")
    options, _ = QUICK["mvgd"]

    def folders():
        return {folder for folder in results.iterdir() if not folder.name.startswith("example-")}

    others = folders()
    for _ in range(2):
        client.predict(photos, formats=["npz"], **options, api_name="/mvgd")
    assert len(folders() - others) == 1
    (kept,) = folders() - others
    # one that fails leaves the page that is looked at
    with pytest.raises(AppError, match="--size 3 is not HxW"):
        client.predict(photos, size="3", api_name="/mvgd")
    assert folders() - others == {kept}
    assert not (kept / "uploads").exists()


def test_bad_uploads_and_values_are_said(client, tmp_path):
    (tmp_path / "notes.txt").write_text("-")
    (tmp_path / "broken.zip").write_bytes(b"PK\3\4 and nothing more")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n")
    with zipfile.ZipFile(tmp_path / "texts.zip", "w") as archive:
        archive.writestr("a/readme.txt", "-")
    photo = picture_file(tmp_path / "red.png")
    for method, files, options, message in (
        ("mvgd", [], {}, "there are no photos yet; upload photos"),
        ("mvgd", ["notes.txt"], {}, "notes.txt is no photo; accepted are photos"),
        ("mvgd", ["broken.zip"], {}, "broken.zip cannot be unpacked"),
        ("mvgd", ["texts.zip"], {}, "nothing to load in texts"),
        ("mvgd", [photo.name], {}, "photos has 1 photos without cameras"),
        ("mvboost", ["broken.png"], {}, "broken.png"),
        ("mvboost", [photo.name], {"frames": 0}, "--frames 0; accepted are 1 and more"),
        ("mvgd", [photo.name], {"frames": "many"}, "argument --frames: invalid int value: 'many'"),
        ("mvdust3r", [photo.name], {"references": "a"}, "--references a; accepted are photo numbers"),
    ):
        with pytest.raises(AppError, match=re.escape(message)) as caught:
            client.predict([handle_file(tmp_path / file) for file in files], **options, api_name=f"/{method}")
        assert not re.search("anyviews-app-|Traceback|usage:", str(caught.value))


def test_the_visitors_of_a_page_name_no_files_of_the_server(client):
    for method, options in (("mvboost", {"lora": "/etc"}), ("lirm", {"refine": "/etc"})):
        with pytest.raises(TypeError, match="not a valid"):
            client.predict([], **options, api_name=f"/{method}")


def test_nothing_is_left_behind(tmp_path):
    with running_app({}) as blocks:
        folder = Path(blocks.GRADIO_CACHE).parent
        assert (folder / "results").is_dir()
        text = json.dumps(blocks.config["components"])
        for name in QUICK:
            assert f"anyviews app --checkpoint {name}=FOLDER" in text
        with pytest.raises(OSError, match="mpty port"):
            with running_app({}, port=blocks.server_port):
                pass
    assert not folder.exists()


def test_the_page_in_a_browser(app, tmp_path):
    with HeadlessBrowser(tmp_path / "profile") as browser:
        browser.resize(1400, 1500)
        browser.send("Page.navigate", url=app.local_url)
        press = "[...document.querySelectorAll('button')].find((b) => b.offsetParent && b.innerText === {})"
        browser.wait_for(f"!!{press.format('`Take the example`')}")
        browser.run(f"{press.format('`Take the example`')}.click()")
        # small pictures of the photos
        browser.wait_for("document.querySelectorAll('.grid-container img').length >= 8")
        fields = "[...document.querySelectorAll('label')].filter((l) => l.innerText.includes('{}'))"
        browser.run("[...document.querySelectorAll('button')].find((b) => b.innerText.includes('Options')).click()")
        browser.wait_for(f"{fields.format('Frames')}.length > 0")
        for name, value in (("Frames", 2), ("Steps", 1), ("Ensemble", 1)):
            field = f"{fields.format(name)}.find((l) => l.offsetParent).querySelector('input, textarea')"
            change = "e.dispatchEvent(new Event('input')); e.dispatchEvent(new Event('change'));"
            browser.run(f"(() => {{ const e = {field}; e.value = {value}; {change} }})()")
        browser.run(f"{press.format('`Run`')}.click()")
        inside = "document.querySelector('iframe')?.contentDocument"
        browser.wait_for(f"{inside}?.body?.innerText.includes('From photo to photo') || "
                         f"{inside}?.body?.innerText.includes('Around the scene')", 120)  # fmt: skip
        viewer = f"{inside}.querySelector('iframe').contentDocument?.documentElement?.dataset.state"
        browser.run(f"{inside}.querySelector('iframe').scrollIntoView()")
        browser.wait_for(f"{viewer} === 'settled'")
        Image.fromarray((browser.screenshot().movedim(0, -1) * 255).byte().numpy()).save(tmp_path / "app.png")
        hosts = {urllib.parse.urlsplit(address).hostname for address in browser.requests}
        assert hosts <= {None, "127.0.0.1"}
        assert browser.complaints == []
    shown = Image.open(io.BytesIO((tmp_path / "app.png").read_bytes())).convert("L")
    assert len(set(shown.getdata())) > 50
