"""A Space of the Hugging Face Hub that runs the app on a checkpoint, with its own copy of the code that it needs."""

from importlib.metadata import PackageNotFoundError, version

import yaml

from ..cli.methods import METHODS
from ..cli.methods import __name__ as METHODS_PACKAGE
from ..publishing.licence import licence
from ..publishing.modules import PACKAGE, needed_modules
from ..publishing.requirements import pip_requirements
from .server import INSTALL


APP = '''"""The app of {checkpoint}, as `anyviews app` shows it."""

from anyviews.app import serve
from anyviews.cli.methods import method_of


CHECKPOINT = "{checkpoint}"

serve({{method_of(CHECKPOINT): CHECKPOINT}})
'''

README = """---
{metadata}---

The app of [{checkpoint}](https://huggingface.co/{checkpoint}). The folder `anyviews` is a copy of those modules of
anyviews {version} that the app needs, under Apache-2.0 (see LICENSE).
"""


def space_files(checkpoint_repo: str) -> dict[str, bytes]:
    """The files of a Space, by their path in its repository.

    Args:
        checkpoint_repo: the Hub repository of the checkpoint, owner/name.

    Raises:
        ImportError: if gradio is not installed, whose version the Space must name.
    """
    try:
        gradio = version("gradio")
    except PackageNotFoundError as error:
        raise ImportError(f"a Space needs a version of gradio, which is not installed: {INSTALL}") from error
    methods = [f"{METHODS_PACKAGE}.{method}" for method in dict.fromkeys(METHODS.values())]
    needed = needed_modules([f"{PACKAGE}.app", f"{PACKAGE}.app.page", *methods])
    imported = needed.eager | needed.lazy
    # the page offers every format
    requirements = sorted({text for extra in ("app", "usdz") for text in pip_requirements(imported, extra=extra)})
    name = checkpoint_repo.partition("/")[2]
    metadata = {
        "title": name,
        "emoji": "📷",
        "colorFrom": "indigo",
        "colorTo": "gray",
        "sdk": "gradio",
        "sdk_version": gradio,
        "python_version": "3.11",
        "app_file": "app.py",
        "license": "apache-2.0",
        "models": [checkpoint_repo],
    }
    header = yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True)
    return {
        "README.md": README.format(metadata=header, checkpoint=checkpoint_repo, version=version(PACKAGE)).encode(),
        "app.py": APP.format(checkpoint=checkpoint_repo).encode(),
        "requirements.txt": "".join(f"{text}\n" for text in requirements).encode(),
        "LICENSE": licence(),
        **{inside: path.read_bytes() for inside, path in needed.files.items()},
    }
