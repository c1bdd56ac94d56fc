"""Training scripts as modules; they lie outside the package."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType


def load_script(repository: Path, name: str) -> ModuleType:
    """The training script of this name, once per process."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, repository / "training_scripts" / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # dataclasses look their module up
        spec.loader.exec_module(module)
    return sys.modules[name]
