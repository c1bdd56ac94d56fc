"""Model cards: their sections, what the Hub wants to know, and the figures of evaluation.json."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ..formats.files import new_file
from ..formats.json_files import read_json
from .figures import Evaluations, refreshed
from .protocols import METRICS, find_protocol
from .report import check_report, dump_report


EVALUATION = "evaluation.json"
LIBRARIES = ("diffusers", "transformers", "anyviews")
# Tasks of the Hub that these methods have.
PIPELINE_TAGS = ("image-to-3d", "image-to-image", "depth-estimation")
HEADER = re.compile(r"\A---\r?\n(.*?)\r?\n---\r?\n", re.S)
SAYS = {
    "Weights": "a line 'Weights and code: LICENCE'",
    "Training data:": "a line 'Training data: ...' with its licence",
}


def fill(card: str, name: str, text: str) -> str:
    """Replace what stands between the markers <!-- name --> and <!-- /name --> of a card.

    Raises:
        ValueError: if the card has no such section.
    """
    pattern = re.compile(rf"(<!-- {re.escape(name)} -->\n).*?(<!-- /{re.escape(name)} -->)", re.S)
    if not pattern.search(card):
        raise ValueError(f"the card has no <!-- {name} --> ... <!-- /{name} --> section")
    return pattern.sub(lambda match: f"{match[1]}{text}\n{match[2]}", card)


def read_evaluation(checkpoint: Path) -> dict[str, dict[str, Any]]:
    """The reports of a checkpoint by their protocols; empty if it has none.

    Raises:
        ValueError: if one is of another version of its protocol.
    """
    path = checkpoint / EVALUATION
    if not path.is_file():
        return {}
    reports = read_json(path)
    for name, report in reports.items():
        check_report(report if isinstance(report, dict) else {}, f"{path}, {name}")
    return reports


def write_evaluation(checkpoint: Path, report: Mapping[str, Any]) -> None:
    """Put a report into the checkpoint's evaluation.json, in place of an older one of the same protocol."""
    reports = read_json(checkpoint / EVALUATION) if (checkpoint / EVALUATION).is_file() else {}
    # reports that this version cannot read any more are measured again, not kept
    kept = {name: old for name, old in reports.items() if isinstance(old, dict) and "format" in old}
    kept[report["protocol"]["name"]] = report
    text = ",\n".join(f'"{name}": {dump_report(one)}' for name, one in kept.items())
    with new_file(checkpoint / EVALUATION, overwrite=True) as temporary:
        temporary.write_text(f"{{\n{text}\n}}\n", encoding="utf-8")


def read_evaluations(checkpoints: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """The reports of every checkpoint in a folder that has some."""
    found = {folder.name: read_evaluation(folder) for folder in sorted(checkpoints.iterdir()) if folder.is_dir()}
    return {name: reports for name, reports in found.items() if reports}


def refreshed_card(card: str, checkpoint: str, evaluations: Evaluations) -> str:
    """A card whose figures, tables and `model-index` are those of the reports.

    Args:
        card: its text.
        checkpoint: whose card it is.
        evaluations: reports of all checkpoints.
    """
    header, body = split_card(card)
    header.pop("model-index", None)
    if evaluations.get(checkpoint):
        header["model-index"] = model_index(checkpoint, evaluations[checkpoint])
    text = yaml.safe_dump(header, sort_keys=False, allow_unicode=True)
    return f"---\n{text}---\n{refreshed(body, evaluations, checkpoint)}"


def model_index(checkpoint: str, reports: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The Hub's form of the figure that each report is ranked by, and of its neighbours in the same row."""
    results = []
    for name, report in reports.items():
        protocol = find_protocol(report["method"], name)
        ranking = protocol.ranking
        row = report["tables"][ranking.table][ranking.variant]
        metrics = [
            {"type": metric, "value": value, "name": f"{metric} ({protocol.unit_of(metric)}), {ranking.variant}"}
            for metric, value in row.items()
            if value is not None and METRICS[metric].better
        ]
        dataset = {"name": f"{protocol.title} ({report['scenes']} scenes)", "type": name}
        results.append({"task": {"type": "image-to-3d"}, "dataset": dataset, "metrics": metrics})
    return [{"name": checkpoint, "results": results}]


def split_card(card: str) -> tuple[dict[str, Any], str]:
    """The metadata of a card, and the text below it.

    Raises:
        ValueError: if there is no metadata, or it is no YAML.
    """
    match = HEADER.match(card)
    if match is None:
        raise ValueError("the card has no metadata; it must begin with --- and end it with a line ---")
    try:
        header = yaml.safe_load(match[1])
    except yaml.YAMLError as error:
        raise ValueError(f"the metadata of the card is no YAML: {error}") from error
    if not isinstance(header, dict):
        raise ValueError("the metadata of the card is no mapping of names to values")
    return header, card[match.end() :]


def card_problems(card: str) -> list[str]:
    """What a card lacks to be published; empty if nothing.

    Args:
        card: its text.
    """
    try:
        header, body = split_card(card)
    except ValueError as error:
        return [str(error)]
    problems = []
    if not isinstance(header.get("license"), str) or not header["license"]:
        problems.append("the card states no licence; add 'license: apache-2.0' or another identifier of the Hub")
    elif header["license"] == "other" and not header.get("license_name"):
        problems.append("'license: other' needs license_name, and license_link")
    if header.get("library_name") not in LIBRARIES:
        problems.append(f"library_name is {header.get('library_name')!r}; accepted are {', '.join(LIBRARIES)}")
    if header.get("pipeline_tag") not in PIPELINE_TAGS:
        problems.append(f"pipeline_tag is {header.get('pipeline_tag')!r}; accepted are {', '.join(PIPELINE_TAGS)}")
    if "anyviews" not in (header.get("tags") or []):
        problems.append("tags lack anyviews")
    if not isinstance(header.get("datasets"), list):
        problems.append("datasets is missing; give a list of datasets of the Hub, [] for generated data")
    if not header.get("base_model") and "from scratch" not in body:
        problems.append("base_model is missing; name it, or say in the text that the model was trained from scratch")
    problems += [f"the text lacks {what}" for word, what in SAYS.items() if word not in body]
    return problems
