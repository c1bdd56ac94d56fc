"""A report: the rows of every case, their means, and under which conditions they were measured."""

import json
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from ..formats.files import new_file
from .case import Row
from .protocols import METRICS, Protocol, Table, find_protocol


FORMAT, FORMAT_VERSION = "anyviews evaluation", 1
DIGITS = 6

Means = dict[str, dict[str, dict[str, float | None]]]


def case_record(name: str, seed: int, rows: Sequence[Row], protocol: Protocol) -> dict[str, Any]:
    """The rows of one case as JSON has them, checked against the protocol.

    Raises:
        ValueError: for a table or score that the protocol does not declare, one that is missing, or an infinite one.
    """
    tables: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        columns = protocol.table(row.table).metrics
        if set(row.scores) != set(columns):
            raise ValueError(
                f"{name}: the row {row.variant!r} of table {row.table} has {sorted(row.scores)}; the protocol "
                f"declares {sorted(columns)}"
            )
        if infinite := [metric for metric, value in row.scores.items() if math.isinf(value)]:
            raise ValueError(
                f"{name}: {', '.join(infinite)} of {row.variant!r} in table {row.table} is infinite; give NaN for "
                "what is not defined"
            )
        entry: dict[str, Any] = {"variant": row.variant}
        if protocol.table(row.table).bins is not None:
            entry["position"] = _rounded(row.position)
        tables.setdefault(row.table, []).append(entry | {metric: _rounded(row.scores[metric]) for metric in columns})
    return {"scene": name, "seed": seed, "tables": tables}


def build_report(protocol: Protocol, records: Sequence[dict[str, Any]], facts: Mapping[str, Any]) -> dict[str, Any]:
    """The report of all cases.

    Args:
        protocol: they were evaluated by.
        records: of `case_record`, in the order of the protocol.
        facts: checkpoint, seed and conditions.

    Raises:
        ValueError: if there are none, or they do not all have the same rows.
    """
    if not records:
        raise ValueError("there are no scenes to report; evaluate at least one")
    _check_same_rows(records)
    means = {name: table_means(protocol.table(name), records) for name in records[0]["tables"]}
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        **facts,
        "method": protocol.method,
        "protocol": {**protocol.facts(), "title": protocol.title, "hash": protocol.hash},
        "scenes": len(records),
        "tables": means,
        "undefined": _undefined(protocol, records),
        "rows": list(records),
    }


def table_means(table: Table, records: Sequence[dict[str, Any]]) -> dict[str, dict[str, float | None]]:
    """The rows of a table: means over the cases of what is defined, None where nothing is."""
    if table.bins is None:
        groups: dict[str, list[dict[str, Any]]] = {}
        for record in records:
            for row in record["tables"][table.name]:
                groups.setdefault(row["variant"], []).append(row)
    else:
        rows = [row for record in records for row in record["tables"][table.name] if row["position"] is not None]
        rows.sort(key=lambda row: row["position"])
        groups = _quantiles(rows, table.bins)
    return {name: {metric: _mean(rows, metric) for metric in table.metrics} for name, rows in groups.items()}


def _quantiles(rows: list[dict[str, Any]], bins: int) -> dict[str, list[dict[str, Any]]]:
    """Rows in their order, cut into groups of equal size that are named by their range."""
    edges = [round(index * len(rows) / bins) for index in range(bins + 1)]
    groups = {}
    for start, end in pairwise(edges):
        if end > start:
            low, high = (rows[index]["position"] for index in (start, end - 1))
            groups[f"{low:.2g} to {high:.2g}"] = groups.get(f"{low:.2g} to {high:.2g}", []) + rows[start:end]
    return groups


def check_report(report: Mapping[str, Any], name: str) -> Protocol:
    """The protocol of a report.

    Raises:
        ValueError: if it is none, or of another version of the format or of the protocol.
    """
    if report.get("format") != FORMAT:
        raise ValueError(f"{name} is no report of anyviews eval; give a report.json or evaluation.json")
    if report.get("format_version") != FORMAT_VERSION:
        raise ValueError(
            f"{name} has format version {report.get('format_version')}; accepted is {FORMAT_VERSION}: run anyviews "
            "eval again"
        )
    stated = report["protocol"]
    protocol = find_protocol(report["method"], stated["name"])
    if (stated["version"], stated["hash"]) != (protocol.version, protocol.hash):
        raise ValueError(
            f"{name} was measured by version {stated['version']} ({stated['hash']}) of the protocol {protocol.name}, "
            f"and this is version {protocol.version} ({protocol.hash}); figures of different protocols cannot be "
            "compared: run anyviews eval again"
        )
    return protocol


