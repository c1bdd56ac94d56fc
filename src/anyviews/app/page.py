"""The page of the app, by gradio: a tab for each method, with its example, its options, and what a run has made."""

import inspect
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from html import escape
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import quote

import gradio as gr
from PIL import Image, ImageOps

from ..cli.methods import METHODS
from ..cli.methods import __name__ as METHODS_PACKAGE
from ..formats.photos import PHOTO_SUFFIXES, is_photo
from .examples import EXAMPLE, write_example
from .jobs import Job, VisitorError, explained_errors, run_job
from .options import command_line, control_of, method_options
from .uploads import unpack


NAMES = tuple(dict.fromkeys(METHODS.values()))
# Photos shown of an upload, and their longer side.
MOST_SHOWN, SHOWN_SIDE = 12, 240
UPLOADS = (
    f"Upload photos ({', '.join(PHOTO_SUFFIXES)}), or one `.zip` of their folder, which may hold their cameras: "
    "COLMAP, `transforms.json` or `cameras.json`."
)
# Seconds: so long after they were made, files are removed, also those that are looked at.
KEPT, CLEANED_EVERY = 3600, 600
# All methods wait for each other: one run at a time fits into memory.
QUEUE = "run"


def build_page(checkpoints: Mapping[str, str], device: str, results: Path) -> gr.Blocks:
    """The page with all methods.

    Args:
        checkpoints: a folder or Hub repository for each method that can be used.
        device: of torch, or "auto".
        results: the folder for what runs leave, which is made, and served to whoever knows a file's name.

    Raises:
        ValueError: if `checkpoints` names an unknown method.
    """
    unknown = [name for name in checkpoints if name not in NAMES]
    if unknown:
        raise ValueError(f"there is no method {unknown[0]}; accepted are {', '.join(NAMES)}")
    results.mkdir(parents=True)
    gr.set_static_paths([results])
    with gr.Blocks(title="anyviews", analytics_enabled=False, delete_cache=(CLEANED_EVERY, KEPT)) as page:
        gr.Markdown("# anyviews\nPhotos in, 3D out. Everything is computed on the machine that serves this page.")
        for name in NAMES:
            method = import_module(f".{name}", METHODS_PACKAGE)
            with gr.Tab(method.TITLE.partition(":")[0], id=name):
                gr.Markdown(f"### {method.TITLE}\nIt takes {method.INPUT}. {UPLOADS}")
                if name in checkpoints:
                    _add_tab(name, method, checkpoints[name], device, results)
                else:
                    gr.Markdown(
                        f"There is no checkpoint of this method here. Start the app with one: "
                        f"`anyviews app --checkpoint {name}=FOLDER`, or the name of a repository on the Hub."
                    )
    return page


def _add_tab(name: str, method: ModuleType, checkpoint: str, device: str, results: Path) -> None:
    options = method_options(method)
    with gr.Row():
        with gr.Column(scale=1):
            files = gr.File(label="Photos, or a .zip", file_count="multiple", type="filepath")
            example = gr.Button("Take the example")
            shown = gr.Gallery(label="Photos", columns=3, height=240, interactive=False)
            formats = gr.CheckboxGroup(list(method.FORMATS), value=list(method.DEFAULT_FORMATS), label="Formats")
            with gr.Accordion("Options", open=False):
                seed = gr.Number(label="Seed", info="of all that is random", value=0, precision=0)
                controls = {option.dest: control_of(option) for option in options}
            start = gr.Button("Run", variant="primary")
            gr.Markdown(f"Checkpoint: `{checkpoint}`")
        with gr.Column(scale=2):
            said = gr.Textbox(label="Result", interactive=False, lines=2)
            page = gr.HTML()
            made = gr.File(label="Files", file_count="multiple", interactive=False)
    # the folder of the last run of this visitor
    kept = gr.State(None, time_to_live=KEPT, delete_callback=_remove)

    def compute(*values: Any) -> tuple[Any, ...]:
        uploaded, named, number, *chosen, earlier, progress = values
        progress(0, desc="reading the photos")
        words = [f"--device={device}", f"--seed={number or 0}", *([f"--formats={','.join(named)}"] if named else [])]
        words += command_line(dict(zip(controls, chosen, strict=True)), options)
        with _told():
            job = run_job(results, uploaded, checkpoint, words)
        # a run that fails leaves what is looked at
        _remove(earlier)
        return str(job.folder), "\n".join(job.lines), _frame(job), [str(file) for file in job.files]

    # by their names, programs that call the page give only what they care for
    defaults = {"photos": inspect.Parameter.empty, "formats": list(method.DEFAULT_FORMATS), "seed": 0}
    defaults |= {option.dest: option.default for option in options}
    defaults |= {"earlier": None, "progress": gr.Progress(track_tqdm=True)}
    by_name = inspect.Parameter.POSITIONAL_OR_KEYWORD
    compute.__signature__ = inspect.Signature(
        [inspect.Parameter(key, by_name, default=default) for key, default in defaults.items()]
    )
    example.click(partial(_example, name, checkpoint, results), None, files, api_name=f"{name}_example")
    files.change(_pictures, files, shown, api_visibility="private", show_progress="hidden")
    start.click(
        compute,
        [files, formats, seed, *controls.values(), kept],
        [kept, said, page, made],
        api_name=name,
        concurrency_id=QUEUE,
        show_progress_on=said,
    )


@contextmanager
def _told() -> Iterator[None]:
    """Show visitors what goes wrong, without a traceback."""
    try:
        yield
    except VisitorError as error:
        raise gr.Error(escape(str(error), quote=False), duration=None, print_exception=False) from error


def _example(name: str, checkpoint: str, results: Path) -> list[str]:
    """The example of a method, made when it is first asked for."""
    folder = results / f"example-{name}"
    file = folder / EXAMPLE
    with _told(), explained_errors(folder):
        if not file.exists():
            folder.mkdir(exist_ok=True)
            write_example(name, checkpoint, folder)
    return [str(file)]


def _pictures(files: list[str] | None) -> list[tuple[Image.Image, str]]:
    """Small pictures of uploaded photos; of files that are none nothing is said before the run."""
    if not files:
        return []
    with tempfile.TemporaryDirectory() as folder:
        try:
            photos = unpack(files, Path(folder))
            photos = photos / "images" if (photos / "images").is_dir() else photos
            return [_picture(file) for file in sorted(filter(is_photo, photos.iterdir()))[:MOST_SHOWN]]
        except (ValueError, OSError, Image.DecompressionBombError):
            return []


def _picture(file: Path) -> tuple[Image.Image, str]:
    with Image.open(file) as photo:
        picture = ImageOps.exif_transpose(photo)
        picture.thumbnail((SHOWN_SIDE, SHOWN_SIDE))
        return picture.convert("RGBA" if picture.mode in ("RGBA", "LA", "PA") else "RGB"), file.name


def _frame(job: Job) -> str:
    """The page of a run inside the page of the app."""
    # relative, so that it also works behind a proxy that puts the app into a folder
    address = escape(f"gradio_api/file={quote(str(job.page))}")
    return (
        f'<iframe title="What came out" src="{address}" style="width: 100%; height: 80vh; border: 0"></iframe>'
        f'<p><a href="{address}" target="_blank">The same in a window of its own</a></p>'
    )


def _remove(folder: str | None) -> None:
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
