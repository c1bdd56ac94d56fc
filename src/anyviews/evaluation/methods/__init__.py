"""What `anyviews eval` knows of the methods: one module each, and only the one in use is imported.

A method is a module of this package with
    MODEL: type                     the class whose `from_pretrained` loads a checkpoint
    image_size(model) -> int        side of the images in pixels, where the protocol leaves it to the model
    evaluate(model, case: Case, protocol: Protocol) -> CaseResult
                                    all rows of all tables for one case, baselines among them

`evaluate` keeps nothing between cases, and draws random numbers from `case.seed` alone: cases are evaluated in any
order and in several processes. What its rows mean is declared in `evaluation/protocols/<method>.py`.
"""

from importlib import import_module
from types import ModuleType


def evaluation_method(name: str) -> ModuleType:
    """The module of a method.

    Raises:
        ValueError: if the method cannot be evaluated yet.
    """
    try:
        return import_module(f".{name}", __name__)
    except ModuleNotFoundError as error:
        if error.name != f"{__name__}.{name}":
            raise
        raise ValueError(f"anyviews eval does not know the method {name}") from error
