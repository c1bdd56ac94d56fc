"""A measured number that says how it was measured."""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace


Fact = str | int | float | bool | None


@dataclass(frozen=True)
class Score:
    """One number with its protocol; two may be compared when all but their values are equal.

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


def named(*scores: Score) -> dict[str, Score]:
    """Scores by their names."""
    return {score.name: score for score in scores}


def mean_score(scores: Iterable[Score]) -> Score:
    """The mean of the same metric over scenes or objects, each counting alike; undefined ones are left out.

    Returns:
        the mean, NaN if none is defined, with how many there were and how many of them were undefined.

    Raises:
        ValueError: if there are none, or they were not measured alike.
    """
    scores = list(scores)
    if not scores:
        raise ValueError("there are no scores to average; give at least one")
    for score in scores[1:]:
        if replace(score, value=0.0) != replace(scores[0], value=0.0):
            raise ValueError(
                f"scores that were not measured alike have no mean: {replace(scores[0], value=0.0)} and "
                f"{replace(score, value=0.0)}; average those of one protocol"
            )
    defined = [score.value for score in scores if not math.isnan(score.value)]
    mean = sum(defined) / len(defined) if defined else math.nan
    return replace(scores[0], value=mean).stating(results=len(scores), undefined=len(scores) - len(defined))


def mean_scores(results: Iterable[dict[str, Score]]) -> dict[str, Score]:
    """`mean_score` of each metric of the first result, which all of them must have."""
    results = list(results)
    return {name: mean_score(result[name] for result in results) for name in results[0]} if results else {}


def values_and_protocols(scores: dict[str, Score]) -> dict:
    """For tools that want plain numbers: each value by its name, and under "protocols" all else."""
    described = {name: {**score.protocol, "unit": score.unit} for name, score in scores.items()}
    return {**{name: score.value for name, score in scores.items()}, "protocols": described}
