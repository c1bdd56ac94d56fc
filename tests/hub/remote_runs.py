"""Runs published checkpoints as people without the package do: python remote_runs.py FOLDER.

FOLDER/jobs.json lists the checkpoints, by the name of their repository, and FOLDER/local has a copy of each. What they
computed goes to FOLDER/NAME.npz, and what else was found to FOLDER/found.json. Nothing of the package is imported
before a checkpoint has brought it.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch


def load_remotely(repository: str, is_pipeline: bool):
    """The pipeline of a repository or folder, by the code that it brings."""
    if is_pipeline:
        from diffusers import DiffusionPipeline

        return DiffusionPipeline.from_pretrained(repository, trust_remote_code=True)
    from transformers import AutoImageProcessor, AutoModel

    model = AutoModel.from_pretrained(repository, trust_remote_code=True)
    image_processor = AutoImageProcessor.from_pretrained(repository, trust_remote_code=True)
    import anyviews

    return getattr(anyviews, PIPELINES[type(model).__name__])(model.float(), image_processor)


PIPELINES = {"MVDust3rPlusModel": "MVDust3rPlusPipeline", "LIRMModel": "LIRMPipeline"}


def compute(pipe, sample: Path) -> dict[str, np.ndarray]:
    """What a pipeline makes of the example input that came with it."""
    pipe.set_progress_bar_config(disable=True)
    return RUNS[type(pipe).__name__](pipe, sample)


def run_mvgd(pipe, sample: Path) -> dict[str, np.ndarray]:
    from anyviews.formats import load_views

    views = load_views(sample)
    generator = torch.Generator().manual_seed(0)
    options = {"num_inference_steps": 1, "ensemble_size": 1, "max_context_views": 3, "output_type": "np"}
    output = pipe(views[:3], target_cameras=views.cameras[3:4], generator=generator, **options)
    return {"images": output.images, "depths": output.depths}


def run_mvdust3r(pipe, sample: Path) -> dict[str, np.ndarray]:
    output = pipe(sorted(sample.glob("*.png")))
    return {"points": output.points.float().numpy(), "focals": output.cameras.intrinsics.numpy()}


def run_lirm(pipe, sample: Path) -> dict[str, np.ndarray]:
    from anyviews.formats import load_views

    asset = pipe(load_views(sample)[:4], output_type="planes")
    return {"state": asset.state.planes.float().numpy()}


def run_mvboost(pipe, sample: Path) -> dict[str, np.ndarray]:
    from PIL import Image

    photo = Image.open(next(sample.glob("*.png")))
    output = pipe(photo, num_inference_steps=1, generator=torch.Generator().manual_seed(0), output_type="np")
    gaussians = output.gaussians[0] if isinstance(output.gaussians, list) else output.gaussians
    return {"images": output.images, "means": gaussians.means.numpy()}


RUNS = {
    "MVGDPipeline": run_mvgd,
    "MVDust3rPlusPipeline": run_mvdust3r,
    "LIRMPipeline": run_lirm,
    "MVBoostPipeline": run_mvboost,
}


def message_without_trust(repository: str, is_pipeline: bool) -> str:
    """The error of loading without trust_remote_code; empty if there is none."""
    from diffusers import DiffusionPipeline
    from transformers import AutoModel

    try:
        (DiffusionPipeline if is_pipeline else AutoModel).from_pretrained(repository)
    except ValueError as error:
        return str(error)
    return ""


def main(folder: Path) -> None:
    from huggingface_hub import snapshot_download

    jobs = json.loads((folder / "jobs.json").read_text(encoding="utf-8"))
    found = {
        "untrusted": {name: message_without_trust(name, is_pipeline) for name, is_pipeline in jobs.items()},
        "imported_before": [name for name in sys.modules if name.partition(".")[0] == "anyviews"],
        "homes": {},
        "same_from_folder": {},
    }
    for name, is_pipeline in jobs.items():
        sample = Path(snapshot_download(name, allow_patterns="sample/*")) / "sample"
        pipe = load_remotely(name, is_pipeline)
        result = compute(pipe, sample)
        np.savez(folder / f"{name.partition('/')[2]}.npz", **result)
        found["homes"][name] = sys.modules[type(pipe).__module__].__file__
        local = compute(load_remotely(str(folder / "local" / name.partition("/")[2]), is_pipeline), sample)
        found["same_from_folder"][name] = all(np.allclose(local[key], result[key], atol=1e-5) for key in result)
    try:
        import anyviews.training.loop  # noqa: F401
    except ModuleNotFoundError as error:
        found["not_brought"] = str(error)
    (folder / "found.json").write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
