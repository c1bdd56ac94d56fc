"""Photos of an object, and a pipeline whose network sees a ball in them."""

from functools import cache

import torch
from models.lirm.small_lirm import ball_model

from anyviews.data.world import render_world
from anyviews.models.lirm import LIRMImageProcessor, LIRMModel
from anyviews.pipelines.output_lirm import LIRMAsset
from anyviews.pipelines.pipeline_lirm import LIRMPipeline
from anyviews.views import Views


SIZE = 16
QUICK = {"resolution": 16, "texture_size": 32, "max_faces": 300}
BALL = 0.35


@cache
def object_views() -> Views:
    return render_world(torch.tensor([41]), 10, 64, 64, kind="object", samples=1).scene(0)


def pipeline(model: LIRMModel | None = None) -> LIRMPipeline:
    torch.manual_seed(0)
    pipe = LIRMPipeline(ball_model(BALL) if model is None else model, LIRMImageProcessor(SIZE, 4))
    pipe.set_progress_bar_config(disable=True)
    return pipe


@cache
def ball_asset() -> LIRMAsset:
    return pipeline()(object_views()[:4], **QUICK)
