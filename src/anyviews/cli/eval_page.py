"""The page of an evaluation: tables, and the best, median and worst scene with their pictures."""

import argparse
from html import escape
from pathlib import Path
from typing import Any

from ..evaluation.figures import number, protocol_text
from ..evaluation.protocols import Protocol
from ..evaluation.report import ranked
from ..evaluation.runner import case_folder
from .outputs import describe_run
from .page import data_uri, heading, paragraph, table, write_page


def write_evaluation_page(
    folder: Path,
    arguments: argparse.Namespace,
    protocol: Protocol,
    report: dict[str, Any],
    cases: list[dict[str, Any]],
) -> None:
    """Write index.html.

    Args:
        folder: of the evaluation, which holds the pictures.
        arguments: of the verb.
        protocol: of the report.
        report: of `build_report`.
        cases: of `read_cases`.
    """
    result = {
        **describe_run(arguments, "checkpoint"),
        "device": report["conditions"]["hardware"],
        "seconds": report["seconds"],
        "warnings": _warnings(report),
    }
    sections = [paragraph(f"{protocol.title}. {protocol_text(protocol)}")]
    if protocol.reference:
        sections.append(paragraph(protocol.reference, quiet=True))
    for name, rows in report["tables"].items():
        declared = protocol.table(name)
        columns = [_column(metric, protocol.unit_of(metric)) for metric in declared.metrics]
        cells = {variant: [number(row[metric]) for metric in declared.metrics] for variant, row in rows.items()}
        sections += [heading(declared.heading), table(columns, cells)]
    sections += _examples(folder, protocol, report, cases)
    (folder / "index.html").unlink(missing_ok=True)
    write_page(folder / "index.html", f"{report['checkpoint']}: {protocol.name}", result, sections)


def _column(metric: str, unit: str) -> str:
    return metric if unit == "1" else f"{metric} ({unit})"


def _examples(folder: Path, protocol: Protocol, report: dict[str, Any], cases: list[dict[str, Any]]) -> list[str]:
    """The best, the median and the worst scene."""
    order = ranked(report, protocol)
    if not order:
        return []
    places = {"best": 0, "median": (len(order) - 1) // 2, "worst": len(order) - 1}
    index = {case["record"]["scene"]: position for position, case in enumerate(cases)}
    sections = []
    for word, place in places.items():
        scene, value = order[place]
        sections.append(heading(f"The {word}: {scene}, {protocol.ranking.metric} {number(value)}"))
        position = index[scene]
        inside = case_folder(folder, position, scene)
        figures = [_picture(inside / file, caption) for caption, file in cases[position]["pictures"].items()]
        sections.append(f'<div class="pairs">{"".join(figures)}</div>')
    return sections


def _picture(path: Path, caption: str) -> str:
    source, text = data_uri(path.read_bytes(), "image/png"), escape(caption)
    return f'<figure><img class="pixels" src="{source}" alt="{text}"><figcaption>{text}</figcaption></figure>'


def _warnings(report: dict[str, Any]) -> list[str]:
    return [
        f"{name}, {variant}: {metric} is not defined for {count} of {report['scenes']} scenes; means leave those out"
        for name, rows in report["undefined"].items()
        for variant, metrics in rows.items()
        for metric, count in metrics.items()
    ]
