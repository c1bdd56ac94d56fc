"""What a method is evaluated on, and what it answers."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from ..environment import Environment
from ..views import Views


@dataclass(frozen=True)
class Case:
    """One scene or object of a protocol.

    Args:
        name: unique in the protocol, and the same in every run.
        seed: of all that is random about this case.
        context: views that may be given, in this order: a variant that sees n of them takes the first n.
        targets: views to predict, with every map that the source has.
        environment: the light of context and targets in the world's frame, or None.
        relit: views of the same object under another light, with cameras of their own, or None.
        relit_environment: their light.
    """

    name: str
    seed: int
    context: Views
    targets: Views
    environment: Environment | None = None
    relit: Views | None = None
    relit_environment: Environment | None = None


@dataclass(frozen=True)
class Row:
    """Scores of one variant of a method, or of a baseline, on one case.

    Args:
        table: of the protocol.
        variant: what answered.
        scores: by metric; NaN where one is not defined, such as for a target without depth.
        position: in tables with bins, what the cases are sorted by.
    """

    table: str
    variant: str
    scores: Mapping[str, float]
    position: float = math.nan


@dataclass(frozen=True)
class CaseResult:
    """All rows of one case, and what a person should see of it.

    Args:
        rows: of all tables; every case has the same tables and variants.
        pictures: by caption, images [V, 3, H, W] in [0, 1] or depth maps [V, 1, H, W].
    """

    rows: list[Row]
    pictures: dict[str, Tensor] = field(default_factory=dict)
