"""`anyviews eval`: a checkpoint's figures by a declared protocol, as report, table, page and card."""

import argparse
import contextlib
import logging
import shutil
import warnings
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

from ..formats.files import new_file
from .checkpoints import load_checkpoint
from .methods import method_of
from .photos import choose_device


HELP = "measure a checkpoint by a protocol, beside baselines"

DESCRIPTION = f"""{HELP}.

Without --protocol, lists the protocols of the checkpoint's method. An evaluation that was interrupted continues when
the command is repeated. Several processes: accelerate launch --num_processes 2 -m anyviews.cli.main eval ..."""

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments to its parser."""
    parser.description = DESCRIPTION
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="folder or Hub repository, which says the method")
    parser.add_argument("--protocol", metavar="NAME", help="what to measure: procedural, posed, realestate10k ...")
    parser.add_argument("-o", "--output", metavar="OUT", help="folder (default: evaluation-CHECKPOINT-PROTOCOL)")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="the dataset, where it is not generated")
    parser.add_argument("--scenes", type=int, metavar="N", help="how many (default: the protocol's)")
    parser.add_argument("--seed", type=int, default=0, help="of all that is random (default: 0)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: auto)")
    parser.add_argument("--overwrite", action="store_true", help="begin anew where OUT holds an evaluation")
    parser.add_argument(
        "--card", type=Path, metavar="FILE", help="model card: write evaluation.json and the figures of the card"
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="measure what evaluation.json states (--scenes N: its first N scenes) again, and compare",
    )


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """List, check or measure, and return a summary that JSON can hold."""
    from ..evaluation.methods import evaluation_method
    from ..evaluation.protocols import find_protocol, protocols_of

    _check_options(arguments)
    name = method_of(arguments.checkpoint)
    if arguments.check:
        return _check(arguments, evaluation_method(name))
    if arguments.protocol is None:
        found = {protocol.name: protocol.title for protocol in protocols_of(name).values()}
        return {"action": "list", "method": name, "protocols": found}
    return _measure(arguments, find_protocol(name, arguments.protocol), evaluation_method(name))


def exit_code(summary: dict[str, Any]) -> int:
    """1 if a check found that figures drifted."""
    return 1 if summary.get("problems") else 0


def describe(summary: dict[str, Any]) -> str:
    """The summary in words."""
    match summary["action"]:
        case "list":
            lines = [f"  {name:<16} {title}" for name, title in summary["protocols"].items()]
            return "\n".join([f"protocols of {summary['method']} (--protocol NAME):", *lines])
        case "part":
            return f"process {summary['rank']} is done"
        case "check":
            stated = ", ".join(f"{count} scenes of {name}" for name, count in summary["scenes"].items())
            result = "nothing has drifted" if not summary["problems"] else f"{len(summary['problems'])} problems"
            return "\n".join([*summary["problems"], f"{summary['checkpoint']} ({stated}): {result}"])
    from ..evaluation.figures import markdown_table

    tables = [markdown_table(rows, name) for name, rows in summary["tables"].items()]
    return "\n\n".join([*tables, f"look at {Path(summary['output']) / 'index.html'}"])


def _measure(arguments: argparse.Namespace, protocol, method: ModuleType) -> dict[str, Any]:
    """Evaluate all cases; the first process writes the report."""
    from accelerate import PartialState

    from ..evaluation.conditions import conditions
    from ..evaluation.report import build_report, write_report
    from ..evaluation.runner import checkpoint_hash, evaluate_cases, need_of, prepare_folder, read_cases
    from .eval_page import write_evaluation_page

    # a slow process may be waited for as long as a day
    state = PartialState(cpu=choose_device(arguments.device) == "cpu", timeout=timedelta(days=1))
    label = Path(arguments.checkpoint).resolve().name
    folder = Path(arguments.output or f"evaluation-{label}-{protocol.name}")
    # each process has an accelerator of its own; the CPU is shared, and Accelerate numbers it all the same
    own = state.num_processes > 1 and state.device.type != "cpu"
    model = _load(arguments, method, str(state.device) if own else arguments.device)
    need = need_of(protocol, method, model, arguments.data)
    names = protocol.source.names(need, arguments.scenes or protocol.scenes)
    facts = {"checkpoint": label, "checkpoint_hash": checkpoint_hash(arguments.checkpoint), "seed": arguments.seed}
    if state.is_main_process:
        if arguments.overwrite:
            _remove_evaluation(folder)
        # rows that are there count only where all of this is the same
        prepare_folder(
            folder,
            {
                **facts,
                "protocol": protocol.name,
                "protocol_hash": protocol.hash,
                "repository": "" if facts["checkpoint_hash"] else arguments.checkpoint,
                "data": str(arguments.data.resolve()) if arguments.data else "",
            },
        )
    state.wait_for_everyone()
    share = (state.process_index, state.num_processes)
    for done, case in enumerate(evaluate_cases(folder, protocol, method, model, need, names, arguments.seed, *share)):
        logger.info("%s (%d more in this process at most)", case, -(-len(names) // state.num_processes) - done - 1)
    state.wait_for_everyone()
    if not state.is_main_process:
        return {"action": "part", "rank": state.process_index}
    cases = read_cases(folder, names)
    stated = {"seconds": round(sum(case["seconds"] for case in cases), 1)}
    stated["conditions"] = conditions(choose_device(arguments.device))
    report = build_report(protocol, [case["record"] for case in cases], {**facts, **stated})
    write_report(report, folder / "report.json")
    write_evaluation_page(folder, arguments, protocol, report, cases)
    if arguments.card is not None:
        _fill_card(arguments, report)
    return {
        "action": "measure",
        "output": str(folder.resolve()),
        **{name: value for name, value in report.items() if name != "rows"},
    }


def _check(arguments: argparse.Namespace, method: ModuleType) -> dict[str, Any]:
    """Measure the scenes of evaluation.json again; and compare the card, where one is given."""
    from ..evaluation.cards import card_problems, read_evaluation, refreshed_card
    from ..evaluation.protocols import find_protocol
    from ..evaluation.report import drift
    from ..evaluation.runner import checkpoint_hash, evaluate_case, need_of

    folder = Path(arguments.checkpoint)
    reports = read_evaluation(folder)
    if arguments.protocol is not None:
        reports = {name: report for name, report in reports.items() if name == arguments.protocol}
    if not reports:
        asked = f" of the protocol {arguments.protocol}" if arguments.protocol else ""
        raise ValueError(f"{folder} has no evaluation.json with a report{asked}; run anyviews eval with --card first")
    model, problems, counts = _load(arguments, method, arguments.device), [], {}
    for name, report in reports.items():
        if report["checkpoint_hash"] != checkpoint_hash(arguments.checkpoint):
            problems.append(f"{name}: evaluation.json was measured with other weights or another configuration")
        protocol = find_protocol(report["method"], name)
        need = need_of(protocol, method, model, arguments.data)
        chosen = report["rows"][: arguments.scenes]
        counts[name] = len(chosen)
        records = []
        for row in chosen:
            logger.info("%s: %s", name, row["scene"])
            records.append(evaluate_case(protocol, method, model, need, row["scene"], row["seed"])[0])
        problems += [f"{name}: {line}" for line in drift(report, records)]
    if arguments.card is not None:
        card = arguments.card.read_text(encoding="utf-8")
        problems += [f"{arguments.card}: {line}" for line in card_problems(card)]
        if refreshed_card(card, folder.resolve().name, _evaluations(folder)) != card:
            problems.append(
                f"{arguments.card} states other figures than evaluation.json; run utils/benchmarks_page.py"
            )
    return {"action": "check", "checkpoint": arguments.checkpoint, "scenes": counts, "problems": problems}


def _fill_card(arguments: argparse.Namespace, report: dict[str, Any]) -> None:
    from ..evaluation.cards import refreshed_card, write_evaluation

    folder = Path(arguments.checkpoint)
    write_evaluation(folder, report)
    card = refreshed_card(arguments.card.read_text(encoding="utf-8"), folder.resolve().name, _evaluations(folder))
    with new_file(arguments.card, overwrite=True) as temporary:
        temporary.write_text(card, encoding="utf-8")


def _evaluations(folder: Path) -> dict[str, Any]:
    """Reports of this checkpoint and, where they can be read, of those beside it: a card may compare with them."""
    from ..evaluation.cards import read_evaluation

    found = {}
    for path in sorted(folder.resolve().parent.iterdir()):
        # another checkpoint may wait for its own new measurement
        with contextlib.suppress(ValueError):
            found[path.name] = read_evaluation(path)
    return found


def _load(arguments: argparse.Namespace, method: ModuleType, device: str) -> Any:
    with warnings.catch_warnings():
        # of a model that is known to be small
        warnings.simplefilter("ignore", UserWarning)
        return load_checkpoint(method.MODEL, arguments.checkpoint, device, progress=False)


def _remove_evaluation(folder: Path) -> None:
    from ..evaluation.runner import KEY

    if (folder / KEY).is_file():
        shutil.rmtree(folder)


def _check_options(arguments: argparse.Namespace) -> None:
    if arguments.scenes is not None and arguments.scenes < 1:
        raise ValueError(f"--scenes {arguments.scenes}; accepted are 1 and more")
    if arguments.card is not None:
        if not arguments.card.is_file():
            raise FileNotFoundError(f"--card {arguments.card} does not exist; write the card first")
        if not Path(arguments.checkpoint).is_dir():
            raise ValueError(f"--card needs a checkpoint in a folder, which {arguments.checkpoint} is not")
    if arguments.check and (arguments.output or arguments.overwrite):
        raise ValueError("--check writes nothing; leave out --output and --overwrite")
    written = arguments.card or arguments.output or arguments.overwrite
    if written and not arguments.check and arguments.protocol is None:
        raise ValueError("--card, --output and --overwrite need something to measure; give --protocol NAME")
