"""Makes diffusers resolve this package's components as it resolves its own.

Without this, `save_pretrained` records the module path of a component, which breaks when a module moves, and
`from_pretrained("user/repo")` refuses it, because diffusers accepts only libraries that it knows. There is no public
hook, so this file is the single place that touches diffusers' internals; tests/test_diffusers_registry.py fails when
they move.
"""

import sys

import diffusers.pipelines


try:
    from diffusers.pipelines.pipeline_loading_utils import LOADABLE_CLASSES
except ImportError as error:
    raise ImportError(
        f"diffusers {diffusers.__version__} no longer keeps the libraries of pipeline components in LOADABLE_CLASSES, "
        'which anyviews joins; run pip install "diffusers>=0.42,<0.44"'
    ) from error

PACKAGE = "anyviews"


def register_with_diffusers() -> None:
    """Make the top-level package a library name of diffusers' model index, for saving and for loading."""
    package = sys.modules[PACKAGE]
    if getattr(diffusers.pipelines, PACKAGE, package) is not package:
        raise ImportError(
            f"diffusers {diffusers.__version__} has a pipeline folder called {PACKAGE!r}, which would be taken for "
            'this package; run pip install "diffusers>=0.42,<0.44"'
        )
    # saving: the index records the package, not the module
    LOADABLE_CLASSES.setdefault(PACKAGE, {})
    # loading, from a folder or from the Hub: that name resolves to this package
    setattr(diffusers.pipelines, PACKAGE, package)
