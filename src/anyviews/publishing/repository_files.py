"""Which files a published checkpoint has, and what forbids publishing it."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

from .licence import licence
from .remote_code import INDEX, RemoteCode, remote_code


# What a training run leaves beside the exported model.
NOT_PUBLISHED = ("checkpoint-*", "export.partial", "logs", "validation")

PICKLE_SUFFIXES = {".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth"}

WEIGHT_SUFFIXES = (".safetensors", ".safetensors.index.json")

CARD, SAMPLE, CODE_LICENCE = "README.md", "sample", "LICENSE.anyviews"

HEADING = "## Without the package"

SECTION = """
{heading}

This repository brings the code that it needs: `{code}`, modules of anyviews under Apache-2.0 (`{licence}`).
It runs only where `trust_remote_code=True` allows it, and needs

    pip install {needed}

```python
{load}
```

From then on `import anyviews` works too, as far as these modules go.
Where anyviews is installed, `{package_class}.from_pretrained("{repository}")` runs no code of this repository.
"""

LOAD_PIPELINE = """from diffusers import DiffusionPipeline

pipe = DiffusionPipeline.from_pretrained("{repository}", trust_remote_code=True)"""

LOAD_MODEL = """from transformers import AutoModel

model = AutoModel.from_pretrained("{repository}", trust_remote_code=True)"""

LOAD_MODEL_PIPELINE = """from transformers import AutoImageProcessor, AutoModel

model = AutoModel.from_pretrained("{repository}", trust_remote_code=True)
image_processor = AutoImageProcessor.from_pretrained("{repository}", trust_remote_code=True)

from anyviews import {pipeline}  # the modules came with the model

pipe = {pipeline}(model, image_processor)"""

LOAD_SAMPLE = """

from huggingface_hub import snapshot_download

sample = snapshot_download("{repository}", allow_patterns="sample/*") + "/sample\""""


def checkpoint_files(folder: Path) -> dict[str, Path]:
    """The files of a checkpoint's folder that belong to the model, by their path in the repository."""
    files = {}
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        hidden = any(part.startswith(".") or part == "__pycache__" for part in inside.parts)
        if path.is_file() and not hidden and not any(Path(inside.parts[0]).match(name) for name in NOT_PUBLISHED):
            files[inside.as_posix()] = path
    return files


def find_problems(folder: Path, files: Mapping[str, Path]) -> list[str]:
    """Why the files of a checkpoint's folder are not fit to be published; empty if they are."""
    problems = []
    if INDEX in files:
        index = json.loads(files[INDEX].read_text(encoding="utf-8"))
        # [library, class]; other lists are settings, and [None, None] is a component that is left out
        used = [
            name
            for name, entry in index.items()
            if not name.startswith("_") and isinstance(entry, list) and entry and isinstance(entry[0], str)
        ]
        missing = [name for name in used if not any(file.startswith(f"{name}/") for file in files)]
        if missing:
            problems.append(f"{folder}/{INDEX} names components without a folder: {', '.join(missing)}")
    elif "config.json" not in files:
        problems.append(f"{folder} has neither {INDEX} nor config.json; give a folder of save_pretrained")
    pickles = [name for name in files if Path(name).suffix in PICKLE_SUFFIXES]
    if pickles:
        problems.append(
            f"{folder} has pickles, which can run code on loading: {', '.join(pickles)}; save the weights as "
            "safetensors (save_pretrained does) and remove these files"
        )
    if not any(name.endswith(WEIGHT_SUFFIXES) for name in files):
        problems.append(f"{folder} has no .safetensors file")
    sample = [Path(name) for name in files if name.startswith(f"{SAMPLE}/")]
    if sample and not any(path.name.upper().startswith("LICEN") for path in sample):
        problems.append(
            f"{folder}/{SAMPLE} has no LICENSE file, which says who may use the example input; add one, or give "
            "--sample-licence, such as 'CC0-1.0, rendered by utils/make_sample.py'"
        )
    return problems


def repository_files(files: Mapping[str, Path], repository: str, card: str | None) -> dict[str, Path | bytes]:
    """What is uploaded: the files of a checkpoint, the code that it needs, and the card, which says how to load it.

    Args:
        files: of the checkpoint, by their path in the repository.
        repository: its name on the Hub.
        card: the text of the card; by default there is none.
    """
    # the file of a sample's cameras is no configuration, but says that it has some
    code = remote_code({name: path.read_bytes() for name, path in files.items() if _is_configuration(name)})
    uploaded: dict[str, Path | bytes] = dict(files)
    if code is not None:
        uploaded |= {**code.files, CODE_LICENCE: licence()}
    if card is not None:
        has_sample = any(name.startswith(f"{SAMPLE}/") for name in files)
        uploaded[CARD] = _completed_card(card, repository, code, has_sample).encode()
    return dict(sorted(uploaded.items()))


def file_size(content: Path | bytes) -> int:
    return len(content) if isinstance(content, bytes) else content.stat().st_size


def _is_configuration(name: str) -> bool:
    path = Path(name)
    return path.name in (INDEX, "config.json", "preprocessor_config.json") or name == f"{SAMPLE}/cameras.json"


def _fetched(code: str, repository: str) -> str:
    """Lines of Python in which files of a folder of checkpoints come from the repository."""
    fetched = re.sub(r'"(?:\./)?checkpoints/[^/"]+/([^"]+)"', rf'snapshot_download("{repository}") + "/\1"', code)
    return code if fetched == code else f"from huggingface_hub import snapshot_download\n{fetched}"


def _completed_card(card: str, repository: str, code: RemoteCode | None, has_sample: bool) -> str:
    """The card with the repository in place of a folder of checkpoints, and how to load it without this package."""
    card = re.sub(r'(from_pretrained\(")(?:\./)?checkpoints/[^/"]+("\))', rf"\g<1>{repository}\2", card)
    card = re.sub(r"(?<=```python\n).*?(?=```)", lambda found: _fetched(found[0], repository), card, flags=re.DOTALL)
    if code is None or HEADING in card:
        return card
    load = LOAD_PIPELINE
    if code.code != "pipeline.py":
        load = LOAD_MODEL if code.pipeline is None else LOAD_MODEL_PIPELINE
    load = (load + LOAD_SAMPLE * has_sample).format(repository=repository, pipeline=code.pipeline)
    section = SECTION.format(
        heading=HEADING,
        code=code.code,
        licence=CODE_LICENCE,
        needed=" ".join(f'"{text}"' for text in (*code.required, *code.optional)),
        load=load,
        package_class=code.pipeline or code.automatic[-1],
        repository=repository,
    )
    return f"{card.rstrip()}\n{section}"
