"""The code that a published checkpoint brings, for people without this package.

It is one file, which holds the modules that the method needs: `pipeline.py` for a pipeline, `modeling.py` for a model
of transformers. The index and the configurations of the checkpoint refer to it, so that
`DiffusionPipeline.from_pretrained(repository, trust_remote_code=True)` and, for models of transformers,
`AutoModel.from_pretrained(repository, trust_remote_code=True)` run it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path, PurePosixPath

from .. import __version__
from .modules import PACKAGE, needed_modules, source_file
from .requirements import pip_requirements


INDEX, CONFIG, PREPROCESSOR = "model_index.json", "config.json", "preprocessor_config.json"

# Of every class that transformers finds by itself: the file that names it, under which key, and its automatic classes.
NAMED_CLASSES = ((CONFIG, "architectures"), (PREPROCESSOR, "image_processor_type"))

HEADER = '''"""{title} of anyviews {version}, as one file: the code of this checkpoint for people without the package.

Where anyviews is installed, it is used instead. Otherwise this file unpacks the modules that it holds, beside itself,
and imports them. Afterwards `import anyviews` works too, as far as these modules go.

It was generated from the sources of the package; every line of a module follows a bar.
It needs: {required}
Some functions need: {optional}

Licence of the code: Apache-2.0, see LICENSE.anyviews.
"""
'''

STUB = '''"""The class of this component comes with ../pipeline.py, which diffusers runs first."""

from importlib import import_module


def __getattr__(name):
    return getattr(import_module("anyviews"), name)
'''


@dataclass(frozen=True)
class RemoteCode:
    """The code of a checkpoint.

    Args:
        files: the code, and those files of the checkpoint that refer to it, by their path in the repository.
        code: the path of the code among them.
        pipeline: the name of the pipeline's class, if it brings one.
        automatic: names of the classes that transformers finds by itself.
        required: what must be installed, as pip takes it.
        optional: what only some functions need.
    """

    files: dict[str, bytes]
    code: str
    pipeline: str | None
    automatic: tuple[str, ...]
    required: tuple[str, ...]
    optional: tuple[str, ...]


def remote_code(configurations: Mapping[str, bytes]) -> RemoteCode | None:
    """The code of a checkpoint; None if its classes are not of this package.

    Args:
        configurations: the JSON files of the checkpoint, by their path in the repository.
    """
    configs = {name: json.loads(content) for name, content in configurations.items()}
    index = configs.get(INDEX)
    code = "modeling.py" if index is None else "pipeline.py"
    stem = code.removesuffix(".py")
    pipeline = None if index is None else _pipeline_class(index)
    automatic = _automatic_classes(configs, stem)
    if pipeline is None and not automatic:
        return None
    changed = {name: configs[name] for name in automatic}
    files = {}
    if pipeline is not None:
        changed[INDEX] = {**index, "_class_name": [stem, pipeline]}
        own = [name for name, entry in index.items() if isinstance(entry, list) and entry[0] == PACKAGE]
        # without these, diffusers refuses components of a library that it does not know, before any code runs
        files = {f"{component}/{PACKAGE}.py": STUB.encode() for component in own}
    files.update({name: (json.dumps(config, indent=2) + "\n").encode() for name, config in changed.items()})
    classes = tuple(sorted({name for names in automatic.values() for name in names}))
    if index is None:
        pipeline = _pipeline_of_model(classes)
    # what reads the sample's cameras
    readers = [f"{PACKAGE}.formats"] if "sample/cameras.json" in configs else []
    roots = [getattr(import_module(PACKAGE), name).__module__ for name in (pipeline, *classes) if name is not None]
    needed = needed_modules([*roots, *readers])
    required = pip_requirements(needed.eager)
    optional = tuple(text for text in pip_requirements(needed.lazy) if text not in required)
    found = RemoteCode(files, code, pipeline, classes, required, optional)
    files[code] = _code_file(found, needed.files).encode()
    return found


def _code_file(code: RemoteCode, modules: Mapping[str, Path]) -> str:
    """The text of the code file, which holds some modules."""
    parts = [
        HEADER.format(
            title=code.pipeline or code.automatic[0],
            version=__version__,
            required=", ".join(code.required),
            optional=", ".join(code.optional) or "nothing else",
        ),
        "from importlib import import_module",
        _without_docstring(source_file(f"{PACKAGE}.publishing.carried_code").read_text(encoding="utf-8")),
        "MODULES = {",
        *(f"    {name!r}: r'''{_with_margin(name, path)}'''," for name, path in modules.items()),
        "}\n",
        f"provide(MODULES, {__version__!r}, {code.required!r}, {code.optional!r}, Path(__file__).parent)",
        'anyviews = import_module("anyviews")\n',
    ]
    if code.pipeline is not None:
        parts.append(f"{code.pipeline} = anyviews.{code.pipeline}\n")
    for name in code.automatic:
        # a class of this file, because transformers saves the file of a class with the model
        parts.append(f'\nclass {name}(anyviews.{name}):\n    """See anyviews.{name}."""\n')
    return "\n".join(parts)


def _pipeline_class(index: dict) -> str | None:
    """The name of the pipeline's class, if it is of this package."""
    name = index.get("_class_name")
    name = name[-1] if isinstance(name, list) else name
    return name if name in import_module(f"{PACKAGE}.pipelines").__all__ else None


def _automatic_classes(configs: dict[str, dict], stem: str) -> dict[str, list[str]]:
    """Enter this package's classes into the `auto_map` of each configuration; returns their names by its path."""
    public = import_module(PACKAGE)
    found = {}
    for path, config in configs.items():
        for file, key in NAMED_CLASSES:
            if PurePosixPath(path).name != file or key not in config:
                continue
            name = config[key][0] if isinstance(config[key], list) else config[key]
            if name not in public.__all__:
                continue
            if file == PREPROCESSOR:
                names = {"AutoImageProcessor": name}
            else:
                names = {"AutoConfig": getattr(public, name).config_class.__name__, "AutoModel": name}
            config["auto_map"] = {automatic: f"{stem}.{name}" for automatic, name in names.items()}
            found[path] = list(names.values())
    return found


def _pipeline_of_model(classes: Sequence[str]) -> str | None:
    """The pipeline that is made of a model alone, if there is one."""
    pipelines = import_module(f"{PACKAGE}.pipelines")
    for name in pipelines.__all__:
        model = getattr(getattr(pipelines, name), "model_class", None)
        if model is not None and model.__name__ in classes:
            return name
    return None


def _with_margin(name: str, path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    if "'''" in text:
        raise ValueError(f"{name} holds ''', which cannot stand in the code file of a checkpoint; use another quote")
    return "\n" + "".join(f"|{line}\n" for line in text.split("\n"))


def _without_docstring(source: str) -> str:
    return source.split('"""\n', 1)[1].lstrip("\n")