def drift(report: Mapping[str, Any], records: Sequence[dict[str, Any]], tolerance: float = 0.01) -> list[str]:
    """Where figures measured again differ from a report, in words; empty where they do not.

    Args:
        report: whose rows of the same scenes are compared.
        records: measured again; each scene must be in the report.
        tolerance: of means, relative to the value or to 0.1, whichever is larger; other hardware rounds differently.

    Raises:
        ValueError: if the report lacks one of the scenes.
    """
    protocol = find_protocol(report["method"], report["protocol"]["name"])
    known = {record["scene"]: record for record in report["rows"]}
    if missing := [record["scene"] for record in records if record["scene"] not in known]:
        raise ValueError(f"the report lacks {len(missing)} of the scenes, the first is {missing[0]}")
    stated = [known[record["scene"]] for record in records]
    found = []
    for name in records[0]["tables"]:
        table = protocol.table(name)
        before, after = table_means(table, stated), table_means(table, records)
        if list(before) != list(after):
            found.append(f"table {name} had the rows {list(before)} and has {list(after)}")
            continue
        for variant, scores in after.items():
            for metric, value in scores.items():
                old = before[variant][metric]
                if (old is None) != (value is None) or (
                    value is not None and abs(value - old) > tolerance * max(abs(old), 0.1)
                ):
                    found.append(f"{name}, {variant}, {metric}: {old} before, {value} now")
    return found


def dump_report(report: Mapping[str, Any]) -> str:
    """A report as JSON, a line per scene."""
    head = json.dumps({name: value for name, value in report.items() if name != "rows"}, indent=1, allow_nan=False)
    rows = ",\n".join("  " + json.dumps(record, allow_nan=False) for record in report["rows"])
    return f'{head[:-2]},\n "rows": [\n{rows}\n ]\n}}'


def write_report(report: Mapping[str, Any], path: Path) -> None:
    """Write a report to a file, which may exist."""
    with new_file(path, overwrite=True) as temporary:
        temporary.write_text(dump_report(report) + "\n", encoding="utf-8")


def ranked(report: Mapping[str, Any], protocol: Protocol) -> list[tuple[str, float]]:
    """Scenes and their value of the ranking's metric, the best first; scenes without it are left out."""
    table, variant, metric = protocol.ranking.table, protocol.ranking.variant, protocol.ranking.metric
    found = []
    for record in report["rows"]:
        value = next((row[metric] for row in record["tables"].get(table, ()) if row["variant"] == variant), None)
        if value is not None:
            found.append((record["scene"], value))
    return sorted(found, key=lambda pair: pair[1], reverse=METRICS[metric].better == "higher")


def _check_same_rows(records: Sequence[dict[str, Any]]) -> None:
    """Raise ValueError if a case has other rows than the first, or scenes repeat."""
    names = [record["scene"] for record in records]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"scenes are there more than once: {', '.join(sorted(repeated))}")
    wanted = _row_names(records[0])
    for record in records:
        if _row_names(record) != wanted:
            differing = sorted(wanted ^ _row_names(record))
            raise ValueError(
                f"the scene {record['scene']} has other rows than {names[0]}; they differ in {differing[:4]}: every "
                "scene must be answered by every variant"
            )


def _row_names(record: Mapping[str, Any]) -> set[tuple[str, str]]:
    return {(table, row["variant"]) for table, rows in record["tables"].items() for row in rows}


def _undefined(protocol: Protocol, records: Sequence[dict[str, Any]]) -> dict[str, dict[str, dict[str, int]]]:
    """How many cases have no value, where some have one and others none."""
    counts: dict[str, dict[str, dict[str, int]]] = {}
    for name in records[0]["tables"]:
        for record in records:
            for row in record["tables"][name]:
                for metric in protocol.table(name).metrics:
                    if row[metric] is None:
                        found = counts.setdefault(name, {}).setdefault(row["variant"], {})
                        found[metric] = found.get(metric, 0) + 1
    return {
        table: {variant: some for variant, found in rows.items() if (some := _partly(found, len(records)))}
        for table, rows in counts.items()
        if any(_partly(found, len(records)) for found in rows.values())
    }


def _partly(counts: Mapping[str, int], scenes: int) -> dict[str, int]:
    return {metric: count for metric, count in counts.items() if count < scenes}


def _mean(rows: Sequence[Mapping[str, Any]], metric: str) -> float | None:
    values = [row[metric] for row in rows if row[metric] is not None]
    return _rounded(sum(values) / len(values)) if values else None


def _rounded(value: float) -> float | None:
    """A number of few digits, the same on every machine that rounds alike; None for one that is not defined."""
    return None if math.isnan(value) else float(f"{value:.{DIGITS}g}")
