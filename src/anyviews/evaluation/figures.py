"""Figures in Markdown that are written from reports, and can be traced back to them.

A page names a table, the conditions of a report, or one figure:

    <!-- eval procedural/quality --> ... <!-- /eval procedural/quality -->       the table, in a card of its checkpoint
    <!-- eval procedural --> ... <!-- /eval procedural -->                       command, protocol and conditions
    <!-- = mvgd-tiny/procedural/quality/1 step/psnr -->22.9<!-- /= -->           one figure, on any page
    <!-- = A minus B | .0% -->3 %<!-- /= -->                                     a difference, in a format of Python
"""

import re
from collections.abc import Mapping
from typing import Any

from .protocols import Protocol, find_protocol
from .protocols.sources import Procedural


# Reports by the name of the checkpoint and of the protocol.
Evaluations = Mapping[str, Mapping[str, Mapping[str, Any]]]

FIGURE = re.compile(r"<!-- = (?P<key>.+?) -->(?P<text>.*?)<!-- /= -->", re.S)
SECTION = re.compile(r"<!-- eval (?P<key>.+?) -->\n(?P<text>.*?)<!-- /eval (?P=key) -->", re.S)
DEFAULT_FORMAT = ".3g"


def refreshed(text: str, evaluations: Evaluations, checkpoint: str | None = None) -> str:
    """A page with its marked sections and figures as the reports have them.

    Args:
        text: of the page.
        evaluations: reports of all checkpoints.
        checkpoint: whose card the page is, or None.

    Raises:
        ValueError: if a mark names what no report has.
    """

    def section(match: re.Match) -> str:
        if checkpoint is None:
            raise ValueError(f"<!-- eval {match['key']} --> stands on a page that is no card")
        key = match["key"]
        return f"<!-- eval {key} -->\n{section_text(key, evaluations, checkpoint)}\n<!-- /eval {key} -->"

    def figure(match: re.Match) -> str:
        return f"<!-- = {match['key']} -->{figure_text(match['key'], evaluations)}<!-- /= -->"

    return FIGURE.sub(figure, SECTION.sub(section, text))


def figure_text(key: str, evaluations: Evaluations) -> str:
    """One figure: "checkpoint/protocol/table/variant/metric", or two of them with " minus " between, and a format.

    Raises:
        ValueError: if no report has it.
    """
    names, _, form = key.partition("|")
    values = [_value(name.strip(), evaluations) for name in names.split(" minus ")]
    value = values[0] - sum(values[1:])
    return format(value, form.strip() or DEFAULT_FORMAT).replace("%", " %")


def section_text(key: str, evaluations: Evaluations, checkpoint: str) -> str:
    """A table, or the conditions of a report.

    Raises:
        ValueError: if no report has it.
    """
    name, _, table = key.partition("/")
    report = _report(checkpoint, name, evaluations)
    if not table:
        return conditions_text(report)
    if table not in report["tables"]:
        raise ValueError(
            f"the report {name} of {checkpoint} has no table {table}; accepted are {', '.join(report['tables'])}"
        )
    heading = find_protocol(report["method"], name).table(table).heading
    return markdown_table(report["tables"][table], f"{heading} ({report['scenes']} scenes)")


def conditions_text(report: Mapping[str, Any]) -> str:
    """How a report came about: command, protocol, conditions, and how the columns are to be read."""
    protocol = find_protocol(report["method"], report["protocol"]["name"])
    stated = report["conditions"]
    where = f"commit {stated['commit']}, {stated['hardware']}, torch {stated['torch']}, {stated['date']}"
    data = "" if isinstance(protocol.source, Procedural) else "--data FOLDER "
    return (
        f"Measured by `anyviews eval checkpoints/{report['checkpoint']} {data}--protocol {protocol.name} --scenes "
        f"{report['scenes']} --seed {report['seed']}` ({where}).\n"
        f"{protocol_text(protocol)} Protocol version {report['protocol']['version']}, `{report['protocol']['hash']}`."
    )


def protocol_text(protocol: Protocol) -> str:
    """What a reader must know to read the columns."""
    units = [f"{metric} in {protocol.unit_of(metric)}" for table in protocol.tables for metric in table.metrics]
    named = ", ".join(unit for unit in dict.fromkeys(units) if not unit.endswith(" 1"))
    size = "the model's size" if protocol.size is None else f"{protocol.size[0]}x{protocol.size[1]} pixels"
    return (
        f"Images at {size} (resized: {protocol.resize_filter}); mask: {protocol.mask}; alignment: {protocol.alignment}"
        + (f"; {named}." if named else ".")
    )


def markdown_table(rows: Mapping[str, Mapping[str, float | None]], first: str) -> str:
    """A Markdown table of rows, whose columns are all that any of them has; three significant digits."""
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    lines = [f"| {first} | {' | '.join(columns)} |", f"|---|{'---:|' * len(columns)}"]
    for name, row in rows.items():
        lines.append(f"| {name} | {' | '.join(number(row.get(column)) for column in columns)} |")
    return "\n".join(lines)


def number(value: float | None) -> str:
    """Three significant digits, the whole number, or nothing."""
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else format(value, DEFAULT_FORMAT)


def _value(key: str, evaluations: Evaluations) -> float:
    parts = key.split("/")
    if len(parts) != 5:
        raise ValueError(f"the figure {key!r} is not checkpoint/protocol/table/variant/metric")
    checkpoint, protocol, table, variant, metric = parts
    found = _report(checkpoint, protocol, evaluations)["tables"].get(table, {}).get(variant, {}).get(metric)
    if found is None:
        raise ValueError(f"the figure {key!r} is in no report: table, variant or metric is not there")
    return found


def _report(checkpoint: str, protocol: str, evaluations: Evaluations) -> Mapping[str, Any]:
    if protocol not in evaluations.get(checkpoint, {}):
        raise ValueError(f"{checkpoint} has no report of the protocol {protocol} in its evaluation.json")
    return evaluations[checkpoint][protocol]
