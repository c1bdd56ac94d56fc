"""A method that answers at once: what tests of protocols, reports and the command are made of."""

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from unittest.mock import patch

import torch

from anyviews.evaluation.baselines import mean_color
from anyviews.evaluation.case import Case, CaseResult, Row
from anyviews.evaluation.methods.scoring import image_scores
from anyviews.evaluation.protocols import Protocol, Ranking, Table
from anyviews.evaluation.protocols.sources import Need, Source
from anyviews.evaluation.report import case_record
from anyviews.views import Views


@dataclass(frozen=True)
class Noise(Source):
    """Cases of random pixels."""

    def names(self, need: Need, count: int | None) -> list[str]:
        return [f"noise-{index}" for index in range(4 if count is None else count)]

    def read(self, name: str, need: Need) -> Case:
        generator = torch.Generator().manual_seed(int(name.rpartition("-")[2]))
        images = torch.rand(need.context_views + need.target_views, 3, *need.size, generator=generator)
        return Case(name, 0, Views(images[: need.context_views]), Views(images[need.context_views :]))


PROTOCOL = Protocol(
    name="noise",
    method="fake",
    version=1,
    title="Random pixels",
    source=Noise(),
    scenes=4,
    context_views=2,
    target_views=1,
    tables=(
        Table("quality", "cases of noise", ("psnr", "absrel")),
        Table("spread", "position", ("psnr",), bins=2),
    ),
    ranking=Ranking("quality", "blur", "psnr"),
    baselines=("mean colour",),
)

FACTS = {"checkpoint": "tiny", "checkpoint_hash": "0", "seed": 0, "seconds": 1.0, "conditions": {}}


def rows(psnr: float, position: float = 0.0, absrel: float = math.nan) -> list[Row]:
    """A row of each table."""
    scores = {"psnr": psnr, "absrel": absrel}
    return [Row("quality", "blur", scores), Row("spread", "blur", {"psnr": psnr}, position)]


def record(name: str, *values, **named) -> dict:
    """The record of a case with these rows."""
    return case_record(name, 0, rows(*values, **named), PROTOCOL)


class Model:
    """Says where it is, and nothing else."""

    @classmethod
    def from_pretrained(cls, folder: str) -> "Model":
        return cls()

    def to(self, device: str) -> "Model":
        return self


def evaluate(model: Model, case: Case, protocol: Protocol) -> CaseResult:
    """A blurred target with noise of the case's seed."""
    noise = torch.randn(case.targets.images.shape, generator=torch.Generator().manual_seed(case.seed)) / 10
    answers = {"mean colour": mean_color(case.context, case.targets), "blur": case.targets.images + noise}
    scores = {name: image_scores(image, case.targets.images)["psnr"] for name, image in answers.items()}
    rows = [Row("quality", name, {"psnr": value, "absrel": float("nan")}) for name, value in scores.items()]
    rows.append(Row("spread", "blur", {"psnr": scores["blur"]}, position=float(case.seed)))
    return CaseResult(rows, {"truth": case.targets.images, "blur": answers["blur"]})


def modules(**changes) -> dict[str, ModuleType]:
    """The modules that make the method `fake`, with some of their contents replaced."""
    method, protocols = (ModuleType(f"anyviews.evaluation.{kind}.fake") for kind in ("methods", "protocols"))
    method.MODEL, method.image_size, method.evaluate = Model, lambda model: 16, evaluate
    protocols.PROTOCOLS = (PROTOCOL,)
    for name, value in changes.items():
        setattr(protocols if name == "PROTOCOLS" else method, name, value)
    return {module.__name__: module for module in (method, protocols)}


@contextmanager
def installed(**changes) -> Iterator[ModuleType]:
    """The method while a block runs; gives its module."""
    found = modules(**changes)
    with patch.dict(sys.modules, found):
        yield found["anyviews.evaluation.methods.fake"]
