"""Turn a finished run of a training script into a checkpoint that ships with the repository.

    python utils/ship_checkpoint.py runs/mvgd-tiny checkpoints/mvgd-tiny --card model_cards/mvgd-tiny.md
    python utils/ship_checkpoint.py runs/mvboost_era3d runs/mvboost_lgm runs/mvboost_lora checkpoints/mvboost-tiny

Casts the averaged weights to bfloat16, and writes the command and the learning curve into the marked section of the
card. Where stages were trained in several runs, give them in their order; the last is shipped. MVBoost is Era3D, LGM
and, last, the adapter, which goes to its folder "lora"; each has a curve of its own. The bundled sample
comes from utils/make_sample.py, the figures from `anyviews eval CHECKPOINT --card CARD`.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import torch

from anyviews.evaluation.cards import fill
from anyviews.evaluation.figures import markdown_table
from anyviews.formats.files import new_folder
from anyviews.formats.json_files import read_json
from anyviews.models.lgm import LGMModel
from anyviews.models.lirm import LIRMImageProcessor, LIRMModel
from anyviews.models.mvdust3r import MVDust3rPlusImageProcessor, MVDust3rPlusModel
from anyviews.pipelines import MVGDPipeline
from anyviews.pipelines.pipeline_era3d import Era3DPipeline
from anyviews.pipelines.pipeline_lirm import LIRMPipeline
from anyviews.pipelines.pipeline_mvboost import MVBoostPipeline


MVGD_SCORES = [f"{setting}/{metric}" for setting in ("1 step", "10 steps") for metric in ("psnr", "absrel")]
MVBOOST_SCORES = {
    "Era3D": ["1 step/others", "10 steps/others", "1 step/normals", "10 steps/normals"],
    "LGM": ["psnr", "ms_ssim", "input_psnr", "alpha_mae"],
    "adapter": ["psnr", "ms_ssim", "alpha_mae"],
}
LIRM_SCORES = ["1 set/psnr", *(f"2 sets/{name}" for name in ("psnr", "mask_iou", "depth", "base_color_psnr"))]
LIRM_VIEWS_PER_STEP = 4
MVDUST3R_SCORES = ["error", "nd", "dac@0.5", "rra@15", "rta@15", "rotation"]


def learning_curve(
    runs: Sequence[Path], scores: Sequence[str], examples: Sequence[int]
) -> dict[str, dict[str, float]]:
    """The validation scores of runs, by step; each run has its number of examples per step."""
    rows = {}
    for index, (run, per_step) in enumerate(zip(runs, examples, strict=True)):
        for line in (run / "validation.jsonl").read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            name = str(record["step"]) if len(runs) == 1 else f"{index + 1}: {record['step']}"
            found = {score.replace("/", ": "): record[score] for score in scores}
            rows[name] = {"examples": record["step"] * per_step, **found}
    return rows


def save(run: Path, folder: Path) -> Sequence[str]:
    """Write the model of a run in bfloat16; returns the scores of its method's curve."""
    if (run / "model_index.json").exists():
        MVGDPipeline.from_pretrained(run, dtype=torch.bfloat16).save_pretrained(folder)
        return MVGD_SCORES
    if read_json(run / "config.json")["model_type"] == "lirm":
        model = LIRMModel.from_pretrained(run).to(torch.bfloat16)
        LIRMPipeline(model, LIRMImageProcessor(model.config.image_size, LIRM_VIEWS_PER_STEP)).save_pretrained(folder)
        return LIRM_SCORES
    MVDust3rPlusModel.from_pretrained(run).to(torch.bfloat16).save_pretrained(folder)
    MVDust3rPlusImageProcessor.from_pretrained(run).save_pretrained(folder)
    return MVDUST3R_SCORES


def save_mvboost(runs: Sequence[Path], folder: Path) -> None:
    """Write generator, reconstructor and adapter of three runs in bfloat16."""
    era3d, lgm, adapter = runs
    multiview = Era3DPipeline.from_pretrained(era3d, dtype=torch.bfloat16)
    reconstructor = LGMModel.from_pretrained(lgm, dtype=torch.bfloat16)
    MVBoostPipeline(multiview, reconstructor).save_pretrained(folder)
    reconstructor.load_lora_weights(adapter)
    for name, value in reconstructor.named_parameters():
        if ".lora_" in name:
            value.data = value.data.to(torch.bfloat16)
    reconstructor.save_lora_weights(folder / "lora")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="output_dir of a finished training, or of its stages")
    parser.add_argument("checkpoint", type=Path, help="new folder under checkpoints/")
    parser.add_argument("--card", type=Path, help="Markdown card with a section <!-- curve -->")
    parser.add_argument(
        "--examples-per-step", type=int, nargs="+", default=[32], help="batch size over all processes, of each run"
    )
    arguments = parser.parse_args()

    runs, examples = arguments.runs, arguments.examples_per_step
    boosted = (runs[-1] / "adapter_config.json").exists()
    with new_folder(arguments.checkpoint) as folder:
        scores = save_mvboost(runs, folder) if boosted else save(runs[-1], folder)
    print(f"wrote {arguments.checkpoint}")
    if arguments.card is not None:
        if boosted:
            parts = zip(MVBOOST_SCORES.items(), runs, examples, strict=True)
            curve = "\n\n".join(
                markdown_table(learning_curve([run], own, [count]), f"{name}: step")
                for (name, own), run, count in parts
            )
        else:
            curve = markdown_table(learning_curve(runs, scores, examples), "step")
        card = fill(arguments.card.read_text(encoding="utf-8"), "curve", curve)
        arguments.card.write_text(card, encoding="utf-8")
        print(f"wrote the learning curve into {arguments.card}")


if __name__ == "__main__":
    main()
