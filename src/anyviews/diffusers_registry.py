"""Makes diffusers resolve this package's components as it resolves its own.

Without this, `save_pretrained` records the module path of a component, which breaks when a module moves, and
`from_pretrained("user/repo")` refuses it, because diffusers accepts only libraries that it knows. There is no public
hook, so this file is the single place that touches diffusers' internals; tests/test_diffusers_registry.py fails when
they move.
"""

import sys

import diffusers.pipelines
from diffusers.pipelines import pipeline_loading_utils


PACKAGE = "anyviews"


def register_with_diffusers() -> None:
    """Make the top-level package a library name of diffusers' model index, for saving and for loading."""
    package = sys.modules[PACKAGE]
    if getattr(diffusers.pipelines, PACKAGE, package) is not package:
        raise ImportError(f"diffusers already has a pipeline folder called {PACKAGE!r}")
    # saving: the index records the package, not the module
    pipeline_loading_utils.LOADABLE_CLASSES.setdefault(PACKAGE, {})
    # loading, from a folder or from the Hub: that name resolves to this package
    setattr(diffusers.pipelines, PACKAGE, package)
