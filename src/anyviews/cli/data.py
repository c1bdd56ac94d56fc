"""`anyviews data`: look into datasets of shards, check them, and publish them."""

import argparse
from typing import Any

from ..data.description import describe_dataset
from ..data.manifest import read_manifest
from ..data.publishing import push_shards
from ..data.verification import Problem, find_problems


HELP = "list, check or publish a dataset of shards"

ACTIONS = """\
info    splits, rows, sizes, licences and columns of a folder, a Hub repository or procedural scenes
verify  compare the files with the manifest and decode every row; name all that is broken
push    upload a folder with its card to a dataset repository on the Hub"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments to its parser."""
    parser.epilog = f"actions:\n{ACTIONS}\n\n{parser.epilog or ''}"
    parser.add_argument("action", choices=["info", "verify", "push"])
    parser.add_argument("name", metavar="NAME", help="a folder of shards; for info also a Hub repository id")
    parser.add_argument("--revision", help="info: branch, tag or commit of the repository")
    parser.add_argument("--quick", action="store_true", help="verify: compare checksums only, decode nothing")
    parser.add_argument("--to", metavar="OWNER/NAME", help="push: the dataset repository")
    parser.add_argument("--private", action="store_true", help="push: only you and your organisation can see it")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Do what was asked, and return a summary that JSON can hold."""
    _check_options(arguments)
    match arguments.action:
        case "info":
            return {"action": "info", **describe_dataset(arguments.name, arguments.revision)}
        case "push":
            repository = push_shards(arguments.name, arguments.to, private=arguments.private)
            return {"action": "push", "name": arguments.name, "repository": repository}
    problems = [problem.summary() for problem in find_problems(arguments.name, arguments.quick)]
    splits = read_manifest(arguments.name)["splits"]
    return {
        "action": "verify",
        "name": arguments.name,
        "quick": arguments.quick,
        "splits": {name: {"rows": split["rows"], "shards": len(split["shards"])} for name, split in splits.items()},
        "problems": problems,
    }


def exit_code(summary: dict[str, Any]) -> int:
    """1 if something is broken."""
    return 1 if summary.get("problems") else 0


def describe(summary: dict[str, Any]) -> str:
    """The summary in words."""
    match summary["action"]:
        case "info":
            return _describe_info(summary)
        case "push":
            return f"{summary['name']} is at {summary['repository']}: open_samples({summary['repository']!r}) reads it"
    shown = [str(Problem(**problem)) for problem in summary["problems"]]
    counts = ", ".join(f"{name}: {split['rows']} rows in {split['shards']} shards" for name, split in _splits(summary))
    checked = "checksums" if summary["quick"] else "checksums and every row"
    result = f"{len(shown)} broken" if shown else "nothing is broken"
    return "\n".join([*shown, f"{summary['name']} ({counts}): checked {checked}; {result}"])


def _describe_info(summary: dict[str, Any]) -> str:
    if summary["endless"]:
        return f"{summary['name']}: rendered on the fly, without end; splits {', '.join(summary['splits'])}"
    lines = [summary["name"], f"  columns   {', '.join(summary['columns'])}"]
    for name, split in _splits(summary):
        lines += [
            f"  {name}",
            f"    rows      {split['rows']} in {split['shards']} shards, {split['bytes'] / 1e6:.1f} MB",
            f"    schema    version {_listed(split['schema_versions'])}",
            f"    licences  {_listed(split['licences'])}",
            f"    scales    {_listed(split['scales'])}",
        ]
    return "\n".join(lines)


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{name or 'none stated'} ({count})" for name, count in counts.items())


def _splits(summary: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return list(summary["splits"].items())


def _check_options(arguments: argparse.Namespace) -> None:
    """Refuse options of another action rather than ignore them."""
    owners = {"revision": "info", "quick": "verify", "to": "push", "private": "push"}
    for option, action in owners.items():
        if getattr(arguments, option) and arguments.action != action:
            raise ValueError(f"--{option} is for `anyviews data {action}`, not for {arguments.action}; leave it out")
    if arguments.action == "push" and not arguments.to:
        raise ValueError("push needs a repository: anyviews data push FOLDER --to OWNER/NAME")
