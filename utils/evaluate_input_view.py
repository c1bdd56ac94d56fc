"""Measure MVBoost's input view optimisation on held-out procedural objects.

    python utils/evaluate_input_view.py runs/input_view --cases 64
    python utils/evaluate_input_view.py runs/input_view_lgm --lgm checkpoints/mvboost-tiny/reconstructor

A photo of each object is taken up to 30 degrees from the front. Without --lgm, Gaussians are fitted to true views and
then coloured wrongly (and bent by --bend); with it they are LGM's of four true views. A run that was stopped goes on
where it was.
"""

import argparse
import json
from pathlib import Path

import torch

from anyviews.evaluation.conditions import conditions
from anyviews.evaluation.input_view import evaluate_case, input_view_case, mismatched, summary
from anyviews.models.lgm import LGMModel


def main() -> None:
    """Write cases.jsonl and report.json, and print the summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cases", type=int, default=64)
    parser.add_argument("--size", type=int, default=64, help="of all images in pixels")
    parser.add_argument("--lgm", help="folder or repository of an LGM")
    parser.add_argument("--bend", type=float, default=0.0, help="of stand-ins, in world units (objects: 1.2 wide)")
    parser.add_argument(
        "--mismatched", action="store_true", help="give each object the photo of the next one: nothing should converge"
    )
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    model = None if arguments.lgm is None else LGMModel.from_pretrained(arguments.lgm).eval()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    settings = {name: value for name, value in vars(arguments).items() if name not in ("folder", "cases")}
    rows = cases_so_far(arguments.folder / "cases.jsonl", settings)
    for index in range(len(rows), arguments.cases):
        case = input_view_case(index, arguments.size, model, arguments.bend)
        if arguments.mismatched:
            case = mismatched(case, index + 1)
        rows.append(evaluate_case(case))
        with (arguments.folder / "cases.jsonl").open("a") as file:
            file.write(json.dumps({**settings, **rows[-1]}) + "\n")
    report = {"summary": summary(rows), "settings": settings, "conditions": conditions()}
    (arguments.folder / "report.json").write_text(json.dumps(report, indent=1))
    print(json.dumps(report, indent=1))


def cases_so_far(path: Path, settings: dict) -> list[dict]:
    """What an earlier run of the same settings measured.

    Raises:
        ValueError: if the file is of other settings.
    """
    lines = path.read_text().splitlines() if path.exists() else []
    rows = [json.loads(line) for line in lines]
    for row in rows:
        other = {name: row[name] for name in settings}
        if other != settings:
            raise ValueError(f"{path} was measured with {other}, not {settings}; give another folder")
    return rows


if __name__ == "__main__":
    main()
