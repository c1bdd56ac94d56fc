"""`anyviews view`: look at whatever a file or folder holds, live in the browser or as a page that opens offline."""

import argparse
import logging
import warnings
import webbrowser
from pathlib import Path
from typing import Any

from ..formats.scene_html import scene_page
from ..formats.shown_scene import ShownScene, show_scenes
from ..formats.viewer_page import write_page
from ..viewer import load_things
from .outputs import check_not_inside, user_warnings
from .ports import check_port


HELP = "look at a scene, splats, a mesh, photos with cameras, samples or a run's output"

HOST, PORT = "127.0.0.1", 8080
INSTALL = 'pip install "anyviews[viewer]"'

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments to its parser."""
    parser.add_argument(
        "input",
        metavar="THING",
        help="a scene's .npz, Gaussians or points (.ply, .splat, .spz), a mesh (.glb, .usdz, .obj, .ply), a "
        "shard (.parquet), or a folder: photos with cameras, shards, step_<number> files, or the output of a run",
    )
    parser.add_argument("--row", type=int, default=0, metavar="N", help="sample of a dataset to show (default: 0)")
    parser.add_argument("--export", metavar="OUT.html", help="write one page that opens offline, and serve nothing")
    parser.add_argument("--overwrite", action="store_true", help="replace OUT.html where it exists")
    parser.add_argument("--max-gaussians", type=int, default=1_000_000, metavar="N", help="shown (default: 1000000)")
    parser.add_argument("--max-points", type=int, default=1_000_000, metavar="N", help="shown (default: 1000000)")
    parser.add_argument("--host", default=HOST, help=f"address to serve at (default: {HOST}, this machine alone)")
    parser.add_argument("--port", type=int, help=f"default: {PORT}, or the next free one")
    parser.add_argument("--open", action="store_true", help="open the default browser")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Show the thing until interrupted, or write the page; return a summary that JSON can hold."""
    viser = None
    if arguments.export is not None:
        check_export(Path(arguments.export), arguments.input, arguments.overwrite)
    else:
        viser = _viser()
        check_port(arguments.host, arguments.port)
    things = load_things(arguments.input, arguments.row)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        shown = show_scenes(things.scenes, arguments.max_gaussians, arguments.max_points, arguments.input)
    for text in user_warnings(caught):
        logger.warning("warning: %s", text)
    summary = {"input": arguments.input, **count_parts(shown), "warnings": user_warnings(caught)}
    if viser is not None:
        return {**summary, "address": serve(viser, shown, things.names, arguments)}
    page = scene_page(shown, Path(arguments.input).resolve().name, things.names)
    write_page(page, arguments.export, arguments.overwrite)
    return {**summary, "output": str(Path(arguments.export).resolve())}


def describe(summary: dict[str, Any]) -> str:
    """The summary in words."""
    counts = ", ".join(f"{summary[name]:,} {name}" for name in ("gaussians", "triangles", "points", "cameras"))
    steps = f" in {summary['steps']} steps" if summary["steps"] > 1 else ""
    end = f"look at {summary['output']}" if "output" in summary else f"{summary['address']} is closed"
    return f"{counts}{steps}\n{end}"


def count_parts(shown: ShownScene) -> dict[str, int]:
    """How much is shown of the last step."""
    scene = shown.steps[-1]
    parts = {"gaussians": scene.gaussians, "triangles": scene.mesh, "points": scene.points}
    counts = {name: 0 if part is None else len(part) for name, part in parts.items()}
    return {"steps": len(shown.steps), **counts, "cameras": len(scene)}


def check_export(page: Path, source: str, overwrite: bool) -> None:
    """Raise ValueError if a page cannot be written, before anything is loaded."""
    if page.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"--export {page}; accepted is a name that ends in .html")
    check_not_inside(page, source)
    if page.exists() and not overwrite:
        raise ValueError(f"{page} exists already; give another name, or --overwrite to replace it")


def serve(viser: Any, shown: ShownScene, step_names: tuple[str, ...], arguments: argparse.Namespace) -> str:
    """Serve until interrupted; returns the address."""
    from ..viewer.live import LiveViewer

    server = viser.ViserServer(host=arguments.host, port=arguments.port or PORT, verbose=False)
    address = f"http://{arguments.host}:{server.get_port()}"
    try:
        LiveViewer(server, shown, step_names)
        logger.info("%s is ready; end with Ctrl-C", address)
        if arguments.open and not webbrowser.open(address):
            logger.warning("no browser was found here; open %s in one, or write a page: --export OUT.html", address)
        server.sleep_forever()
    except KeyboardInterrupt:
        pass
    finally:
        server.stop()
    return address


def _viser() -> Any:
    """The library of the live viewer."""
    try:
        import viser
    except ImportError as error:
        raise ImportError(
            f"the live viewer needs viser, which is not installed: {INSTALL}; or write a page: --export OUT.html"
        ) from error
    return viser
