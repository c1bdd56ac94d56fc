"""max_memory is a promise: the bytes that a call holds are counted and compared with its plan."""

import re

import pytest
import torch
from live_bytes import LiveBytes
from tiny_pipeline import arc_cameras, photos, seeded, tiny_pipeline

from anyviews.models.memory import parse_memory
from anyviews.models.mvgd import MemoryPlan, MVGDImageEncoder
from anyviews.pipelines import MVGDPipeline, MVGDPipelineOutput
from anyviews.views import Views


SIZE = 32
WIDER = {"image_size": SIZE, "num_blocks": 2, "token_dim": 32, "image_feature_dim": 16}


class Observed(MVGDPipeline):
    """Remembers its plan."""

    def plan(self, *arguments) -> MemoryPlan:
        self.last_plan = super().plan(*arguments)
        return self.last_plan


def observed(**options) -> Observed:
    pipe = Observed(**tiny_pipeline(**{**WIDER, **options}).components)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def arguments(views: int, targets: int = 1, **options) -> dict:
    """`Views` are used as they are; other kinds of photos are copied first, which no plan can know."""
    return {
        "images": Views(photos(views, SIZE, SIZE), arc_cameras(views, SIZE, SIZE)),
        "target_cameras": arc_cameras(targets, SIZE, SIZE, start=0.05),
        "num_inference_steps": 2,
        "ensemble_size": 1,
        "output_type": "pt",
        "generator": seeded(),
        **options,
    }


def run(pipe: Observed, views: int, max_memory=None, **options) -> MVGDPipelineOutput:
    """A call that asserts measured bytes <= planned bytes <= max_memory."""
    given = arguments(views, max_memory=max_memory, **options)
    with LiveBytes() as live:
        output = pipe(**given)
    assert live.peak <= pipe.last_plan.peak_bytes
    assert live.peak * 3 > pipe.last_plan.peak_bytes, "the plan wastes memory"
    if max_memory is not None:
        assert pipe.last_plan.peak_bytes <= parse_memory(max_memory)
    return output


def smallest(pipe: MVGDPipeline, views: int, **options) -> int:
    with pytest.raises(ValueError, match="max_memory=1 bytes is too little") as error:
        pipe(**arguments(views, max_memory=1, **options))
    return int(re.search(r"at least (\d+) bytes", str(error.value))[1])


def test_live_bytes_counts_what_is_alive():
    given = torch.zeros(1000)
    with LiveBytes() as live:
        given.view(10, 100).add_(1)  # nothing new
        assert live.peak == 0
        first = given + 1
        view = first[:10]
        del first  # the view keeps it alive
        second = given * 2
        del view
        third = second - 1
        del second, third
        given + given
    assert live.peak == 2 * 4000


MODELS = {
    "pixels": {"patch_size": 1},
    "patches": {"patch_size": 4},
    "direct": {"token_scene_attention": True},
    "direct pixels": {"token_scene_attention": True, "patch_size": 1},
    "joint": {"read_mode": "joint"},
    "large patches": {"patch_size": 8},
    "ray points": {"ray_points": 8, "ray_footprint": True},
    "narrow feed-forward": {
        "token_mlp_ratio": 0.5,
        "latent_mlp_ratio": 0.5,
        "qk_norm": True,
        "num_attention_heads": 8,
    },
    "plane sweep": {"sweep_depths": 8},
    "wide latents": {"latent_dim": 256, "num_latents": 64},
}
WORK = {
    "few views": (3, {}),
    "many views": (40, {}),
    "members": (12, {"ensemble_size": 3}),
    "targets": (5, {"targets": 4, "targets_per_pass": 4}),
    "nearest views": (40, {"max_context_views": 5}),
    "incremental": (6, {"targets": 3, "incremental": True}),
    "no cache": (20, {"cache_scene": False}),
    "one task": (8, {"tasks": ("depth",)}),
}


CASES = [(model, "members") for model in MODELS]  # every model, and every kind of work
CASES += [(model, work) for model in ("patches", "direct pixels", "plane sweep") for work in WORK if work != "members"]


@pytest.mark.parametrize(("model", "work"), CASES)
def test_plans_hold_for_every_budget(model, work):
    pipe, (views, options) = observed(**MODELS[model]), WORK[work]
    expected = run(pipe, views, **options)
    least, most = smallest(pipe, views, **options), pipe.last_plan.peak_bytes
    for max_memory in (least, (least + most) // 2):
        output = run(pipe, views, max_memory, **options)  # streamed or cached, the result is the same
        for name in ("images", "depths"):
            if getattr(expected, name) is not None:
                torch.testing.assert_close(getattr(output, name), getattr(expected, name), atol=1e-4, rtol=1e-3)
    with pytest.raises(ValueError, match=f"at least {least} bytes are needed"):
        pipe(**arguments(views, max_memory=least - 1, **options))


@pytest.mark.parametrize("model", ["direct pixels", "joint", "narrow feed-forward", "plane sweep"])
def test_plans_hold_in_half_precision(model):
    pipe = observed(**MODELS[model])
    least = smallest(pipe, 40)
    pipe.to(torch.bfloat16)
    run(pipe, 40)
    assert smallest(pipe, 40) < least
    run(pipe, 40, smallest(pipe, 40))


def test_plans_hold_for_the_papers_encoder():
    pipe = observed(image_feature_dim=448)
    pipe.register_modules(image_encoder=MVGDImageEncoder().eval())
    run(pipe, 20)
    run(pipe, 3, smallest(pipe, 3))


def test_a_thousand_views_fit_in_a_small_budget():
    """Photos and features of a thousand views are kept, everything else is streamed."""
    pipe = observed()
    output = run(pipe, 1000, "32MB", num_inference_steps=1)
    assert pipe.last_plan.chunk_tokens is not None
    assert output.images.isfinite().all()
    unlimited = run(pipe, 1000, num_inference_steps=1)
    assert pipe.last_plan.cached
    assert pipe.last_plan.peak_bytes > 1.5 * 32e6
    torch.testing.assert_close(output.images, unlimited.images, atol=1e-4, rtol=1e-3)


def test_a_thousand_views_of_which_the_nearest_are_used():
    run(observed(), 1000, "26MB", max_context_views=16, num_inference_steps=1)


def test_more_targets_do_not_need_more_memory():
    """Passes follow each other and leave nothing but their results."""
    pipe = observed(patch_size=1)
    given_one, given_four = arguments(20, targets=1), arguments(20, targets=4)
    with LiveBytes() as one:
        pipe(**given_one)
    with LiveBytes() as four:
        output = pipe(**given_four)
    results = sum(t.nbytes for t in (output.images, output.depths))
    assert four.peak <= one.peak + 2 * results
