"""Serving the app: the address, and a folder for all files, which goes when the app ends."""

import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


INSTALL = 'pip install "anyviews[app]"'
# Larger uploads are refused while they arrive.
LARGEST_UPLOAD = "1gb"

logger = logging.getLogger(__name__)


def serve(
    checkpoints: Mapping[str, str],
    device: str = "auto",
    host: str | None = None,
    port: int | None = None,
    open_browser: bool = False,
) -> str:
    """Serve the app until interrupted; returns the address.

    Args:
        checkpoints: a folder or Hub repository for each method that can be used: "mvgd", "mvdust3r", "lirm",
            "mvboost". The other methods' tabs say what is missing.
        device: of torch, or "auto" for the fastest that is there.
        host: address to serve at; None is this machine alone, or GRADIO_SERVER_NAME, which Spaces of the Hub set.
        port: None is the first free one from 7860 on.
        open_browser: whether to open the default browser.

    Raises:
        ImportError: if gradio is not installed, with the pip line.
        OSError: if no port is free.
    """
    with running_app(checkpoints, device, host, port, open_browser) as blocks:
        address = blocks.local_url.rstrip("/")
        logger.info("%s is ready; end with Ctrl-C", address)
        try:
            blocks.server.thread.join()
        except KeyboardInterrupt:
            pass
    return address


@contextmanager
def running_app(
    checkpoints: Mapping[str, str],
    device: str = "auto",
    host: str | None = None,
    port: int | None = None,
    open_browser: bool = False,
) -> Iterator[Any]:
    """The app while it runs, as gradio's Blocks; see `serve`."""
    gradio = require_gradio()
    with (
        tempfile.TemporaryDirectory(prefix="anyviews-app-", ignore_cleanup_errors=True) as root,
        # gradio's own copies of what comes and goes
        _environment("GRADIO_TEMP_DIR", str(Path(root, "uploads"))),
    ):
        from .page import build_page

        Path(root, "uploads").mkdir()
        blocks = build_page(checkpoints, device, Path(root, "results"))
        blocks.queue(default_concurrency_limit=1)
        blocks.launch(
            server_name=host,
            server_port=port,
            inbrowser=open_browser,
            prevent_thread_lock=True,
            quiet=True,
            share=False,
            ssr_mode=False,
            max_file_size=LARGEST_UPLOAD,
            footer_links=["api"],
            # the default theme asks another site for its fonts
            theme=gradio.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]),
        )
        try:
            yield blocks
        finally:
            blocks.close(verbose=False)


def require_gradio() -> Any:
    """The library of the app.

    Raises:
        ImportError: if it is not installed, with the pip line.
    """
    try:
        import gradio
    except ImportError as error:
        raise ImportError(f"the app needs gradio, which is not installed: {INSTALL}") from error
    return gradio


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
