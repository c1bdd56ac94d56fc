"""A measured number that says how it was measured."""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace

from torch import Tensor


Fact = str | int | float | bool | None


@dataclass(frozen=True)
class Score:
    """One number with its protocol; two may be compared when all but their values and counts are equal.

    Args:
        name: of the metric, as in docs/metrics.md.
        value: NaN where the metric is not defined (a view without a valid pixel).
        unit: of the value: "dB", "1" for a ratio, "degrees", "world units" ...
        protocol: what else a reader must know to measure the same: resolution, resize filter, mask, alignment ...
    """

    name: str
    value: float
    unit: str
    protocol: dict[str, Fact] = field(default_factory=dict)

    def stating(self, **facts: Fact) -> "Score":
        """The same number with more of its protocol."""
        return replace(self, protocol={**self.protocol, **facts})

    def to_json(self) -> dict:
        """As JSON has it: None for a value that is not finite. `Score(**...)` reads it back."""
        return {**asdict(self), "value": self.value if math.isfinite(self.value) else None}


def check_finite(**tensors: Tensor | None) -> None:
    """A failed prediction must not pass for an undefined score, which a mean leaves out.

    Raises:
        ValueError: naming the first tensor that holds NaN or infinity.
    """
    for name, values in tensors.items():
        if values is not None and not values.isfinite().all():
            raise ValueError(
                f"{int((~values.isfinite()).sum())} of {values.numel()} values of {name} are NaN or infinite; give "
                "finite ones (0 for unknown depth and normals), and decide what a failed prediction counts as"
            )


def named(*scores: Score) -> dict[str, Score]:
    """Scores by their names."""
    return {score.name: score for score in scores}


def mean_score(scores: Iterable[Score]) -> Score:
    """The mean of the same metric over scenes or objects, each counting alike; undefined ones are left out.

    Returns:
        the mean, NaN if none is defined, with how many there were and how many of them were undefined. Counts (whole
        numbers of the protocol, such as "views") may differ; the mean has their range.

    Raises:
        ValueError: if there are none, or they were not measured alike.
    """
    scores = list(scores)
    if not scores:
        raise ValueError("there are no scores to average; give at least one")
    described = [{"name": score.name, "unit": score.unit, **score.protocol} for score in scores]
    common = {}
    for key in dict.fromkeys(key for facts in described for key in facts):
        found = list(dict.fromkeys(facts.get(key) for facts in described))
        if len(found) > 1 and any(type(value) is not int for value in found):
            raise ValueError(
                f"scores that were not measured alike have no mean: {key} is {found[0]!r} and {found[1]!r}; average "
                "those of one protocol"
            )
        common[key] = found[0] if len(found) == 1 else f"{min(found)} to {max(found)}"
    defined = [score.value for score in scores if not math.isnan(score.value)]
    mean = sum(defined) / len(defined) if defined else math.nan
    counts = {"results": len(scores), "undefined": len(scores) - len(defined)}
    return Score(common.pop("name"), mean, common.pop("unit"), {**common, **counts})


def mean_scores(results: Iterable[dict[str, Score]]) -> dict[str, Score]:
    """`mean_score` of each metric of the first result, which all of them must have."""
    results = list(results)
    return {name: mean_score(result[name] for result in results) for name in results[0]} if results else {}


def values_and_protocols(scores: dict[str, Score]) -> dict:
    """For tools that want plain numbers: each value by its name, and under "protocols" all else."""
    described = {name: {**score.protocol, "unit": score.unit} for name, score in scores.items()}
    return {**{name: score.value for name, score in scores.items()}, "protocols": described}
