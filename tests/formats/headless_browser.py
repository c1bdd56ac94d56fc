"""A headless Chromium driven over its debugging pipe (Chrome DevTools Protocol), with software WebGL."""

import base64
import fcntl
import io
import itertools
import json
import os
import select
import shutil
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor


SOFTWARE_WEBGL = ("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
NO_WEBGL = ("--disable-gpu", "--disable-3d-apis")
FLAGS = (
    "--headless=new", "--no-sandbox", "--no-first-run", "--disable-dev-shm-usage", "--disable-background-networking",
    "--disable-extensions", "--force-color-profile=srgb", "--hide-scrollbars", "--mute-audio",
    "--remote-debugging-pipe",
)  # fmt: skip


class HeadlessBrowser:
    """One browser with one page; use as a context manager.

    Attributes:
        complaints: console errors and warnings, uncaught exceptions and failed loads of the page so far.
        requests: addresses that the page asked for.
    """

    def __init__(self, profile: Path, graphics: tuple[str, ...] = SOFTWARE_WEBGL):
        program = shutil.which("chromium") or shutil.which("google-chrome")
        if program is None:
            pytest.skip("needs chromium or google-chrome in PATH to show pages")
        command = [program, *FLAGS, *graphics, f"--user-data-dir={profile}", "about:blank"]
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self._numbers = itertools.count(1)
        self._received = b""
        from_us, self._to_browser = os.pipe()
        self._from_browser, to_us = os.pipe()

        def connect() -> None:
            # the protocol wants descriptors 3 and 4; copies above them, so that neither overwrites the other's source
            high = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, 10) for descriptor in (from_us, to_us)]
            for wanted, descriptor in zip((3, 4), high, strict=True):
                os.dup2(descriptor, wanted)

        self._process = subprocess.Popen(
            command, preexec_fn=connect, pass_fds=(3, 4), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(from_us)
        os.close(to_us)
        self._session = None
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def __enter__(self) -> "HeadlessBrowser":
        return self

    def __exit__(self, *_) -> None:
        with suppress(OSError, TimeoutError, RuntimeError):
            self._session = None
            self.send("Browser.close")
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._to_browser)
        os.close(self._from_browser)

    def send(self, method: str, **parameters) -> dict:
        """Call a method of the protocol and wait for its result."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to_browser, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next_message()
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self._note(answer)

    def open(
        self, page: Path, settings: str = "", width: int = 320, height: int = 240, state: str = "settled"
    ) -> None:
        """Open a page from disk in a window of so many pixels and wait until it says that it is in `state`."""
        self.resize(width, height)
        self.send("Page.navigate", url="about:blank")
        self.send("Page.navigate", url=f"{page.resolve().as_uri()}{settings}")
        self.wait_for(f"document.documentElement?.dataset.state === {json.dumps(state)}")

    def resize(self, width: int, height: int, **more) -> None:
        settings = {"deviceScaleFactor": 1, "mobile": False, **more}
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, **settings)

    def wait_for(self, condition: str, seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not self.run(condition):
            if time.monotonic() > end:
                raise TimeoutError(f"{condition} did not become true in {seconds} s; the page said {self.complaints}")
            time.sleep(0.05)

    def run(self, expression: str):
        """The value of a JavaScript expression in the page."""
        answer = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def screenshot(self) -> Tensor:
        """The window as an image [3, H, W] in [0, 1]."""
        data = base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"])
        pixels = np.array(Image.open(io.BytesIO(data)).convert("RGB"))
        return torch.from_numpy(pixels).permute(2, 0, 1).float() / 255

    def _next_message(self, seconds: float = 60) -> dict:
        while b"\0" not in self._received:
            if not select.select([self._from_browser], [], [], seconds)[0]:
                raise TimeoutError(f"the browser has not answered for {seconds} s")
            part = os.read(self._from_browser, 1 << 20)
            if not part:
                raise RuntimeError(f"the browser has ended with status {self._process.poll()}")
            self._received += part
        message, _, self._received = self._received.partition(b"\0")
        return json.loads(message)

    def _note(self, event: dict) -> None:
        values = event.get("params", {})
        if event.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(values["exceptionDetails"]))
        elif event.get("method") == "Runtime.consoleAPICalled" and values["type"] in ("error", "warning", "assert"):
            self.complaints.append(json.dumps(values["args"]))
        elif event.get("method") == "Log.entryAdded" and values["entry"]["level"] in ("error", "warning"):
            self.complaints.append(values["entry"]["text"])
        elif event.get("method") == "Network.requestWillBeSent":
            self.requests.append(values["request"]["url"])
