"""`anyviews app`: all methods in the browser, on this machine."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .methods import METHODS, method_of
from .photos import choose_device
from .ports import check_port


HELP = "try every method in the browser: photos in, 3D to turn and files to download out"

HOST, PORT = "127.0.0.1", 7860
# Checkpoints that are taken where they lie, as in the source checkout.
SHIPPED = {
    "mvgd": "checkpoints/mvgd-tiny",
    "mvdust3r": "checkpoints/mvdust3r-plus-tiny",
    "lirm": "checkpoints/lirm-tiny",
    "mvboost": "checkpoints/mvboost-tiny",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments to its parser."""
    parser.add_argument(
        "--checkpoint",
        action="append",
        metavar="METHOD=CHECKPOINT",
        help=f"folder or Hub repository of one of {', '.join(SHIPPED)}; may be given for each (default: those of "
        f"{', '.join(SHIPPED.values())} that there are)",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: auto)")
    parser.add_argument("--host", default=HOST, help=f"address to serve at (default: {HOST}, this machine alone)")
    parser.add_argument("--port", type=int, help=f"default: {PORT}, or the next free one")
    parser.add_argument("--open", action="store_true", help="open the default browser")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Serve until interrupted; return what was served and where."""
    from ..app.server import require_gradio, serve

    require_gradio()
    check_port(arguments.host, arguments.port)
    choose_device(arguments.device)
    checkpoints = chosen_checkpoints(arguments.checkpoint or ())
    address = serve(checkpoints, arguments.device, arguments.host, arguments.port, arguments.open)
    return {"address": address, "checkpoints": checkpoints}


def describe(summary: dict[str, Any]) -> str:
    """The summary in words."""
    return f"{summary['address']} is closed"


def chosen_checkpoints(given: Sequence[str]) -> dict[str, str]:
    """The checkpoint of each method: the shipped ones that are here, and those given in their place.

    Args:
        given: texts such as mvgd=FOLDER.

    Raises:
        ValueError: if a text is not of this form, or a checkpoint is another method's.
        FileNotFoundError: if there is no such checkpoint.
    """
    found = {method: folder for method, folder in SHIPPED.items() if Path(folder).is_dir()}
    for text in given:
        method, _, checkpoint = text.partition("=")
        if method not in METHODS.values() or not checkpoint:
            raise ValueError(
                f"--checkpoint {text}; accepted is METHOD=CHECKPOINT with a METHOD of {', '.join(SHIPPED)}, as in "
                f"mvgd={SHIPPED['mvgd']}"
            )
        if (other := method_of(checkpoint)) != method:
            raise ValueError(f"--checkpoint {text}: it is a checkpoint of {other}; give {other}={checkpoint}")
        found[method] = checkpoint
    return found
