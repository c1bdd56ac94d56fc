"""An untrained checkpoint of each method, small enough to run while a test waits."""

from pathlib import Path

import torch
from cli.scenes import write_checkpoint
from models.era3d.small_era3d import small_pipeline
from models.lgm.plain_lgm import small_model
from models.lirm.small_lirm import ball_model

from anyviews.models.lirm import LIRMImageProcessor
from anyviews.models.mvdust3r import MVDust3rPlusConfig, MVDust3rPlusImageProcessor, MVDust3rPlusModel
from anyviews.pipelines.pipeline_mvboost import MVBoostPipeline
from anyviews.pipelines.pipeline_mvdust3r import MVDust3rPlusPipeline


SIDE = 32


def write_checkpoints(folder: Path) -> dict[str, str]:
    """One for each method, in a folder of its name."""
    torch.manual_seed(0)
    write_checkpoint(folder / "mvgd")
    config = MVDust3rPlusConfig.from_size(
        "tiny", image_size=SIDE, encoder_num_layers=1, decoder_num_layers=1, encoder_hidden_size=32,
        decoder_hidden_size=32, use_skip=False, gaussian_hidden_size=16,
    )  # fmt: skip
    model = MVDust3rPlusModel(config).eval()
    MVDust3rPlusPipeline(model, MVDust3rPlusImageProcessor(SIDE)).save_pretrained(folder / "mvdust3r")
    ball_model(0.35).save_pretrained(folder / "lirm")
    LIRMImageProcessor(16, 4).save_pretrained(folder / "lirm")
    MVBoostPipeline(small_pipeline(), small_model()).save_pretrained(folder / "mvboost")
    return {name: str(folder / name) for name in ("mvgd", "mvdust3r", "lirm", "mvboost")}
