"""The methods that `anyviews run` knows: one module each, chosen by the checkpoint, and only that one is imported.

A method is a module of this package with
    TITLE: str                                  a heading for its page
    INPUT: str                                  what its photos must be
    FORMATS: tuple[str, ...]                    what `--formats` accepts, of `anyviews.formats.SCENE_FORMATS`
    DEFAULT_FORMATS: tuple[str, ...]            what it writes unless told
    add_arguments(group)                        its own options, long names, into its own group
    run(arguments, folder: Path) -> dict        loads, computes, writes files into `folder`, which is renamed later
    sections(result, folder: Path) -> list[str] the HTML of its page, from the building blocks in `cli/page.py`
    overview(result, folder: Path) -> list[Row] the rows of its one picture, see `cli/overview.py`
    describe(result) -> list[str]               lines for people

`arguments` holds the common options, too: `photos` and `checkpoint` (as typed), `device` (as typed: see
`photos.choose_device`), `seed`, `formats` (a list, checked), `json` (whether to be quiet). `run` returns what JSON can
hold: "parts" (a list of dicts), "photos" (how many), "device", and whatever else it has to say; the page takes up
"title" and "warnings" (a list of texts) where there are any. What `sections` and `overview` need and JSON cannot hold
goes under "shown", which is not written.
"""

import json
from importlib import import_module
from pathlib import Path
from types import ModuleType

from ..checkpoints import checkpoint_files


# The module of each kind of checkpoint: `_class_name` of model_index.json, or `model_type` of config.json.
METHODS = {
    "MVGDPipeline": "mvgd",
    "MVDust3rPlusPipeline": "mvdust3r",
    "mvdust3r": "mvdust3r",
    "LIRMPipeline": "lirm",
    "lirm": "lirm",
    "MVBoostPipeline": "mvboost",
}

INDEX, CONFIG = "model_index.json", "config.json"


def load_method(checkpoint: str) -> ModuleType:
    """The module of the method that a checkpoint belongs to; see `method_of`."""
    return import_module(f".{method_of(checkpoint)}", __name__)


def method_of(checkpoint: str) -> str:
    """The name of the method that a checkpoint belongs to.

    Args:
        checkpoint: a folder, or the name of a Hub repository; of the latter one small file is fetched, and cached.

    Raises:
        FileNotFoundError: if there is no such checkpoint.
        ValueError: if it is of no known method.
    """
    kind = checkpoint_kind(checkpoint)
    if kind not in METHODS:
        raise ValueError(
            f"the checkpoint {checkpoint} is a {kind}, which anyviews run does not know; accepted are checkpoints of "
            f"{', '.join(METHODS)}"
        )
    return METHODS[kind]


def checkpoint_kind(checkpoint: str) -> str:
    """What a checkpoint is: the class of its pipeline, or the type of its model.

    Raises:
        FileNotFoundError: if there is no such checkpoint, or it has neither an index nor a configuration.
        OSError: if it cannot be fetched.
        ValueError: if its index or configuration does not say.
    """
    files = checkpoint_files(checkpoint, (INDEX, CONFIG))
    for name, key in ((INDEX, "_class_name"), (CONFIG, "model_type"), (CONFIG, "_class_name")):
        kind = _read(files[name]).get(key) if name in files else None
        # a published pipeline that brings its own code says [file, class]
        if isinstance(kind, list) and kind:
            kind = kind[-1]
        if isinstance(kind, str):
            return kind
    if not files:
        raise FileNotFoundError(
            f"{checkpoint} has no {INDEX} and no {CONFIG}; give a folder that save_pretrained wrote"
        )
    raise ValueError(
        f"the checkpoint {checkpoint} does not say what it is; needed is {INDEX} with _class_name, or {CONFIG} with "
        "model_type, as save_pretrained writes them"
    )


def _read(file: Path) -> dict:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is no JSON: {error}; give a folder that save_pretrained wrote") from error
    return content if isinstance(content, dict) else {}
