"""Protocol: everything that must be equal for two figures to be comparable, declared in one object with a hash."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, Literal

from .sources import Source


@dataclass(frozen=True)
class Metric:
    """How to read a column.

    Args:
        unit: "dB", "1" for a ratio, "degrees" ...; empty for the world unit of the protocol.
        better: which values are better; empty for facts about the data.
    """

    unit: str
    better: Literal["higher", "lower", ""] = "lower"


DECIBEL, SHARE, RATIO = Metric("dB", "higher"), Metric("1", "higher"), Metric("1")

# Every column that a table may have.
METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        "psnr": DECIBEL,
        "ssim": SHARE,
        "absrel": RATIO,
        "constant_absrel": RATIO,
        "delta1.25": SHARE,
        "color_disagreement": RATIO,
        "depth_disagreement": RATIO,
        "error": RATIO,
        "nd": Metric(""),
        "cd": Metric(", squared"),
        "dac@0.2": SHARE,
        "dac@0.5": SHARE,
        "rra@15": SHARE,
        "rta@15": SHARE,
        "maa@30": SHARE,
        "rotation": Metric("degrees"),
        "focal_error": RATIO,
        "mask_iou": SHARE,
        "depth": RATIO,
        "normal_mean": Metric("degrees"),
        "base_color_psnr": DECIBEL,
        "scaled_psnr": DECIBEL,
        "roughness": RATIO,
        "metallic": RATIO,
        "orb_psnr_h": DECIBEL,
        "orb_psnr_l": DECIBEL,
        "orb_ssim": SHARE,
        "orb_lpips": RATIO,
        "distance_to_points": Metric("", ""),
        "distance_between_cameras": Metric("", ""),
    }
)


@dataclass(frozen=True)
class Table:
    """One table of a report; its rows are the variants of the method.

    Args:
        name: used in reports and cards.
        heading: of its first column.
        metrics: its columns, names of METRICS.
        bins: where given, the rows of all cases are sorted by their position and cut into so many groups, which become
            the rows of the table.
    """

    name: str
    heading: str = field(metadata={"prose": True})
    metrics: tuple[str, ...]
    bins: int | None = None

    def __post_init__(self):
        if unknown := [name for name in self.metrics if name not in METRICS]:
            raise ValueError(
                f"table {self.name} has unknown metrics {', '.join(unknown)}; accepted are {', '.join(METRICS)}"
            )


@dataclass(frozen=True)
class Ranking:
    """The figure that decides which cases are the best and the worst, and that stands for the whole report."""

    table: str
    variant: str
    metric: str


@dataclass(frozen=True)
class Protocol:
    """What is measured, on what, and how.

    Args:
        name: of the protocol; unique for its method.
        method: whose checkpoints it is for.
        version: raised whenever figures of before and after cannot be compared.
        title: for people.
        source: where the scenes come from.
        scenes: how many, unless told otherwise; None for all there are.
        context_views: views given in the main table.
        target_views: views to predict.
        view_counts: numbers of views that variants are given in a table of their own.
        joint_targets: views that are predicted together, in a table of their own.
        size: (height, width) of the images in pixels; None for the model's own.
        resize_filter: how images came to this size.
        mask: which pixels count.
        alignment: what is done to a prediction first.
        unit: world unit of distances.
        tables: of the report; the first is the main one.
        ranking: of the cases.
        baselines: variants of the ranking's table that a method must beat.
        reference: the table of the paper that this reproduces, and what is known to differ.
    """

    name: str
    method: str
    version: int
    title: str = field(metadata={"prose": True})
    source: Source
    scenes: int | None
    context_views: int
    target_views: int
    tables: tuple[Table, ...]
    ranking: Ranking
    baselines: tuple[str, ...] = field(default=(), metadata={"prose": True})
    view_counts: tuple[int, ...] = ()
    joint_targets: int = 0
    size: tuple[int, int] | None = None
    resize_filter: str = "centred crop, then bilinear with anti-aliasing; depth to the nearest sample"
    mask: str = "all pixels"
    alignment: str = "none"
    unit: str = "world units"
    reference: str = field(default="", metadata={"prose": True})

    def __post_init__(self):
        main = next((table for table in self.tables if table.name == self.ranking.table), None)
        if main is None or self.ranking.metric not in main.metrics:
            raise ValueError(f"protocol {self.name} is ranked by {self.ranking}, which none of its tables has")

    @property
    def most_context_views(self) -> int:
        """Views that a case must have to give."""
        return max((self.context_views, *self.view_counts))

    @property
    def most_target_views(self) -> int:
        """Views that a case must have to predict."""
        return max(self.target_views, self.joint_targets)

    def has(self, table: str) -> bool:
        """Whether there is a table of this name."""
        return any(table == one.name for one in self.tables)

    def table(self, name: str) -> Table:
        """The table of a name.

        Raises:
            ValueError: if there is none.
        """
        for table in self.tables:
            if table.name == name:
                return table
        raise ValueError(
            f"protocol {self.name} of {self.method} has no table {name!r}; accepted are "
            f"{', '.join(table.name for table in self.tables)}"
        )

    def unit_of(self, metric: str) -> str:
        """The unit of a metric."""
        unit = METRICS[metric].unit
        return f"{self.unit}{unit}" if unit in ("", ", squared") else unit

    def facts(self) -> dict[str, Any]:
        """Everything but what is only there to be read, as JSON has it."""
        facts = _without_prose(self)
        facts["source"]["kind"] = type(self.source).__name__
        return json.loads(json.dumps(facts))

    @property
    def hash(self) -> str:
        """Twelve digits that differ for protocols whose figures cannot be compared."""
        text = json.dumps(self.facts(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def _without_prose(thing: Any) -> dict[str, Any]:
    """The fields of a dataclass, and of those in it, that are not marked as prose."""
    facts = {}
    for entry in fields(thing):
        value = getattr(thing, entry.name)
        if entry.metadata.get("prose"):
            continue
        if isinstance(value, tuple) and value and isinstance(value[0], Table):
            value = [_without_prose(table) for table in value]
        elif hasattr(value, "__dataclass_fields__"):
            value = _without_prose(value)
        facts[entry.name] = value
    return facts
