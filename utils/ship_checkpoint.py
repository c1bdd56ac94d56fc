"""Turn a finished run of train_mvgd.py into a checkpoint that ships with the repository.

    python utils/ship_checkpoint.py runs/mvgd-tiny checkpoints/mvgd-tiny --card model_cards/mvgd-tiny.md

Casts the averaged weights to bfloat16, and writes the command and the learning curve into the marked section of the
card. The bundled sample comes from utils/make_sample.py, the figures from utils/evaluate_mvgd.py.
"""

import argparse
import json
from pathlib import Path

import torch

from anyviews.evaluation.cards import fill, table
from anyviews.formats.files import new_folder
from anyviews.pipelines import MVGDPipeline


def learning_curve(run: Path, examples_per_step: int) -> dict[str, dict[str, float]]:
    """The validation scores of a run, by step."""
    rows = {}
    for line in (run / "validation.jsonl").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        scores = {
            f"{setting}: {metric}": record[f"{setting}/{metric}"]
            for setting in ("1 step", "10 steps")
            for metric in ("psnr", "absrel")
        }
        rows[str(record["step"])] = {"examples": record["step"] * examples_per_step, **scores}
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="output_dir of a finished training")
    parser.add_argument("checkpoint", type=Path, help="new folder under checkpoints/")
    parser.add_argument("--card", type=Path, help="Markdown card with a section <!-- curve -->")
    parser.add_argument("--examples-per-step", type=int, default=32, help="batch size over all processes")
    arguments = parser.parse_args()

    pipe = MVGDPipeline.from_pretrained(arguments.run, dtype=torch.bfloat16)
    with new_folder(arguments.checkpoint) as folder:
        pipe.save_pretrained(folder)
    print(f"wrote {arguments.checkpoint}")
    if arguments.card is not None:
        curve = table(learning_curve(arguments.run, arguments.examples_per_step), "step")
        card = fill(arguments.card.read_text(encoding="utf-8"), "curve", curve)
        arguments.card.write_text(card, encoding="utf-8")
        print(f"wrote the learning curve into {arguments.card}")


if __name__ == "__main__":
    main()
