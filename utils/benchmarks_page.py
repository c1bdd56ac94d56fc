"""Write docs/benchmarks.md, and every marked figure in README.md, docs and model cards, from the reports.

    python utils/benchmarks_page.py            # after anyviews eval ... --card, or a change of text
    python utils/benchmarks_page.py --check    # writes nothing, names stale files, exits with 1 if there are any

Figures come from checkpoints/*/evaluation.json alone; docs/evaluation.md says how they are marked.
"""

import argparse
import sys
from pathlib import Path

from anyviews.evaluation.cards import read_evaluations, refreshed_card
from anyviews.evaluation.figures import Evaluations, number, protocol_text, refreshed
from anyviews.evaluation.protocols import METRICS, find_protocol


REPOSITORY = Path(__file__).resolve().parents[1]

INTRODUCTION = """# Benchmarks

All shipped checkpoints, by the variant of each that its protocol ranks scenes by, beside the best baseline of each
metric. They were trained for one to one and a half hours each on at most two CPU cores, to show that the whole path
works; nothing here is competitive with the papers' models. `python utils/benchmarks_page.py` writes this page from the
reports in `checkpoints/*/evaluation.json`; [evaluation.md](evaluation.md) says how these are made, and the cards in
`model_cards` have all tables.
"""


def fresh_pages(repository: Path) -> dict[Path, str]:
    """Every page that holds figures, as the reports have them; missing cards are an error."""
    evaluations = read_evaluations(repository / "checkpoints")
    pages = {repository / "docs" / "benchmarks.md": benchmarks_page(evaluations)}
    for path in [repository / "README.md", *sorted((repository / "docs").rglob("*.md"))]:
        if path not in pages and "<!-- = " in (text := path.read_text(encoding="utf-8")):
            pages[path] = refreshed(text, evaluations)
    for checkpoint in evaluations:
        path = repository / "model_cards" / f"{checkpoint}.md"
        pages[path] = refreshed_card(path.read_text(encoding="utf-8"), checkpoint, evaluations)
    return pages


def benchmarks_page(evaluations: Evaluations) -> str:
    """One table over all checkpoints, and what each of its protocols says."""
    lines = [
        "| checkpoint | protocol | scenes | variant | metric | value | best baseline |",
        "|---|---|---:|---|---|---:|---|",
    ]
    notes = []
    for checkpoint, reports in evaluations.items():
        for name, report in reports.items():
            lines += _rows(checkpoint, name, report)
            protocol, stated = find_protocol(report["method"], name), report["conditions"]
            notes.append(
                f"- {checkpoint}, {name}: {protocol.title}. {protocol_text(protocol)} Version {protocol.version}, "
                f"`{protocol.hash}`; commit {stated['commit']}, {stated['hardware']}, torch {stated['torch']}, "
                f"{stated['date']}."
            )
    return "\n".join([INTRODUCTION, *lines, "", "## Protocols", "", *notes, ""])


def _rows(checkpoint: str, name: str, report: dict) -> list[str]:
    """A row per metric of the main table."""
    protocol = find_protocol(report["method"], name)
    ranking = protocol.ranking
    rows = report["tables"][ranking.table]
    lines = []
    for metric, value in rows[ranking.variant].items():
        if value is None:
            continue
        found = {base: rows[base][metric] for base in protocol.baselines if rows.get(base, {}).get(metric) is not None}
        pick = max if METRICS[metric].better == "higher" else min
        best = pick(found, key=found.get) if found else None
        baseline = "" if best is None else f"{number(found[best])} ({best})"
        unit = protocol.unit_of(metric)
        named = metric if unit == "1" else f"{metric}, {unit}"
        cells = [checkpoint, name, str(report["scenes"]), ranking.variant, named, number(value), baseline]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def main() -> int:
    """Write the pages, or name those that are stale."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 where a page is stale")
    arguments = parser.parse_args()
    stale = []
    for path, text in fresh_pages(REPOSITORY).items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            stale.append(path.relative_to(REPOSITORY))
            if not arguments.check:
                path.write_text(text, encoding="utf-8")
    for path in stale:
        print(f"{'stale' if arguments.check else 'wrote'} {path}")
    return 1 if arguments.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
